"""Films inside something else: a zip of a study, a DICOMDIR. Nothing is unpacked to disk, and a member is read when its turn comes."""

import io
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import IO

from ..errors import FilmUnreadable, MtclipError, NoFilms
from .file_types import HEAD, is_film
from .read import Source

MOST_MEMBERS = 10_000
MOST_BYTES = 8 << 30  # of all members, expanded
LARGEST = 1 << 30  # of one: a film of MAX_PIXELS at 16 bits is 0.4 GB
# What reading a zip's member raises where it is damaged, encrypted (RuntimeError) or compressed in an unknown way.
UNREADABLE_MEMBER = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
_DAMAGED = (*UNREADABLE_MEMBER, OSError, ValueError)
Found = list[tuple[str, Source | MtclipError]]


def zip_films(archive: Path | bytes, name: str) -> Found:
    """The films in a zip, by content and sorted by name, each shown as ``study.zip!inner/name``. What is no film is passed over.

    A zip that cannot be read, or holds no film, stands for itself with its error.
    """
    try:
        with zipfile.ZipFile(_opened(archive)) as opened:
            members = sorted((m for m in opened.infolist() if not m.is_dir()), key=lambda m: m.filename)
            if problem := _too_much(members):
                return [(name, FilmUnreadable(f"{name}: {problem}"))]
            found = [one for member in members if (one := _member(archive, opened, member, name)) is not None]
    except _DAMAGED as error:
        return [(name, FilmUnreadable(f"{name}: the zip cannot be read ({_short(error)})"))]
    return found or [(name, NoFilms(f"{name}: no film in this zip"))]


def _opened(archive: Path | bytes) -> "IO[bytes] | str":
    return io.BytesIO(archive) if isinstance(archive, bytes) else str(archive)


def _too_much(members: list[zipfile.ZipInfo]) -> str:
    """Why a zip is not opened further, by what its own directory claims; a member never expands beyond that."""
    if len(members) > MOST_MEMBERS:
        return f"{len(members)} members, more than {MOST_MEMBERS}"
    total = sum(member.file_size for member in members)
    return f"{total / 1e9:.0f} GB expanded, more than {MOST_BYTES >> 30} GB" if total > MOST_BYTES else ""


def _member(archive: Path | bytes, opened: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> tuple[str, Source | MtclipError] | None:
    """A member that is a film, or may be one but cannot be looked at; None for what is no film."""
    shown = f"{name}!{member.filename}"
    if member.flag_bits & 1:
        return shown, FilmUnreadable(f"{shown}: encrypted")
    if member.file_size > LARGEST:
        return shown, FilmUnreadable(f"{shown}: {member.file_size / 1e9:.1f} GB, more than {LARGEST >> 30} GB")
    try:
        with opened.open(member) as file:
            if not is_film(file.read(HEAD)):
                return None
    except _DAMAGED as error:
        return shown, FilmUnreadable(f"{shown}: cannot be unpacked ({_short(error)})")
    return shown, partial(_read_member, archive, member, shown)


def _read_member(archive: Path | bytes, member: zipfile.ZipInfo, shown: str) -> bytes:
    try:
        with zipfile.ZipFile(_opened(archive)) as opened, opened.open(member) as file:
            return file.read(LARGEST)
    except _DAMAGED as error:
        raise FilmUnreadable(f"{shown}: cannot be unpacked ({_short(error)})") from None


def directory_films(path: Path, name: str) -> Found:
    """The films that a DICOMDIR lists, in its order. A listed file that is missing is named; what is no film is passed over."""
    try:
        listed = _listed(path)
    except Exception:  # of pydicom on damaged data; never shown
        return [(name, FilmUnreadable(f"{name}: damaged DICOMDIR"))]
    found: Found = []
    for parts in dict.fromkeys(listed):
        if (one := _referenced(path.parent, parts, name)) is not None:
            found.append(one)
    return found or [(name, NoFilms(f"{name}: no film in this DICOMDIR"))]


def _listed(path: Path) -> list[tuple[str, ...]]:
    """The file IDs of all image records."""
    from pydicom import dcmread

    from .library_logs import quiet

    data = path.read_bytes()
    if not _whole(data):
        raise EOFError
    with quiet():
        records = dcmread(io.BytesIO(data), specific_tags=["DirectoryRecordSequence"]).DirectoryRecordSequence
        images = [record for record in records if record.get("DirectoryRecordType") == "IMAGE" and record.get("ReferencedFileID")]
        ids = [record.ReferencedFileID for record in images]
    return [(one,) if isinstance(one, str) else tuple(str(part) for part in one) for one in ids]


def _whole(data: bytes) -> bool:
    """Whether the records end where they say. pydicom reads a list that was cut off as a shorter one."""
    at = data.find(b"\x04\x00\x20\x12SQ\0\0")
    length = int.from_bytes(data[at + 8 : at + 12], "little")
    if at < 0:
        return True
    return data.rstrip(b"\0").endswith(b"\xfe\xff\xdd\xe0") if length == 0xFFFFFFFF else at + 12 + length <= len(data)


def _referenced(folder: Path, parts: tuple[str, ...], name: str) -> tuple[str, Source | MtclipError] | None:
    """The file of a record. A file ID's parts are names of folders below the DICOMDIR: nothing in it leads out of there."""
    shown = str(folder.joinpath(*(part for part in parts if part)))
    if any(part in ("", ".", "..") or set(part) & set("/\\:\0") for part in parts):
        return name, FilmUnreadable(f"{name}: a listed file that is not below it")
    path = _below(folder, parts)
    if path is None:
        return shown, FilmUnreadable(f"{shown}: no such file, though {name} lists it")
    from .read import looks_like_film

    return (str(path), path) if looks_like_film(path) else None


def _below(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """The file with these names; a disc's names are often mounted in lower case."""
    for spelled in (parts, tuple(part.lower() for part in parts), tuple(part.upper() for part in parts)):
        path = folder.joinpath(*spelled)
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return path
    return None


def _short(error: BaseException) -> str:
    """The kind of an error: its words may quote what is in the archive."""
    return {"BadZipFile": "damaged", "RuntimeError": "encrypted", "NotImplementedError": "an unknown compression"}.get(
        type(error).__name__, "damaged"
    )
