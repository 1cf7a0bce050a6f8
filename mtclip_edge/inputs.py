"""What the words on a command line mean as films: paths, folders, patterns, standard input, lists of paths."""

import glob
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import NoFilms, WrongOption
from .images import looks_like_film

Named = tuple[str, Path | bytes]  # the name to show, and the path or the bytes


def expand(words: Sequence[str], *, files_from: str | None = None, recursive: bool = True) -> list[Named]:
    """Films in the order given, those of a folder or pattern sorted. A plain path is kept even if it is missing: the query says so.

    Errors: NoFilms for an empty folder, pattern or list; WrongOption where standard input is asked for twice.
    """
    if files_from == "-" and "-" in words:
        raise WrongOption("standard input cannot be an image and a list of files at once")
    listed = _listed(files_from) if files_from else []
    return [item for word in (*words, *listed) for item in _one(word, recursive, from_list=word in listed)]


def _one(word: str, recursive: bool, from_list: bool) -> Iterable[Named]:
    if word == "-" and not from_list:
        return [("-", sys.stdin.buffer.read())]
    path = Path(word).expanduser()
    if path.is_dir():
        return _folder(path, recursive)
    if not path.exists() and glob.has_magic(word):
        found = sorted(glob.glob(str(path), recursive=recursive))  # noqa: PTH207 - Path.glob takes no absolute pattern
        if not found:
            raise NoFilms(f"{word}: no file matches this pattern")
        return [item for name in found for item in _one(name, recursive, from_list=True)]
    return [(word, path)]


def _folder(folder: Path, recursive: bool) -> list[Named]:
    """Films are told by their content, not by their suffix."""
    walk = folder.rglob("*") if recursive else folder.glob("*")
    found = sorted(path for path in walk if path.is_file() and looks_like_film(path))
    if not found:
        raise NoFilms(f"{folder}: no film in this folder", hint=None if recursive else "add --recursive to look into subfolders")
    return [(str(path), path) for path in found]


def _listed(source: str) -> list[str]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise NoFilms(f"{source}: the list of files cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise NoFilms(f"{source}: the list of files is not UTF-8") from None
    names = [line for line in text.splitlines() if line]
    if not names:
        raise NoFilms(f"{source}: the list of files is empty")
    return names
