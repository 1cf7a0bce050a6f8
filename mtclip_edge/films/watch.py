"""A folder that films arrive in: each is given once, when it is whole."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import NoFilms
from .read import looks_like_film

INTERVAL = 0.5  # seconds between two looks
State = tuple[int, int]  # size and time of a file


def arrivals(
    folder: Path, recursive: bool = True, *, wait: Callable[[float], None] = time.sleep
) -> Iterator[list[Path]]:
    """For ever: the films that came since the last look (the first one is now), sorted, possibly none.

    A film is whole when two looks find it with the same size and time: a scanner or a copy may still be
    writing. What lies there at the start is not given; a file that is replaced is. Memory holds the names
    that lie in the folder now, however many have passed.

    Errors: NoFilms for a folder that is missing or goes away.
    """
    return _arrivals(folder, recursive, _look(folder, recursive), wait)


def _arrivals(
    folder: Path, recursive: bool, given: dict[Path, State], wait: Callable[[float], None]
) -> Iterator[list[Path]]:
    seen: dict[Path, State] = {}
    while True:
        wait(INTERVAL)
        now = _look(folder, recursive)
        whole = sorted(
            path
            for path, state in now.items()
            if given.get(path) != state and seen.get(path) == state and state[0]
        )
        given = {path: state for path, state in given.items() if path in now} | {
            path: now[path] for path in whole
        }
        seen = now
        yield [path for path in whole if looks_like_film(path)]


def _look(folder: Path, recursive: bool) -> dict[Path, State]:
    states: dict[Path, State] = {}
    open_folders = [folder]
    while open_folders:
        here = open_folders.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        open_folders += [Path(entry.path)] if recursive else []
                    elif entry.is_file():
                        status = entry.stat()
                        states[Path(entry.path)] = (status.st_size, status.st_mtime_ns)
        except OSError as error:
            if here == folder:
                raise NoFilms(f"{folder}: cannot be watched ({error.strerror})") from None
            # a file or subfolder that went away while we looked is simply not there
    return states
