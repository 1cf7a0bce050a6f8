"""Decides which pictures an evaluation gets: clusters before and after, the epochs of a run, how honest
its probabilities are.
"""

from collections import Counter

import numpy as np

from mtclip_edge.display.evaluation_page import Picture
from mtclip_edge.evaluation.bundle_models import Model
from mtclip_edge.evaluation.figures import Judged
from mtclip_edge.evidence.calibration import sigmoid
from mtclip_edge.progress import Say
from mtclip_edge.studies import LABEL_CODES

from .clusters import silhouette, tsne
from .plots import Cloud, clusters, loss_curves, reliability, risk_coverage

FREQUENT = 5  # findings with a colour of their own


def pictures_of(model: Model, say: Say) -> list[Picture]:
    """Whatever can be drawn of a model."""
    pictures = []
    say("drawing: t-SNE of films and reports")
    clouds, sentence = _clouds(model)
    if clouds:
        pictures.append(Picture("Normal and abnormal, before and after training", clusters(clouds), sentence))
    if model.history:
        pictures.append(
            Picture(
                "Training",
                loss_curves(model.history),
                "Losses of train, figures of validation; the line marks the epoch kept.",
            )
        )
    if model.embedded.logit is not None:
        calibration = model.embedded.calibration
        after = calibration.probability(model.embedded.logit) if calibration else None
        text = (
            "Share of abnormal films at each probability; on the diagonal a probability means what it says."
        )
        pictures.append(
            Picture(
                "Reliability of the abnormal head",
                reliability(model.cases.labels, sigmoid(model.embedded.logit), after),
                text,
            )
        )
    decisions = Judged(model.cases, model.embedded).decisions
    if decisions:
        text = "The most trusted films first; the dotted line is a random order."
        pictures.append(
            Picture("Risk and coverage", risk_coverage(decisions.curves(), decisions.bounds()[0]), text)
        )
    return pictures


def _clouds(model: Model) -> tuple[dict[str, Cloud], str]:
    """t-SNE of films and of reports, before (tower features) and after (the shared space), and what a
    number says of them.
    """
    cases = model.cases
    film, report = model.before if model.before else (None, None)
    report_label = np.array([LABEL_CODES[r.label] for r in cases.reports], int)
    common = _frequent(model)
    film_finding = np.array([_first(common, study.finding_labels) for study in cases.studies])
    report_finding = np.array([_first(common, r.first.finding_labels) for r in cases.reports])
    parts = {
        "films before": (film, cases.labels, film_finding),
        "films after": (model.embedded.film, cases.labels, film_finding),
        "reports before": (report, report_label, report_finding),
        "reports after": (model.embedded.report, report_label, report_finding),
    }
    clouds, spoken = {}, []
    for name, (vectors, label, finding) in parts.items():
        if vectors is not None and len(vectors) > 1:
            clouds[name] = Cloud(tsne(vectors), label, finding)
            if (value := silhouette(vectors, label)) is not None:
                spoken.append(f"{name} {value:+.3f}")
    return (
        clouds,
        f"t-SNE, cosine. Silhouette of normal against abnormal (1: apart, 0: mixed): {', '.join(spoken)}."
        if spoken
        else "t-SNE.",
    )


def _frequent(model: Model) -> list[str]:
    count = Counter(
        name
        for study in {s.study_id: s for s in model.cases.studies}.values()
        for name in study.finding_labels
    )
    return [name for name, _ in count.most_common(FREQUENT)]


def _first(common: list[str], findings: tuple[str, ...]) -> str:
    """The most frequent of a study's findings, if that is frequent at all."""
    return next((name for name in common if name in findings), "")
