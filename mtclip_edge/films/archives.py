"""The bytes of a film wherever it lies: a file, or a member of an archive, named ``archive.zip!inner/name``
or ``shard.tar!key.jpg``; and the films that a zip given to a query holds.

Archives are read in place: nothing is extracted, and a member's name is only ever looked up, never used as a
path. A zip may be compressed; a tar may not, since one member of a compressed tar cannot be read without all
before it. A file whose own name holds an exclamation mark is a file.
"""

import io
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FilmUnreadable, MtclipError, NoFilms
from .file_types import HEAD, is_film, kind_of
from .film import FilmSource

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

MARK = "!"
SUFFIXES = (".zip", ".tar")
MAX_BYTES = 512 << 20  # of one member: the largest plain radiograph has about 60 MB uncompressed
MOST_MEMBERS = 10_000  # of a zip that is given as films
MOST_BYTES = 8 << 30  # of all its members, expanded
LARGEST = 1 << 30  # of one: a film of MAX_PIXELS at 16 bits is 0.4 GB
NamedFilm = tuple[str, FilmSource | MtclipError]  # the name to show; where the film is, or why there is none
NamedFilms = list[NamedFilm]
_OPEN_ARCHIVES = 8  # their tables of contents are kept: 1 MB for 3,000 members


def read_bytes(path: Path) -> bytes:
    """All bytes of a file or an archive's member.

    Errors: OSError (missing, unreadable, damaged, larger than ``MAX_BYTES``).
    """
    inside = member_of(path)
    return _member_bytes(*inside) if inside else path.read_bytes()


def size(path: Path) -> int:
    """Bytes, uncompressed, without reading them. Errors: OSError."""
    inside = member_of(path)
    if inside is None:
        return path.stat().st_size
    archive, name = inside
    return (
        _zip(archive).getinfo(name).file_size if archive.suffix.lower() == ".zip" else _tar(archive)[name][1]
    )


def exists(path: Path) -> bool:
    """Whether it is a file, or a member of a readable archive."""
    try:
        return member_of(path) is not None or path.is_file()
    except (OSError, ValueError):
        return False


def member_of(path: Path) -> tuple[Path, str] | None:
    """The archive and the member's name in it; None for a plain file.

    Errors: FileNotFoundError where the archive has no such member.
    """
    text = str(path)
    if MARK not in text or path.is_file():
        return None
    for suffix in SUFFIXES:
        head, mark, name = text.partition(suffix + MARK)
        if mark and (archive := Path(head + suffix)).is_file():
            names = _zip(archive).NameToInfo if suffix == ".zip" else _tar(archive)
            if name not in names:
                raise FileNotFoundError(2, "no such member", text)
            return archive, name
    return None


def _member_bytes(archive: Path, name: str) -> bytes:
    if archive.suffix.lower() == ".tar":
        start, length = _tar(archive)[name]
        _check(length, archive, name)
        with archive.open("rb") as file:
            file.seek(start)
            data = file.read(length)
        if len(data) != length:
            raise OSError(5, f"the archive ends within {name}", str(archive))
        return data
    _check(_zip(archive).getinfo(name).file_size, archive, name)
    try:
        with _zip(archive).open(name) as member:
            return member.read(MAX_BYTES)
    except unreadable_member() as error:
        raise OSError(5, f"{name} cannot be read: {str(error)[:80]}", str(archive)) from None


def _check(length: int, archive: Path, name: str) -> None:
    if length > MAX_BYTES:
        raise OSError(27, f"{name} has {length:,} bytes, more than {MAX_BYTES:,}", str(archive))


def _zip(archive: Path) -> "ZipFile":
    state = archive.stat()
    return _opened_zip(archive, state.st_size, state.st_mtime_ns)


@lru_cache(_OPEN_ARCHIVES)
def _opened_zip(archive: Path, _size: int, _changed: int) -> "ZipFile":
    from zipfile import BadZipFile, ZipFile

    try:
        return ZipFile(archive)
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise OSError(5, f"not a zip: {error}", str(archive)) from None


def _tar(archive: Path) -> dict[str, tuple[int, int]]:
    state = archive.stat()
    return _tar_table(archive, state.st_size, state.st_mtime_ns)


@lru_cache(_OPEN_ARCHIVES)
def _tar_table(archive: Path, _size: int, _changed: int) -> dict[str, tuple[int, int]]:
    """Where each regular member of a tar begins, and its length; of two with one name the later counts,
    as tar has it.
    """
    import tarfile

    table: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header
                if member.isreg() and not member.issparse():
                    table[member.name] = member.offset_data, member.size
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise OSError(5, f"not an uncompressed tar: {error}", str(archive)) from None
    return table


def zip_films(archive: Path | bytes, name: str, passed: Counter[str] | None = None) -> NamedFilms:
    """The films in a zip, by content and sorted by name, each shown as ``study.zip!inner/name``. What is no
    film is counted in ``passed``.

    A zip that cannot be read, or holds no film, stands for itself with its error.
    """
    try:
        with _opened(archive) as opened:
            members = sorted((m for m in opened.infolist() if not m.is_dir()), key=lambda m: m.filename)
            if problem := _too_much(members):
                return [(name, FilmUnreadable(f"{name}: {problem}"))]
            others: Counter[str] = Counter()
            looked = (_member(archive, opened, member, name, others) for member in members)
            films = [film for film in looked if film is not None]
            if passed is not None and films:
                passed.update(others)
    except _damaged() as error:
        return [(name, FilmUnreadable(f"{name}: the zip cannot be read ({_short(error)})"))]
    return films or [(name, NoFilms(f"{name}: no film in this zip"))]


def unreadable_member() -> tuple[type[Exception], ...]:
    """What reading a zip's member raises where it is damaged, encrypted (RuntimeError) or compressed in
    an unknown way.
    """
    import zipfile  # a plain film needs none of these
    import zlib

    try:
        from lzma import LZMAError
    except ImportError:  # a Python built without it: RuntimeError
        return zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError
    return zipfile.BadZipFile, zlib.error, LZMAError, EOFError, RuntimeError, NotImplementedError


def _damaged() -> tuple[type[Exception], ...]:
    return (*unreadable_member(), OSError, ValueError)


def _opened(archive: Path | bytes) -> "ZipFile":
    from zipfile import ZipFile

    return ZipFile(io.BytesIO(archive) if isinstance(archive, bytes) else str(archive))


def _too_much(members: "list[ZipInfo]") -> str:
    """Why a zip is not opened further, by what its own directory claims; a member never expands beyond
    that.
    """
    if len(members) > MOST_MEMBERS:
        return f"{len(members)} members, more than {MOST_MEMBERS}"
    total = sum(member.file_size for member in members)
    return f"{total / 1e9:.0f} GB expanded, more than {MOST_BYTES >> 30} GB" if total > MOST_BYTES else ""


def _member(
    archive: Path | bytes, opened: "ZipFile", member: "ZipInfo", name: str, others: Counter[str]
) -> NamedFilm | None:
    """A member that is a film, or may be one but cannot be looked at; None for what is no film, counted
    in ``others``.
    """
    shown = f"{name}!{member.filename}"
    if member.flag_bits & 1:
        return shown, FilmUnreadable(f"{shown}: encrypted")
    if member.file_size > LARGEST:
        return shown, FilmUnreadable(
            f"{shown}: {member.file_size / 1e9:.1f} GB, more than {LARGEST >> 30} GB"
        )
    try:
        with opened.open(member) as file:
            head = file.read(HEAD)
        if not is_film(head):
            others[kind_of(head)] += 1
            return None
    except _damaged() as error:
        return shown, FilmUnreadable(f"{shown}: cannot be unpacked ({_short(error)})")
    return shown, ZipMember(archive, member.header_offset, shown)


@dataclass(frozen=True)
class ZipMember:
    """A film in a zip: a call gives its bytes. Its place tells it from another member of the same name."""

    archive: Path | bytes
    offset: int
    shown: str

    def __call__(self) -> bytes:
        """Errors: FilmUnreadable."""
        try:
            with _opened(self.archive) as opened:
                member = next((m for m in opened.infolist() if m.header_offset == self.offset), None)
                if member is None:
                    raise FilmUnreadable(f"{self.shown}: no such member")
                with opened.open(member) as file:
                    return file.read(LARGEST)
        except _damaged() as error:
            raise FilmUnreadable(f"{self.shown}: cannot be unpacked ({_short(error)})") from None


def _short(error: BaseException) -> str:
    """The kind of an error: its words may quote what is in the archive."""
    kinds = {
        "BadZipFile": "damaged",
        "RuntimeError": "encrypted",
        "NotImplementedError": "an unknown compression",
    }
    return kinds.get(type(error).__name__, "damaged")
