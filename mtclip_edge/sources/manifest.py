"""The manifest: a CSV (or TAB-separated) table, one row for each film, or one without a film for a study that has none.

Columns: study_id, patient_id, image_path, view, findings, impression, report, label, finding_labels, split, date. Only ``study_id`` and
one film or text column are required. Rows of one study are joined: their films add up, everything else must agree. Paths are
relative to the manifest. Unknown columns are kept in ``Study.extra``.
"""

import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from ..errors import SourceUnusable
from ..paths import user_path
from ..studies import LABELS, SPLITS, Film, Study, date_of, folded, split_of, view_of
from . import Problem, Reading

TEXT_COLUMNS = ("report", "findings", "impression")
COLUMNS = ("study_id", "patient_id", "image_path", "view", *TEXT_COLUMNS, "label", "finding_labels", "split", "date")
_SPLIT_WORDS = {"val": "validation", "validate": "validation", "valid": "validation", "dev": "validation"}
# What the rows of one study must agree on.
_SHARED = ("patient_id", "report", "findings", "impression", "label", "finding_labels", "split")


class _BadRow(Exception):
    pass


def read(rest: str, spec: str) -> Reading:
    """Read a manifest, or the one in a folder. Bad rows are returned, not raised.

    Errors: SourceUnusable for a missing, undecodable or column-less file.
    """
    path = user_path(rest)
    path = path / "manifest.csv" if path.is_dir() else path
    # What a bundle will say of where a study came from: a name, not a path of this machine.
    name = f"manifest:{path.resolve().parent.name if path.name == 'manifest.csv' else path.name}"
    studies: dict[str, Study] = {}
    problems: list[Problem] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, row in _rows(file, path):
                try:
                    study, film_problem = _study(row, path.parent, name)
                    studies[study.study_id] = _join(studies.get(study.study_id), study, film_problem)
                    if film_problem:
                        problems.append(Problem(line, film_problem, lost="film"))
                    if (word := row.get("date", "")) and not study.date:
                        problems.append(Problem(line, f"date {word[:40]!r}, expected YYYY-MM-DD", lost="date"))
                except _BadRow as bad:
                    problems.append(Problem(line, str(bad)))
    except FileNotFoundError:
        raise SourceUnusable(f"{path}: no such manifest", hint=_nearby(path)) from None
    except UnicodeDecodeError as error:
        raise SourceUnusable(
            f"{path}: not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x})",
            hint="save the table as UTF-8",
        ) from None
    except (OSError, csv.Error) as error:
        raise SourceUnusable(f"{path}: cannot be read: {error}") from None
    return Reading(spec, tuple(studies.values()), tuple(problems))


def _rows(file: TextIO, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a report may be longer than csv's 128 kB default
    header = file.readline()
    if not header.strip():
        raise SourceUnusable(f"{path}: empty, expected a table with a header line")
    delimiter = "\t" if header.count("\t") > header.count(",") else ","
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter)
    names = [name.strip() for name in next(reader)]
    _check_columns(names, path)
    before = reader.line_num
    for values in reader:
        line, before = before + 1, reader.line_num  # a quoted report spans lines: name the one its row starts on
        if values:
            yield line, _named(names, values)


def _named(names: list[str], values: list[str]) -> dict[str, str]:
    row = {name: value.strip() for name, value in zip(names, values, strict=False)}
    if len(values) != len(names):
        row["_misfit"] = f"{len(values)} fields, expected {len(names)}"
    return row


def _check_columns(names: list[str], path: Path) -> None:
    if "study_id" not in names:
        raise SourceUnusable(f"{path}: no column study_id", f"found: {', '.join(names)[:200]}")
    if not {"image_path", *TEXT_COLUMNS} & set(names):
        raise SourceUnusable(f"{path}: neither a film nor a text column", "expected image_path, report, findings or impression")
    if repeated := {name for name in names if names.count(name) > 1}:
        raise SourceUnusable(f"{path}: column {sorted(repeated)[0]} appears twice")


def _study(row: dict[str, str], folder: Path, source: str) -> tuple[Study, str | None]:
    """One row as a study with at most one film, and what was wrong with that film (the text stays usable without it)."""
    if "_misfit" in row:
        raise _BadRow(row["_misfit"])
    if not row["study_id"]:
        raise _BadRow("study_id is empty")
    films, film_problem = _films(row, folder)
    study = Study(
        study_id=row["study_id"],
        patient_id=row.get("patient_id") or row["study_id"],
        films=films,
        findings=row.get("findings", ""),
        impression=row.get("impression", ""),
        report=row.get("report", ""),
        label=_label(row.get("label", "")),
        finding_labels=tuple(part.strip() for part in row.get("finding_labels", "").split("|") if part.strip()),
        split=_split(row.get("split", "")) or split_of(row.get("patient_id") or row["study_id"]),
        source=source,
        date=_date(row.get("date", "")),
        extra={name: value for name, value in row.items() if name not in COLUMNS},
    )
    if not films and not folded(study.text):
        raise _BadRow(film_problem or "neither a film nor a text")
    return study, film_problem


def _films(row: dict[str, str], folder: Path) -> tuple[tuple[Film, ...], str | None]:
    name = row.get("image_path", "")
    if not name:
        return (), None
    path = folder / name
    if not path.is_file():
        return (), f"film not found: {name}"
    return (Film(path, name, view_of(row.get("view", ""))),), None


def _label(word: str) -> str:
    label = word.lower() or "unknown"
    if label not in LABELS:
        raise _BadRow(f"label {word!r}, expected {', '.join(LABELS)} or empty")
    return label


def _date(word: str) -> str:
    """A date no one can read costs no report: it is left out, and said."""
    try:
        return date_of(word)
    except ValueError:
        return ""


def _split(word: str) -> str:
    split = _SPLIT_WORDS.get(word.lower(), word.lower())
    if split and split not in SPLITS:
        raise _BadRow(f"split {word!r}, expected {', '.join(SPLITS)} or empty")
    return split


def _join(known: Study | None, new: Study, film_problem: str | None) -> Study:
    if known is None:
        return new
    for name in _SHARED:
        if getattr(known, name) != getattr(new, name):
            raise _BadRow(f"study {new.study_id} again, with another {name}")
    if not new.films or new.films[0].path in {film.path for film in known.films}:
        raise _BadRow(film_problem or f"study {new.study_id} again, with no new film")
    return replace(known, films=(*known.films, *new.films))


def _nearby(path: Path) -> str | None:
    found = sorted(p.name for p in path.parent.glob("*.csv"))[:3] if path.parent.is_dir() else []
    return f"in that folder: {', '.join(found)}" if found else None
