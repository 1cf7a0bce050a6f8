"""The head's weight in the order of reports, as an export lets validation films speak against it."""

import json
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.export.fitted.rerank_weight import prior_of, verified
from mtclip_edge.index.rerank import HEAD_WEIGHT
from mtclip_edge.studies import Film, Study

CALIBRATION = Calibration(1.0, 0.0, 0.9, 100)


def cases(findings: bool = True, labelled: bool = True) -> tuple[Cases, np.ndarray]:
    """80 films asked of 60 reports, half of them abnormal with one finding; and which of the films are."""
    abnormal = np.arange(140) % 2 == 1
    studies = [
        Study(
            f"s{i}",
            f"p{i}",
            (Film(Path("x"), "x"),),
            report=f"text {i}",
            label=("abnormal" if abnormal[i] else "normal") if labelled else "unknown",
            finding_labels=("Mass",) if findings and abnormal[i] else (),
        )
        for i in range(140)
    ]
    return Cases.of(studies[:80], studies[80:]), abnormal[:80]


def vectors(random: np.random.Generator, count: int) -> np.ndarray:
    rows = random.normal(size=(count, 12))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_head_that_knows_keeps_its_weight_and_one_that_errs_has_none(random: np.random.Generator) -> None:
    some, abnormal = cases()
    films, reports = vectors(random, 80), vectors(random, 60)
    logits = np.where(abnormal, 2.0, -2.0).astype(np.float32)
    knows = verified(some, films, logits, reports, CALIBRATION, 0.5)
    assert knows.weight == HEAD_WEIGHT > 0
    assert knows.why.startswith("chosen by five folds; nDCG@10 +") and "80 validation films" in knows.why
    errs = verified(some, films, -logits, reports, CALIBRATION, 0.5)
    assert errs.weight == 0.0 and errs.why.startswith(f"with {HEAD_WEIGHT} it would be worse: nDCG@10 -")


def test_where_no_finding_is_named_labels_judge(random: np.random.Generator) -> None:
    some, abnormal = cases(findings=False)
    logits = np.where(abnormal, 2.0, -2.0).astype(np.float32)
    found = verified(some, vectors(random, 80), logits, vectors(random, 60), CALIBRATION, 0.5)
    assert "macro P@10 +" in found.why and found.weight == HEAD_WEIGHT


@pytest.mark.parametrize(
    ("logits", "calibration", "labelled", "why"),
    [
        (None, CALIBRATION, True, "the abnormal head was not trained"),
        (np.zeros(80, np.float32), None, True, "is not calibrated"),
        (np.zeros(80, np.float32), CALIBRATION, False, "no label or finding is known"),
    ],
)
def test_why_there_is_no_weight(
    random: np.random.Generator,
    logits: np.ndarray | None,
    calibration: Calibration | None,
    labelled: bool,
    why: str,
) -> None:
    some, _ = cases(findings=False, labelled=labelled)
    found = verified(some, vectors(random, 80), logits, vectors(random, 60), calibration, 0.5)
    assert found.weight == 0.0 and why in found.why


def test_the_bundle_carries_what_was_found(tiny_bundle: Path) -> None:
    chosen = json.loads((tiny_bundle / "manifest.json").read_text())["rerank"]
    assert set(chosen) == {"weight", "prior", "why"} and chosen["why"] and 0 < chosen["prior"] < 1


def test_the_prior_is_the_share_of_abnormal_films() -> None:
    films = (Film(Path("x"), "x"), Film(Path("y"), "y"))
    studies = [
        Study("a", "a", films, label="abnormal"),
        Study("b", "b", films[:1], label="normal"),
        Study("c", "c", films[:1], label="unknown"),
    ]
    assert prior_of(studies) == round(2 / 3, 4)
    assert prior_of(studies[:1]) == prior_of([]) == 0.5
