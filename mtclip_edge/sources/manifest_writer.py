"""``mtclip data export``: any source as a manifest: a row for each film, or one without a film for a study
that has none.

Read back it is the same studies. Nothing of a film is copied: paths are relative to the manifest where the
film lies below its folder, else absolute. What the table's own columns do not hold is in three more: the
film's name in its source, the source's name, and everything else as JSON.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from ..errors import Refused, SourceUnusable, WrongOption
from ..files import private_dir, replace_with
from ..progress import Progress, silent, step
from ..studies import Study
from .entries import Entry, Tally
from .layouts.manifest import COLUMNS
from .source import stream_source
from .tables import parquet_library

SUFFIXES = (".csv", ".parquet")
ROWS = 2_000  # in a piece of a Parquet file
Cells = tuple[str, ...]


def export_manifest(
    word: str, to: Path, *, overwrite: bool = False, progress: Progress = silent
) -> list[str]:
    """Write the whole file or none; returns the lines that say what was read and written, in memory that does
    not grow.

    Errors: SourceUnusable, Refused (the file is there), WrongOption (another suffix), ExtraMissing (pyarrow).
    """
    if to.suffix.lower() not in SUFFIXES:
        raise WrongOption(f"--to {to}", f"expected a name that ends with {' or '.join(SUFFIXES)}")
    if to.exists() and not overwrite:
        raise Refused(f"{to}: is there already", hint="add --overwrite, or name another file with --to")
    stream, tally, count = stream_source(word), Tally(), 0

    def rows() -> Iterator[Cells]:
        nonlocal count
        folder = to.resolve().parent
        for item in stream:
            tally.add(item)
            if isinstance(item, Entry):
                for row in rows_of(item.study, folder):
                    count += 1
                    yield row
        tally.refuse_empty(word)

    private_dir(to.parent)
    write = _write_parquet if to.suffix.lower() == ".parquet" else _write_csv
    try:
        with step(progress, "writing the studies"):
            replace_with(to, lambda file: write(file, rows()))
    except UnicodeEncodeError:
        raise SourceUnusable(
            f"{word}: a film's name or a text is not UTF-8, which a manifest must be"
        ) from None
    return [*tally.summary_lines(word, stream.notes), f"{to}: {count} rows"]


def rows_of(study: Study, folder: Path) -> Iterator[Cells]:
    """A study's rows, by ``COLUMNS``; what its films share is repeated."""
    extra = json.dumps(dict(study.extra), ensure_ascii=False) if study.extra else ""
    shared = {
        "study_id": study.study_id,
        "patient_id": study.patient_id,
        "findings": study.findings,
        "impression": study.impression,
        "report": study.report,
        "label": study.label,
        "finding_labels": "|".join(study.finding_labels),
        "split": study.split,
        "date": study.date,
        "origin": study.source,
        "extra": extra,
    }
    films = [
        {"image_path": _path(film.path, folder), "view": film.view, "image_name": film.name}
        for film in study.films
    ]
    for film in films or [{}]:
        row = {**shared, **film}
        yield tuple(row.get(name, "") for name in COLUMNS)


def _path(path: Path, folder: Path) -> str:
    """Of a film in an archive too: the archive's path is what is relative."""
    absolute = path if path.is_absolute() else Path.cwd() / path
    resolved = absolute.parent.resolve() / absolute.name
    return str(resolved.relative_to(folder)) if resolved.is_relative_to(folder) else str(resolved)


def _write_csv(path: Path, rows: Iterator[Cells]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _write_parquet(path: Path, rows: Iterator[Cells]) -> None:
    pa, parquet = parquet_library()
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in _pieces(rows):
            columns = [pa.array(values, pa.string()) for values in zip(*part, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _pieces(rows: Iterator[Cells]) -> Iterator[list[Cells]]:
    """Rows in lists that hold a few megabytes of text, whatever a row is long."""
    part: list[Cells] = []
    held = 0
    for row in rows:
        part.append(row)
        held += sum(map(len, row))
        if len(part) == ROWS or held > 4 << 20:
            yield part
            part, held = [], 0
    if part:
        yield part
