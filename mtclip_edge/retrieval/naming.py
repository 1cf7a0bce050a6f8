"""What a typed text names, and in which order reports follow from it: those that say of a finding what the
text says, then those that do not name it, then those that say the contrary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Refused
from ..index.denial import AFFIRMED, DENIED
from ..index.finding_words import TypedFinding, findings_named
from ..index.hits import ReportHit
from ..index.index import Hits
from .opening import LateWords


@dataclass(frozen=True)
class Naming:
    """The findings that a text names; ``affirming`` and ``denying`` are for each a bool array [reports]."""

    findings: tuple[TypedFinding, ...]
    affirming: tuple[np.ndarray, ...]
    denying: tuple[np.ndarray, ...]

    def tiers(self, passing: np.ndarray) -> Iterator[np.ndarray]:
        """The rows of reports that pass, int64, in groups: the more findings they agree on the sooner."""
        agreement = np.zeros(len(self.affirming[0]), np.int8)
        for finding, affirming, denying in zip(self.findings, self.affirming, self.denying, strict=True):
            agree, differ = (denying, affirming) if finding.denied else (affirming, denying)
            agreement += agree.astype(np.int8) - differ.astype(np.int8)
        of_passing = agreement[passing]
        for level in np.unique(of_passing)[::-1]:
            yield passing[of_passing == level]

    def marked(self, hits: Hits, shown: Sequence[ReportHit]) -> tuple[ReportHit, ...]:
        """The hits with what each says of what is named."""
        return tuple(replace(hit, named=self._of(row)) for row, hit in zip(hits.rows, shown, strict=True))

    def _of(self, row: int) -> dict[str, str | None]:
        return {
            finding.name: AFFIRMED if affirming[row] else DENIED if denying[row] else None
            for finding, affirming, denying in zip(self.findings, self.affirming, self.denying, strict=True)
        }

    def lines(self) -> Iterator[str]:
        """What is to be told: of each finding that no report names, that the nearest by cosine are shown."""
        for finding, affirming, denying in zip(self.findings, self.affirming, self.denying, strict=True):
            if not affirming.any() and not denying.any():
                yield f"no report here names {finding.name!r}: the nearest by their vectors are shown"


def naming_of(text: str, words: LateWords, reports: int) -> Naming | None:
    """None where a text names nothing (a description is no name), or SQLite has no full-text search.

    Errors: ArtefactDamaged.
    """
    findings = findings_named(text)
    if not findings:
        return None
    try:
        stances = [words.get().stances(finding) for finding in findings]
    except Refused:
        return None
    flags = []
    for rows in zip(*stances, strict=True):
        table = np.zeros((len(findings), reports), bool)
        for place, some in enumerate(rows):
            table[place, some] = True
        flags.append(tuple(table))
    return Naming(findings, *flags)
