"""Writes that survive a crash: temporary file, fsync, rename. Everything an owner's patients are in is
0600/0700.

It does not lock: see bundle.py. It does not know what the files mean.
"""

import hashlib
import mmap
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PART = 32 << 20  # a larger file is hashed in parts of this size
_ONE_HEADER = threading.Lock()


def load_array(file: Any, *, mapped: bool = False) -> "np.ndarray":
    """An array of a ``.npy`` file, a path or an open one; one at a time: NumPy reads a header by Python's own
    parser, and in CPython 3.11 two threads in that end in a SystemError now and then.

    Errors: OSError, ValueError.
    """
    import numpy as np

    with _ONE_HEADER:
        found: np.ndarray = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    return found


def private_dir(path: Path) -> Path:
    """Create ``path``, and the parents it lacks, readable by their owner only; an existing directory
    keeps its mode.
    """
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
    return path


def replace_with(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, make it durable, then rename it over ``path``.

    A crash or a full disk leaves the old file as it was; the temporary file is removed where that is
    possible.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.chmod(0o600)
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_bytes(path: Path, data: bytes) -> Path:
    return replace_with(path, lambda temporary: _write(temporary, data))


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read through a map so that nothing is copied. Errors: OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                digest.update(view)
    return digest.hexdigest()


def parts_sha256(path: Path) -> str:
    """Hex SHA-256 of the SHA-256 digests of a file's parts, each ``PART`` bytes, hashed on all cores.

    Errors: OSError.
    """
    starts = range(0, path.stat().st_size, PART)
    with ThreadPoolExecutor() as pool:
        return hashlib.sha256(b"".join(pool.map(lambda start: _part(path, start), starts))).hexdigest()


def _part(path: Path, start: int) -> bytes:
    """Read through a small buffer, not a map: what is mapped counts as this process's memory."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = PART
        while left and (count := file.readinto(buffer[: min(left, len(buffer))])):
            digest.update(buffer[:count])
            left -= count
    return digest.digest()


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _fsync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open a directory
        return
    try:
        os.fsync(descriptor)
    except OSError:
        if path.is_file():
            raise
    finally:
        os.close(descriptor)
