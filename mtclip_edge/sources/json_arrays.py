"""Reads JSON an object at a time, so that memory holds one and a piece of the file: lines, one array, or
an object of arrays.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import SourceUnusable
from .text_files import MOST_LINE, lines_of, reading

PIECE = 1 << 16
MAX_OBJECT = 16 << 20  # characters
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
NOT_JSON = object()


def rows(path: Path) -> Iterator[tuple[int | str, Any]]:
    """Each value of JSON lines, or of one array over as many lines as it likes, with its place; ``NOT_JSON``
    for a line that is none.

    Errors: SourceUnusable for an array that is not JSON to its end.
    """
    with reading(path) as file:
        first = next((line for line in iter(lambda: file.readline(MOST_LINE), "") if line.strip()), "")
    return _array(path) if first.lstrip().startswith("[") else _lines(path)


def _lines(path: Path) -> Iterator[tuple[int | str, Any]]:
    with reading(path) as file:
        for number, line in enumerate(lines_of(file, path), 1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError):
                    yield number, NOT_JSON


def _array(path: Path) -> Iterator[tuple[int | str, Any]]:
    with reading(path) as file:
        text = _Text(file, path, "an array of objects")
        text.expect("[")
        number = 0
        while not text.next_is("]"):
            number += 1
            yield f"entry {number}", text.value()
            if not text.skip(","):
                break
        text.expect("]")


def entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of ``{"train": [{…}, …], …}`` with the key of its array.

    Errors: SourceUnusable for a file of another shape.
    """
    with reading(path) as file:
        text = _Text(file, path, "an object of arrays of objects")
        text.expect("{")
        while text.next_is('"'):
            key = text.value()
            text.expect(":")
            text.expect("[")
            while text.next_is("{"):
                yield key, text.value()
                if not text.skip(","):
                    break
            text.expect("]")
            if not text.skip(","):
                break
        text.expect("}")


class _Text:
    """The file from where it has been read to."""

    def __init__(self, file: TextIO, path: Path, shape: str):
        self._file, self._path, self._shape, self._text, self._at = file, path, shape, "", 0

    def next_is(self, mark: str) -> bool:
        self._skip_space()
        return self._text.startswith(mark, self._at)

    def _skip_space(self) -> None:
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or not self._more():
                return

    def skip(self, mark: str) -> bool:
        there = self.next_is(mark)
        self._at += there
        return there

    def expect(self, mark: str) -> None:
        if not self.skip(mark):
            next_mark = self._text[self._at :].strip()[:1] or "its end"
            raise SourceUnusable(f"{self._path}: not {self._shape}", f"expected {mark}, found {next_mark}")

    def value(self) -> Any:
        """The object or word that begins here; more of the file is read until it is whole."""
        self._skip_space()
        while True:
            try:
                value, self._at = _DECODER.raw_decode(self._text, self._at)
                return value
            except RecursionError:
                raise SourceUnusable(f"{self._path}: JSON nested too deep") from None
            except ValueError as error:
                if len(self._text) - self._at > MAX_OBJECT or not self._more():
                    raise SourceUnusable(f"{self._path}: not JSON ({error})") from None

    def _more(self) -> bool:
        """Twice what is unread, so that a long object is not decoded from its beginning for every piece."""
        piece = self._file.read(max(PIECE, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)
