"""The trust and verdicts that a bundle gives to many films at once, as ``eval`` judges them: what
``query`` would say of each.
"""

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from ..bundle.bundle import Bundle
from ..evidence.calibration import Calibration
from ..evidence.validation_reference import ValidationReference
from ..evidence.verdict import RARE, VOTERS, FilmVerdicts, against, parted, trust_in, vote_of
from ..index.index import Index, SearchChoice
from ..index.opening import open_vectors
from ..index.report_store import ReportStore
from ..studies import FRONTAL, LABEL_CODES, LATERAL

Array = np.ndarray


def trusted(
    bundle: Bundle, vectors: Array, logits: Array, patients: Sequence[str], views: Sequence[int] | None = None
) -> FilmVerdicts | None:
    """Of films with unit vectors float32 [films, dim] and logits float32 [films], of views as
    ``studies.view_code`` (None: all frontal); None where the bundle holds no rule for one of these.

    Reports that only a film's own patient has are left out. What the film itself was judged has no part in
    it.
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
        of_view = _of_view(bundle, seen, vectors[rows], logits[rows], [patients[row] for row in rows])
        if of_view is None:
            return None
        trust[rows], verdict[rows] = of_view.trust, of_view.verdict
    return FilmVerdicts(trust, verdict)


def _of_view(
    bundle: Bundle, seen: str, vectors: Array, logits: Array, patients: Sequence[str]
) -> FilmVerdicts | None:
    """``trusted`` of films of one view, by what was fitted on films of that view."""
    standards = ValidationReference.of(bundle.manifest, seen)
    calibration = Calibration.of(bundle.model.calibration_of(seen))
    if standards.rule is None or calibration is None:
        return None
    record = bundle.index
    index = Index(
        open_vectors(bundle, bundle.file(record.vectors)),
        record.reports,
        None,
        0,
        SearchChoice("exact", "eval"),
    )
    with closing(ReportStore(bundle.file(record.store), bundle.model.model_id)) as store:
        share = store.abnormal_share()
        nearest = [
            _asked(index, store, vector, patient) for vector, patient in zip(vectors, patients, strict=True)
        ]
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
    labels = store.labels(nearest.rows)
    lacking = VOTERS - len(nearest.rows)
    return [*nearest.scores, *[-np.inf] * lacking], [
        *(LABEL_CODES[labels[row]] for row in nearest.rows),
        *[-1] * lacking,
    ]
