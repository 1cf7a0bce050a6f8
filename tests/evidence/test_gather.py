"""What an answer rests on: against a brute-force count over every report, in JSON to the key, and in 30 lines of a terminal."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundle_evidence import RULE, commit_evidence
from manifests import rewrite

from mtclip_edge import Evidence, Retriever
from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.evidence.evidence import FindingVote
from mtclip_edge.index.filters import Filters
from mtclip_edge.index.index import Index
from mtclip_edge.index.report_store import ReportStore
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import distinct_reports


@pytest.fixture
def judged(bundle: Path) -> Path:
    return commit_evidence(bundle)


def nearest(
    source: Path, retriever: Retriever, film: Path, only=lambda report: True
) -> list[tuple[float, object]]:
    """Every distinct report of train that passes with its score, best first, by comparing all vectors."""
    from mtclip_edge.films.read import read_film

    reports = distinct_reports(open_source(str(source)).split("train"))
    vector = retriever._films.encode(retriever._films.prepare(read_film(film).grey)[None])[0][0].astype(
        np.float64
    )
    rows = retriever._library.rows_of([report.report_id for report in reports])
    score = {
        r.report_id: round(float(retriever._library.vector(rows[r.report_id]).astype(np.float64) @ vector), 4)
        for r in reports
    }
    return sorted(
        ((score[r.report_id], r) for r in reports if only(r)), key=lambda pair: (-pair[0], pair[1].report_id)
    )


def named(report) -> set[str]:
    return {name for study in report.studies if study.label != "normal" for name in study.finding_labels}


def test_agreement_is_the_vote_of_the_hits(judged: Path, source: Path, film: Path) -> None:
    with Retriever.open(judged) as retriever:
        result, everything = retriever.query(film, k=7), nearest(source, retriever, film)
    agreement = result.evidence.agreement
    weight = np.exp((np.array([s for s, _ in everything[:7]]) - everything[0][0]) / 0.04)
    weight /= weight.sum()
    assert agreement.weights == pytest.approx(weight, abs=6e-5)
    for label in ("normal", "abnormal", "unknown"):
        voted = sum(w for w, (_, report) in zip(weight, everything, strict=False) if report.label == label)
        assert agreement.labels[label] == pytest.approx(voted, abs=1e-4)
        assert agreement.labels_in_index[label] == pytest.approx(
            np.mean([r.label == label for _, r in everything]), abs=1e-4
        )
    expected = {
        name: [i for i, (_, r) in enumerate(everything[:7]) if name in named(r)]
        for _, r in everything[:7]
        for name in named(r)
    }
    assert expected and {vote.finding for vote in agreement.findings} == set(expected)
    for vote in agreement.findings:
        share, there = (
            weight[expected[vote.finding]].sum(),
            np.mean([vote.finding in named(r) for _, r in everything]),
        )
        assert (vote.reports, vote.share) == (len(expected[vote.finding]), pytest.approx(share, abs=2e-4))
        assert vote.share_in_index == pytest.approx(there, abs=1e-6)
        assert vote.lift == pytest.approx(share / there, abs=0.02)
    shares = [vote.share for vote in agreement.findings]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("filters", [Filters(), Filters(finding="Opacity"), Filters(label="normal")])
def test_contrast_is_the_nearest_of_either_label_that_passes(
    judged: Path, source: Path, film: Path, filters: Filters
) -> None:
    def passes(report) -> bool:
        finding = filters.finding is None or any(
            filters.finding in study.finding_labels for study in report.studies
        )
        return finding and filters.label in (None, report.label)

    with Retriever.open(judged, filters=filters) as retriever:
        contrast, everything = (
            retriever.query(film, k=1).evidence.contrast,
            nearest(source, retriever, film, passes),
        )
    for label, hit in (("abnormal", contrast.abnormal), ("normal", contrast.normal)):
        first = next(((s, r.report_id) for s, r in everything if r.label == label), None)
        assert (hit and (hit.score, hit.report_id)) == first
        assert hit is None or hit.rank == 1
    both = contrast.abnormal and contrast.normal
    assert contrast.margin == (round(contrast.abnormal.score - contrast.normal.score, 4) if both else None)
    assert (filters.label is None) == bool(contrast.abnormal)


def test_a_finding_counts_the_reports_that_pass(judged: Path, source: Path, film: Path) -> None:
    with Retriever.open(judged, filters=Filters(finding="opacity")) as retriever:
        votes = {vote.finding: vote for vote in retriever.query(film).evidence.agreement.findings}
    assert (votes["Opacity"].share, votes["Opacity"].share_in_index, votes["Opacity"].lift) == (1.0, 1.0, 1.0)


def test_percentiles_and_verdict_follow_the_manifest(judged: Path, film: Path) -> None:
    with Retriever.open(judged) as retriever:
        result = retriever.query(film)
        evidence, probability = result.evidence, result.abnormal.probability
    assert [hit.percentile for hit in result.hits] == pytest.approx(
        [100 * hit.score for hit in result.hits], abs=0.051
    )
    assert evidence.similarity.percentile == result.hits[0].percentile and evidence.similarity.films == 200
    sure = max(probability, 1 - probability)
    assert evidence.judgement.trust == pytest.approx(sure)
    assert evidence.decision == ("abnormal" if probability >= 0.5 else "normal")
    assert evidence.judgement.verdict == (
        "confident" if sure >= 0.7 else "abstain" if sure <= 0.55 else "uncertain"
    )


def test_the_verdict_does_not_depend_on_k_or_a_filter(judged: Path, film: Path) -> None:
    """The ten nearest of all are asked, whatever is shown; only an excluded patient is left out of them."""
    everyone = []
    for filters, k in (
        (Filters(), 1),
        (Filters(), 30),
        (Filters(label="normal"), 3),
        (Filters(match="zebra"), 5),
    ):
        commit_evidence(judged)
        with Retriever.open(judged, filters=filters) as retriever:
            everyone.append(retriever.query(film, k=k).evidence)
    assert len({evidence.judgement for evidence in everyone}) == 1
    assert everyone[-1].agreement is None and everyone[-1].contrast.to_dict() == {
        "abnormal": None,
        "normal": None,
        "margin": None,
    }
    assert everyone[-1].similarity.why == "no report was found"


@pytest.mark.own_files
def test_what_is_shown_and_what_votes_is_found_by_one_search(judged: Path, film: Path, monkeypatch) -> None:
    """At a million reports a search is a tenth of a second, and to read every row of a label is another."""
    asked: list[int] = []
    search = Index.search_reports

    def counted(self: Index, query: np.ndarray, k: int, names, only=None):
        asked.append(k if only is None else -len(only))
        return search(self, query, k, names, only)

    monkeypatch.setattr(Index, "search_reports", counted)
    monkeypatch.setattr(ReportStore, "labelled", lambda *_: pytest.fail("every row of a label was read"))
    with Retriever.open(judged) as retriever:
        result = retriever.query(film, k=9)
    assert {hit.label for hit in result.reports} >= {"normal", "abnormal"}
    assert len(result.reports) == 9 and asked == [10]


def test_a_filter_makes_no_film_rare(judged: Path, film: Path) -> None:
    """Of the reports that pass none is near; those of all are as near as other films' are."""
    with Retriever.open(judged) as retriever:
        hits = retriever.query(film, k=1000).reports
    top, far = hits[0].score, Filters(match_any=f'"{hits[-1].text}"')
    with Retriever.open(judged, filters=far) as retriever:
        gap = top - retriever.query(film).hits[0].score
    assert gap > 5e-5  # of what is rounded to four decimals
    spread = [top + i * gap / 60 for i in range(-50, 51)]
    commit_evidence(judged, best_scores=spread, trust={**RULE, "confident": 0.5, "abstain": None})
    with (
        Retriever.open(judged) as all_of_it,
        Retriever.open(judged, filters=far) as some,
        Retriever.open(judged, fuse="0.5") as fused,
    ):
        one, filtered, mixed = (retriever.query(film).evidence for retriever in (all_of_it, some, fused))
    assert (one.similarity.percentile, filtered.similarity.percentile) == (50.0, 0.0)
    assert filtered.judgement == mixed.judgement == one.judgement


def test_after_a_change_of_the_reports_nothing_stale_is_told(
    judged: Path, film: Path, tmp_path: Path, source: Path
) -> None:
    """Of a bundle that keeps no validation films: the percentile is null; the verdict, which rests on the head, stays.
    Taking the change back brings all of it back."""
    from kept import without_kept

    from mtclip_edge.indexing.update import add, remove

    without_kept(judged)

    def evidence() -> Evidence:
        with Retriever.open(judged) as retriever:
            result = retriever.query(film)
            assert all(
                (hit.percentile is None) == (result.evidence.similarity.percentile is None)
                for hit in result.reports
            )
            return result.evidence

    before = evidence()
    (tmp_path / "more.csv").write_text(
        "study_id,patient_id,report,label\nn1,q1,A zebra in the left lung.,abnormal\n"
    )
    add(judged, open_source(str(tmp_path / "more.csv")).studies)
    stale = evidence()
    assert stale.similarity.percentile is None and "changed since" in stale.similarity.why
    assert replace(stale.judgement) == before.judgement
    remove(judged, studies=["n1"])
    assert evidence().judgement.verdict is not None and evidence().similarity == before.similarity


def test_what_export_writes_of_few_films_says_why_there_is_no_verdict(tiny_bundle: Path, film: Path) -> None:
    record = Bundle.open(tiny_bundle).model.evidence
    assert (
        record.films == 14
        and 0 < record.temperature < 1
        and record.searched == Bundle.open(tiny_bundle).manifest.searched
    )
    assert (record.best_scores, record.best_scores_why) == (None, "fewer than 20 validation films")
    with Retriever.open(tiny_bundle) as retriever:
        evidence = retriever.query(film).evidence
    assert (evidence.judgement.verdict, evidence.judgement.trust, evidence.similarity.percentile) == (
        None,
        None,
        None,
    )
    assert (
        evidence.judgement.why
        == "the abnormal head is not calibrated: fewer than 20 normal or abnormal validation films"
    )


def test_a_bundle_of_before_says_so(bundle: Path, film: Path) -> None:
    from mtclip_edge.evidence.validation_reference import ValidationReference

    rewrite(bundle, lambda manifest: manifest.pop("evidence"))
    old = ValidationReference.of(Bundle.open(bundle).manifest)
    assert (old.rule, old.similarities, old.temperature) == (None, None, 0.05)
    assert (
        old.rule_why
        == old.similarities_why
        == "the bundle was exported before this was measured: export it again"
    )


def test_fused_scores_are_not_compared_and_contrast_is_by_reports(judged: Path, film: Path) -> None:
    with Retriever.open(judged) as plain, Retriever.open(judged, fuse="0.5") as fused:
        one, other = plain.query(film, k=3), fused.query(film, k=3)
    assert (
        other.evidence.contrast == one.evidence.contrast
        and other.evidence.judgement == one.evidence.judgement
    )
    assert other.evidence.similarity.why == "with --fuse a score is not a cosine"
    assert [hit.percentile for hit in other.hits] == [None] * 3


def test_a_text_has_agreement_and_contrast(judged: Path) -> None:
    with Retriever.open(judged) as retriever:
        result = retriever.query_text("opacity in the left lung", k=4)
    evidence = result.evidence
    assert (evidence.decision, evidence.judgement.verdict, evidence.similarity.percentile) == (
        None,
        None,
        None,
    )
    assert evidence.judgement.why == "a text has neither a film's probability nor its similarities"
    assert len(evidence.agreement.weights) == 4 and sum(evidence.agreement.weights) == pytest.approx(
        1, abs=1e-3
    )
    assert evidence.contrast.abnormal.score == max(
        hit.score for hit in result.reports if hit.label == "abnormal"
    )
    assert [hit.percentile for hit in result.reports] == [None] * 4


def types(value: object) -> object:
    """The shape of a JSON value: keys and types, one item of a list for all."""
    if isinstance(value, dict):
        # A normal report names nothing: that list may be empty.
        return {key: "list" if key == "finding_labels" else types(item) for key, item in value.items()}
    return [types(value[0])] if isinstance(value, list) and value else type(value).__name__


NEAREST = {
    "rank": "int",
    "kind": "str",
    "score": "float",
    "percentile": "float",
    "report_id": "str",
    "label": "str",
    "studies": "int",
    "study_ids": ["str"],
    "study_dates": ["NoneType"],
    "date": "NoneType",
    "finding_labels": "list",
    "findings": "str",
    "impression": "str",
    "text": "str",
    "named": "NoneType",
    "rank_by": "NoneType",
}
SHARES = {"normal": "float", "abnormal": "float", "unknown": "float"}


def test_the_json_is_exactly_this(mtclip, judged: Path, film: Path) -> None:
    document = json.loads(mtclip("query", film, "--bundle", judged, "--json").out)
    assert document["schema"] == "mtclip.query/2"
    assert types(document["evidence"]) == {
        "decision": "str",
        "verdict": "str",
        "why": "str",
        "trust": "float",
        "validation": {"films": "int", "risk": "float", "coverage": "float"},
        "similarity": {"percentile": "float", "films": "int", "why": "str"},
        "agreement": {
            "weights": ["float"],
            "labels": SHARES,
            "labels_in_index": SHARES,
            "findings": [
                {
                    "finding": "str",
                    "reports": "int",
                    "share": "float",
                    "share_in_index": "float",
                    "lift": "float",
                }
            ],
        },
        "contrast": {"abnormal": NEAREST, "normal": NEAREST, "margin": "float"},
    }
    assert types(document["hits"]) == [NEAREST]


def test_ids_gather_no_evidence(judged: Path, film: Path) -> None:
    with Retriever.open(judged, evidence=False) as retriever:
        result = retriever.query(film)
    assert result.evidence is None and result.to_dict()["evidence"] is None and result.hits


@pytest.mark.parametrize("k", [1, 3, 5, 10])
@pytest.mark.parametrize("width", [80, 100, 60])
def test_the_terminal_shows_all_of_it_in_30_lines(judged: Path, film: Path, k: int, width: int) -> None:
    """Also with long reports, twelve findings, a doubtful film with many reasons, and the demo's heading."""
    import io

    from rich.console import Console

    from mtclip_edge.display.answer_table import TableWriter
    from mtclip_edge.retrieval.results import Input

    with Retriever.open(judged) as retriever:
        result = retriever.query(film, k=k)
    long = "Right   basilar opacity,\nunchanged 胸部 " * 60
    hits = tuple(
        replace(hit, impression=long, findings=long, studies=1234, label="abnormal") for hit in result.reports
    )
    votes = tuple(
        FindingVote(f"finding {i} of a long and winding name that goes on", 3, 0.9 - i / 20, 0.01)
        for i in range(12)
    )
    agreement = replace(result.evidence.agreement, findings=votes)
    contrast = replace(result.evidence.contrast, abnormal=hits[0], normal=replace(hits[0], label="normal"))
    doubt = replace(
        result.evidence.judgement, why="a reason that is far longer than a line of a terminal can be " * 3
    )
    worst = replace(
        result,
        hits=hits,
        bundle=replace(result.bundle, demo=True),
        input=Input("dicom", "warn", ("a reason that is as long as others",) * 6),
        evidence=replace(result.evidence, agreement=agreement, contrast=contrast, judgement=doubt),
    )
    for shown in (result, worst):
        out = io.StringIO()
        writer = TableWriter(Console(file=out, width=width, highlight=False, markup=False))
        writer.add(shown)
        writer.close()
        lines = out.getvalue().splitlines()
        # What speaks against a film or a verdict is never cut; all else is, so that it stays in sight.
        reasons = len(shown.evidence.judgement.why) // width + sum(map(len, shown.input.reasons)) // width
        assert len(lines) <= 30 + (reasons if shown is worst else 0), "\n".join(lines)
        assert all(len(line.rstrip()) <= width for line in lines)
    text = out.getvalue()
    for needed in (
        "DEMO",
        "abnormal",
        "careful",
        "agreement",
        "finding 0",
        " 1 %",
        "nearest abnormal",
        "nearest normal",
        "reports of",
    ):
        assert needed in text, needed
    assert [line.split()[0] for line in lines if line.split()[0].isdigit() and "×1234" in line] == [
        str(rank) for rank in range(1, k + 1)
    ]
    assert lines[-1].startswith("Research use only.")
