"""Tables as rows of words: CSV, TAB-separated, JSON lines, Parquet; plain or gzipped, in pieces, with the line each row starts on."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from ..errors import ExtraMissing, SourceUnusable
from ..installation import install_command

MOST_LINE = 16 << 20  # characters: a longer line is no report but a file of another kind
Row = tuple[int | str, dict[str, str]]
MISFIT = "_misfit"  # the column that says how a row does not fit the header


def rows(path: Path, check: Any = None) -> Iterator[Row]:
    """Rows of a table by its name's end. ``check(names)`` sees the header of a CSV or Parquet table before the first row.

    Errors: SourceUnusable (missing, damaged, not UTF-8), ExtraMissing (Parquet without pyarrow).
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet_rows(path, check)
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return _json_rows(path)
    return csv_rows(path, check)


@contextmanager
def reading(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8, gunzipped where its first bytes say so; what may go wrong comes as SourceUnusable."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        how: dict[str, Any] = {"mode": "rt", "encoding": "utf-8-sig", "newline": ""}
        with gzip.open(path, **how) if zipped else path.open(**how) as file:
            yield file
    except FileNotFoundError:
        raise SourceUnusable(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise SourceUnusable(
            f"{path}: not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x})",
            hint="save the table as UTF-8",
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceUnusable(f"{path}: damaged gzip ({error})") from None
    except (OSError, csv.Error) as error:
        raise SourceUnusable(f"{path}: cannot be read: {error}") from None


def csv_rows(path: Path, check: Any = None, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Rows of a CSV or TAB-separated table; values without the space around them.

    ``columns`` names the values by position instead of the header, whose first words must be the same: more values are ignored.
    """
    csv.field_size_limit(MOST_LINE)  # a report may be longer than csv's 128 kB default
    with reading(path) as file:
        header = file.readline(MOST_LINE)
        if not header.strip():
            raise SourceUnusable(f"{path}: empty, expected a table with a header line")
        delimiter = "\t" if header.count("\t") > header.count(",") else ","
        reader = csv.reader(chain([header], lines_of(file, path)), delimiter=delimiter)
        names = [name.strip() for name in next(reader)]
        if check:
            check(names)
        before = reader.line_num
        for values in reader:
            line, before = before + 1, reader.line_num  # a quoted report spans lines: name the one its row starts on
            if values:
                yield line, _named(columns or names, values, exact=columns is None)


def lines_of(file: TextIO, path: Path) -> Iterator[str]:
    """Lines, none longer than ``MOST_LINE``. Errors: SourceUnusable."""
    while line := file.readline(MOST_LINE):
        if len(line) == MOST_LINE:
            raise SourceUnusable(f"{path}: a line of more than {MOST_LINE >> 20} million characters: not a table of reports")
        yield line


def _named(names: Sequence[str], values: list[str], exact: bool) -> dict[str, str]:
    row = {name: value.strip() for name, value in zip(names, values, strict=False)}
    if len(values) != len(names) and (exact or len(values) < len(names)):
        row[MISFIT] = f"{len(values)} fields, expected {len(names)}"
    return row


def _json_rows(path: Path) -> Iterator[Row]:
    with reading(path) as file:
        for number, line in enumerate(lines_of(file, path), 1):
            if line.strip():
                yield number, _json_row(line)


def _json_row(line: str) -> dict[str, str]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {MISFIT: "not JSON"}
    return words_of(found) if isinstance(found, dict) else {MISFIT: "not a JSON object"}


def words_of(values: dict[str, Any]) -> dict[str, str]:
    """JSON values as a table's words: null is empty, a list is joined by ``|``, an object stays JSON."""
    return {name: _word(value) for name, value in values.items()}


def _word(value: Any) -> str:
    if value is None or value != value:  # null, or a table's NaN for it
        return ""
    if isinstance(value, list) and all(isinstance(part, str | int | float) for part in value):
        return "|".join(str(part) for part in value)
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parquet_library() -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``. Errors: ExtraMissing."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ExtraMissing("Parquet needs pyarrow", hint=install_command("parquet")) from None
    return pyarrow, parquet


def _parquet_rows(path: Path, check: Any) -> Iterator[Row]:
    pa, parquet = parquet_library()
    number = 0
    try:
        with parquet.ParquetFile(path, buffer_size=1 << 20) as file:
            if check:
                check(file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", words_of(row)
    except FileNotFoundError:
        raise SourceUnusable(f"{path}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise SourceUnusable(f"{path}: not a readable Parquet file: {str(error)[:120]}") from None
