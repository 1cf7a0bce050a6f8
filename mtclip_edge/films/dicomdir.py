"""A DICOMDIR becomes the films that it lists. What it names is looked up below its own folder only."""

import io
import re
from collections import Counter
from pathlib import Path

from ..errors import FilmUnreadable, NoFilms
from .archives import NamedFilm, NamedFilms, zip_films
from .file_types import head_of, is_directory
from .library_logs import quiet
from .read import looks_like_film


def films_in(holder: Path | bytes, name: str, passed: Counter[str] | None = None) -> NamedFilms:
    """The films of a zip, or of a DICOMDIR by its path; as ``zip_films`` and ``directory_films``."""
    try:
        if isinstance(holder, Path) and is_directory(head_of(holder)):
            return directory_films(holder, name)
    except OSError as error:
        return [(name, FilmUnreadable(f"{name}: cannot be read ({error.strerror})"))]
    return zip_films(holder, name, passed)


def directory_films(path: Path, name: str) -> NamedFilms:
    """The films that a DICOMDIR lists, in its order.

    A listed file that is missing is named; what is no film is passed over.
    """
    try:
        listed = _listed(path)
    except Exception:  # of pydicom on damaged data; never shown
        return [(name, FilmUnreadable(f"{name}: damaged DICOMDIR"))]
    films: NamedFilms = []
    for parts in dict.fromkeys(listed):
        if (film := _referenced(path.parent, parts, name)) is not None:
            films.append(film)
    return films or [(name, NoFilms(f"{name}: no film in this DICOMDIR"))]


def _listed(path: Path) -> list[tuple[str, ...]]:
    """The file IDs of all image records."""
    from pydicom import dcmread

    data = path.read_bytes()
    if not _whole(data):
        raise EOFError
    with quiet():
        records = dcmread(io.BytesIO(data), specific_tags=["DirectoryRecordSequence"]).DirectoryRecordSequence
        images = [
            record
            for record in records
            if record.get("DirectoryRecordType") == "IMAGE" and record.get("ReferencedFileID")
        ]
        ids = [record.ReferencedFileID for record in images]
    return [(one,) if isinstance(one, str) else tuple(str(part) for part in one) for one in ids]


def _whole(data: bytes) -> bool:
    """Whether the records end where they say. pydicom reads a list that was cut off as a shorter one."""
    at = data.find(b"\x04\x00\x20\x12SQ\0\0")
    length = int.from_bytes(data[at + 8 : at + 12], "little")
    if at < 0:
        return True
    return (
        data.rstrip(b"\0").endswith(b"\xfe\xff\xdd\xe0")
        if length == 0xFFFFFFFF
        else at + 12 + length <= len(data)
    )


def _referenced(folder: Path, parts: tuple[str, ...], name: str) -> NamedFilm | None:
    """The file of a record.

    A file ID's parts are names of folders below the DICOMDIR: nothing in it leads out of there.
    """
    parts = tuple(
        name for part in parts for name in re.split(r"[/\\]", part) if name
    )  # some write a path as one name, some begin with \
    if not parts or any(part in (".", "..") or set(part) & set(":\0") for part in parts):
        return name, FilmUnreadable(f"{name}: a listed file that is not below it")
    shown = str(folder.joinpath(*parts))
    path = _below(folder, parts)
    if path is None:
        return shown, FilmUnreadable(f"{shown}: no such file, though {name} lists it")
    return (str(path), path) if looks_like_film(path) else None


def _below(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """The file with these names, however a copy of the disc spells them: in other case, with ``.dcm`` or
    ``;1`` behind.
    """
    path = folder
    for number, part in enumerate(parts):
        wanted = [_plain(part), *((f"{_plain(part)}.dcm",) if number == len(parts) - 1 else ())]
        try:
            there = {_plain(entry.name): entry for entry in sorted(path.iterdir(), reverse=True)}
        except OSError:
            return None
        spelled = path / part
        path = (
            spelled if spelled.exists() else next((there[name] for name in wanted if name in there), spelled)
        )
    return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None


def _plain(name: str) -> str:
    return name.split(";")[0].rstrip(".").casefold()
