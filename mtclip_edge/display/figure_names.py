"""What a person calls a figure, and which heading it stands under: ``recall@10.film_to_report`` in words,
for page and terminal.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ANECDOTE = 20  # studies; fewer are one (evaluation/bootstrap.py)
DIRECTIONS = "Both directions"
ABNORMAL = "Both directions, abnormal studies alone"
FRESH = "Both directions, without texts that stand verbatim in train"
RELEVANCE = "Clinical relevance"
COSINE = "The order by cosine alone, without the head"
HEAD = "The abnormal head"
TRUST = "How far to trust a decision"
CUT = "Embeddings cut to their first numbers"
VIEWS = "By view"
FINDINGS = "Per finding"
OTHER = "Other"
GROUPS = (
    DIRECTIONS,
    ABNORMAL,
    FRESH,
    RELEVANCE,
    COSINE,
    HEAD,
    TRUST,
    CUT,
    VIEWS,
    FINDINGS,
    OTHER,
)  # in the order a person reads them

CONTROL = "control: the same figure of the first model with films dealt to reports and labels at random."

_WHOLE = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "ece": "ECE",
    "ece.calibrated": "ECE, calibrated",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
_DECISIONS = {
    "risk.all": "Wrong decisions",
    "risk.decided": "Wrong, without abstentions",
    "risk.confident": "Wrong, confident alone",
    "coverage.decided": "Not abstained",
    "coverage.confident": "Confident",
    "aurc.head": "AURC, head alone",
    "aurc.trust": "AURC, trust",
}
_STEMS = {
    "recall": "Recall",
    "precision": "P",
    "map": "mAP",
    "ndcg": "nDCG",
    "balance_gap": "Balance gap",
    "median_rank": "Median rank",
    "rsum": "RSUM",
}
_PARTS = {
    "film_to_report": ", film to report",
    "report_to_film": ", report to film",
    "macro": ", macro",
    "micro": ", all films",
    "normal": ", normal films",
    "abnormal": ", abnormal films",
}
_BY_SUBSET = {"all": DIRECTIONS, "abnormal": ABNORMAL, "fresh": FRESH}
_BY_STEM = {
    "recall": "",
    "median_rank": "",
    "balance_gap": "",
    "rsum": "",
    "precision": RELEVANCE,
    "map": RELEVANCE,
    "ndcg": RELEVANCE,
    "finding": FINDINGS,
}


def title(name: str) -> str:
    """A figure's name for a person, at most 30 characters; of a finding its own name as the data spell
    it, an unknown name unchanged.
    """
    if words := _WHOLE.get(name) or _DECISIONS.get(name):
        return words
    stem, part = _split(name)
    if stem.startswith("finding@"):
        return part
    kind, _, k = stem.partition("@")
    if kind not in _STEMS or (part and part not in _PARTS):
        return name
    return _STEMS[kind] + (f"@{k}" if k else "") + _PARTS.get(part, "")


def digits(name: str) -> str:
    """How a figure's value is written: a format's precision."""
    return {"median_rank": ".0f", "rsum": ".1f"}.get(_split(name)[0], ".3f")


def group(name: str, subset: str) -> str:
    """The heading, one of GROUPS, that a figure of a subset stands under."""
    if subset.startswith("view "):
        return VIEWS
    if subset.startswith("first "):
        return CUT
    if subset == "by cosine":
        return COSINE
    if name in _WHOLE:
        return HEAD
    if name in _DECISIONS:
        return TRUST
    heading = _BY_STEM.get(_split(name)[0].partition("@")[0], OTHER)
    return heading or _BY_SUBSET.get(subset, OTHER)


Figure = Mapping[str, Any]  # as in a document of schema mtclip.eval/1
Row = list[Figure | None]  # one figure of each model, None where a model has none


def grouped(models: Sequence[Sequence[Figure]]) -> Iterator[tuple[str, list[Row]]]:
    """The figures of several models below their headings, in a person's order; findings by their studies,
    most first.
    """
    columns = [{(figure["name"], figure["subset"]): figure for figure in figures} for figures in models]
    keys = dict.fromkeys(key for column in columns for key in column)
    for heading in GROUPS:
        rows = [[column.get(key) for column in columns] for key in keys if group(*key) == heading]
        if heading == FINDINGS:
            rows.sort(key=lambda row: -int(first(row)["studies"]))
        if rows:
            yield heading, rows


def first(row: Row) -> Figure:
    """The figure of the first model that has it: what bounds it is the same for all, since the cases are."""
    return next(figure for figure in row if figure)


def row_title(name: str, subset: str) -> str:
    """The title, and what tells apart the rows of a heading that holds several subsets."""
    return f"{title(name)}, {subset}" if group(name, subset) in (VIEWS, CUT, OTHER) else title(name)


def prevalence(figure: Figure) -> str:
    """What stands behind the title of a sensitivity or specificity, which mean nothing without it."""
    share = figure.get("prevalence")
    return "" if share is None else f", prevalence {share:.3f}"


def constant_answer(data: Mapping[str, Any]) -> str:
    """What answering every film with the more frequent label would have, from an evaluation's ``data``."""
    label, labels = data["majority"], data["labels"]
    labelled = labels["normal"] + labels["abnormal"]
    if not labelled:
        return "No film has a label."
    other = "normal" if label == "abnormal" else "abnormal"
    share = labels[label] / labelled
    return (
        f"Always answering {label!r} has P@K 1.000 for {label} films, 0.000 for {other} ones, 0.500 "
        f"macro, {share:.3f} of all."
    )


def shortcomings(data: Mapping[str, Any]) -> list[str]:
    """What the films asked cannot tell, from an evaluation's ``data``: a line each."""
    counts = {name: data["labels"][name] for name in ("normal", "abnormal")}
    lines = []
    if not any(counts.values()):
        lines.append("No film has a label: nothing is said of normal and abnormal.")
    elif not all(counts.values()):
        only = next(name for name, count in counts.items() if count)
        lines.append(
            f"Every labelled film is {only}: AUROC, sensitivity, specificity and macro P@K need both, and "
            "are not computed."
        )
    if data["studies"] < ANECDOTE:
        count = "1 study is" if data["studies"] == 1 else f"{data['studies']} studies are"
        lines.append(f"{count} an anecdote: no figure below says anything of others.")
    return lines


def _split(name: str) -> tuple[str, str]:
    """What is measured and of what; a finding's name may hold full stops, so only the first one divides."""
    stem, _, part = name.partition(".")
    return stem, part
