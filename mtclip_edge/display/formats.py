"""Query results as text: json, jsonl, ids, or a table for a person. Data goes to stdout only."""

import json
import sys
from typing import Any, Protocol

from ..errors import MtclipError, not_among, printable
from ..index.hits import ReportHit
from ..retrieval.results import QueryResult

FORMATS = ("table", "json", "jsonl", "csv", "ids")


class Writer(Protocol):
    """Takes results one by one, so that a folder's answers appear as they come; ``failed``: films that have
    none, which only a list of all films shows.
    """

    def add(self, result: QueryResult) -> None: ...
    def failed(self, name: str, error: MtclipError) -> None: ...
    def close(self) -> None: ...


def choose_format(wanted: str | None) -> str:
    """A table on a terminal, jsonl in a pipe. Errors: WrongOption."""
    if wanted is None:
        return "table" if sys.stdout is not None and sys.stdout.isatty() else "jsonl"
    if wanted not in FORMATS:
        raise not_among("format", wanted, FORMATS)
    return wanted


def writer(name: str, many: bool, full: bool = False, bom: bool = False) -> Writer:
    """The writer of a format; ``json`` of several films is an array, of one film an object. A table of
    several is a line each, unless ``full``; ``bom``: CSV begins with the mark that Excel wants.
    """
    if name == "table" and many and not full:
        from .overview import OverviewWriter

        return OverviewWriter()
    if name == "table":
        from .answer_table import TableWriter

        return TableWriter(full=full)
    if name == "csv":
        from .answer_csv import CsvWriter

        return CsvWriter(bom)
    return {"json": JsonArray() if many else JsonLines(indent=2), "jsonl": JsonLines(), "ids": IdLines()}[
        name
    ]


class JsonLines:
    def __init__(self, indent: int | None = None):
        self._indent = indent

    def add(self, result: QueryResult) -> None:
        print(dumps(result.to_dict(), self._indent), flush=True)

    def failed(self, name: str, error: MtclipError) -> None:
        pass

    def close(self) -> None:
        pass


class JsonArray:
    def __init__(self) -> None:
        self._before = "["

    def add(self, result: QueryResult) -> None:
        print(self._before + "\n" + dumps(result.to_dict(), 2), end="", flush=True)
        self._before = ","

    def failed(self, name: str, error: MtclipError) -> None:
        pass

    def close(self) -> None:
        print("[]" if self._before == "[" else "\n]")


class IdLines:
    """``image TAB rank TAB report_id``; a film found by a text is named ``film:PATH``, a report of the film's
    own patient ``own:report_id``.
    """

    def add(self, result: QueryResult) -> None:
        for hit in result.hits:
            name = hit.report_id if isinstance(hit, ReportHit) else f"film:{printable(hit.film)}"
            print(f"{printable(result.value)}\t{hit.rank}\t{name}", flush=True)
        for hit in result.own_priors.hits if result.own_priors else ():
            print(f"{printable(result.value)}\t{hit.rank}\town:{hit.report_id}", flush=True)

    def failed(self, name: str, error: MtclipError) -> None:
        pass

    def close(self) -> None:
        pass


def dumps(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # a file name that is not UTF-8, a terminal that is not: JSON escapes
        text = json.dumps(value, indent=indent, allow_nan=False)
    return text
