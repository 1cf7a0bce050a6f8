"""What is expensive is made once a session, by whichever worker comes first."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """``folder`` as made by the first worker that asks; the others wait for it. A failure is met again by each of them."""
    with FileLock(f"{folder}.making"):
        if not (done := folder.with_name(f"{folder.name}.made")).exists():
            make(folder)
            done.touch()
    return folder
