"""Films of the index in the answer: by hand, the same by both ways of computing it, and only where it surely helps."""

import json
from pathlib import Path

import numpy as np
import pytest
from manifests import rewrite

from mtclip_edge import Retriever
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.bundle.records import FuseRecord
from mtclip_edge.errors import WrongOption
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.export.fitted.fusion_weight import fused_scores, tune
from mtclip_edge.films.read import read_film
from mtclip_edge.index.fusion import Fusion, choose_fusion, fused, most_similar
from mtclip_edge.studies import Film, Study


def test_fused_by_hand() -> None:
    report, film = np.array([0.4, 0.2, 0.0]), np.array([0.1, 0.3, 0.5])
    # films are brought to the reports' mean and spread: turned round, they are the reports' own scores in the other order
    assert fused(report, film, 1.0) == pytest.approx([0.0, 0.2, 0.4])
    assert fused(report, film, 0.5) == pytest.approx([0.2, 0.2, 0.2])


def test_a_report_without_film_keeps_its_score() -> None:
    report = np.array([0.4, 0.2, 0.1, 0.3])
    found = fused(report, np.array([0.9, np.nan, 0.1, 0.2]), 0.7)
    assert found[1] == 0.2
    assert found[0] > 0.4
    assert fused(report, np.full(4, np.nan), 0.7).tolist() == report.tolist()
    assert (
        fused(report, np.array([0.5, np.nan, np.nan, np.nan]), 0.7).tolist() == report.tolist()
    )  # one film says nothing of spread


def test_the_most_similar_film_of_each_report() -> None:
    found = most_similar([7, 3, 5], np.array([3, 3, 7, 9]), np.array([0.1, 0.4, -0.2, 0.9]))
    assert found[:2].tolist() == [-0.2, 0.4]
    assert np.isnan(found[2])


def test_choices() -> None:
    assert choose_fusion("off", FuseRecord(0.5, "x")).weight == 0.0
    assert choose_fusion("auto", FuseRecord(0.5, "x")) == Fusion(0.5, "x")
    assert choose_fusion("auto", None).weight == 0.0
    assert choose_fusion("0.25", None) == Fusion(0.25, "asked for")
    for wrong in ("0", "1.5", "-1", "much", "nan"):
        with pytest.raises(WrongOption):
            choose_fusion(wrong, None)


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


EXAMPLE = Path(__file__).parents[2] / "examples" / "effusion.png"


def test_a_query_is_fused_as_the_evaluation_says() -> None:
    with Retriever.open(FOLDER) as plain, Retriever.open(FOLDER, fuse="0.5") as retriever:
        before, after = plain.query(EXAMPLE, k=50), retriever.query(EXAMPLE, k=50)
        index, store = retriever._index, retriever._store
        vector = retriever._films.encode_films([read_film(EXAMPLE).grey])[0]
        owner = np.array([report for report, _ in store.films_of(range(index.reports))])
        expected = fused_scores(
            vector, index.vectors[: index.reports], index.vectors[index.reports :], owner, 0.5
        )[0]
        best = np.sort(expected)[::-1][:50]
    assert [h.score for h in after.hits] != pytest.approx([h.score for h in before.hits], abs=2e-4)
    assert [h.score for h in after.hits] == pytest.approx(best, abs=2e-4)
    assert json.loads(json.dumps(after.to_dict()))["bundle"]["fuse"] == {"weight": 0.5, "why": "asked for"}
    assert before.to_dict()["bundle"]["fuse"] == {"weight": 0.0, "why": "not asked for"}


def test_exact_search_and_hnsw_print_the_same() -> None:
    answers = []
    for exact in (False, True):
        with Retriever.open(FOLDER, exact=exact, fuse="0.4") as retriever:
            answers.append([hit.to_dict() for hit in retriever.query(EXAMPLE, k=10).hits])
    assert answers[0] == answers[1]


def test_auto_says_why_it_does_nothing(mtclip, bundle: Path, film: Path) -> None:
    rewrite(bundle, fuse=None)
    found = mtclip("query", film, "--bundle", bundle, "--fuse", "auto")
    assert found.code == 0
    assert "without films: this bundle was exported without validation films" in found.err
    assert mtclip("query", film, "--bundle", bundle, "--fuse", "2").code == 2


def test_the_bundle_carries_the_weight_chosen_on_validation(tiny_bundle: Path) -> None:
    chosen = json.loads((tiny_bundle / "manifest.json").read_text())["fuse"]
    assert set(chosen) == {"weight", "why"}
    assert "validation films" in chosen["why"]


def test_a_text_is_never_fused(tiny_bundle: Path) -> None:
    with Retriever.open(tiny_bundle) as plain, Retriever.open(tiny_bundle, fuse="0.5") as retriever:
        assert [h.score for h in plain.query_text("opacity").hits] == [
            h.score for h in retriever.query_text("opacity").hits
        ]
