"""The bytes of a film wherever it lies: a file, or a member of an archive, named ``archive.zip!inner/name`` or ``shard.tar!key.jpg``.

Archives are read in place: nothing is extracted, and a member's name is only ever looked up, never used as a path. A zip may be
compressed; a tar may not, since one member of a compressed tar cannot be read without all before it. A file whose own name holds an
exclamation mark is a file.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zipfile import ZipFile

MARK = "!"
SUFFIXES = (".zip", ".tar")
MAX_BYTES = 512 << 20  # of one member: the largest plain radiograph has about 60 MB uncompressed
_OPEN_ARCHIVES = 8  # their tables of contents are kept: 1 MB for 3,000 members


def read_bytes(path: Path) -> bytes:
    """All bytes of a file or an archive's member. Errors: OSError (missing, unreadable, damaged, larger than ``MAX_BYTES``)."""
    inside = member_of(path)
    return _member_bytes(*inside) if inside else path.read_bytes()


def size(path: Path) -> int:
    """Bytes, uncompressed, without reading them. Errors: OSError."""
    inside = member_of(path)
    if inside is None:
        return path.stat().st_size
    archive, name = inside
    return _zip(archive).getinfo(name).file_size if archive.suffix.lower() == ".zip" else _tar(archive)[name][1]


def exists(path: Path) -> bool:
    """Whether it is a file, or a member of a readable archive."""
    try:
        return member_of(path) is not None or path.is_file()
    except (OSError, ValueError):
        return False


def member_of(path: Path) -> tuple[Path, str] | None:
    """The archive and the member's name in it; None for a plain file. Errors: FileNotFoundError where the archive has no such member."""
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
    from .dicomdir import UNREADABLE_MEMBER

    _check(_zip(archive).getinfo(name).file_size, archive, name)
    try:
        with _zip(archive).open(name) as member:
            return member.read(MAX_BYTES)
    except UNREADABLE_MEMBER as error:
        raise OSError(5, f"{name} cannot be read: {str(error)[:80]}", str(archive)) from None


def _check(length: int, archive: Path, name: str) -> None:
    if length > MAX_BYTES:
        raise OSError(27, f"{name} has {length:,} bytes, more than {MAX_BYTES:,}", str(archive))


def _zip(archive: Path) -> "ZipFile":
    about = archive.stat()
    return _opened_zip(archive, about.st_size, about.st_mtime_ns)


@lru_cache(_OPEN_ARCHIVES)
def _opened_zip(archive: Path, _size: int, _changed: int) -> "ZipFile":
    from zipfile import BadZipFile, ZipFile

    try:
        return ZipFile(archive)
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise OSError(5, f"not a zip: {error}", str(archive)) from None


def _tar(archive: Path) -> dict[str, tuple[int, int]]:
    about = archive.stat()
    return _tar_table(archive, about.st_size, about.st_mtime_ns)


@lru_cache(_OPEN_ARCHIVES)
def _tar_table(archive: Path, _size: int, _changed: int) -> dict[str, tuple[int, int]]:
    """Where each regular member of a tar begins, and its length; of two with one name the later counts, as tar has it."""
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
