"""Reads tables as rows of words: CSV, TAB-separated, JSON lines or array, Parquet; plain or gzipped, with the
line each row starts on.

A number that a table program made of an id (``123.0``) is the id again, and its words for nothing (``nan``,
``<NA>``) are empty.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from ..errors import ExtraMissing, SourceUnusable
from ..installation import install_command
from . import json_arrays
from .text_files import MOST_LINE, lines_of, reading

Row = tuple[int | str, dict[str, str]]
MISFIT = "_misfit"  # the column that says how a row does not fit the header
_NOTHING = frozenset(
    {"nan", "NaN", "NAN", "None", "<NA>", "NaT"}
)  # what pandas writes where there is nothing
_INTEGRAL = re.compile(r"([+-]?\d+)\.0+")
_POWER = re.compile(r"[+-]?\d(?:\.\d+[eE]\+?|[eE]\+)\d{1,2}")  # not 1e5, which may well be an id
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # Excel's own first line
_END = "\x1e\x1e"  # a line behind the last one: whatever takes it in has a quote that is never closed
_NARROW = 4  # columns: in fewer, a sentence with a comma may look like a row


def rows(path: Path, check: Any = None) -> Iterator[Row]:
    """Rows of a table by its name's end. ``check(names)`` sees the header of a CSV or Parquet table before
    the first row.

    Errors: SourceUnusable (missing, damaged, not UTF-8, a quote never closed), ExtraMissing (Parquet without
    pyarrow).
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet_rows(path, check)
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return _json_rows(path)
    return csv_rows(path, check)


def notes_of(path: Path) -> tuple[str, ...]:
    """What is to be said of a table before it is read: the Parquet columns that are left out, by name and
    type. Errors: as ``rows``.
    """
    if not path.name.lower().endswith(".parquet"):
        return ()
    pa, parquet = parquet_library()
    with _parquet_file(path, pa, parquet) as file:
        left = [field for field in file.schema_arrow if not _is_words(field.type, pa)]
    return (
        (f"columns left out: {', '.join(f'{field.name} ({str(field.type)[:60]})' for field in left)}",)
        if left
        else ()
    )


def header_of(path: Path) -> list[str]:
    """The names of a table's columns; none for JSON, whose rows may differ. Errors: as ``rows``."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return []
    if name.endswith(".parquet"):
        pa, parquet = parquet_library()
        with _parquet_file(path, pa, parquet) as file:
            return list(file.schema_arrow.names)
    with reading(path) as file:
        header, delimiter, _ = _header(file, path)
        return _names(header, delimiter)


def csv_rows(path: Path, check: Any = None, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Rows of a CSV or TAB-separated table; values without the space around them.

    ``columns`` names the values by position instead of the header, whose first words must be the same: more
    values are ignored.
    """
    csv.field_size_limit(MOST_LINE)  # a report may be longer than csv's 128 kB default
    with reading(path) as file:
        header, delimiter, before = _header(file, path)
        names = _names(header, delimiter)
        if check:
            check(names)
        quotes = _Quotes(path, delimiter, columns or names, exact=columns is None)
        reader = csv.reader(quotes.lines(lines_of(file, path)), delimiter=delimiter)
        for line, values, merged in quotes.checked(reader, before):
            row = _named(columns or names, values, exact=columns is None)
            yield line, row | {MISFIT: "a quote out of place takes fields into one"} if merged else row


def _header(file: TextIO, path: Path) -> tuple[str, str, int]:
    """The header's line, what separates its names, and how many lines have been read."""
    header = file.readline(MOST_LINE)
    if told := _SEPARATOR_LINE.fullmatch(header):
        return file.readline(MOST_LINE), told[1], 2
    if not header.strip():
        raise SourceUnusable(f"{path}: empty, expected a table with a header line")
    return header, max(",\t;|", key=header.count), 1


def _names(header: str, delimiter: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]


class _Quotes:
    """Refuses a table in which a quote that is never closed, or closed by another row's, swallows rows
    into one report.
    """

    def __init__(self, path: Path, delimiter: str, names: Sequence[str], exact: bool):
        self._path, self._delimiter, self._count, self._exact = path, delimiter, len(names), exact
        self._lines: list[str] = []  # of the row that is being read
        mark = re.escape(delimiter)
        self._out_of_place = re.compile(rf'[^{mark}"]"\s*[^{mark}"\s]')  # a quote with text on both sides

    def lines(self, lines: Iterator[str]) -> Iterator[str]:
        for line in chain(lines, [_END]):
            self._lines.append(line)
            yield line

    def checked(self, reader: Iterator[list[str]], before: int) -> Iterator[tuple[int, list[str], bool]]:
        """Rows that are not empty, with the line each starts on, and whether a quote that is closed in the
        middle of a field has taken several of them into one.

        Errors: SourceUnusable, with the line of the quote's row.
        """
        try:
            for values in reader:
                if values == [_END]:
                    return
                if len(self._lines) > 1:
                    self._refuse_swallowed(values)
                if values:
                    yield before + 1, values, self._merged(values)
                before += len(self._lines)
                self._lines.clear()
        except csv.Error:
            count = len(self._lines) - (self._lines[-1] == _END)
            raise SourceUnusable(
                (
                    f"{self._path}: line {before + 1}: a quote takes {count} lines into one row: it is not "
                    "closed where it should be"
                ),
                hint="close the quote in that row, or write it twice where it stands inside a text",
            ) from None

    def _merged(self, values: list[str]) -> bool:
        """A quoted word at the beginning of a text is none that holds a separator."""
        if len(self._lines) > 1 or not self._out_of_place.search(self._lines[0]):
            return False
        try:
            for _ in csv.reader(self._lines, delimiter=self._delimiter, strict=True):
                pass
        except csv.Error:
            return any(self._delimiter in value for value in values)
        return False

    def _refuse_swallowed(self, values: list[str]) -> None:
        """Errors: csv.Error where a row over several lines has a quote out of place, or most of its lines
        are rows by themselves.
        """
        for _ in csv.reader(self._lines, delimiter=self._delimiter, strict=True):
            pass
        full = sum(self._is_row(line, values[0]) for line in self._lines[1:])
        if self._lines[-1] == _END or full * 2 > len(self._lines) - 1:
            raise csv.Error

    def _is_row(self, line: str, first: str) -> bool:
        """The line that closes the quote, and any line of a narrow table, must begin with an id like the
        row's own too.
        """
        if line.count(self._delimiter) < self._count - 1 or self._count < 2:
            return False
        closes = line.count('"') % 2 == 1
        values = next(csv.reader([line.replace('"', "", 1) if closes else line], delimiter=self._delimiter))
        fits = len(values) == self._count or (not self._exact and len(values) > self._count)
        same = "9" in _shape(first) and _shape(values[0]) == _shape(first)
        return fits and (same or (self._count >= _NARROW and not closes))


def _shape(name: str) -> str:
    """An id's form: ``s21`` and ``s7`` are both ``a9``."""
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d]+", "a", name.strip()))


def _named(names: Sequence[str], values: list[str], exact: bool) -> dict[str, str]:
    row = {name: plain_word(value) for name, value in zip(names, values, strict=False)}
    if len(values) != len(names) and (exact or len(values) < len(names)):
        row[MISFIT] = f"{len(values)} fields, expected {len(names)}"
    return row


def plain_word(word: str) -> str:
    """A cell's word without the space around it: ``123.0`` and ``5.0414267e7`` are integers, pandas'
    words for nothing are empty.
    """
    word = word.strip()
    if word in _NOTHING:
        return ""
    if integral := _INTEGRAL.fullmatch(word):
        return integral[1]
    if _POWER.fullmatch(word) and (number := float(word)).is_integer() and abs(number) < 1 << 53:
        return str(int(number))
    return word


def _json_rows(path: Path) -> Iterator[Row]:
    for place, value in json_arrays.rows(path):
        if isinstance(value, dict):
            yield place, words_of(value)
        else:
            yield place, {MISFIT: "not JSON" if value is json_arrays.NOT_JSON else "not a JSON object"}


def words_of(values: dict[str, Any]) -> dict[str, str]:
    """JSON or Parquet values as a table's words: null is empty, a list is joined by ``|``, an object
    stays JSON.
    """
    return {name: word_of(value) for name, value in values.items()}


def word_of(value: Any) -> str:
    if isinstance(value, str):
        return plain_word(value)
    if value is None or value != value:  # null, or a table's NaN for it
        return ""
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list) and all(isinstance(part, str | int | float) for part in value):
        return "|".join(word_of(part) for part in value)
    if isinstance(value, Decimal):
        return plain_word(str(value))
    return plain_word(json.dumps(value, ensure_ascii=False, default=word_of))


def parquet_library() -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``. Errors: ExtraMissing."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ExtraMissing("Parquet needs pyarrow", hint=install_command("parquet")) from None
    return pyarrow, parquet


def _parquet_file(path: Path, pa: Any, parquet: Any) -> Any:
    try:
        return parquet.ParquetFile(path, buffer_size=1 << 20)
    except FileNotFoundError:
        raise SourceUnusable(f"{path}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise SourceUnusable(f"{path}: not a readable Parquet file: {str(error)[:120]}") from None


def _parquet_rows(path: Path, check: Any) -> Iterator[Row]:
    pa, parquet = parquet_library()
    number = 0
    with _parquet_file(path, pa, parquet) as file:
        names = [field.name for field in file.schema_arrow if _is_words(field.type, pa)]
        if check:
            check(names)
        try:
            for batch in file.iter_batches(batch_size=1024, columns=names):
                columns = [_values(batch.column(name), pa) for name in names]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield f"row {number}", words_of(dict(zip(names, values, strict=True)))
        except (pa.ArrowException, OSError) as error:
            raise SourceUnusable(f"{path}: not a readable Parquet file: {str(error)[:120]}") from None


def _is_words(kind: Any, pa: Any) -> bool:
    """Whether a column's values can be words: not bytes, durations, or what holds them."""
    types = pa.types
    if types.is_dictionary(kind):
        return _is_words(kind.value_type, pa)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_words(kind.value_type, pa)
    if types.is_struct(kind):
        return all(_is_words(kind.field(i).type, pa) for i in range(kind.num_fields))
    plain = (
        types.is_string,
        types.is_large_string,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
        types.is_null,
    )
    return any(
        is_one(kind)
        for is_one in (*plain, types.is_decimal, types.is_date, types.is_time, types.is_timestamp)
    )


def _values(column: Any, pa: Any) -> list[Any]:
    """A column as Python's values; nanoseconds, which Python's times lack, are cut."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    elif pa.types.is_time64(column.type):
        column = column.cast(pa.time64("us"), safe=False)
    try:
        return list(column.to_pylist())
    except (ValueError, LookupError, ImportError):  # a time zone that this machine does not know: UTC serves
        return list(column.cast(pa.timestamp("us")).to_pylist())
