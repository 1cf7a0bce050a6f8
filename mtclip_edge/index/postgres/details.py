"""One report with all its studies, all reports of one patient, and what a library holds, in PostgreSQL."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ...errors import Refused
from ..patient_reports import OwnReport, PatientReports, two_meanings, unknown_patient
from ..report_details import COMPARED, Details, StudyDetails, StudyFilm, unknown_id

Rows = Callable[..., list[Any]]


def details_of(rows: Rows, name: str, library: str) -> Details:
    """The report of an id, or of a study's id, of all sites that may be read. Errors: Refused."""
    query = (
        "SELECT report_id, label, findings, impression, text FROM report WHERE report_id = %s ORDER BY row"
    )
    if report := rows(query, (name,)):
        query = "SELECT s.key FROM report r JOIN study s ON s.report_row = r.row WHERE r.report_id = %s"
        report_id, label, findings, impression, text = report[0]
        studies = _studies(rows, [key for (key,) in rows(query, (name,))])
        return Details(name, "report", report_id, label, findings, impression, text, studies)
    query = (
        "SELECT r.report_id, s.site FROM study s JOIN report r ON r.row = s.report_row WHERE s.study_id = %s"
        " ORDER BY s.site"
    )
    if len(study := rows(query, (name,))) > 1:
        raise _of_sites(name, library, [site for _, site in study])
    if not study:
        raise unknown_id(name, library, [one for (one,) in rows(_NEAR, (name, name, COMPARED))], "library")
    found = details_of(rows, study[0][0], library)
    first = sorted(found.studies, key=lambda one: one.study_id != name)  # the one that was asked for
    return replace(found, id=name, kind="study", studies=tuple(first))


# Ids that begin as the one asked for come first; read by the indexes on ids, a few from either side.
_NEAR = """
SELECT id FROM (
    (SELECT study_id AS id FROM study WHERE study_id >= left(%s, 3) ORDER BY study_id LIMIT 10000)
    UNION ALL
    (SELECT report_id FROM report WHERE report_id >= left(%s, 3) ORDER BY report_id LIMIT 10000)
) near LIMIT %s
"""


def _studies(rows: Rows, keys: Sequence[int]) -> tuple[StudyDetails, ...]:
    given = (list(keys),)
    films: dict[int, list[StudyFilm]] = {}
    for key, film, view in rows(
        "SELECT study, name, view FROM film WHERE study = ANY(%s) ORDER BY row", given
    ):
        films.setdefault(key, []).append(StudyFilm(film, view))
    named: dict[int, list[str]] = {}
    query = "SELECT study, name FROM finding WHERE study = ANY(%s) AND NOT denied ORDER BY key"
    for key, finding in rows(query, given):
        if finding not in named.setdefault(key, []):
            named[key].append(finding)
    query = (
        "SELECT s.key, s.study_id, s.date, s.label, s.source, w.text FROM study s LEFT JOIN wording w ON"
        " w.study = s.key WHERE s.key = ANY(%s) ORDER BY s.study_id"
    )
    return tuple(
        StudyDetails(
            study, date or None, label, source, tuple(named.get(key, ())), text, tuple(films.get(key, ()))
        )
        for key, study, date, label, source, text in rows(query, given)
    )


def reports_of(rows: Rows, name: str, library: str) -> PatientReports:
    """What a library holds of the patient of an id. Errors: Refused, as of a bundle."""
    patient = _patient(rows, name, library)
    named: dict[int, dict[str, str]] = {}
    query = (
        "SELECT s.key, n.name FROM study s JOIN finding n ON n.study = s.key WHERE s.patient_id = %s AND"
        " s.label <> 'normal' AND NOT n.denied ORDER BY s.study_id, n.name"
    )
    for key, finding in rows(query, (patient,)):
        named.setdefault(key, {}).setdefault(finding.lower(), finding)
    query = (
        "SELECT s.key, s.study_id, nullif(s.date, ''), s.label, r.row, r.report_id, coalesce(w.text, r.text),"
        " coalesce(w.findings, r.findings), coalesce(w.impression, r.impression) FROM study s JOIN report r"
        " ON r.row = s.report_row LEFT JOIN wording w ON w.study = s.key WHERE s.patient_id = %s"
        " ORDER BY s.date DESC, s.study_id"
    )
    reports = tuple(
        OwnReport(study, tuple(named.get(key, {}).values()), *told)
        for key, study, *told in rows(query, (patient,))
    )
    query = (
        "SELECT DISTINCT o.report_id FROM study s JOIN report r ON r.row = s.report_row JOIN report o ON"
        " o.report_id = r.report_id JOIN study t ON t.report_row = o.row WHERE s.patient_id = %s AND"
        " t.patient_id <> %s"
    )
    of_others = {report for (report,) in rows(query, (patient, patient))}
    return PatientReports(patient, reports, sum(report.report_id in of_others for report in reports))


def _patient(rows: Rows, name: str, library: str) -> str:
    query = "SELECT DISTINCT patient_id, site FROM study WHERE patient_id = %s OR study_id = %s ORDER BY site"
    found = rows(query, (name, name))
    if len(sites := sorted({site for _, site in found})) > 1:
        raise _of_sites(name, library, sites)
    if len(found) == 1:
        patient = str(found[0][0])
        # Another hospital's patient of that number is another person.
        query = "SELECT DISTINCT site FROM study WHERE patient_id = %s ORDER BY site"
        if len(sites := [site for (site,) in rows(query, (patient,))]) > 1:
            raise _of_sites(patient, library, sites)
        return patient
    if found:
        raise two_meanings(name, library)
    is_report = bool(rows("SELECT 1 FROM report WHERE report_id = %s", (name,)))
    raise unknown_patient(name, library, is_report, "library")


def statistics_of(rows: Rows, counts: Sequence[int]) -> dict[str, Any]:
    """Counts of everything; what is counted by name, the most frequent first."""
    ((patients, first, last, without),) = rows(
        "SELECT count(DISTINCT patient_id), min(nullif(date, '')), max(nullif(date, '')), count(*) FILTER"
        " (WHERE date = '') FROM study"
    )

    def counted(what: str) -> dict[str, int]:
        return dict(rows(f"SELECT {what} GROUP BY 1 ORDER BY 2 DESC, 1"))

    studies, reports, films = counts
    return {
        "studies": studies,
        "reports": reports,
        "films": films,
        "patients": patients,
        "with_report": studies,
        "labels": counted("label, count(*) FROM report"),
        "views": counted("view, count(*) FROM film"),
        "sources": counted("source, count(*) FROM study"),
        "findings": counted("name, count(DISTINCT study) FROM finding"),
        "dates": {"first": first, "last": last, "without": without},
    }


def _of_sites(name: str, library: str, sites: Sequence[str]) -> Refused:
    """An id that two hospitals gave: a guess would show the reports of a stranger."""
    what = f"{library}: {name!r} is an id of several sites, {', '.join(sites)}"
    return Refused(what, "ask with a login that reads one of them")
