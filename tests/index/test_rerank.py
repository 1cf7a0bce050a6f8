"""Films of the index in the answer: by hand, the same by both ways of computing it, and only where it surely helps."""

import json
from pathlib import Path

import numpy as np
import pytest
from manifests import rewrite

from mtclip_edge import Retriever
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.bundle.records import WeightRecord
from mtclip_edge.errors import WrongOption
from mtclip_edge.films.read import read_film
from mtclip_edge.index.rerank import Weight, choose_fusion, fused, most_similar


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
    assert choose_fusion("off", WeightRecord(0.5, "x")).weight == 0.0
    assert choose_fusion("auto", WeightRecord(0.5, "x")) == Weight(0.5, "x")
    assert choose_fusion("auto", None).weight == 0.0
    assert choose_fusion("0.25", None) == Weight(0.25, "asked for")
    for wrong in ("0", "1.5", "-1", "much", "nan"):
        with pytest.raises(WrongOption):
            choose_fusion(wrong, None)


EXAMPLE = Path(__file__).parents[2] / "examples" / "effusion.png"


def test_a_query_is_fused_as_the_evaluation_says() -> None:
    from mtclip_edge.export.fitted.fusion_weight import fused_scores

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


def test_a_text_is_never_fused(tiny_bundle: Path) -> None:
    with Retriever.open(tiny_bundle) as plain, Retriever.open(tiny_bundle, fuse="0.5") as retriever:
        assert [h.score for h in plain.query_text("opacity").hits] == [
            h.score for h in retriever.query_text("opacity").hits
        ]
