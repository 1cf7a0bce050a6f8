"""The trust and verdicts that a bundle gives to many films at once, as ``eval`` judges them: what
``query`` would say of each.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing

import numpy as np

from ..bundle.bundle import Bundle
from ..evidence.calibration import Calibration
from ..evidence.validation_reference import ValidationReference
from ..evidence.verdict import RARE, VOTERS, FilmVerdicts, against, parted, trust_in, vote_of
from ..index.filters import Filters
from ..index.index import Hits, Index, SearchChoice
from ..index.library import Library, Scope
from ..index.opening import open_vectors
from ..index.report_store import ReportStore
from ..studies import FRONTAL, LABEL_CODES, LATERAL

Array = np.ndarray


def trusted(
    bundle: Bundle,
    vectors: Array,
    logits: Array,
    patients: Sequence[str],
    views: Sequence[int] | None = None,
    library: Library | None = None,
) -> FilmVerdicts | None:
    """Of films with unit vectors float32 [films, dim] and logits float32 [films], of views as
    ``studies.view_code`` (None: all frontal); None where the bundle holds no rule for one of these.

    Reports that only a film's own patient has are left out. What the film itself was judged has no part in
    it. ``library``: whose reports vote, None for the bundle's own.
    """
    laterals = np.array(views or [FRONTAL] * len(vectors)) == LATERAL
    laterals &= bundle.model.takes_laterals
    trust, verdict = np.zeros(len(vectors)), np.zeros(len(vectors), int)
    for seen, rows in (
        ("frontal", np.flatnonzero(~laterals).tolist()),
        ("lateral", np.flatnonzero(laterals).tolist()),
    ):
        if not rows:
            continue
        of_view = _of_view(
            bundle, seen, vectors[rows], logits[rows], [patients[row] for row in rows], library
        )
        if of_view is None:
            return None
        trust[rows], verdict[rows] = of_view.trust, of_view.verdict
    return FilmVerdicts(trust, verdict)


def _of_view(
    bundle: Bundle,
    seen: str,
    vectors: Array,
    logits: Array,
    patients: Sequence[str],
    library: Library | None,
) -> FilmVerdicts | None:
    """``trusted`` of films of one view, by what was fitted on films of that view."""
    manifest, searched = (bundle.manifest, None) if library is None else library.measured(bundle.manifest)
    standards = ValidationReference.of(manifest, seen, searched)
    calibration = Calibration.of(bundle.model.calibration_of(seen))
    if standards.rule is None or calibration is None:
        return None
    asked = list(zip(vectors, patients, strict=True))
    if library is not None:
        share, nearest = library.abnormal_share(), [_asked_library(library, *one) for one in asked]
    else:
        record = bundle.index
        table = open_vectors(bundle, bundle.file(record.vectors))
        index = Index(table, record.reports, None, 0, SearchChoice("exact", "eval"))
        with closing(ReportStore(bundle.file(record.store), bundle.model.model_id)) as store:
            share, nearest = store.abnormal_share(), [_asked(index, store, *one) for one in asked]
    scores, labels = (np.array(column) for column in zip(*nearest, strict=True))
    probability = np.round(calibration.probability(logits), 4)  # as a query tells it
    vote = vote_of(scores, labels, standards.temperature)
    similarities = standards.similarities
    rare = np.array(
        [similarities is not None and similarities.percentile(score) < RARE for score in scores[:, 0]]
    )
    trust = trust_in(probability)
    doubt = rare | parted(probability, calibration.point) | against(probability, vote, share)
    return FilmVerdicts(trust, standards.rule.verdicts(trust, doubt))


def _asked(index: Index, store: ReportStore, vector: Array, patient: str) -> tuple[list[float], list[int]]:
    """Scores and labels of a film's ten nearest reports; minus infinity and -1 where there are fewer."""
    own = store.only_of(patient)
    only = np.setdiff1d(np.arange(index.reports), own, assume_unique=True) if len(own) else None
    nearest = index.search_reports(vector, VOTERS, store.report_ids, only)
    return _told(nearest, store.labels(nearest.rows))


def _asked_library(library: Library, vector: Array, patient: str) -> tuple[list[float], list[int]]:
    """The same of a library."""
    others = Scope() if library.unknown_patients([patient]) else Scope(Filters(exclude_patient=(patient,)))
    nearest = library.nearest(vector, VOTERS, others)
    return _told(nearest, library.labels(nearest.rows))


def _told(nearest: Hits, labels: Mapping[int, str]) -> tuple[list[float], list[int]]:
    lacking = VOTERS - len(nearest.rows)
    return [*nearest.scores, *[-np.inf] * lacking], [
        *(LABEL_CODES[labels[row]] for row in nearest.rows),
        *[-1] * lacking,
    ]
