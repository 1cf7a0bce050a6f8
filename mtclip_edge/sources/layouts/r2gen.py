"""``r2gen:DIR``: R2Gen's ``annotation.json`` with its splits, for Open-I (iu_xray) and MIMIC-CXR. Its report
is the findings section.

The file is one JSON object of arrays, read an entry at a time. A copy is about that has a blank key in place
of ``test``. It names neither labels nor views: both are unknown.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import SourceUnusable
from ...folders import user_path
from ...studies import Film, Study
from .. import tables
from ..entries import BadRow, Entry, Item, Layout, Problem, usable
from ..json_arrays import entries as json_entries
from .manifest import split_word

FILE = "annotation.json"
_OPEN_I = re.compile(r"(?:CXR)?(\d+)(?:_.*)?")


def layout(rest: str) -> Layout:
    """Errors: SourceUnusable."""
    path = user_path(rest)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise SourceUnusable(f"{file}: no such file", hint=f"give the folder that holds {FILE}")
    films = file.parent / "images"
    has_films = films.is_dir()
    notes = ("films from images",) if has_films else ("no folder images beside it: reports without films",)
    return Layout(
        f"r2gen:{file.resolve().parent.name}", lambda: _entries(file, films if has_films else None), notes
    )


def _entries(file: Path, films: Path | None) -> Iterator[Item]:
    source, seen = f"r2gen:{file.resolve().parent.name}", set[str]()
    for number, (key, entry) in enumerate(json_entries(file)):
        place = f"{key.strip() or 'blank'} {number + 1}"
        try:
            study, problems = usable(*_study(entry, key, place, films, source))
            if study.study_id in seen:
                raise BadRow(f"study {study.study_id} again", "study again")
            seen.add(study.study_id)
        except BadRow as bad:
            yield Problem(place, str(bad), kind=bad.kind)
            continue
        yield Entry(place, number, study)
        yield from problems


def _study(
    entry: dict[str, Any], key: str, place: str, films: Path | None, source: str
) -> tuple[Study, tuple[Problem, ...]]:
    name = entry.get("id")
    if not isinstance(name, str | int | float) or not (name := tables.word_of(name)):
        raise BadRow("no id")
    study_id, patient = _ids(entry, name)
    present, problems = [], []
    names = entry.get("image_path")
    for image in names if films and isinstance(names, list) else ():
        assert films is not None
        if not isinstance(image, str) or not image or not (films / image).is_file():
            problems.append(Problem(place, f"film not found: {str(image)[:80]}", "film"))
        else:
            present.append(Film(films / image, image))
    report = entry.get("report")
    study = Study(
        study_id=study_id,
        patient_id=patient,
        films=tuple(present),
        findings=" ".join(report.split()) if isinstance(report, str) else "",
        split=split_word(key.strip()) or "test",
        source=source
        if "subject_id" not in entry
        else source.replace("r2gen:", "r2gen-mimic:"),  # whose reports are not public
        extra={"r2gen_id": name},
    )
    return study, tuple(problems)


def _ids(entry: dict[str, Any], name: str) -> tuple[str, str]:
    """Study and patient: MIMIC's own numbers where they are there, Open-I's number before the first
    underscore, else the id itself.
    """
    if "subject_id" in entry and "study_id" in entry:
        return tables.word_of(entry["study_id"]), tables.word_of(entry["subject_id"])
    match = _OPEN_I.fullmatch(name)
    return (match[1], match[1]) if match else (name, name)
