"""What hits show of reports and films, in PostgreSQL: their words, studies, dates and findings."""

from collections.abc import Callable, Sequence
from typing import Any

from ..filters import Filters
from ..report_store import STUDY_IDS_SHOWN, StoredFilm, StoredReport
from .conditions import of_study

Ask = Callable[..., list[Any]]


def reports(ask: Ask, rows: Sequence[int], filters: Filters) -> list[StoredReport]:
    """Studies of the same report in other sites that may be read count too."""
    sql = "SELECT row, report_id, text, findings, impression, label FROM report WHERE row = ANY(%s)"
    told = {values[0]: values for values in ask(sql, (list(rows),))}
    where = of_study(filters)
    sql = (
        "SELECT t.row, s.study_id, s.date, s.n, s.last FROM report t CROSS JOIN LATERAL (SELECT"
        " s.study_id, s.date, count(*) OVER () AS n, max(s.date) OVER () AS last FROM report r JOIN"
        " study s"
        f" ON s.report_row = r.row WHERE r.report_id = t.report_id AND {where.sql} ORDER BY s.study_id"
        f" LIMIT {STUDY_IDS_SHOWN}) s WHERE t.row = ANY(%(of_rows)s) ORDER BY t.row, s.study_id"
    )
    studies: dict[int, list[Any]] = {}
    for row, *study in ask(sql, {**where.values, "of_rows": list(rows)}):
        studies.setdefault(row, []).append(study)
    found = []
    for row in rows:
        some = studies.get(row, [])
        ids, dates = (tuple(study[place] for study in some) for place in (0, 1))
        count, last = (some[0][2], some[0][3]) if some else (0, "")
        of_report: tuple[Any, ...] = (*told[row], count, last, ids, dates)
        found.append(StoredReport(*of_report))
    return found


def films(ask: Ask, rows: Sequence[int]) -> list[StoredFilm]:
    sql = (
        "SELECT f.row, s.study_id, f.name, f.view, s.label FROM film f JOIN study s ON s.key = f.study"
        " WHERE f.row = ANY(%s)"
    )
    film_of = {values[0]: StoredFilm(*values) for values in ask(sql, (list(rows),))}
    return [film_of[row] for row in rows]


def findings(ask: Ask, rows: Sequence[int], filters: Filters) -> list[tuple[int, str]]:
    where = of_study(filters)
    sql = (
        "SELECT DISTINCT t.row, n.name FROM report t JOIN report r ON r.report_id = t.report_id JOIN"
        " study s"
        " ON s.report_row = r.row JOIN finding n ON n.study = s.key WHERE t.row = ANY(%(of_rows)s) AND"
        f" s.label <> 'normal' AND NOT n.denied AND {where.sql} ORDER BY t.row, n.name"
    )
    return ask(sql, {**where.values, "of_rows": list(rows)})
