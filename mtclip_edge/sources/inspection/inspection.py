"""``mtclip data inspect``: what a source holds, one study at a time, so that a large one fits. Numbers only
are kept, and no text.

The source is read once for what its rows say and once more for its films.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ...notice import NOTICE
from ...progress import Progress, silent, step
from ...studies import (
    LABELS,
    LATERAL,
    MARKS,
    SPLITS,
    VIEWS,
    Study,
    folded,
    has_words,
    tower_text,
    view_code,
)
from ..entries import Entry, Tally
from ..source import Stream, stream_source
from .film_files import Sizes, Thumbnail, check_films, unchecked
from .labels_and_text import LabelsAndText, ReadFindings
from .near_twins import HASHES, SIMILAR, groups, signature
from .phi import suspicions
from .text_lengths import Lengths

SCHEMA = "mtclip.inspect/1"
MOST_FINDINGS = 30
MOST_PLACES = 50  # of each kind of suspicion: all are counted
FIRST_PROBLEMS = 20
TooSmallFor = Callable[[Mapping[str, Mapping[str, Any]]], list[dict[str, Any]]]


def inspect(
    word: str,
    *,
    films: int = 3000,
    show: bool = False,
    read_findings: ReadFindings | None = None,
    too_small_for: TooSmallFor | None = None,
    progress: Progress = silent,
) -> tuple[dict[str, Any], list[Thumbnail]]:
    """The document of schema mtclip.inspect/1, and a few films to look at. ``films`` is how many are decoded
    at most, 0 for none.

    ``show`` puts patient ids and the words of suspicions into the document. ``read_findings`` reads a report:
    whether it names a finding, and whether it affirms one; without it labels are not compared with words.
    ``too_small_for`` tells what the splits are too small for (``evidence.enough``); without it nobody does.
    Errors: SourceUnusable.
    """
    stream = stream_source(word)
    tally, people, texts, sizes = Tally(), _People(), _Texts(show, read_findings), Sizes()
    with step(progress, "reading the studies"):
        for item in stream:
            tally.add(item)
            if isinstance(item, Entry):
                people.add(item.study)
                texts.add(item)
                if films:
                    sizes.add(item.study)
    tally.refuse_empty(word)
    film_files, thumbnails = (
        check_films(stream, sizes, tally.films, films, progress)
        if films and tally.films
        else (unchecked(tally.films), [])
    )
    told = people.to_dict(_ids_of(stream, people.in_two()) if show else None)
    with step(progress, "looking for twins and lengths"):
        of_texts = texts.to_dict()
    document = {
        "schema": SCHEMA,
        "notice": NOTICE,
        "source": {"spec": word, "kind": stream.spec.kind, "notes": list(stream.notes)},
        "studies": tally.studies,
        "films": tally.films,
        "reports": tally.reports,
        **told,
        "too_small_for": too_small_for and too_small_for(told["splits"]),
        "labels": dict(tally.labels),
        **of_texts,
        "skipped": {
            **tally.to_dict(),
            "first": [str(problem) for problem in tally.problems[:FIRST_PROBLEMS]],
        },
        "film_files": film_files,
    }
    return document, thumbnails


def _ids_of(stream: Stream, wanted: np.ndarray) -> list[str]:
    """The ids of patients by their hashes, from one more reading."""
    keys = set(wanted.tolist())
    return sorted(
        {
            item.study.patient_id
            for item in stream
            if isinstance(item, Entry) and hash(item.study.patient_id) in keys
        }
    )


class _People:
    """Patients, splits, views and findings."""

    def __init__(self) -> None:
        self._patients, self._split, self._label = array("q"), array("b"), array("b")
        self._frontal = {split: Counter(dict.fromkeys(LABELS, 0)) for split in SPLITS}
        self._lateral = Counter(dict.fromkeys(SPLITS, 0))
        self._views = Counter(dict.fromkeys(VIEWS, 0))
        self._findings: Counter[str] = Counter()
        self._without_films = 0

    def add(self, study: Study) -> None:
        self._patients.append(hash(study.patient_id))
        self._split.append(SPLITS.index(study.split))
        self._label.append(LABELS.index(study.label))
        lateral = sum(view_code(film.view) == LATERAL for film in study.films)
        self._frontal[study.split][study.label] += len(study.films) - lateral
        self._lateral[study.split] += lateral
        self._views.update(film.view for film in study.films)
        self._findings.update(study.finding_labels)
        self._without_films += not study.films

    def in_two(self) -> np.ndarray:
        """Hashes of the patients whose studies are in more than one split, int64 [n]."""
        pairs = np.unique(
            np.stack([np.frombuffer(self._patients, np.int64), np.frombuffer(self._split, np.int8)], axis=1),
            axis=0,
        )
        patients, splits = np.unique(pairs[:, 0], return_counts=True)
        return patients[splits > 1]

    def to_dict(self, ids: list[str] | None) -> dict[str, Any]:
        patients, split, label = (
            np.frombuffer(a, kind)
            for a, kind in ((self._patients, np.int64), (self._split, np.int8), (self._label, np.int8))
        )
        splits = {
            name: {
                "studies": int((split == code).sum()),
                "patients": len(np.unique(patients[split == code])),
                "films": self._frontal[name].total() + self._lateral[name],
                "frontal_films": dict(self._frontal[name]),
                "lateral_films": self._lateral[name],
                "labels": {
                    word: int(((split == code) & (label == i)).sum()) for i, word in enumerate(LABELS)
                },
            }
            for code, name in enumerate(SPLITS)
        }
        return {
            "patients": len(np.unique(patients)),
            "studies_without_films": self._without_films,
            "views": dict(self._views),
            "splits": splits,
            "patients_in_two_splits": {"patients": len(self.in_two()), "ids": ids},
            "finding_labels": dict(self._findings.most_common(MOST_FINDINGS)),
        }


class _Texts:
    """Twins, sections, marks, lengths and suspicions; the texts themselves are not kept."""

    def __init__(self, show: bool, read_findings: ReadFindings | None):
        self._show = show
        self._keys, self._label = array("q"), array("b")
        self._distinct: set[int] = set()
        self._signatures = array("H")
        self._empty = Counter(dict.fromkeys(("text", "findings", "impression"), 0))
        self._marks = Counter(dict.fromkeys(("reports", "marks"), 0))
        self._lengths = Lengths()
        self._labels_and_text = LabelsAndText(read_findings) if read_findings else None
        self._suspicions: dict[str, dict[str, Any]] = {}

    def add(self, entry: Entry) -> None:
        study = entry.study
        for name in self._empty:
            self._empty[name] += not has_words(getattr(study, name))
        for name, text in _parts(study):
            self._suspect(entry.place, name, text)
        key = folded(study.text)
        if not key:
            return
        marks = len(MARKS.findall(study.text))
        self._marks.update(marks=marks, reports=bool(marks))
        self._lengths.add(tower_text(study.text))
        if self._labels_and_text:
            self._labels_and_text.add(study.label, study.text)
        number = hash(key)
        self._keys.append(number)
        self._label.append(LABELS.index(study.label))
        if number not in self._distinct:
            self._distinct.add(number)
            self._signatures.extend(signature(key).tolist())

    def _suspect(self, place: int | str, name: str, text: str) -> None:
        for suspicion in suspicions(text):
            entry = self._suspicions.setdefault(suspicion.kind, {"count": 0, "where": []})
            entry["count"] += 1
            if len(entry["where"]) < MOST_PLACES:
                where = {
                    "place": f"line {place}" if isinstance(place, int) else place,
                    "field": name,
                    "start": suspicion.start,
                    "end": suspicion.end,
                }
                entry["where"].append(
                    {**where, "text": text[suspicion.start : suspicion.end]} if self._show else where
                )

    def to_dict(self) -> dict[str, Any]:
        return {
            "distinct_reports": len(self._distinct),
            "twins": {"exact": self._exact(), "near": self._near()},
            "empty": dict(self._empty),
            "marks": dict(self._marks),
            "lengths": self._lengths.to_dict(),
            "labels_and_text": self._labels_and_text and self._labels_and_text.to_dict(),
            "possible_phi": self._suspicions,
        }

    def _exact(self) -> dict[str, Any]:
        keys, label = (
            np.frombuffer(self._keys or array("q"), np.int64),
            np.frombuffer(self._label or array("b"), np.int8),
        )
        _, back, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        twin = sizes[back] > 1
        share = {
            word: round(float(twin[label == i].mean()), 4) if (label == i).any() else None
            for i, word in enumerate(LABELS)
        }
        return {
            "reports": int((sizes > 1).sum()),
            "studies": int(twin.sum()),
            "largest": int(sizes.max()) if len(sizes) else 0,
            "share_with_a_twin": share,
        }

    def _near(self) -> dict[str, Any]:
        table = np.frombuffer(self._signatures or array("H"), np.uint16).reshape(-1, HASHES)
        clusters = groups(table)
        sizes = np.unique(clusters, return_counts=True)[1]
        return {
            "reports": int(sizes[sizes > 1].sum()),
            "groups": int((sizes > 1).sum()),
            "similarity": SIMILAR,
        }


def _parts(study: Study) -> Iterator[tuple[str, str]]:
    """Everything of a study that is free text: what a report says, and whatever of the rest has a space
    in it.
    """
    for name in ("report", "findings", "impression"):
        if text := getattr(study, name):
            yield name, text
    for name, text in study.extra.items():
        if " " in text and not text.startswith(("http:", "https:")):
            yield name, text
