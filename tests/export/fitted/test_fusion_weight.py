"""The weight of a report's own films, as an export chooses it on validation."""

import json
from pathlib import Path

import numpy as np

from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.export.fitted.fusion_weight import fused_scores, tune
from mtclip_edge.studies import Film, Study


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def drawn(
    random: np.random.Generator, film_tells: bool
) -> tuple[Cases, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """120 films asked, 90 reports each with a film; what is shown is in the films alone, or nowhere."""
    kind = random.integers(0, 3, 210)
    names = ("Mass", "Nodule", "Effusion")
    studies = [
        Study(
            f"s{i}",
            f"p{i}",
            (Film(Path("x"), "x"),),
            report=f"text {i}",
            label="abnormal",
            finding_labels=(names[kind[i]],),
        )
        for i in range(210)
    ]
    cases = Cases.of(studies[:120], studies[120:])
    order = [int(report.first.study_id[1:]) for report in cases.reports]
    shown = np.eye(3)[kind] * (3.0 if film_tells else 0.0)
    films = unit(np.hstack([shown, random.normal(size=(210, 9))]))
    texts = unit(random.normal(size=(90, 12)))
    return cases, films[:120], texts, films[order], np.arange(90)


def test_the_weight_is_chosen_where_films_help_and_is_zero_where_they_do_not(
    random: np.random.Generator,
) -> None:
    helpful = tune(*drawn(random, True))
    assert helpful.weight >= 0.5
    assert "120 validation films" in helpful.why
    assert tune(*drawn(random, False)).weight == 0.0


def test_only_the_best_candidates_are_scored(random: np.random.Generator) -> None:
    asked, reports, films = (
        unit(random.normal(size=(2, 8))),
        unit(random.normal(size=(300, 8))),
        unit(random.normal(size=(300, 8))),
    )
    found = fused_scores(asked, reports, films, np.arange(300), 0.4)
    assert np.isfinite(found).sum(axis=1).tolist() == [200, 200]


def test_the_bundle_carries_the_weight_chosen_on_validation(tiny_bundle: Path) -> None:
    chosen = json.loads((tiny_bundle / "manifest.json").read_text())["fuse"]
    assert set(chosen) == {"weight", "why"}
    assert "validation films" in chosen["why"]
