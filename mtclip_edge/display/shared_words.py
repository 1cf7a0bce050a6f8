"""Which words the reports of an answer share, and where they stand."""

import re
from collections import Counter
from collections.abc import Sequence

from ..index.denial import AFFIRMED, passages
from .html import text

_WORD = re.compile(r"[^\W\d_]{4,}")
# Words of every report, which tell nothing of what two have in common.
_COMMON = frozenset(
    """
    size contour contours structures structure vasculature cardiomediastinal mediastinal mediastinum
    parenchyma significant bony osseous soft tissues volume volumes heart aorta lobe lobes pleural spine
    costophrenic thoracic base bases aortic vascular vascularity about above acute again also appear
    appears areas been below cardiac change changes chest clear compared could demonstrate demonstrated
    demonstrates disease evidence exam examination film finding findings frontal from given grossly have
    identified image images impression interval lateral left limits lung lungs may noted normal other
    overall patient present prior process pulmonary question radiograph radiographs relatively remainder
    right seen silhouette since small some stable study that their there these this through unchanged
    unremarkable upper view views visualized well when where which with within without xxxx
    """.split()  # noqa: SIM905 - a list of eighty words would be eighty lines
)


def shared_words(reports: Sequence[str]) -> frozenset[str]:
    """Words, small letters, that at least half of some reports affirm, and at least two of them."""
    counts = Counter(word for report in reports for word in _affirmed(report))
    least = max(2, (len(reports) + 1) // 2)
    return frozenset(word for word, count in counts.items() if count >= least)


def _affirmed(report: str) -> set[str]:
    parts = (report[part.start : part.end] for part in passages(report) if part.stance == AFFIRMED)
    return {found.lower() for part in parts for found in _WORD.findall(part)} - _COMMON


def shared_places(report: str, shared: frozenset[str]) -> list[tuple[int, int]]:
    """Where shared words stand in a report that affirms them: first letter, and the place behind the last."""
    return [
        (part.start + found.start(), part.start + found.end())
        for part in passages(report)
        if part.stance == AFFIRMED
        for found in _WORD.finditer(report[part.start : part.end])
        if found[0].lower() in shared
    ]


def marked(report: str, shared: frozenset[str]) -> str:
    """A report as HTML, its shared words marked where it affirms them."""
    said, last = [], 0
    for start, end in shared_places(report, shared):
        said += [text(report[last:start]), f"<mark>{text(report[start:end])}</mark>"]
        last = end
    return "".join([*said, text(report[last:])])
