"""``chexpert-plus:DIR``: ``df_chexpert_plus_240401.csv`` with a row for each film, and labels as JSON lines.

A film's path in the table is ``train/patient42142/study5/view1_frontal.jpg``; the set itself came as PNG and
as DICOM, so films and labels are matched without the suffix. Labels are those of the whole report where the
file is there, else of the impression, else of the findings; ``labels=FILE`` names another file of
``chexbert_labels``.

Written from the set's own documentation: no file of it was at hand.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import SourceUnusable
from ...folders import user_path
from ...studies import Film, Study, split_of, view_of
from .. import chexpert_labels, json_arrays, tables
from ..chexpert_labels import Positives
from ..entries import BadRow, Layout, Problem, Row, joined, usable
from .manifest import split_word

TABLE = "df_chexpert_plus_*.csv*"
LABELS = ("report_fixed.json", "impression_fixed.json", "findings_fixed.json")
LABEL_FOLDERS = ("chexbert_labels", "")
FILM_FOLDERS = ("", "PNG", "images", "DICOM")
FILM_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
_EXTRA = (
    "age",
    "sex",
    "race",
    "section_clinical_history",
    "section_history",
    "section_comparison",
    "section_technique",
)


def layout(rest: str, options: Mapping[str, str]) -> Layout:
    """Errors: SourceUnusable."""
    folder = user_path(rest)
    table = next(iter(sorted(folder.glob(TABLE), reverse=True)), None)
    if table is None:
        raise SourceUnusable(
            f"{folder}: no df_chexpert_plus_240401.csv", hint="give the folder that holds the table"
        )
    names = (options["labels"],) if "labels" in options else LABELS
    labels = next(
        (p for name in names for place in LABEL_FOLDERS if (p := folder / place / name).is_file()), None
    )
    if "labels" in options and labels is None:
        raise SourceUnusable(
            f"{folder}: no file {options['labels']} of labels", f"expected one of {', '.join(LABELS)}"
        )
    notes = (
        f"films and reports from {table.name}",
        f"labels from {labels.name}" if labels else "no file of labels: all are unknown",
    )
    name = f"chexpert-plus:{folder.resolve().name}"
    return Layout(
        name,
        lambda: joined(partial(_rows, folder, table, Positives(_labels(labels)) if labels else None, name)),
        notes,
    )


def _labels(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """JSON lines, or one array of objects."""
    for place, row in json_arrays.rows(path):
        if row is json_arrays.NOT_JSON:
            raise SourceUnusable(f"{path}: line {place} is not JSON")
        if isinstance(row, dict) and isinstance(row.get("path_to_image"), str):
            yield _stem(row["path_to_image"]), row


def _stem(name: str) -> str:
    """A path without its suffix: ``view1_frontal.jpg`` here is ``view1_frontal.png`` there."""
    head, dot, suffix = name.rpartition(".")
    return head if dot and "/" not in suffix else name


def _rows(folder: Path, table: Path, labels: Positives | None, source: str) -> Iterator[Row | Problem]:
    for place, row in tables.csv_rows(table):
        name = row.get("path_to_image", "")
        if problem := row.get(tables.MISFIT):
            yield Problem(place, problem, kind="another number of fields")
        elif name.count("/") < 2:
            yield Problem(
                place, f"path_to_image {name[:80]!r} names no study", kind="path_to_image names no study"
            )
        else:
            study = "/".join(name.split("/")[-3:-1])
            yield Row(place, study, partial(_study, row, place, study, folder, labels, source))


def _study(
    row: Mapping[str, str],
    place: int | str,
    study_id: str,
    folder: Path,
    labels: Positives | None,
    source: str,
) -> tuple[Study, tuple[Problem, ...]]:
    name = row["path_to_image"]
    film = _film(folder, name, row)
    problems = () if film else (Problem(place, f"film not found: {name[:80]}", "film"),)
    positive = (labels.of(_stem(name)) if labels else None) or ()
    patient = row.get("deid_patient_id") or study_id.split("/")[0]
    findings, impression = (
        " ".join(row.get(f"section_{part}", "").split()) for part in ("findings", "impression")
    )
    study = Study(
        study_id=study_id,
        patient_id=patient,
        films=(film,) if film else (),
        findings=findings,
        impression=impression,
        report="" if findings or impression else " ".join(row.get("report", "").split()),
        label=chexpert_labels.label_of(positive),
        finding_labels=chexpert_labels.findings_of(positive),
        split=_split(row) or split_of(patient),
        source=source,
        extra={column: row[column] for column in _EXTRA if row.get(column)},
    )
    return usable(study, problems)


def _split(row: Mapping[str, str]) -> str:
    """Its column, or the folder its films are in."""
    word = row.get("split", "") or row["path_to_image"].split("/")[0]
    try:
        return split_word(word)
    except BadRow:
        if row.get("split"):
            raise
        return ""


def _film(folder: Path, name: str, row: Mapping[str, str]) -> Film | None:
    stem = _stem(name)
    for place in FILM_FOLDERS:
        for suffix in FILM_SUFFIXES:
            if (path := folder / place / (stem + suffix)).is_file():
                return Film(path, (Path(place) / (stem + suffix)).as_posix(), _view(row))
    return None


def _view(row: Mapping[str, str]) -> str:
    """AP or PA where the film is frontal and its table says which."""
    view = view_of(row.get("frontal_lateral", ""))
    frontal = view_of(row.get("ap_pa", ""))
    return frontal if view == "frontal" and frontal in ("AP", "PA") else view
