"""Which reports and films a query may find: by view, label, finding, source, date, patient and words.

A report passes where one of its studies passes everything; its label is the one that its studies voted for. A
film passes where it has the view itself and its study passes the rest.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from ..errors import WrongOption, not_among
from ..studies import LABELS, VIEWS
from .store_schema import IS_DENIED

Rows = Callable[[str, Sequence[Any]], list[Any]]
Matching = Callable[[str, bool], np.ndarray]


@dataclass(frozen=True)
class Where:
    """A condition on ``study`` in SQL, with its values."""

    sql: str
    values: tuple[Any, ...] = ()


ALL = Where("1")


@dataclass(frozen=True)
class Filters:
    """None or empty: not asked for.

    ``since`` and ``until`` are YYYY, YYYY-MM or YYYY-MM-DD, both days included. ``match``: words that a
    report affirms; ``match_any``: words that stand in it, affirmed or denied. Both are FTS5's query language,
    with a leading NOT (``index.words``). ``finding``: by a label, where the report's words do not deny it.
    """

    view: str | None = None
    label: str | None = None
    finding: str | None = None
    source: str | None = None
    since: str | None = None
    until: str | None = None
    exclude_patient: tuple[str, ...] = ()
    match: str | None = None
    match_any: str | None = None

    def __post_init__(self) -> None:
        """Errors: WrongOption for a word that no bundle could have."""
        excluded = self.exclude_patient  # a patient alone is meant as one: its letters are no patients
        object.__setattr__(
            self, "exclude_patient", (excluded,) if isinstance(excluded, str) else tuple(excluded)
        )
        if self.view is not None and self.view.lower() not in [view.lower() for view in VIEWS]:
            raise not_among("view", self.view, VIEWS)
        if self.label is not None and self.label not in LABELS:
            raise not_among("label", self.label, LABELS)
        for name in ("since", "until"):
            if (word := getattr(self, name)) is not None:
                days(name, word)

    def __bool__(self) -> bool:
        return self != Filters()

    def to_dict(self) -> dict[str, Any]:
        """What was asked for, for people and programs; nothing that was not."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value not in (None, ())
        }

    def where(self) -> Where:
        """What a study must have."""
        parts: list[tuple[str, tuple[Any, ...]]] = []
        if self.exclude_patient:
            parts.append(
                (f"patient_id NOT IN ({','.join('?' * len(self.exclude_patient))})", self.exclude_patient)
            )
        if self.source is not None:
            parts.append(("source = ?", (self.source,)))
        if self.since is not None:
            parts.append(("date >= ?", (days("since", self.since)[0],)))
        if self.until is not None:
            parts.append(("date != '' AND date <= ?", (days("until", self.until)[1],)))
        if self.finding is not None:
            parts.append(
                (
                    "study_id IN (SELECT finding.study_id FROM finding JOIN study AS named USING"
                    " (study_id) LEFT "
                    "JOIN report ON report.row = named.report_row WHERE name = ? COLLATE NOCASE AND NOT "
                    f"{IS_DENIED})",
                    (self.finding,),
                )
            )
        if self.view is not None:
            parts.append((f"study_id IN (SELECT study_id FROM film WHERE {_VIEW})", self.views()))
        return Where(
            " AND ".join(sql for sql, _ in parts) or "1",
            tuple(value for _, values in parts for value in values),
        )

    def views(self) -> tuple[str, ...]:
        """``frontal`` includes PA and AP."""
        assert self.view is not None
        view = self.view.lower()
        return ("frontal", "pa", "ap") if view == "frontal" else (view, view, view)


def check_filters(filters: Any) -> None:
    """Errors: WrongOption for what is no ``Filters``, nor None."""
    if not isinstance(filters, Filters | None):
        raise WrongOption(f"filters of type {type(filters).__name__}", "expected Filters(…)")


_VIEW = "lower(view) IN (?, ?, ?)"


@dataclass(frozen=True)
class FilteredRows:
    """Rows of reports and of films that pass, ascending, int64."""

    reports: np.ndarray
    films: np.ndarray


def allowed(rows: Rows, filters: Filters, matching: Matching) -> FilteredRows:
    """The rows of a store that pass; ``matching`` gives the rows of reports by words, affirmed or any.

    Errors: WrongOption for a finding or source that nothing has, and those of ``matching``.
    """
    _check_known(rows, filters)
    where = filters.where()
    label = ("", ()) if filters.label is None else (" AND report.label = ?", (filters.label,))
    # The columns in a condition are those of ``study`` alone, so that it stands beside ``report`` and
    # ``film`` as it is.
    join = "SELECT DISTINCT report_row FROM study JOIN report ON report.row = report_row"
    reports = _array(rows(f"{join} WHERE {where.sql}{label[0]}", (*where.values, *label[1])))
    film_sql, film_values = (
        f"SELECT film.row FROM film JOIN study USING (study_id) WHERE {where.sql}",
        where.values,
    )
    if filters.view is not None:
        film_sql, film_values = (
            f"{film_sql} AND {_VIEW.replace('view', 'film.view')}",
            (*film_values, *filters.views()),
        )
    if filters.label is not None:
        film_sql, film_values = f"{film_sql} AND study.label = ?", (*film_values, filters.label)
    films = _array(rows(film_sql, film_values))
    for words, any_stance in ((filters.match, False), (filters.match_any, True)):
        if words is None:
            continue
        matched = matching(words, any_stance)
        reports = np.intersect1d(reports, matched)
        of = (
            "SELECT film.row FROM film JOIN study USING (study_id) WHERE report_row IN (SELECT value FROM "
            "json_each(?))"
        )
        films = np.intersect1d(films, _array(rows(of, (json.dumps(matched.tolist()),))))
    return FilteredRows(reports, films)


def _check_known(rows: Rows, filters: Filters) -> None:
    """A misspelt finding or source would find nothing, silently."""
    for name, query in (
        ("finding", "SELECT DISTINCT name FROM finding"),
        ("source", "SELECT DISTINCT source FROM study"),
    ):
        wanted = getattr(filters, name)
        if wanted is None:
            continue
        if (error := unknown_value(name, wanted, [value for (value,) in rows(query, ())])) is not None:
            raise error


def unknown_value(name: str, wanted: str, here: Iterable[str]) -> WrongOption | None:
    """What is wrong with a finding or a source that none of those here is; findings in capitals or not."""
    values = {value.lower(): value for value in here}
    if wanted.lower() in values and (name != "source" or wanted in values.values()):
        return None
    from difflib import get_close_matches  # 2 ms, and only a mistake needs it

    close = get_close_matches(wanted.lower(), values, 3, 0.5)
    shown = [values[word] for word in close] or sorted(values.values())[:5]
    return WrongOption(
        f"--{name} {wanted!r}: no study of this bundle has it", f"among them are {', '.join(shown)}"[:200]
    )


def days(name: str, word: str) -> tuple[str, str]:
    """The first and the last day that a year, a month or a day means."""
    try:
        parts = [int(part) for part in word.split("-")]
        year, month, day = (*parts, 1, 1)[:3] if len(parts) < 4 else parts
        first = date(year, month, day)
        after = {
            1: date(first.year + 1, 1, 1),
            2: date(first.year + first.month // 12, first.month % 12 + 1, 1),
            3: first + timedelta(1),
        }
        return first.isoformat(), (after[len(parts)] - timedelta(1)).isoformat()
    except (ValueError, TypeError, OverflowError):
        raise WrongOption(f"--{name} {word!r}", "expected YYYY, YYYY-MM or YYYY-MM-DD") from None


def _array(rows: Iterable[tuple[int]]) -> np.ndarray:
    return np.sort(np.fromiter((row for (row,) in rows), np.int64))
