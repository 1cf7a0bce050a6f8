"""A bundle's own reports as a library: its store, its index and the words of its reports."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.manifest import Manifest
from .filters import FilteredRows, Filters
from .index import Hits, Index, SearchChoice
from .library import Scope, TypedText
from .report_store import ReportStore, StoredFilm, StoredReport

if TYPE_CHECKING:
    from .patient_reports import PatientReports
    from .report_details import Details
    from .typed_rows import TypedRows
    from .words import ReportWords

T = TypeVar("T")
_MOST_FILTERS = 8  # whose rows are kept


class LateWords:
    """The words of a bundle's reports, opened when they are first asked for."""

    def __init__(self, bundle: Bundle, store: ReportStore):
        self._bundle, self._store = bundle, store
        self._open: ReportWords | None = None
        self._lock = Lock()

    def get(self) -> "ReportWords":
        """Errors: as of ``ReportWords.open``."""
        from .words import ReportWords  # not for every film

        with self._lock:
            if self._open is None:
                terms = self._bundle.index.terms
                # A writer may have published the next generation and swept this file: the store, which is
                # open since the start, is still to be read.
                swept = terms is not None and not (self._bundle.path / terms).exists()
                file = self._bundle.file(terms) if terms and not swept else None
                self._open = ReportWords.open(file, self._store)
                self._open.stored |= swept
            return self._open

    def matching(self, words: str, any_stance: bool) -> np.ndarray:
        """Rows of the reports that affirm some words, or have them at all."""
        return self.get().matching(words, any_stance)

    @property
    def note(self) -> str | None:
        """What is not known of denial here, once the words were asked for."""
        return self._open.note if self._open else None

    def close(self) -> None:
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None


class BundleLibrary:
    """``index.library.Library`` of a bundle's files. Rows of reports are rows of its vectors; rows of films
    count from 0.
    """

    def __init__(self, bundle: Bundle, store: ReportStore, index: Index):
        self.bundle, self.store, self.index = bundle, store, index
        self.words = LateWords(bundle, store)
        self.dim = int(index.vectors.shape[1])
        self._passing: dict[Filters, FilteredRows] = {}
        self._labelled: dict[str, np.ndarray] = {}
        self._counts: dict[Scope, int] = {}
        self._naming: dict[tuple[str, Scope], int] = {}
        self._statistics: dict[str, Any] = {}
        self._typed: tuple[TypedText, TypedRows | None] | None = None

    def reading(self, ask: Callable[[], T]) -> T:
        return ask()

    @property
    def counts(self) -> tuple[int, int, int]:
        held = self.bundle.index
        return held.studies, held.reports, held.films

    @property
    def choice(self) -> SearchChoice:
        return self.index.choice

    def check(self, filters: Filters) -> None:
        self._rows_passing(filters)

    def count(self, scope: Scope) -> int:
        if scope not in self._counts:
            self._counts[scope] = self._counted(scope)
        return self._counts[scope]

    def _counted(self, scope: Scope) -> int:
        if scope == Scope(label=scope.label):
            return self.index.reports if scope.label is None else self.count_labelled(scope.label)
        rows = self._reports(scope)
        return self.index.reports if rows is None else len(rows)

    def nearest(self, query: np.ndarray, k: int, scope: Scope, *, exact: bool = False) -> Hits:
        index = self._exact if exact else self.index
        return index.search_reports(query, k, self.store.report_ids, self._reports(scope))

    def nearest_films(self, query: np.ndarray, k: int, scope: Scope) -> Hits:
        return self.index.search_films(query, k, self._films(scope))

    def report_ids(self, rows: Sequence[int]) -> dict[int, str]:
        return self.store.report_ids(rows)

    def rows_of(self, report_ids: Iterable[str]) -> dict[str, int]:
        return self.store.row_of(report_ids)

    def labels(self, rows: Sequence[int]) -> dict[int, str]:
        return self.store.labels(rows)

    def reports(self, rows: Sequence[int], filters: Filters) -> list[StoredReport]:
        return self.store.reports(rows, filters.where())

    def films(self, rows: Sequence[int]) -> list[StoredFilm]:
        return self.store.films(rows)

    def findings(self, rows: Sequence[int], filters: Filters) -> list[tuple[int, str]]:
        return self.store.findings(rows, filters.where())

    def count_naming(self, finding: str, scope: Scope) -> int:
        key = finding.lower(), scope
        if key not in self._naming:
            self._naming[key] = self._counted_naming(finding, scope)
        return self._naming[key]

    def _counted_naming(self, finding: str, scope: Scope) -> int:
        naming, passing = self.store.naming(finding, scope.filters.where()), self._reports(scope)
        return len(naming if passing is None else np.intersect1d(naming, passing, assume_unique=True))

    def count_labelled(self, label: str) -> int:
        return self.store.count_labelled(label)

    def abnormal_share(self) -> float:
        return self.store.abnormal_share()

    def vector(self, row: int) -> np.ndarray:
        return self.index.vectors[row]

    @property
    def common(self) -> np.ndarray:
        return self.index.common

    def film_vectors(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        pairs = np.array(self.store.films_of(rows), np.int64).reshape(-1, 2)
        return pairs[:, 0], self.index.vectors[self.index.reports + pairs[:, 1]]

    def typed(self, text: TypedText) -> "TypedRows | None":
        if self._typed is None or self._typed[0] != text:
            from .typed_rows import typed_rows  # for texts only

            self._typed = text, typed_rows(text, self.words.get, self.index.reports, self._reports)
        return self._typed[1]

    def passes(self, study_id: str, filters: Filters) -> bool:
        return self.store.passes(study_id, filters.where())

    def unknown_patients(self, patients: Sequence[str]) -> int:
        return self.store.unknown_patients(patients)

    def why_nothing_passes(self, filters: Filters) -> str:
        return self.store.why_nothing_passes(filters, self.words.matching)

    def details(self, name: str) -> "Details":
        return self.store.details(name)

    def reports_of(self, name: str) -> "PatientReports":
        return self.store.reports_of(name)

    def statistics(self) -> dict[str, Any]:
        if not self._statistics:
            self._statistics = self.store.statistics()
        return self._statistics

    def measured(self, manifest: Manifest) -> tuple[Manifest, str]:
        return manifest, manifest.searched

    @property
    def words_note(self) -> str | None:
        return self.words.note

    @property
    def warnings(self) -> tuple[str, ...]:
        return ()

    @property
    def facts(self) -> Mapping[str, Any] | None:
        return None

    def close(self) -> None:
        self.words.close()
        self.store.close()

    @cached_property
    def _exact(self) -> Index:
        return replace(self.index, graph=None)

    def _reports(self, scope: Scope) -> np.ndarray | None:
        """The rows of a scope, ascending, int64; None for all."""
        if scope.rows is not None:
            return np.unique(np.array(scope.rows, np.int64))
        passing = self._rows_passing(scope.filters).reports if scope.filters else None
        if scope.group is not None:
            typed = self.typed(scope.group.text)
            assert typed is not None, "groups are of what could be searched"
            return typed.rows(scope.group.level, passing)
        if scope.label is not None:
            labelled = self._labelled.get(scope.label)
            if labelled is None:
                labelled = self._labelled[scope.label] = self.store.labelled(scope.label)
            return labelled if passing is None else np.intersect1d(labelled, passing, assume_unique=True)
        return passing

    def _films(self, scope: Scope) -> np.ndarray | None:
        passing = self._rows_passing(scope.filters).films if scope.filters else None
        if not scope.unreported and scope.group is None:
            return passing
        films = np.arange(len(self.index.vectors) - self.index.reports) if passing is None else passing
        if scope.unreported:
            return np.setdiff1d(films, self.store.films_with_report())
        reports = self._reports(scope)
        assert reports is not None
        return np.intersect1d(self.store.films_by_report(reports.tolist()), films)

    def _rows_passing(self, filters: Filters) -> FilteredRows:
        """What filters leave; kept for the next query."""
        known = self._passing.get(filters)
        if known is None:
            if len(self._passing) >= _MOST_FILTERS:
                for kept in (self._passing, self._counts, self._naming):
                    kept.clear()
            known = self._passing[filters] = self.store.allowed(filters, self.words.matching)
        return known
