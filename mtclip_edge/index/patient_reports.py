"""All reports that a bundle holds of one patient, by an id of the patient or of one of the studies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Refused
from .store_schema import IS_DENIED

Rows = Callable[[str, Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class OwnReport:
    """The report of one study in the study's own words; ``row`` is its row among the distinct reports,
    ``date`` None where not told, ``label`` the study's own. ``finding_labels``: what the study names and its
    words do not deny.
    """

    study_id: str
    finding_labels: tuple[str, ...]
    date: str | None
    label: str
    row: int
    report_id: str
    text: str
    findings: str
    impression: str


@dataclass(frozen=True)
class PatientReports:
    """``reports`` are the newest first, undated ones last, of one day by study id. ``shared``: how many
    of them other patients have word for word too.
    """

    patient: str = field(repr=False)
    reports: tuple[OwnReport, ...]
    shared: int


def reports_of(rows: Rows, name: str, bundle: Path) -> PatientReports:
    """What a bundle holds of the patient of an id. Errors: Refused, as of ``_patient``."""
    patient = _patient(rows, name, bundle)
    named: dict[str, dict[str, str]] = {}
    query = (
        "SELECT study_id, name FROM study JOIN finding USING (study_id) JOIN report ON report.row = "
        f"report_row WHERE patient_id = ? AND study.label != 'normal' AND NOT {IS_DENIED} "
        "ORDER BY study_id, name"
    )
    for study, finding in rows(query, (patient,)):
        named.setdefault(study, {}).setdefault(finding.lower(), finding)
    query = (
        "SELECT study_id, nullif(date, ''), study.label, report_row, report_id, "
        "coalesce(wording.text, report.text), coalesce(wording.findings, report.findings), "
        "coalesce(wording.impression, report.impression) "
        "FROM study JOIN report ON report.row = report_row LEFT JOIN wording USING (study_id) "
        "WHERE patient_id = ? ORDER BY date DESC, study_id"
    )
    reports = tuple(
        OwnReport(study, tuple(named.get(study, {}).values()), *told)
        for study, *told in rows(query, (patient,))
    )
    query = (
        "SELECT DISTINCT report_row FROM study WHERE patient_id != ? AND report_row IN "
        "(SELECT report_row FROM study WHERE patient_id = ?)"
    )
    of_others = {row for (row,) in rows(query, (patient, patient))}
    return PatientReports(patient, reports, sum(report.row in of_others for report in reports))


def _patient(rows: Rows, name: str, bundle: Path) -> str:
    """The patient that an id means, their own or that of one of their studies.

    Errors: Refused for an id that nothing here has, or that is one patient's own and another's study: a guess
    would show the reports of a stranger.
    """
    query = "SELECT DISTINCT patient_id FROM study WHERE patient_id = ? OR study_id = ?"
    found = rows(query, (name, name))
    if len(found) == 1:
        return str(found[0][0])
    if found:
        raise two_meanings(name, bundle)
    raise unknown_patient(name, bundle, bool(rows("SELECT 1 FROM report WHERE report_id = ?", (name,))))


def two_meanings(name: str, bundle: Path | str) -> Refused:
    """An id that is one patient's own and another's study."""
    return Refused(f"{bundle}: {name!r} is the id of one patient, and of a study of another")


def unknown_patient(name: str, bundle: Path | str, is_report: bool, what: str = "bundle") -> Refused:
    """An id that is no patient's and no study's."""
    if is_report:
        hint = f"mtclip show {bundle} {name} names its studies"
        return Refused(f"{bundle}: {name!r} is a report, which many patients may have", hint=hint)
    return Refused(f"{bundle}: no patient or study {name!r} in this {what}")
