"""How an answer's evidence is put for a person: the same words in the terminal and on a page."""

from ..evidence.calibration import Abnormal
from ..evidence.evidence import Evidence, FindingVote
from ..index.hits import ReportHit
from ..retrieval.results import Input, QueryResult

_SAID = {"affirmed": "affirms", "denied": "denies", None: "does not name"}


def abnormal_words(abnormal: Abnormal) -> str:
    """What the abnormal head says."""
    return f"abnormal {100 * abnormal.probability:.0f} %" + (
        "" if abnormal.calibrated else " (not calibrated)"
    )


def verdict_words(evidence: Evidence) -> str:
    """The verdict with its reason, or why there is none."""
    judgement = evidence.judgement
    if judgement.verdict is None:
        return f"no verdict: {judgement.why}"
    called = f", {evidence.decision}" if judgement.verdict != "abstain" else ""
    return f"{judgement.verdict}{called}: {judgement.why}"


def film_words(read: Input) -> str | None:
    """What the film itself was judged, where that is worth a line."""
    if read.verdict in (None, "ok") and not read.reasons:
        return None
    heading = {"warn": "careful", "reject": "rejected"}.get(read.verdict or "", "note")
    return heading + (f": {'; '.join(read.reasons)}" if read.reasons else "")


def score_words(score: float | None) -> str:
    """A likeness; nothing was compared where words alone found a report."""
    return "–" if score is None else f"{score:.3f}"


def named_words(hit: ReportHit) -> str | None:
    """What a report says of the findings that a typed text names."""
    if not hit.named:
        return None
    return "; ".join(f"{_SAID[stance]} {finding}" for finding, stance in hit.named.items())


def vote_rows(evidence: Evidence, findings: int) -> list[tuple[str, str, str, str]]:
    """How the hits vote, for the first findings: name, share of the hits, share of what was searched,
    lift.
    """
    agreement = evidence.agreement
    if agreement is None:
        return []
    first = max(("abnormal", "normal"), key=lambda label: agreement.labels[label])
    label = FindingVote(first, 0, agreement.labels[first], agreement.labels_in_index[first])
    return [_vote_row(vote) for vote in (label, *agreement.findings[:findings])]


def _vote_row(vote: FindingVote) -> tuple[str, str, str, str]:
    return (
        vote.finding,
        _percent(vote.share),
        _percent(vote.share_in_index),
        "" if vote.lift is None else f"×{vote.lift:.1f}",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 or not share else f"{100 * share:.1f} %"


def margin_words(evidence: Evidence) -> str | None:
    """Which of the two contrasted reports is nearer, and by how much."""
    margin = evidence.contrast.margin
    if margin is None:
        return None
    return (
        "both are equally near"
        if not margin
        else f"the {'abnormal' if margin > 0 else 'normal'} one is nearer by {abs(margin):.3f}"
    )


def provenance_words(result: QueryResult) -> str:
    """What was searched, how, and by what."""
    facts = result.bundle
    ordered = " · order: with the head's word" if result.reports and result.reports[0].rank_by else ""
    return (
        f"{facts.reports} reports of {facts.studies} studies · {facts.search.used} · "
        f"{facts.precision.name} on {result.device.used}{ordered}"
    )
