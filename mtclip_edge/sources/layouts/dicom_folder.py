"""``dicom:DIR``: a tree of DICOM files, with reports from ``DIR/reports.csv`` or ``reports=FILE`` by
accession number or study UID.

Headers only are read; pixels are read when a film is asked for. Files of one StudyInstanceUID are one study,
wherever they lie. Chest radiographs are taken; what else a folder of a PACS holds (CT, knees, structured
reports, objects without pixels) is passed over and counted by kind. Each file's path, view and study are
held; reports are not.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import ExtraMissing, SourceUnusable
from ...films.file_types import head_of, is_dicom, is_picture, is_zip, kind_of
from ...films.gate_facts import DIGITISED, RADIOGRAPHS, elsewhere, is_chest
from ...films.library_logs import quiet
from ...folders import user_path
from ...studies import Film, Study, date_of, has_words, split_of, view_of
from .. import tables
from ..entries import BadRow, Entry, Item, Layout, PassedOver, Problem
from .manifest import label_of, split_word, tables_in

REPORTS = ("reports.csv", "reports.tsv", "reports.csv.gz", "reports.jsonl", "reports.parquet")
TAGS = (
    "SOPInstanceUID",
    "StudyInstanceUID",
    "AccessionNumber",
    "PatientID",
    "StudyDate",
    "ViewPosition",
    "Modality",
    "BodyPartExamined",
    "SeriesDescription",
    "StudyDescription",
    "SOPClassUID",
    "Rows",
    "Columns",
)
_NO_DICOM = "not DICOM"
_ACCESSION = ("accession", "accession_number", "AccessionNumber")
_STUDY_UID = ("study_uid", "study_instance_uid", "StudyInstanceUID")


@dataclass(slots=True)
class _Held:
    """What the headers say of one study."""

    patient: str
    accession: str
    date: str
    films: list[tuple[str, str]] = field(default_factory=list)


def layout(rest: str, options: Mapping[str, str]) -> Layout:
    """Errors: SourceUnusable, ExtraMissing (pydicom)."""
    folder = user_path(rest)
    if not folder.is_dir():
        raise SourceUnusable(f"{folder}: no such folder")
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise ExtraMissing("DICOM needs pydicom", hint="pip install pydicom") from None
    beside = next((folder / name for name in REPORTS if (folder / name).is_file()), None)
    reports = user_path(options["reports"]) if "reports" in options else beside
    if reports is not None and not reports.is_file():
        raise SourceUnusable(f"{reports}: no such file")
    name = f"dicom:{folder.resolve().name}"
    notes: tuple[str, ...] = (
        f"reports from {reports.name}" if reports else "no table of reports: films without reports",
    )
    if unread := [path.name for path in tables_in(folder) if path != reports]:
        notes = (
            *notes,
            (
                f"not read: {', '.join(unread[:3])} beside the DICOM files; {unread[0]} by itself: "
                f"manifest:{folder / unread[0]}"
            ),
        )
    return Layout(
        name,
        lambda: _entries(folder, reports, name),
        (*notes, *(tables.notes_of(reports) if reports else ())),
    )


def _entries(folder: Path, reports: Path | None, source: str) -> Iterator[Item]:
    held: dict[str, _Held] = {}
    yield from _headers(folder, held, reports)
    number = 0
    if reports:
        accessions = Counter(study.accession for study in held.values() if study.accession)
        uid_of = {study.accession: uid for uid, study in held.items() if accessions[study.accession] == 1}
        for place, row in tables.rows(reports):
            try:
                uid = _uid_of(row, held, uid_of, accessions)
                study, problems = _with_report(_study(uid, held[uid], folder, source), row, place)
            except BadRow as bad:
                yield Problem(place, str(bad), kind=bad.kind)
                continue
            del held[uid]
            yield Entry(place, number, study)
            yield from problems
            number += 1
    for uid, headers in held.items():
        yield Entry(headers.films[0][0], number, _study(uid, headers, folder, source))
        number += 1


def _headers(folder: Path, held: dict[str, _Held], reports: Path | None) -> Iterator[Problem | PassedOver]:
    """Fill ``held`` from every DICOM file of the tree, in the order of their paths; what else lies there
    is counted by its kind.
    """
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        header = _header(path)
        if isinstance(header, str):
            if header != _NO_DICOM or path.suffix.lower() in (".dcm", ".dicom"):
                yield Problem(name, header, "film", "not a readable DICOM file")
            elif path != reports:
                yield PassedOver(name, f"no DICOM: {_kind(path)}")
            continue
        if rule := _another_kind(header):
            yield PassedOver(name, rule)
            continue
        uid = _word(header, "StudyInstanceUID") or _word(header, "SOPInstanceUID") or name
        patient = _word(header, "PatientID") or f"unnamed-{hashlib.sha256(uid.encode()).hexdigest()[:16]}"
        study = held.setdefault(
            uid, _Held(patient, _word(header, "AccessionNumber"), _word(header, "StudyDate"))
        )
        if study.patient != patient:
            yield Problem(name, "another PatientID than the study's first file", "film")
            continue
        study.films.append((name, view_of(_word(header, "ViewPosition"))))


def _kind(path: Path) -> str:
    head = head_of(path)
    return "a picture" if is_picture(head) else "a zip" if is_zip(head) else kind_of(head)


def _another_kind(header: Any) -> str | None:
    """Why a DICOM object is no chest radiograph; None for one, and for a radiograph that does not say of
    what.
    """
    modality, told = (
        _word(header, "Modality").upper(),
        re.fullmatch(r"[A-Z]{2,16}", _word(header, "Modality").upper()),
    )
    named = f"modality {modality}" if told else "an object of no modality"
    if not header.get("Rows") or not header.get("Columns"):
        private = not (_word(header, "SOPClassUID") or "1.2.840.10008.").startswith("1.2.840.10008.")
        return f"{'a private object' if private else named} without pixels"
    part = _word(header, "BodyPartExamined").upper()
    words = part or f"{_word(header, 'SeriesDescription')} {_word(header, 'StudyDescription')}".upper()
    if modality in DIGITISED:
        return None if is_chest(words) else f"{named} that names no chest"
    if modality not in RADIOGRAPHS:
        return named
    region = elsewhere(words)
    return f"a radiograph of another region ({region})" if region else None


def _header(path: Path) -> Any:
    """A file's header without its pixels, or why there is none."""
    import pydicom

    try:
        if not is_dicom(head_of(path)):
            return _NO_DICOM
        with quiet():  # of values against the standard's letter: they are read as they stand
            return pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=list(TAGS), force=True
            )  # a bare one has no preamble
    except (
        Exception
    ) as error:  # pydicom raises what it meets: struct.error, KeyError, NotImplementedError, OSError, …
        return f"damaged header ({type(error).__name__})"


def _word(header: Any, name: str) -> str:
    try:
        value = header.get(name)
    except Exception:  # a value that cannot be decoded
        return ""
    return "" if value is None else " ".join(str(value).replace("\0", " ").split())


def _study(uid: str, headers: _Held, folder: Path, source: str) -> Study:
    try:
        date = date_of(headers.date)
    except ValueError:
        date = ""
    return Study(
        study_id=uid,
        patient_id=headers.patient,
        films=tuple(Film(folder / name, name, view) for name, view in headers.films),
        split=split_of(headers.patient),
        source=source,
        date=date,
        extra={"accession": headers.accession} if headers.accession else {},
    )


def _uid_of(
    row: Mapping[str, str],
    held: Mapping[str, _Held],
    uid_of: Mapping[str, str],
    accessions: Mapping[str, int],
) -> str:
    if problem := row.get(tables.MISFIT):
        raise BadRow(problem, "another number of fields")
    uid = next((row[name] for name in _STUDY_UID if row.get(name)), "")
    accession = next((row[name] for name in _ACCESSION if row.get(name)), "")
    if not uid and not accession:
        raise BadRow("neither an accession number nor a study UID")
    if not uid and accessions.get(accession, 0) > 1:
        raise BadRow("an accession number of several studies: name the study UID")
    study_uid = uid or uid_of.get(accession, "")
    if study_uid not in held:
        raise BadRow("a report of no study here, or of one that has its report already")
    return study_uid


def _with_report(study: Study, row: Mapping[str, str], place: int | str) -> tuple[Study, tuple[Problem, ...]]:
    """The report, label and split of a row. A split of the table goes before the hash of the patient."""
    label, problems = label_of(row.get("label", ""), place)
    study = replace(
        study,
        findings=row.get("findings", ""),
        impression=row.get("impression", ""),
        report=row.get("report", ""),
        label=label,
        finding_labels=tuple(
            part.strip() for part in row.get("finding_labels", "").split("|") if part.strip()
        ),
        split=split_word(row.get("split", "")) or study.split,
    )
    if not has_words(study.text) and study.label == "unknown":
        raise BadRow("neither a report nor a label")
    return study, problems
