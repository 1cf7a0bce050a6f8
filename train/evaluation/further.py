"""Studies of further sources that a recipe of ``eval --folds`` trains on beside the divided ones.

They are judged by nobody. A fold takes those that share no patient, film or near twin of a report with what
it holds out or chooses by; those of a test split are never taken.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.evaluation.folds import Fold, clusters
from mtclip_edge.inference.vector_cache import file_keys
from mtclip_edge.progress import Say
from mtclip_edge.sources.source import open_sources
from mtclip_edge.studies import Study


@dataclass(frozen=True)
class Further:
    """``cluster[i]``: what ``studies[i]`` must stay with, a number that divided studies have too."""

    studies: tuple[Study, ...] = ()
    cluster: tuple[int, ...] = ()
    of_divided: dict[int, int] | None = None  # cluster of each divided study, by id()
    fingerprint: str = ""  # hash of the studies; empty where there are none

    def beside(self, fold: Fold) -> tuple[Study, ...]:
        """Those that a fold may train on."""
        if not self.of_divided:
            return ()
        kept = {self.of_divided[id(study)] for study in (*fold.held, *fold.validation)}
        return tuple(s for s, cluster in zip(self.studies, self.cluster, strict=True) if cluster not in kept)


def further(specs: Sequence[str], divided: Sequence[Study], allow_bad_rows: bool, say: Say) -> Further:
    """Of some sources, beside the divided studies. Errors: SourceUnusable."""
    if not specs:
        return Further()
    reading = open_sources(specs)
    for line in reading.summary_lines():
        say(line)
    reading.refuse_bad_rows(allow_bad_rows)
    more = [study for study in reading.studies if study.films and study.split != "test"]
    if not more:
        raise SourceUnusable(f"{reading.spec}: no study with a film outside of the test split")
    together = [*divided, *more]
    digests, _ = file_keys([film.path for study in together for film in study.films])
    cluster = [int(number) for number in clusters(together, digests)]
    count = len(divided)
    say(f"{len(more)} further studies: a fold trains on those that share nothing with what it holds out")
    return Further(
        tuple(more),
        tuple(cluster[count:]),
        {id(study): number for study, number in zip(divided, cluster, strict=False)},
        _fingerprint(more, [digests.get(film.path, b"") for study in more for film in study.films], cluster),
    )


def _fingerprint(studies: Iterable[Study], films: Iterable[bytes], cluster: Sequence[int]) -> str:
    shown = [[s.study_id, s.patient_id, s.label, sorted(s.finding_labels), s.text] for s in studies]
    digest = sha256(json.dumps([shown, np.asarray(cluster).tolist()]).encode())
    for film in films:
        digest.update(film)
    return digest.hexdigest()
