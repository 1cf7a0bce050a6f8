"""How an answer's evidence is put for a person: the same words in the terminal and on a page."""

import re
from typing import TYPE_CHECKING

from ..errors import printable
from ..evidence.calibration import Abnormal
from ..evidence.evidence import Evidence
from ..index.hits import ReportHit
from ..retrieval.results import Input, QueryResult
from ..sources.mesh_labels import is_place

if TYPE_CHECKING:
    from ..index.own_priors import OwnPriors

NOT_CALIBRATED = "abnormal head not calibrated: no probability, its order of films alone"
_SAID = {"affirmed": "affirms", "denied": "denies", None: "does not name"}


def percent(share: float) -> str:
    """A share of 0 to 1 in whole percent; nothing measured is ever sure or out of the question."""
    if share < 0.01:
        return "< 1 %"
    return "> 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def abnormal_words(abnormal: Abnormal) -> str:
    """What the abnormal head says, and what the operating point makes of it."""
    probability, point = abnormal.probability, abnormal.threshold
    if probability is None or point is None:
        return NOT_CALIBRATED
    told, least = percent(probability), percent(point)
    if told == least and probability != point:  # else a reader would see one number on two sides
        told, least = (f"{100 * share:.2f} %" for share in (probability, point))
    return f"called {abnormal.call}: probability of abnormal {told}, operating point {least}"


def short_name(result: QueryResult) -> str:
    """What was asked: a text, or a film's name without the folders or the zip that it lies in."""
    if result.kind == "text":
        return result.value
    return re.split(r"[/\\!]", result.value)[-1] or result.value


def conclusion_words(result: QueryResult) -> str:
    """The answer in one sentence: the call, and what the reports shown have in common."""
    if result.rejected and not result.hits:
        return "Not answered: the film was rejected."
    call = result.abnormal.call if result.abnormal else None
    verdict = result.evidence.judgement.verdict if result.evidence else None
    called = f"Called {call}" + (f" ({verdict})" if verdict else "") if call else ""
    if not result.reports:
        return f"{called or 'No call'}; no report was found."
    label, count = counted_label(result)
    shown = len(result.reports)
    many = f"all {shown}" if count == shown > 1 else f"{count} of the {shown}"
    agree = f"{many} most similar prior reports {'is' if count == 1 else 'are'} {label}"
    found = vote_rows(result, 1)[1:] if label == "abnormal" else []
    naming = [f"{of.partition(' ')[0]} name {name}" for name, of, _ in found if not of.startswith("1 ")]
    said = ", and ".join([agree, *naming])
    return f"{called}; {said}." if called else f"{said[0].upper()}{said[1:]}."


def verdict_words(evidence: Evidence) -> str:
    """The verdict with its reason, or why there is none."""
    judgement = evidence.judgement
    if judgement.verdict is None:
        return f"no verdict: {judgement.why}"
    return f"trust: {judgement.verdict}; {judgement.why}"


def percentile_words(percentile: float) -> str:
    """How near the first report is, beside what films usually get."""
    return f"more alike than for {percent(percentile / 100)} of ordinary films"


def similarity_words(evidence: Evidence) -> str:
    """How near the first report is, or why that is not told."""
    if evidence.similarity.percentile is None:
        return f"not compared with other films: {evidence.similarity.why}"
    return percentile_words(evidence.similarity.percentile)


def study_words(hit: ReportHit) -> str:
    """The first study of a report, and how many share its text."""
    first = hit.study_ids[0] if hit.study_ids else ""
    return first + (f" ×{hit.studies}" if hit.studies > 1 else "")


def films_of_study_words(result: QueryResult) -> str | None:
    """How many films a study has, and which were left out and why; None of one film alone."""
    if result.study is None or len(result.study) < 2:
        return None
    left = [f"{printable(f.image.rsplit('/', 1)[-1])} ({f.reason})" for f in result.study if not f.counted]
    return f"study of {len(result.study)} films" + (f", without {', '.join(left)}" if left else "")


def findings_of(hit: ReportHit) -> list[str]:
    """What a report's studies name; a place alone (``Lung``), as older bundles hold it, is no finding."""
    return [name for name in hit.finding_labels if not is_place(name)]


def film_words(read: Input) -> str | None:
    """What the film itself was judged, where that is worth a line."""
    if read.verdict in (None, "ok") and not read.reasons:
        return None
    heading = {"warn": "careful", "reject": "rejected"}.get(read.verdict or "", "note")
    return heading + (f": {'; '.join(read.reasons)}" if read.reasons else "")


def without_options(words: str) -> str:
    """The same where there is no command line to give an option on."""
    return re.sub(r"(: ask again with(out)? --invert| \(--\w+\))", "", words)


def score_words(score: float | None) -> str:
    """A likeness; nothing was compared where words alone found a report."""
    return "–" if score is None else f"{score:.3f}"


def named_words(hit: ReportHit) -> str | None:
    """What a report says of the findings that a typed text names."""
    if not hit.named:
        return None
    return "; ".join(f"{_SAID[stance]} {finding}" for finding, stance in hit.named.items())


def counted_label(result: QueryResult) -> tuple[str, int]:
    """The label that most reports have, and how many; of as many the one that lies nearer."""
    labels = [hit.label for hit in result.reports]
    first = max(("abnormal", "normal"), key=lambda label: (labels.count(label), -_first_of(labels, label)))
    return first, labels.count(first)


def _first_of(labels: list[str], label: str) -> int:
    return labels.index(label) if label in labels else len(labels)


OWN_HEADING = "The patient's own reports"


def own_words(own: "OwnPriors") -> str:
    """How many they are, and what became of them among the similar reports."""
    if not own.hits:
        return "none in this bundle"
    parts = [f"{len(own.hits)}, the newest first, of any date"]
    if own.left_out:
        parts.append(f"{own.left_out} left out of the similar reports")
    if own.shared:
        parts.append(f"{own.shared} worded as another patient's, which may stand there")
    return "; ".join(parts)


def own_short_words(own: "OwnPriors") -> str:
    """The same in a few words, with the newest."""
    if not own.hits:
        return f"own reports: {own_words(own)}"
    newest = own.hits[0]
    of = f" of {newest.date}" if newest.date else ""
    return (
        f"own reports: {len(own.hits)}, the newest{of} {newest.label}, similarity {score_words(newest.score)}"
    )


def vote_rows(result: QueryResult, findings: int) -> list[tuple[str, str, str]]:
    """How the hits vote, for the label and the findings that most of them name: name, how many of the
    reports, share of what was searched.
    """
    agreement = result.evidence.agreement if result.evidence else None
    if agreement is None:
        return []
    hits = len(result.reports)
    label, count = counted_label(result)
    named = [vote for vote in agreement.findings if not is_place(vote.finding)]
    most = sorted(named, key=lambda vote: -vote.reports)[:findings]  # of as many, the weightier first
    rows = [(label, count, agreement.labels_in_index[label])]
    rows += [(vote.finding, vote.reports, vote.share_in_index) for vote in most]
    return [(name, f"{of} of {hits}", percent(share)) for name, of, share in rows]


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
