"""One report with all its studies and their films, as ``mtclip show`` prints it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import Refused
from .store_schema import IS_DENIED

Rows = Callable[[str, Sequence[Any]], list[Any]]
COMPARED = 20_000  # ids that a misspelt one is compared with; those that begin as it does come first


@dataclass(frozen=True)
class StudyFilm:
    """A film of a study: its path in the source, and its view."""

    film: str
    view: str


@dataclass(frozen=True)
class StudyDetails:
    """A study of a report; ``date`` None where not told, ``text`` where its own wording differs from the
    report's, else None. Whose it is is not told.
    """

    study_id: str
    date: str | None
    label: str
    source: str
    finding_labels: tuple[str, ...]
    text: str | None
    films: tuple[StudyFilm, ...]


@dataclass(frozen=True)
class Details:
    """A distinct report with its studies; ``report_id`` and what belongs to a report are None for a study
    that has none. ``kind`` says what the id named: ``report`` or ``study``.
    """

    id: str
    kind: str
    report_id: str | None
    label: str | None
    findings: str | None
    impression: str | None
    text: str | None
    studies: tuple[StudyDetails, ...]

    @property
    def finding_labels(self) -> tuple[str, ...]:
        """What the studies name, each once."""
        return tuple(dict.fromkeys(name for study in self.studies for name in study.finding_labels))

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        studies = values.pop("studies")
        return {**values, "finding_labels": list(self.finding_labels), "studies": studies}


def details_of(rows: Rows, name: str, bundle: Path) -> Details:
    """The report of an id, or of a study's id. Errors: Refused for an id that nothing has."""
    query = "SELECT row, report_id, label, findings, impression, text FROM report WHERE report_id = ?"
    if report := rows(query, (name,)):
        ids = [one for (one,) in rows("SELECT study_id FROM study WHERE report_row = ?", (report[0][0],))]
        _, report_id, label, findings, impression, text = report[0]
        return Details(name, "report", report_id, label, findings, impression, text, _studies(rows, ids))
    if not (study := rows("SELECT report_row FROM study WHERE study_id = ?", (name,))):
        raise _unknown(rows, name, bundle)
    (row,) = study[0]
    if row is None:
        return Details(name, "study", None, None, None, None, None, _studies(rows, [name]))
    (report_id,) = rows("SELECT report_id FROM report WHERE row = ?", (row,))[0]
    found = details_of(rows, report_id, bundle)
    first = sorted(found.studies, key=lambda one: one.study_id != name)  # the one that was asked for
    return replace(found, id=name, kind="study", studies=tuple(first))


def _studies(rows: Rows, ids: list[str]) -> tuple[StudyDetails, ...]:
    among, given = "IN (SELECT value FROM json_each(?))", (json.dumps(ids),)
    films: dict[str, list[StudyFilm]] = {}
    for study, film, view in rows(
        f"SELECT study_id, name, view FROM film WHERE study_id {among} ORDER BY row", given
    ):
        films.setdefault(study, []).append(StudyFilm(film, view))
    named: dict[str, list[str]] = {}
    query = (
        "SELECT DISTINCT study_id, name FROM finding JOIN study USING (study_id) LEFT JOIN report ON "
        f"report.row = report_row WHERE study_id {among} AND NOT {IS_DENIED} ORDER BY finding.rowid"
    )
    for study, finding in rows(query, given):
        named.setdefault(study, []).append(finding)
    query = (
        "SELECT study_id, date, label, source, wording.text FROM study LEFT JOIN wording USING (study_id) "
        f"WHERE study_id {among} ORDER BY study_id"
    )
    return tuple(
        StudyDetails(
            study, date or None, label, source, tuple(named.get(study, ())), text, tuple(films.get(study, ()))
        )
        for study, date, label, source, text in rows(query, given)
    )


def _unknown(rows: Rows, name: str, bundle: Path) -> Refused:
    """One line, with ids that are near."""
    query = (
        "SELECT id FROM (SELECT study_id AS id FROM study UNION ALL SELECT report_id FROM report) ORDER BY "
        "substr(id, 1, 3) != substr(?, 1, 3), id LIMIT ?"
    )
    return unknown_id(name, bundle, [one for (one,) in rows(query, (name, COMPARED))])


def unknown_id(name: str, bundle: Path | str, here: Sequence[str], what: str = "bundle") -> Refused:
    """One line, with those of some ids that are near."""
    near = get_close_matches(name, here, 3, 0.6)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return Refused(f"{bundle}: no report or study {name!r} in this {what}{meant}")
