"""Opens a text file, gunzipped where its first bytes say so, and says in one line what is wrong with it."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from ..errors import SourceUnusable

MOST_LINE = 16 << 20  # characters: a longer line is no report but a file of another kind
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # what Excel calls Unicode text


@contextmanager
def reading(path: Path) -> Iterator[TextIO]:
    """A text file in UTF-8 (or UTF-16 where it begins with its mark); what may go wrong comes as
    SourceUnusable.
    """
    try:
        with path.open("rb") as raw:
            head = raw.read(2)
        how: dict[str, Any] = {
            "mode": "rt",
            "encoding": "utf-16" if head in _UTF_16 else "utf-8-sig",
            "newline": "",
        }
        with gzip.open(path, **how) if head == b"\x1f\x8b" else path.open(**how) as file:
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


def lines_of(file: TextIO, path: Path) -> Iterator[str]:
    """Lines, none longer than ``MOST_LINE``. Errors: SourceUnusable."""
    while line := file.readline(MOST_LINE):
        if len(line) == MOST_LINE:
            raise SourceUnusable(
                f"{path}: a line of more than {MOST_LINE >> 20} million characters: not a table of reports"
            )
        yield line
