"""The manifest: a table with one row for each film, or one without a film for a study that has none.

CSV, TAB-separated, JSON lines or Parquet. Columns: study_id, patient_id, image_path, view, findings,
impression, report, label, finding_labels, split, date. Only ``study_id`` and one film or text column are
required. Rows of one study are joined: their films add up, everything else must agree. Paths are relative to
the manifest. Unknown columns are kept in ``Study.extra``. open_clip's names are understood: ``filepath`` is a
film and, without a study_id, its study too; ``title`` is its report. ``Study ID`` and the like are read as
what they spell, and ``map=…`` (``--map``) names the rest.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from sys import intern

from ...errors import SourceUnusable
from ...films.archives import exists
from ...folders import spellings, user_path
from ...studies import LABELS, SPLITS, Film, Study, date_of, split_of, view_of
from .. import mesh_labels, tables
from ..column_names import OPEN_CLIP, ColumnMap, check_mapped, meant_for, parse
from ..entries import BadRow, Layout, Problem, Row, joined, usable
from ..text_files import reading

TEXT_COLUMNS = ("report", "findings", "impression")
# What mtclip data export writes beside these: the film's name in its own source, the name of that source, and
# what else it said, as JSON.
OWN_COLUMNS = ("image_name", "origin", "extra")
COLUMNS = (
    "study_id",
    "patient_id",
    "image_path",
    "view",
    *TEXT_COLUMNS,
    "label",
    "finding_labels",
    "split",
    "date",
    *OWN_COLUMNS,
)
_WORDS = ("study_id", "patient_id", *TEXT_COLUMNS, "label")  # never an object of JSON
NAMES = tuple(f"manifest.{end}" for end in ("csv", "tsv", "jsonl", "parquet", "csv.gz", "tsv.gz", "jsonl.gz"))
_SPLIT_WORDS = {"val": "validation", "validate": "validation", "valid": "validation", "dev": "validation"}
_NO_EXTRA: dict[str, str] = {}  # one for all: words and dictionaries that are the same are held once
_MESH_COLUMNS = ("mesh_major", "mesh")


def layout(rest: str, options: Mapping[str, str]) -> Layout:
    """A manifest, or the one in a folder.

    Errors: SourceUnusable for a missing, undecodable or column-less file.
    """
    path = user_path(rest)
    if path.is_dir():
        path = next((path / name for name in NAMES if (path / name).is_file()), path / NAMES[0])
    if not path.exists():
        raise SourceUnusable(f"{path}: no such manifest", hint=_nearby(path))
    # What a bundle will say of where a study came from: a name, not a path of this machine.
    name = f"manifest:{path.resolve().parent.name if path.name in NAMES else path.name}"
    rule = options.get("abnormal", "mesh")
    columns = parse(options.get("map", ""), COLUMNS)
    notes = (*tables.notes_of(path), *_column_notes(path, columns))
    return Layout(name, lambda: joined(lambda: _rows(path, name, rule, columns)), notes)


def _rows(path: Path, name: str, rule: str, columns: ColumnMap) -> Iterator[Row | Problem]:
    names: dict[tuple[str, ...], dict[str, str]] = {}  # by the columns of a row, which JSON lines may change
    for place, raw in tables.rows(path, partial(_check_columns, path=path, rule=rule, columns=columns)):
        theirs = tuple(raw)
        if theirs not in names:
            names[theirs] = columns.names(theirs, COLUMNS)
        row = columns.renamed(raw, names[theirs])
        if "filepath" in raw and "study_id" not in row:
            row["study_id"] = row["image_path"]
        if problem := row.get(tables.MISFIT):
            yield Problem(place, problem, kind="another number of fields" if "fields" in problem else "")
        elif not row.get("study_id"):
            yield Problem(place, "study_id is empty")
        else:
            yield Row(place, row["study_id"], partial(study_of, row, place, path.parent, name, rule))


def _check_columns(names: Sequence[str], path: Path, rule: str, columns: ColumnMap) -> None:
    if repeated := {name for name in names if names.count(name) > 1}:
        raise SourceUnusable(f"{path}: column {sorted(repeated)[0]} appears twice")
    check_mapped(columns, names, str(path))
    renamed = columns.names(names, COLUMNS)
    held = {renamed.get(name, name) for name in names}
    if "study_id" not in held and "filepath" not in names:
        raise SourceUnusable(
            f"{path}: no column study_id",
            f"found: {', '.join(names)[:200]}",
            _did_you_mean("study_id", names),
        )
    if not {"image_path", *TEXT_COLUMNS} & held:
        hint = _did_you_mean("report", names) or _did_you_mean("image_path", names)
        raise SourceUnusable(
            f"{path}: neither a film nor a text column",
            "; ".join(("expected image_path, report, findings or impression", *tables.notes_of(path))),
            hint,
        )
    if rule != "mesh" and not set(_MESH_COLUMNS) & held:
        raise SourceUnusable(
            f"{path}: abnormal={rule} needs the MeSH terms", f"expected a column {' or '.join(_MESH_COLUMNS)}"
        )


def _did_you_mean(column: str, names: Sequence[str]) -> str | None:
    meant = meant_for(column, [name for name in names if name not in COLUMNS])
    return f"did you mean --map '{meant}={column}'?" if meant else None


def _column_notes(path: Path, columns: ColumnMap) -> Iterator[str]:
    """Columns that were read by another name, and one that looks like the patient's and was not."""
    names = tables.header_of(path)
    renamed = {
        theirs: ours for theirs, ours in columns.names(names, COLUMNS).items() if theirs not in OPEN_CLIP
    }
    if renamed:
        yield "columns read: " + ", ".join(f"{theirs} as {ours}" for theirs, ours in renamed.items())
    if names and "patient_id" not in {*names, *renamed.values()}:
        told = _did_you_mean(
            "patient_id", [name for name in names if name not in COLUMNS and name not in renamed]
        )
        if told:
            yield f"no column patient_id: each study counts as a patient of its own; {told}"


def study_of(
    row: Mapping[str, str], place: int | str, folder: Path, source: str, rule: str = "mesh"
) -> tuple[Study, tuple[Problem, ...]]:
    """One row as a study with at most one film, and what was wrong beside it (the text stays usable
    without its film).
    """
    if nested := next((name for name in _WORDS if _is_object(row.get(name, ""))), None):
        raise BadRow(f"{nested} is a JSON object, expected words", "a JSON object in the place of words")
    films, problems = _films(row, place, folder)
    label, unread = label_of(row.get("label", ""), place)
    problems = (*problems, *unread)
    patient = row.get("patient_id") or row["study_id"]
    study = Study(
        study_id=row["study_id"],
        patient_id=patient,
        films=films,
        findings=row.get("findings", ""),
        impression=row.get("impression", ""),
        report=row.get("report", ""),
        label=intern(label),
        finding_labels=tuple(
            intern(part.strip()) for part in row.get("finding_labels", "").split("|") if part.strip()
        ),
        split=intern(split_word(row.get("split", ""))) or split_of(patient),
        source=row.get("origin") or source,
        extra=_extra(row),
        registries=_registries(row, folder),
    )
    if rule != "mesh":
        terms = next((row[name] for name in _MESH_COLUMNS if row.get(name)), "")
        study = replace(study, label=mesh_labels.label_of(mesh_labels.terms_of(terms), rule))
    if word := row.get("date", ""):
        try:
            study = replace(study, date=date_of(word))
        except ValueError:  # a date no one can read costs no report: it is left out, and said
            problems = (
                *problems,
                Problem(place, f"date {word[:40]!r}, expected YYYY-MM-DD", "date", "a date that is none"),
            )
    return usable(study, problems)


def _is_object(word: str) -> bool:
    """Whether a word is an object of JSON, which may hold all rows of a column as pandas writes them."""
    try:
        return word.startswith("{") and isinstance(json.loads(word), dict)
    except (ValueError, RecursionError):
        return False


def _registries(row: Mapping[str, str], folder: Path) -> tuple[str, ...]:
    """Tables of one folder, or of one word in a column ``source``, are parts of one set: ``train.csv``
    and ``test.csv``.
    """
    named = row.get("origin") or row.get("source")
    folder_key = intern(f"folder {folder.resolve()}")
    return (folder_key, intern(named)) if named else (folder_key,)


def _films(
    row: Mapping[str, str], place: int | str, folder: Path
) -> tuple[tuple[Film, ...], tuple[Problem, ...]]:
    name = row.get("image_path", "")
    if not name:
        return (), ()
    here = next((spelling for spelling in spellings(name) if exists(folder / spelling)), None)
    if here is None:
        return (), (Problem(place, f"film not found: {name}", "film"),)
    return (Film(folder / here, row.get("image_name") or here, view_of(row.get("view", ""))),), ()


def _extra(row: Mapping[str, str]) -> dict[str, str]:
    """What is in columns of no meaning here, and in the JSON of ``extra``."""
    extra = {name: value for name, value in row.items() if name not in COLUMNS}
    if word := row.get("extra", ""):
        try:
            held = json.loads(word)
        except (ValueError, RecursionError):
            held = None
        if isinstance(held, dict):  # as data export wrote them: a comparison may well be "None"
            extra |= {
                name: value if isinstance(value, str) else tables.word_of(value)
                for name, value in held.items()
            }
        else:
            extra["extra"] = word
    return extra or _NO_EXTRA


def label_of(word: str, place: int | str) -> tuple[str, tuple[Problem, ...]]:
    """A label as its word says, none guessed; where the word is no label, unknown and the problem: film
    and report stay usable.
    """
    label = word.lower() or "unknown"
    if label in LABELS:
        return label, ()
    return "unknown", (
        Problem(
            place,
            f"label {word[:40]!r}, expected {', '.join(LABELS)} or empty",
            "label",
            "a label that is none",
        ),
    )


def split_word(word: str) -> str:
    """A source's word for a split as ours; empty stays empty. Errors: BadRow."""
    split = _SPLIT_WORDS.get(word.lower(), word.lower())
    if split and split not in SPLITS:
        raise BadRow(f"split {word!r}, expected {', '.join(SPLITS)} or empty", "a split that is none")
    return split


def tables_in(folder: Path) -> list[Path]:
    """The files of a folder that have a manifest's columns, by their first line; Parquet by its name's
    end.
    """
    ends = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".jsonl", ".parquet")
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name.lower().endswith(ends) and _is_manifest(path)
    ]


def _is_manifest(path: Path) -> bool:
    if path.name.lower().endswith(".parquet"):
        return True
    try:
        with reading(path) as file:
            header = file.readline(1 << 16)
    except SourceUnusable:
        return False
    return "study_id" in header or "filepath" in header


def _nearby(path: Path) -> str | None:
    tables_there = sorted(p.name for p in path.parent.glob("*.csv"))[:3] if path.parent.is_dir() else []
    return f"in that folder: {', '.join(tables_there)}" if tables_there else None
