"""``nih:DIR``: NIH ChestX-ray14: ``Data_Entry_2017*.csv`` and the folders ``images*/``. Labels without a
text: for the normal/abnormal loss, SupCon and query sets; the CLIP loss passes them over.

Two names of its header hold a comma without quotes, so columns go by position. ``test_list.txt`` is the test
split where it is there; what it leaves is divided into train and validation by the hash of the patient, 7 to
1.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ...errors import SourceUnusable
from ...folders import user_path
from ...studies import Film, Study, split_of, view_of
from .. import tables
from ..entries import Entry, Item, Layout, Problem
from ..text_files import reading

TABLE, TEST = "Data_Entry_2017*.csv*", "test_list.txt"
COLUMNS = (
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
)
NORMAL = "No Finding"


def layout(rest: str) -> Layout:
    """Errors: SourceUnusable."""
    folder = user_path(rest)
    table = next(iter(sorted(folder.glob(TABLE), reverse=True)), None)
    if table is None:
        raise SourceUnusable(
            f"{folder}: no Data_Entry_2017….csv", hint="give the folder that holds the table"
        )
    has_list = (folder / TEST).is_file()
    films = sorted(p for pattern in ("images*/images", "images*") for p in folder.glob(pattern) if p.is_dir())
    some = ", ".join(str(p.relative_to(folder)) for p in films[:3])
    notes = (
        f"labels from {table.name}",
        f"films from {some}{' …' if len(films) > 3 else ''}" if films else "no folder images*",
        f"the test split is {TEST}" if has_list else f"no {TEST}: splits by the hash of the patient",
    )
    name = f"nih:{folder.resolve().name}"
    return Layout(
        name, lambda: _entries(table, films or [folder], folder / TEST if has_list else None, name), notes
    )


def _entries(table: Path, folders: list[Path], test_list: Path | None, source: str) -> Iterator[Item]:
    test = _names(test_list) if test_list else None
    seen: set[int] = set()
    for number, (place, row) in enumerate(tables.csv_rows(table, partial(_check, table), COLUMNS)):
        name = row.get("Image Index", "")
        key = hash(name)
        if problem := row.get(tables.MISFIT):
            yield Problem(place, problem, kind="another number of fields")
        elif not name or "/" in name or "\\" in name:
            yield Problem(place, "Image Index is empty or no file name")
        elif key in seen:
            yield Problem(place, f"{name[:80]} again", kind="film again")
        elif (path := _film(folders, name)) is None:
            yield Problem(place, f"film not found: {name[:80]}")
        else:
            seen.add(key)
            yield Entry(place, number, _study(row, path, test, source))


def _check(table: Path, names: list[str]) -> None:
    if tuple(names[: len(COLUMNS)]) != COLUMNS:
        raise SourceUnusable(
            f"{table}: not the columns of NIH ChestX-ray14",
            f"found: {', '.join(names)[:200]}",
            f"expected: {', '.join(COLUMNS)}",
        )


def _study(row: Mapping[str, str], path: Path, test: set[int] | None, source: str) -> Study:
    labels = tuple(label.strip() for label in row["Finding Labels"].split("|") if label.strip())
    findings = tuple(label for label in labels if label != NORMAL)
    patient = row["Patient ID"] or path.stem
    return Study(
        study_id=path.stem,
        patient_id=patient,
        films=(Film(path, path.name, view_of(row["View Position"])),),
        label="normal"
        if labels == (NORMAL,)
        else "abnormal"
        if findings and NORMAL not in labels
        else "unknown",
        finding_labels=findings,
        split=_split(path.name, patient, test),
        source=source,
        extra={"age": row["Patient Age"], "sex": row["Patient Gender"]},
    )


def _split(name: str, patient: str, test: set[int] | None) -> str:
    if test is None:
        return split_of(patient)
    if hash(name) in test:
        return "test"
    return "validation" if split_of(patient) == "validation" else "train"


def _names(path: Path) -> set[int]:
    """Hashes of the film names of a list, a line each."""
    with reading(path) as file:
        return {hash(line.strip()) for line in file}


def _film(folders: list[Path], name: str) -> Path | None:
    """The folder that had the last film is asked first: names are in order, and so are the twelve folders."""
    for position, folder in enumerate(folders):
        if (path := folder / name).is_file():
            folders.insert(0, folders.pop(position))
            return path
    return None
