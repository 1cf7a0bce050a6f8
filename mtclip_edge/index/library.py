"""What answers ask of the reports that they search, wherever these lie: the door to a store.

Two come in through it: ``bundle_library`` (the files of a bundle) and ``postgres`` (a database). Both give
the same hits and the same evidence for the same reports; a test holds them to it.

A filter crosses as a condition (``Scope``), never as rows: each library turns it into its own SQL. Rows are
numbers that a library gives to its reports and films, and mean nothing to another, or to the same one later.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from .filters import Filters

if TYPE_CHECKING:
    from ..bundle.manifest import Manifest
    from .finding_words import TypedFinding
    from .index import Hits, SearchChoice
    from .patient_reports import PatientReports
    from .report_details import Details
    from .report_store import StoredFilm, StoredReport


T = TypeVar("T")
NO_FILTERS = Filters()
OF_SITES = "of several sites"  # stands for reports among which nothing was measured together


@dataclass(frozen=True)
class TypedText:
    """What a typed text asks of the words of reports: the findings that it names, and an expression that
    finds any of its telling words, None without one.
    """

    findings: "tuple[TypedFinding, ...]"
    any_word: str | None

    @property
    def denied(self) -> bool:
        """Whether the text denies all that it names."""
        return all(finding.denied for finding in self.findings)


@dataclass(frozen=True)
class Group:
    """The reports that agree with a typed text on so many more findings than they contradict."""

    text: TypedText
    level: int


@dataclass(frozen=True)
class Scope:
    """Which reports and films may be found: those that pass the filters, and of these those with a label, or
    of some rows, or of a group. ``unreported``: films whose study has no report, and nothing else.
    """

    filters: Filters = NO_FILTERS
    label: str | None = None
    rows: tuple[int, ...] | None = None
    group: Group | None = None
    unreported: bool = False

    def __bool__(self) -> bool:
        """Whether anything is left out."""
        return self != Scope()

    def of_label(self, label: str) -> "Scope":
        return replace(self, label=label)


class TypedReports(Protocol):
    """What the reports of a library say of a typed text."""

    @property
    def found(self) -> bool:
        """Whether any report says anything of what is named."""

    @property
    def named_by_none(self) -> tuple[str, ...]:
        """The findings that no report affirms or denies."""

    def groups(self, scope: Scope) -> Iterator[Scope]:
        """The reports of a scope in groups, the more findings they agree on the sooner; none is empty."""

    def places(self, scope: Scope, most: int) -> tuple[dict[int, int], dict[int, int]]:
        """Of a group the first ``most`` reports, and those with equal places, by how well they have the names
        of the findings, and by how well any of the typed words: places by row, from 1, equal ones alike.
        """

    def stances(self, rows: Sequence[int]) -> dict[int, dict[str, str | None]]:
        """Of each report and finding, by its name: affirmed, denied, or None where it does not say."""


class Library(Protocol):
    """Reports with their vectors, films and studies. Any thread may ask. Errors of every method: those of
    reading the store (ArtefactDamaged; LibraryUnreachable of a database).
    """

    dim: int

    def reading(self, ask: Callable[[], T]) -> T:
        """What ``ask`` gives, which asks several things of one state of the library."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Studies, distinct reports, films."""

    @property
    def choice(self) -> "SearchChoice":
        """What searches all reports, and why."""

    def check(self, filters: Filters) -> None:
        """Errors: WrongOption for a finding or source that nothing has, or words that cannot be read."""

    def count(self, scope: Scope) -> int:
        """How many distinct reports there are in a scope."""

    def nearest(self, query: np.ndarray, k: int, scope: Scope, *, exact: bool = False) -> "Hits":
        """The k nearest reports of a unit vector float32 [dim], by cosine to four decimals, then by id."""

    def nearest_films(self, query: np.ndarray, k: int, scope: Scope) -> "Hits":
        """The k nearest films, always exactly."""

    def report_ids(self, rows: Sequence[int]) -> dict[int, str]: ...

    def rows_of(self, report_ids: Iterable[str]) -> dict[str, int]:
        """Of some reports those that are here, with their rows."""

    def labels(self, rows: Sequence[int]) -> dict[int, str]:
        """The label of some reports."""

    def reports(self, rows: Sequence[int], filters: Filters) -> "list[StoredReport]":
        """Reports in the order of ``rows``; of their studies those that pass are counted and named."""

    def films(self, rows: Sequence[int]) -> "list[StoredFilm]":
        """Films in the order of ``rows``."""

    def findings(self, rows: Sequence[int], filters: Filters) -> list[tuple[int, str]]:
        """Row and name of every finding of some reports: what a study of theirs names that passes and is not
        normal, and what the report's words do not deny.
        """

    def count_naming(self, finding: str, scope: Scope) -> int:
        """How many reports of a scope ``findings`` would name a finding of, in capitals or not."""

    def count_labelled(self, label: str) -> int:
        """How many reports have a label."""

    def abnormal_share(self) -> float:
        """The share of abnormal among the labelled reports; half where none is."""

    def vector(self, row: int) -> np.ndarray:
        """A report's unit vector, float32 [dim]."""

    @property
    def common(self) -> np.ndarray:
        """The mean of all reports, float32 [dim]: what a film shares with every report."""

    def film_vectors(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Of every film of some reports the report's row, int64 [films], and its vector, float32
        [films, dim].
        """

    def typed(self, text: TypedText) -> TypedReports | None:
        """None where words cannot be searched here."""

    def passes(self, study_id: str, filters: Filters) -> bool:
        """Whether a study is here and passes."""

    def unknown_patients(self, patients: Sequence[str]) -> int:
        """How many of some patients have no study here."""

    def why_nothing_passes(self, filters: Filters) -> str:
        """One line on filters that leave no report."""

    def details(self, name: str) -> "Details":
        """A report with its studies and films, by its own id or that of a study. Errors: Refused."""

    def reports_of(self, name: str) -> "PatientReports":
        """All reports of one patient, by their own id or that of a study. Errors: Refused."""

    def statistics(self) -> dict[str, Any]:
        """Counts of everything; what is counted by name, the most frequent first."""

    def measured(self, manifest: "Manifest") -> "tuple[Manifest, str]":
        """The manifest with what validation films got among these reports, and what stands for these reports
        as they are now (``EvidenceRecord.searched``).
        """

    @property
    def words_note(self) -> str | None:
        """What is not known of denial here, once words were asked for."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of how this library is read, a line each."""

    @property
    def facts(self) -> Mapping[str, Any] | None:
        """What an answer tells of a library that is no bundle; None of a bundle's own."""

    def close(self) -> None: ...
