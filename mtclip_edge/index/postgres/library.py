"""A library in PostgreSQL: ``index.library.Library``, asked in SQL, of the sites that the login may read.

Its answers are those of a bundle with the same reports. What is counted of all reports is asked once for each
state of the library and kept.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from threading import Lock, local
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ...bundle.manifest import Manifest
from ...bundle.records import EvidenceRecord
from ...fields import Fields
from ...studies import LABELS
from ..filters import Filters, unknown_value
from ..index import Hits, SearchChoice
from ..library import OF_SITES, Scope, TypedText
from ..report_store import StoredFilm, StoredReport
from . import shown
from .bm25 import Counts
from .conditions import Where, of_film, of_report, of_study
from .connect import Readers, said, without_password
from .rows import folded
from .search import Search, as_array
from .typed import TypedRows

if TYPE_CHECKING:
    from ..patient_reports import PatientReports
    from ..report_details import Details

T = TypeVar("T")
_MOST_KEPT = 500  # answers that are kept of one state
_BEGINNINGS = 1000  # words that one beginning stands for, as in a bundle
_COUNTED_TO = 20_001  # of a group: more is many


class PostgresLibrary:
    """Use ``opening.open_library``. Rows are the ``row`` of the tables ``report`` and ``film``."""

    def __init__(
        self,
        url: str,
        readers: Readers,
        search: Search,
        model_id: str,
        dim: int,
        warnings: tuple[str, ...],
        only: tuple[str, ...] = (),
    ):
        """``only``: of the sites that may be read these alone, empty for all."""
        self._only = Where("r.site = ANY(%(only)s)", {"only": list(only)}) if only else Where()
        self._state_of = (_STATE + " WHERE site = ANY(%s)", (list(only),)) if only else (_STATE, ())
        self.url, self.dim, self.warnings = url, dim, warnings
        self._shown, self._readers, self._search = without_password(url), readers, search
        self._model_id = model_id
        self._last: tuple[tuple[int, ...], dict[Any, Any]] = ((), {})
        self._seen, self._lock = local(), Lock()

    # What stands for the whole library.

    def reading(self, ask: Callable[[], T]) -> T:
        """What ``ask`` gives, all of one state of the library."""

        def fresh() -> T:
            state = self._readers.rows(*self._state_of)[0]
            with self._lock:
                if state != self._last[0]:
                    self._search.look_again()
                    self._last = state, {}
                self._seen.state, self._seen.kept = self._last
            return ask()

        return ask() if self._readers.inside else self._readers.reading(fresh)

    @property
    def _state(self) -> tuple[int, ...]:
        """Of what this thread reads (``_STATE``)."""
        state: tuple[int, ...] = self._seen.state
        return state

    def _once(self, what: Any, ask: Callable[[], T]) -> T:
        """What was asked before of this state of the library, else what is asked now."""
        kept = self._seen.kept
        if what not in kept:
            if len(kept) >= _MOST_KEPT:
                kept.clear()
            kept[what] = ask()
        found: T = kept[what]
        return found

    def _rows(self, sql: str, values: Mapping[str, object] | Sequence[object] = ()) -> list[Any]:
        return self._readers.rows(sql, values)

    @property
    def counts(self) -> tuple[int, int, int]:
        studies, reports, films = self.reading(lambda: self._state)[:3]
        return studies, reports, films

    @property
    def choice(self) -> SearchChoice:
        return self.reading(lambda: self._search.choice)

    @property
    def facts(self) -> Mapping[str, Any] | None:
        return {"url": self._shown, "sites": self.reading(self._sites)}

    def _sites(self) -> list[str]:
        return self._once("sites", lambda: [s for (s,) in self._rows("SELECT site FROM counts ORDER BY 1")])

    @property
    def words_note(self) -> str | None:
        other, reports = self.reading(lambda: (self._state[6], self._state[1]))
        if not other:
            return None
        return f"{other} of {reports} reports are not read as English: there words alone count, denied or not"

    # Scopes.

    def check(self, filters: Filters) -> None:
        self.reading(lambda: self._checked(filters))

    def _checked(self, filters: Filters) -> None:
        for name, query in (
            ("finding", "SELECT DISTINCT name FROM finding"),
            ("source", "SELECT DISTINCT source FROM study"),
        ):
            wanted = getattr(filters, name)
            if wanted is not None:
                values = self._once(query, partial(self._column, query))
                if (error := unknown_value(name, wanted, values)) is not None:
                    raise error
        self._where(Scope(filters))

    def _column(self, query: str) -> list[str]:
        return [value for (value,) in self._rows(query)]

    def _where(self, scope: Scope) -> Where:
        return of_report(scope, self._beginning) & self._only

    def _beginning(self, first: str) -> list[str]:
        query = (
            "SELECT DISTINCT word FROM spelt WHERE word >= %s AND word < %s ORDER BY word LIMIT"
            f" {_BEGINNINGS}"
        )
        return [word for (word,) in self._rows(query, (first, f"{first}\U0010ffff"))]

    def count(self, scope: Scope) -> int:
        return self.reading(lambda: self._count(scope))

    def _count(self, scope: Scope) -> int:
        if scope == Scope(label=scope.label):
            return self._whole(scope.label)
        barred = scope.filters.exclude_patient
        if barred and scope == Scope(Filters(exclude_patient=barred)):
            return self._whole(None) - self._once(scope, lambda: self._of_patients_alone(barred))
        return self._once(scope, lambda: self._counted(self._where(scope)))

    def _of_patients_alone(self, patients: Sequence[str]) -> int:
        """How many reports nobody else has: found by the patients' own studies."""
        sql = (
            "SELECT count(DISTINCT r.row) FROM study s JOIN report r ON r.row = s.report_row WHERE"
            " s.patient_id"
            f" = ANY(%(patients)s) AND {self._only.sql} AND NOT EXISTS (SELECT 1 FROM study o WHERE"
            f" o.report_row"
            " = r.row AND o.patient_id <> ALL(%(patients)s))"
        )
        ((alone,),) = self._rows(sql, {**self._only.values, "patients": list(patients)})
        return int(alone)

    def _whole(self, label: str | None) -> int:
        _, reports, _, normal, abnormal, *_ = self._state
        labelled = {"normal": normal, "abnormal": abnormal, "unknown": reports - normal - abnormal}
        return reports if label is None else labelled[label]

    def _counted(self, where: Where, to: int | None = None) -> int:
        limit = "" if to is None else f" LIMIT {to}"
        sql = f"SELECT count(*) FROM (SELECT 1 FROM report r WHERE {where.sql}{limit}) passing"
        ((count,),) = self._rows(sql, where.values)
        return int(count)

    # Searching.

    def nearest(self, query: np.ndarray, k: int, scope: Scope, *, exact: bool = False) -> Hits:
        return self.reading(lambda: self._nearest(query, k, scope, exact))

    def _nearest(self, query: np.ndarray, k: int, scope: Scope, exact: bool) -> Hits:
        where = self._where(scope)
        if scope.group is not None or scope.rows is not None:
            passing = self._counted(where, _COUNTED_TO)
        else:
            passing = self._count(scope)
        return self._search.reports(query, k, where, passing, exact, each=scope.rows is not None)

    def nearest_films(self, query: np.ndarray, k: int, scope: Scope) -> Hits:
        if scope.unreported:  # every study here has a report
            return Hits((), (), SearchChoice("exact", "films are always all compared"))
        return self.reading(
            lambda: self._search.films(query, k, of_film(scope, self._beginning) & self._only)
        )

    def vector(self, row: int) -> np.ndarray:
        sql = f"SELECT vec FROM report_vector_{self._search.stem} WHERE row = %s"
        return as_array(self._rows(sql, (row,))[0][0])

    @property
    def common(self) -> np.ndarray:
        sql = f"SELECT avg(vec) FROM report_vector_{self._search.stem}"
        return self.reading(lambda: self._once("common", lambda: as_array(self._rows(sql)[0][0])))

    def film_vectors(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        sql = (
            f"SELECT s.report_row, v.vec FROM study s JOIN film f ON f.study = s.key JOIN"
            f" film_vector_{self._search.stem} v ON v.row = f.row WHERE s.report_row = ANY(%s) ORDER BY f.row"
        )
        found = self._rows(sql, (list(rows),))
        table = np.array([as_array(vector) for _, vector in found], np.float32).reshape(-1, self.dim)
        return np.array([row for row, _ in found], np.int64), table

    def typed(self, text: TypedText) -> TypedRows | None:
        counts = self.reading(lambda: Counts(self._state[1], self._state[5]))
        return TypedRows(self._readers, text, self._where, counts)

    # What stands in the rows.

    def report_ids(self, rows: Sequence[int]) -> dict[int, str]:
        return dict(self._rows("SELECT row, report_id FROM report WHERE row = ANY(%s)", (list(rows),)))

    def rows_of(self, report_ids: Iterable[str]) -> dict[str, int]:
        sql = "SELECT report_id, min(row) FROM report WHERE report_id = ANY(%s) GROUP BY 1"
        return dict(self._rows(sql, (list(report_ids),)))

    def labels(self, rows: Sequence[int]) -> dict[int, str]:
        return dict(self._rows("SELECT row, label FROM report WHERE row = ANY(%s)", (list(rows),)))

    def reports(self, rows: Sequence[int], filters: Filters) -> list[StoredReport]:
        return shown.reports(self._rows, rows, filters)

    def films(self, rows: Sequence[int]) -> list[StoredFilm]:
        return shown.films(self._rows, rows)

    def findings(self, rows: Sequence[int], filters: Filters) -> list[tuple[int, str]]:
        return shown.findings(self._rows, rows, filters)

    def count_naming(self, finding: str, scope: Scope) -> int:
        def count() -> int:
            study, report = of_study(scope.filters), self._where(scope)
            sql = (
                "SELECT count(DISTINCT r.row) FROM finding n JOIN study s ON s.key = n.study JOIN report r ON"
                " r.row = n.report_row WHERE n.folded = %(named)s AND NOT n.denied AND"
                f" s.label <> 'normal' AND {study.sql} AND {report.sql}"
            )
            values = {**study.values, **report.values, "named": folded(finding)}
            ((found,),) = self._rows(sql, values)
            return int(found)

        return self.reading(lambda: self._once((folded(finding), scope), count))

    def count_labelled(self, label: str) -> int:
        return self.reading(lambda: self._whole(label))

    def abnormal_share(self) -> float:
        normal, abnormal = (self.count_labelled(label) for label in LABELS[:2])
        return abnormal / (normal + abnormal) if normal + abnormal else 0.5

    def passes(self, study_id: str, filters: Filters) -> bool:
        where = of_study(filters)
        sql = f"SELECT 1 FROM study s WHERE s.study_id = %(study)s AND {where.sql}"
        return bool(self._rows(sql, {**where.values, "study": study_id}))

    @property
    def token(self) -> str:
        """What stands for the reports as they are now, as a hash does for those of a bundle."""
        told = self.reading(lambda: (self._shown, *self._sites(), self._state))
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def holds_only(self, ids: Callable[[], Iterator[str]]) -> bool:
        """Whether the reports are those of some ids, which come in the order of their bytes."""

        def compared() -> bool:
            here = (
                name
                for (name,) in self._rows(
                    f"SELECT report_id FROM report r WHERE {self._only.sql} ORDER BY report_id",
                    self._only.values,
                )
            )
            return all(mine == theirs for mine, theirs in zip_longest(here, ids()))

        return self.reading(compared)

    def patients(self) -> Iterator[str]:
        """Every patient, once."""
        only = self._only.sql.replace("r.", "s.")
        for (patient,) in self._rows(
            f"SELECT DISTINCT s.patient_id FROM study s WHERE {only}", self._only.values
        ):
            yield patient

    def counts_without(self, patient: str) -> list[tuple[int, int, int, int]]:
        """Of each report of a patient its row, and how many studies of others that have it are normal,
        abnormal, unknown.
        """
        sql = (
            "SELECT r.row, r.normal - count(*) FILTER (WHERE s.label = 'normal'), r.abnormal - count(*)"
            " FILTER"
            " (WHERE s.label = 'abnormal'), r.unknown - count(*) FILTER (WHERE s.label = 'unknown') FROM"
            " study"
            f" s JOIN report r ON r.row = s.report_row WHERE s.patient_id = %(patient)s AND {self._only.sql}"
            " GROUP BY r.row"
        )
        return self._rows(sql, {**self._only.values, "patient": patient})

    def unknown_patients(self, patients: Sequence[str]) -> int:
        sql = "SELECT count(DISTINCT patient_id) FROM study WHERE patient_id = ANY(%s)"
        ((here,),) = self._rows(sql, (list(patients),))
        return len(set(patients)) - int(here)

    def why_nothing_passes(self, filters: Filters) -> str:
        from ..filter_reasons import why_nothing_passes

        def number(sql: str) -> int:
            ((count,),) = self._rows(sql)
            return int(count)

        return self.reading(
            lambda: why_nothing_passes(number, lambda f: self._count(Scope(f)), filters, _HAVE)
        )

    def details(self, name: str) -> "Details":
        from .details import details_of

        return self.reading(lambda: details_of(self._rows, name, self._shown))

    def reports_of(self, name: str) -> "PatientReports":
        from .details import reports_of

        return self.reading(lambda: reports_of(self._rows, name, self._shown))

    def statistics(self) -> dict[str, Any]:
        from .details import statistics_of

        return self.reading(
            lambda: self._once("statistics", lambda: statistics_of(self._rows, self._state[:3]))
        )

    def measured(self, manifest: Manifest) -> tuple[Manifest, str]:
        """What validation films got among the reports of the one site that may be read; of several sites
        together nothing is measured.
        """

        def ask() -> tuple[Manifest, str]:
            sql = (
                "SELECT e.records, e.generation = c.generation FROM counts c LEFT JOIN evidence e ON e.site ="
                " c.site AND e.model = %s WHERE c.studies > 0"
            )
            found = self._rows(sql, (self._model_id,))
            if len(found) > 1:
                return manifest, OF_SITES
            records, current = found[0] if len(found) == 1 and found[0][0] else ({}, False)
            told = {seen: EvidenceRecord.read(Fields(record)) for seen, record in records.items()}
            site = replace(manifest.site, evidence=told or manifest.site.evidence)
            frontal = told.get("frontal")
            return replace(manifest, site=site), frontal.searched if frontal and current else "of others"

        return self.reading(ask)

    def close(self) -> None:
        with said(self.url):
            self._readers.close()


_HAVE = {
    "view": "SELECT count(DISTINCT study) FROM film WHERE view NOT IN ('', 'unknown')",
    "finding": "SELECT count(DISTINCT study) FROM finding",
}
_STATE = (
    "SELECT coalesce(sum(studies), 0)::bigint, coalesce(sum(reports), 0)::bigint, coalesce(sum(films),"
    " 0)::bigint, coalesce(sum(normal), 0)::bigint, coalesce(sum(abnormal), 0)::bigint, coalesce(sum(words),"
    " 0)::bigint, coalesce(sum(other_language), 0)::bigint, coalesce(sum(generation), 0)::bigint, count(*)"
    " FROM counts"
)
