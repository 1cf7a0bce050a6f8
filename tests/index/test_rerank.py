"""What changes an order after the search, films of the index and the head's word: by hand, the same by both ways of computing it,
and nothing that was fitted on cosines sees it."""

import json
from pathlib import Path

import numpy as np
import pytest
from bundle_evidence import commit_evidence
from manifests import rewrite

from mtclip_edge import Retriever
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.bundle.records import FuseRecord, RerankRecord
from mtclip_edge.errors import WrongOption
from mtclip_edge.films.read import read_film
from mtclip_edge.index.filters import Filters
from mtclip_edge.index.index import Hits, SearchChoice
from mtclip_edge.index.rerank import (
    CANDIDATES,
    HeadWeight,
    Weight,
    choose_fusion,
    choose_head,
    fused,
    head_terms,
    most_similar,
    reordered,
    score_table,
)


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
    assert choose_fusion("auto", FuseRecord(0.5, "x")) == Weight(0.5, "x")
    assert choose_fusion("auto", None).weight == 0.0
    assert choose_fusion("0.25", None) == Weight(0.25, "asked for")
    for wrong in ("0", "1.5", "-1", "much", "nan"):
        with pytest.raises(WrongOption):
            choose_fusion(wrong, None)


EXAMPLE = Path(__file__).parents[2] / "examples" / "effusion.png"


@pytest.mark.own_files
def test_a_query_is_fused_as_the_evaluation_says() -> None:
    from mtclip_edge.export.fitted.fusion_weight import fused_scores

    with Retriever.open(FOLDER) as plain, Retriever.open(FOLDER, fuse="0.5") as retriever:
        before, after = plain.query(EXAMPLE, k=50), retriever.query(EXAMPLE, k=50)
        index, store = retriever._library.index, retriever._library.store
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


# The head's word on a film


def test_what_the_head_adds_by_hand() -> None:
    labels = np.array([0, 1, -1])
    assert head_terms(labels, 0.8, 0.5, 0.1) == pytest.approx(0.1 * np.log([0.4, 1.6, 1.0]))
    # Of a film as abnormal as films are, nothing is said: else the more frequent label would come first for most.
    assert head_terms(labels, 0.7, 0.7, 0.1) == pytest.approx([0.0, 0.0, 0.0])
    assert head_terms(labels, 0.5, 0.75, 1.0) == pytest.approx(np.log([2.0, 2 / 3, 1.0]))
    for sure in (0.0, 1.0):  # bounded, however sure the head is
        assert np.abs(head_terms(labels, sure, 0.5, 1.0)).max() == pytest.approx(np.log(50))
    for probability in np.linspace(0, 1, 21):  # an unknown label is neither the best nor the worst to have
        normal, abnormal, unknown = head_terms(labels, probability, 0.6, 0.3)
        assert min(normal, abnormal) <= unknown == 0.0 <= max(normal, abnormal)


CHOICE = SearchChoice("exact", "x")


def test_hits_are_put_in_order_anew() -> None:
    first = Hits((7, 3, 5, 9), (0.5, 0.4, 0.4, 0.1), CHOICE)
    ids = {7: "d", 3: "b", 5: "a", 9: "c"}
    hits, placed = reordered(first, ids, np.array([-0.2, -0.1, -0.1]), np.array([0.0, 0.05, 0.05]))
    assert hits.rows == (5, 3, 7, 9)  # equal scores by id; what is no candidate comes last
    assert hits.scores == (0.45, 0.45, 0.5, 0.1)
    assert placed[0].to_dict() == {"score": 0.35, "cosine": 0.4, "head": -0.1, "films": 0.05}
    assert placed[3] is None


def test_reports_of_one_label_stay_in_the_order_of_their_cosines(random: np.random.Generator) -> None:
    for weight in (0.05, 0.3):
        cosines = np.sort(np.round(random.normal(0.4, 0.003, 200), 4))[::-1]
        labels = random.integers(-1, 2, 200)
        first = Hits(tuple(range(200)), tuple(cosines), CHOICE)
        ids = {row: f"{row:03d}" for row in range(200)}
        hits, _ = reordered(first, ids, head_terms(labels, random.uniform(), 0.6, weight), np.zeros(200))
        for label in (-1, 0, 1):
            rows = [row for row in hits.rows if labels[row] == label]
            assert rows == sorted(rows)


def test_an_evaluation_orders_as_a_query_does(random: np.random.Generator) -> None:
    cosines = random.permuted(np.linspace(-0.5, 0.5, 300))[None].repeat(2, axis=0)
    labels = random.integers(-1, 2, (2, 300))
    table = score_table(cosines, labels, np.array([0.9, 0.2]), 0.6, 0.2)
    for film, probability in enumerate((0.9, 0.2)):
        rows = np.argsort(-cosines[film])
        first = Hits(tuple(rows.tolist()), tuple(cosines[film][rows]), CHOICE)
        head = head_terms(labels[film][rows[:CANDIDATES]], probability, 0.6, 0.2)
        hits, _ = reordered(first, {i: f"{i:03d}" for i in range(300)}, head, np.zeros(CANDIDATES))
        unlike = np.flatnonzero(np.argsort(-table[film]) != np.array(hits.rows))
        # A query rounds to four decimals, so neighbours closer than that may change places.
        assert all(abs(table[film][hits.rows[i]] - np.sort(table[film])[::-1][i]) < 2e-4 for i in unlike)
        assert set(np.argsort(-table[film])[:CANDIDATES]) == set(rows[:CANDIDATES].tolist())
    assert (score_table(cosines, labels, np.array([0.9, 0.2]), 0.6, 0.0) == cosines).all()


def test_why_the_head_has_its_weight() -> None:
    stored, everything = RerankRecord(0.1, 0.6, "measured"), Filters()
    assert choose_head(True, stored, True, everything) == HeadWeight(0.1, 0.6, "measured")
    assert choose_head(False, stored, True, everything) == HeadWeight(0.0, None, "switched off")
    assert choose_head(True, None, True, everything).why.startswith("this bundle was exported before")
    assert choose_head(True, stored, False, everything).why == "the abnormal head was not trained"
    assert "--label" in choose_head(True, stored, True, Filters(label="normal")).why
    assert choose_head(True, stored, True, Filters(view="PA")).weight == 0.1


STORED = {"weight": 0.5, "prior": 0.6, "why": "measured"}


@pytest.fixture
def ranked(bundle: Path) -> Path:
    commit_evidence(bundle)
    rewrite(bundle, rerank=STORED)
    return bundle


def test_a_query_is_re_ranked_and_what_was_fitted_on_cosines_is_not(ranked: Path, film: Path) -> None:
    with Retriever.open(ranked, rerank=False) as retriever:
        plain, everything = retriever.query(film, k=5), retriever.query(film, k=500)
    with Retriever.open(ranked) as retriever:
        found, all_found = retriever.query(film, k=5), retriever.query(film, k=500)
    cosine = {hit.report_id: hit for hit in everything.reports}
    probability = plain.abnormal.probability
    bounded = np.clip(probability, 0.01, 0.99)
    added = {
        "abnormal": 0.5 * np.log(bounded / 0.6),
        "normal": 0.5 * np.log((1 - bounded) / 0.4),
        "unknown": 0.0,
    }
    for hit in all_found.reports:
        told = hit.rank_by
        assert (hit.score, hit.percentile) == (
            cosine[hit.report_id].score,
            cosine[hit.report_id].percentile,
        )
        assert told["cosine"] == hit.score and told["films"] == 0.0
        assert told["head"] == pytest.approx(added[hit.label], abs=6e-5)
        assert told["score"] == pytest.approx(told["cosine"] + told["head"], abs=1e-9)
    scores = [hit.rank_by["score"] for hit in all_found.reports]
    assert scores == sorted(scores, reverse=True)
    assert len({hit.label for hit in everything.reports}) > 1
    assert [hit.report_id for hit in all_found.reports] != [hit.report_id for hit in everything.reports]
    assert found.reports == all_found.reports[:5]
    assert found.evidence.judgement == plain.evidence.judgement  # the ten that vote are the nearest by cosine
    assert found.evidence.similarity == plain.evidence.similarity
    assert found.evidence.contrast == plain.evidence.contrast
    assert found.evidence.contrast.normal.rank_by is None
    assert [hit.rank_by for hit in plain.reports] == [None] * 5


@pytest.mark.own_files
def test_the_reports_that_a_verdict_asks_are_the_nearest_by_cosine(ranked: Path, film: Path) -> None:
    with Retriever.open(ranked) as retriever:
        answer, search = retriever.query(film, k=5), retriever._answers.search
        vector = retriever._films.encode_films([read_film(film).grey])[0][0]
        weights = retriever._answers._opened.weights_of("frontal")
        found = search.of_film(vector, 5, answer.abnormal, weights)
        around = search.around(vector, found, answer.reports, verdict=True)
        nearest = retriever._library.index.search_reports(vector, 10, retriever._library.store.report_ids)
    assert found.hits.rows[:10] != nearest.rows
    assert around.voters.scores == nearest.scores
    assert around.best == nearest.scores[0]


def test_the_answer_says_what_its_order_rests_on(mtclip, ranked: Path, film: Path) -> None:
    def ranking(*words: str) -> dict:
        document = json.loads(mtclip("query", film, "--bundle", ranked, "--json", *words).out)
        assert (document["hits"][0]["rank_by"] is None) is not any(
            document["ranking"][part]["weight"] for part in ("head", "films")
        )
        return document["ranking"]

    off = {"weight": 0.0, "why": "not asked for"}
    assert ranking() == {"head": STORED, "films": off, "first": CANDIDATES}
    assert ranking("--no-rerank")["head"] == {"weight": 0.0, "prior": None, "why": "switched off"}
    assert ranking("--label", "normal")["head"]["weight"] == 0.0
    assert ranking("--no-rerank", "--fuse", "0.5")["films"]["weight"] == 0.5
    shown = mtclip("query", film, "--bundle", ranked, "--format", "table").out
    assert "with the head's word" in shown
    assert (
        "with the head's word"
        not in mtclip("query", film, "--bundle", ranked, "--format", "table", "--no-rerank").out
    )


def test_head_and_films_count_together(ranked: Path, film: Path) -> None:
    with Retriever.open(ranked, fuse="0.5", rerank=False) as retriever:
        fused_alone = {hit.report_id: hit for hit in retriever.query(film, k=50).reports}
    with Retriever.open(ranked, fuse="0.5") as retriever:
        hits = retriever.query(film, k=50).reports
    for hit in hits:
        told, alone = hit.rank_by, fused_alone[hit.report_id]
        assert hit.score == alone.score == pytest.approx(told["cosine"] + told["films"], abs=1e-9)
        assert told["score"] == pytest.approx(hit.score + told["head"], abs=1e-9)
        assert alone.rank_by["head"] == 0.0


def test_a_bundle_of_before_answers_as_before(bundle: Path, film: Path) -> None:
    rewrite(bundle, lambda manifest: manifest.pop("rerank"))
    with Retriever.open(bundle) as retriever:
        answer = retriever.query(film, k=9)
    assert [hit.score for hit in answer.reports] == sorted((h.score for h in answer.reports), reverse=True)
    assert answer.ranking["head"]["why"].startswith("this bundle was exported before")


def test_a_text_is_not_re_ranked_by_a_head_that_read_no_film(ranked: Path) -> None:
    with Retriever.open(ranked) as retriever, Retriever.open(ranked, rerank=False) as plain:
        assert retriever.query_text("opacity").hits == plain.query_text("opacity").hits


def test_a_study_is_re_ranked_by_the_mean_of_its_logits(ranked: Path, film: Path) -> None:
    with Retriever.open(ranked) as retriever:
        (study,) = retriever.query_studies([("a film", film)])
        alone = retriever.query(film)
    assert study.reports == alone.reports and study.reports[0].rank_by is not None


def test_an_evaluation_judges_what_a_query_answers(mtclip, ranked: Path, source: Path) -> None:
    document = json.loads(mtclip("eval", ranked, "--data", source, "--format", "json").out)
    (model,) = document["models"]
    assert any(
        note.startswith("reports in the order of a query, with the head's weight of 0.5")
        for note in model["notes"]
    )
    figures = {(f["name"], f["subset"]): f["value"] for f in model["figures"]}
    rewrite(ranked, rerank=None)
    (plain,) = json.loads(mtclip("eval", ranked, "--data", source, "--format", "json").out)["models"]
    before = {(f["name"], f["subset"]): f["value"] for f in plain["figures"]}
    assert any(note.startswith("reports by cosine: ") for note in plain["notes"])
    assert not [key for key in before if key[1] == "by cosine"]
    told = [name for name, subset in figures if subset == "by cosine"]
    assert {"precision@10.macro", "map@10", "recall@10.film_to_report"} <= set(told)
    for name in told:
        assert figures[name, "by cosine"] == pytest.approx(before[name, "all"])
    assert figures["map@10", "all"] != pytest.approx(before["map@10", "all"])
    # A report's films are not re-ranked, and the head is what it was.
    for name in ("recall@10.report_to_film", "median_rank.report_to_film", "auroc"):
        assert figures[name, "all"] == pytest.approx(before[name, "all"])
