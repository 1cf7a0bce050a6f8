"""One JSON object of arrays of objects, ``{"train": [{…}, …], …}``, an object at a time: memory holds one and a piece of the file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from ..errors import SourceUnusable
from .tables import reading

PIECE = 1 << 16
MAX_OBJECT = 16 << 20  # characters
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object with the key of its array. Errors: SourceUnusable for a file of another shape."""
    with reading(path) as file:
        text = _Text(file, path)
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

    def __init__(self, file: TextIO, path: Path):
        self._file, self._path, self._text, self._at = file, path, "", 0

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
        found = self.next_is(mark)
        self._at += found
        return found

    def expect(self, mark: str) -> None:
        if not self.skip(mark):
            found = self._text[self._at :].strip()[:1] or "its end"
            raise SourceUnusable(f"{self._path}: not an object of arrays of objects", f"expected {mark}, found {found}")

    def value(self) -> Any:
        """The object or word that begins here; more of the file is read until it is whole."""
        self._skip_space()
        while True:
            try:
                found, self._at = _DECODER.raw_decode(self._text, self._at)
                return found
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
