"""``padchest:DIR``: PadChest's table (a row for each film, reports in Spanish) and its films, 16-bit PNG in
numbered folders or zips.

``['normal']`` alone is normal; labels that say nothing of disease (exclude, unchanged, suboptimal study)
alone, or none, are unknown; the rest are abnormal. A list that is cut off is unknown, whatever it begins
with. Films deeper than 8 bits are scaled, never clipped, when they are read. Zips are read in place.

Written from the set's documentation and public code: no file of it was at hand.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ...errors import SourceUnusable
from ...films.archives import MARK, exists
from ...folders import user_path
from ...studies import Film, Study, date_of, split_of, view_of
from .. import tables
from ..entries import Layout, Problem, Row, joined, usable

TABLE = "PADCHEST_chest_x_ray_images_labels*.csv*"
NEUTRAL = frozenset({"exclude", "unchanged", "suboptimal study"})
_PLAIN = NEUTRAL | {"normal"}  # whatever case a copy writes them in
_LIST = re.compile(
    r"\[\s*(('[^']*'|\"[^\"]*\")(\s*,\s*('[^']*'|\"[^\"]*\"))*)?\s*,?\s*\]"
)  # whole, to its bracket
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def layout(rest: str) -> Layout:
    """Errors: SourceUnusable."""
    folder = user_path(rest)
    table = next(iter(sorted(folder.glob(TABLE), reverse=True)), None)
    if table is None:
        raise SourceUnusable(
            f"{folder}: no {TABLE.split('*')[0]}….csv", hint="give the folder that holds the table"
        )
    name = f"padchest:{folder.resolve().name}"
    return Layout(
        name,
        lambda: joined(partial(_rows, folder, table, name)),
        (f"films, reports and labels from {table.name}",),
    )


def _rows(folder: Path, table: Path, source: str) -> Iterator[Row | Problem]:
    for place, row in tables.csv_rows(table):
        if problem := row.get(tables.MISFIT):
            yield Problem(place, problem, kind="another number of fields")
        elif not row.get("StudyID"):
            yield Problem(place, "StudyID is empty")
        else:
            yield Row(place, row["StudyID"], partial(_study, row, place, folder, source))


def _study(
    row: Mapping[str, str], place: int | str, folder: Path, source: str
) -> tuple[Study, tuple[Problem, ...]]:
    film = _film(row, folder)
    problems = () if film else (Problem(place, f"film not found: {row.get('ImageID', '')[:80]}", "film"),)
    is_whole = not row.get("Labels") or _LIST.fullmatch(row["Labels"]) is not None
    labels = labels_of(row.get("Labels", "")) if is_whole else ()
    if not is_whole:
        problems = (*problems, Problem(place, "a list of labels that is cut off or no list", "label"))
    patient = row.get("PatientID") or row["StudyID"]
    date = ""
    if word := row.get("StudyDate_DICOM", ""):
        try:
            date = date_of(word.removesuffix(".0"))
        except ValueError:
            problems = (*problems, Problem(place, f"date {word[:40]!r}", "date", "a date that is none"))
    study = Study(
        study_id=row["StudyID"],
        patient_id=patient,
        films=(film,) if film else (),
        report=" ".join(row.get("Report", "").split()),
        label=label_of(labels),
        finding_labels=tuple(label for label in labels if label != "normal" and label not in NEUTRAL),
        split=split_of(patient),
        source=source,
        date=date,
        extra={"labelled_by": row.get("MethodLabel", "")},
    )
    return usable(study, problems)


def labels_of(word: str) -> tuple[str, ...]:
    """The labels of a field such as ``['normal', 'unchanged']``, each once; nothing of it is evaluated."""
    words = ((single or double).strip().replace("|", " ") for single, double in _QUOTED.findall(word))
    plain = (label.lower() if label.lower() in _PLAIN else label for label in words if label)
    return tuple(dict.fromkeys(plain))


def label_of(labels: tuple[str, ...]) -> str:
    if labels == ("normal",):
        return "normal"
    told = set(labels) - NEUTRAL
    return "abnormal" if told and "normal" not in told else "unknown"


def _film(row: Mapping[str, str], folder: Path) -> Film | None:
    """In its numbered folder, its numbered zip, or in the folder itself."""
    image, number = row.get("ImageID", ""), row.get("ImageDir", "").removesuffix(".0")
    if not image or "/" in image or "\\" in image:
        return None
    for name in (
        f"{number}/{image}",
        f"{number}.zip{MARK}{image}",
        f"{number}.zip{MARK}{number}/{image}",
        image,
    ):
        if exists(path := folder / name):
            return Film(path, name, view_of(row.get("Projection", "") or row.get("ViewPosition_DICOM", "")))
    return None
