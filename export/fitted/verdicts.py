"""What a film's evidence is measured by, made from validation films when a bundle is exported.

Test films have no part in it.
"""

import numpy as np

from ...bundle.records import EvidenceRecord
from ...evaluation.cases import Cases
from ...evaluation.metrics import top_k
from ...evidence.calibration import Calibration
from ...evidence.measuring import NearestReports, evidence_record
from ...evidence.verdict import VOTERS

Array = np.ndarray


def measure(
    cases: Cases,
    vectors: Array,
    logits: Array | None,
    reports: Array,
    calibration: Calibration | None,
    searched: str,
) -> EvidenceRecord:
    """The manifest's ``evidence``: of validation films against the reports of the bundle, own patients left
    out.

    Unit vectors ``vectors`` float32 [films, dim] and ``reports`` float32 [reports, dim]; ``logits`` float32
    [films] or None where the head was not trained; ``searched`` is the hash of the file that holds
    ``reports``.
    """
    near = nearest_reports(cases, vectors, reports)
    return evidence_record(near, cases.labels, logits, calibration, searched)


def index_share(cases: Cases) -> float:
    """The share of abnormal among the labelled distinct reports; half where none is."""
    labels = [report.label for report in cases.reports]
    labelled = labels.count("normal") + labels.count("abnormal")
    return labels.count("abnormal") / labelled if labelled else 0.5


def nearest_reports(cases: Cases, vectors: Array, reports: Array) -> NearestReports:
    """Of each film the nearest reports of other patients."""
    score = vectors @ reports.T
    best = top_k(score, VOTERS, cases.foreign)
    scores = np.where(best >= 0, np.take_along_axis(score, best, axis=1), -np.inf).astype(np.float64)
    labels = np.where(best >= 0, np.take_along_axis(cases.report_labels, best, axis=1), -1)
    return NearestReports(scores, labels, index_share(cases))
