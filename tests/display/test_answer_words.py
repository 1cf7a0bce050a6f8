"""Words and numbers of an answer that a reader cannot misread."""

from dataclasses import replace
from pathlib import Path

import pytest
from bundle_evidence import commit_evidence
from manifests import rewrite

from mtclip_edge import Retriever
from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.display import answer_words as words
from mtclip_edge.display.answer_table import _STYLES, _TRUST
from mtclip_edge.evidence.calibration import Abnormal
from mtclip_edge.evidence.verdict import TrustRule, parted, verdict_of


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.0, "< 1 %"),
        (0.0099, "< 1 %"),
        (0.01, "1 %"),
        (0.46, "46 %"),
        (0.99, "99 %"),
        (0.996, "> 99 %"),
        (1.0, "> 99 %"),
    ],
)
def test_nothing_is_ever_sure_or_out_of_the_question(share: float, told: str) -> None:
    assert words.percent(share) == told
    assert words.percentile_words(100 * share) == f"more alike than for {told} of ordinary films"


def test_the_operating_point_decides_and_no_half(bundle: Path, film: Path) -> None:
    """At a point of 0.7311 what lies between one half and it is called normal, and nobody is confident of that."""
    commit_evidence(bundle)
    model = Bundle.open(bundle).model
    calls = {logit: Abnormal.of(logit, model) for logit in (-1.0, 0.5, 0.99, 1.0, 3.0)}
    assert [one.call for one in calls.values()] == ["normal"] * 3 + ["abnormal"] * 2
    assert {one.threshold for one in calls.values()} == {0.7311}
    assert (
        words.abnormal_words(calls[0.5])
        == "called normal: probability of abnormal 62 %, operating point 73 %"
    )
    close = replace(calls[0.5], probability=0.7309)
    assert "abnormal 73.09 %, operating point 73.11 %" in words.abnormal_words(close)
    rewrite(bundle, calibration=None)
    unknown = Abnormal.of(0.5, Bundle.open(bundle).model)
    assert unknown == Abnormal(None, False, None, None, logit=0.5)
    assert words.abnormal_words(unknown) == words.NOT_CALIBRATED and "%" not in words.NOT_CALIBRATED


def test_a_call_that_one_half_would_not_make_is_never_confident(bundle: Path) -> None:
    rule = TrustRule.of(Bundle.open(commit_evidence(bundle)).model.evidence.trust)
    sure = verdict_of(rule, 0.72, 0.9, 0.5, threshold=0.6)
    split = verdict_of(rule, 0.72, 0.9, 0.5, threshold=0.73)
    assert (sure.verdict, split.verdict) == ("confident", "uncertain")
    assert split.why == "its probability lies between one half and the operating point"
    import numpy as np

    assert parted(np.array([0.4, 0.6, 0.8]), 0.7).tolist() == [False, True, False]
    assert not parted(np.array([0.4, 0.6, 0.8]), None).any()


def test_votes_are_counts_and_a_place_is_no_finding(bundle: Path, film: Path) -> None:
    with Retriever.open(commit_evidence(bundle)) as retriever:
        result = retriever.query(film, k=5)
    votes = result.evidence.agreement.findings
    assert votes
    place = replace(votes[0], finding="Lung")
    agreement = replace(result.evidence.agreement, findings=(place, *votes))
    shown = replace(result, evidence=replace(result.evidence, agreement=agreement))
    rows = words.vote_rows(shown, 9)
    assert "Lung" not in [name for name, *_ in rows]
    label = [hit.label for hit in result.reports].count(rows[0][0])
    assert rows[0][:2] == (words.counted_label(result)[0], f"{label} of 5")
    assert [of for _, of, _ in rows[1:]] == sorted((of for _, of, _ in rows[1:]), reverse=True)
    assert {(v.finding, f"{v.reports} of 5") for v in votes} == {row[:2] for row in rows[1:]}
    hit = replace(result.reports[0], finding_labels=("Spine", "Lung / hyperdistention"))
    assert words.findings_of(hit) == ["Lung / hyperdistention"]


def test_trust_has_words_and_colours_of_its_own() -> None:
    assert not {style.split()[-1] for style in _STYLES.values()} & {
        style.split()[-1] for style in _TRUST.values()
    }


def test_a_reservation_is_never_cut_at_80_columns(mtclip, bundle: Path, film: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    commit_evidence(
        bundle, trust=None, trust_why="a reason that is much longer than a line of a terminal " * 3
    )
    out = mtclip("query", film, "--bundle", bundle, "--format", "table").out
    said = " ".join(out.split())
    assert "a reason that is much longer than a line of a terminal " * 2 in said
    assert max(map(len, out.splitlines())) <= 80
    assert "called " in said and "operating point 73 %" in said and " of 5 " in said
