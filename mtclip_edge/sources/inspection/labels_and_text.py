"""Compares labels with the reports' own words: how many normal ones affirm a finding, and whether the labels
look swapped.

A small reader of English by clauses: a word for a finding counts as affirmed unless its clause denies it
before or behind. It serves to see that two columns were exchanged, not to label a report.
"""

import re
from collections import Counter
from typing import Any

_FINDING = re.compile(
    r"\b(?:effusions?|pneumothora(?:x|ces)|consolidations?|opacit(?:y|ies)|infiltrates?|o?edema|cardiomegaly|nodules?|mass(?:es)?"
    r"|atelecta(?:sis|tic)|pneumonia|fractures?|congestion|emphysema|hyperinflat\w+|scarring|granulomas?|scoliosis|cavit(?:y|ation)"
    r"|enlarged|enlargement|thickening|fibrosis|hernia|lesions?)\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[.;:\n]|\b(?:but|however|although|except|though|there (?:is|are))\b", re.IGNORECASE)
_DENIED_BEFORE = re.compile(
    (
        r"\b(?:no|not|without|free of|negative for|absence of|clear of|denies|nor|never|neither|ruled? "
        r"out|rather than)\b"
    ),
    re.IGNORECASE,
)
_DENIED_BEHIND = re.compile(
    (
        r"^[^,]*\b(?:(?:is|are|was|were) not\b|not "
        r"(?:seen|identified|present|visible)|absent|resolved|excluded|ruled out|unlikely)"
    ),
    re.IGNORECASE,
)
LEAST, APART = 3, 0.3  # reports of each label; how much more often the normal ones affirm a finding


def affirms(text: str) -> bool:
    """Whether an English report affirms a finding in any clause."""
    for clause in _CLAUSE.split(text):
        for word in _FINDING.finditer(clause):
            if not _DENIED_BEFORE.search(clause[: word.start()]) and not _DENIED_BEHIND.search(
                clause[word.end() :]
            ):
                return True
    return False


class LabelsAndText:
    """Counts by label, a report at a time."""

    def __init__(self) -> None:
        self._reports: Counter[str] = Counter()
        self._affirming: Counter[str] = Counter()
        self._naming = 0

    def add(self, label: str, text: str) -> None:
        """A report that has words, with its study's label."""
        if label in ("normal", "abnormal"):
            self._reports[label] += 1
            self._affirming[label] += affirms(text)
            self._naming += _FINDING.search(text) is not None

    def to_dict(self) -> dict[str, Any]:
        """Shares are null without reports of a label, and where no report names a finding in English."""
        shares = {name: self._share(name) for name in ("normal", "abnormal")}
        normal, abnormal = shares["normal"], shares["abnormal"]
        enough = min(self._reports["normal"], self._reports["abnormal"]) >= LEAST
        swapped = enough and normal is not None and abnormal is not None and normal - abnormal >= APART
        return {
            "reports": {name: self._reports[name] for name in shares},
            "affirming": shares,
            "look_swapped": swapped,
        }

    def _share(self, label: str) -> float | None:
        count = self._reports[label]
        return round(self._affirming[label] / count, 4) if count and self._naming else None
