"""Compares labels with the reports' own words: how many normal ones affirm a finding, and whether the labels
look swapped.

How a report is read is handed in (``index.finding_words``). It serves to see that two columns were exchanged,
not to label a report.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

# Whether a report names a finding, and whether it affirms one.
ReadFindings = Callable[[str], tuple[bool, bool]]
LEAST, APART = 3, 0.3  # reports of each label; how much more often the normal ones affirm a finding


class LabelsAndText:
    """Counts by label, a report at a time."""

    def __init__(self, read_findings: ReadFindings) -> None:
        self._read = read_findings
        self._reports: Counter[str] = Counter()
        self._affirming: Counter[str] = Counter()
        self._naming = 0

    def add(self, label: str, text: str) -> None:
        """A report that has words, with its study's label."""
        if label in ("normal", "abnormal"):
            self._reports[label] += 1
            names, affirms = self._read(text)
            self._affirming[label] += affirms
            self._naming += names

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
