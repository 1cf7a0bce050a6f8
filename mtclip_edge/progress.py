"""How a long piece of work tells what it does: lines for the log, and counts for a progress bar.

By default it is silent.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]  # what, done, total


def say(line: str) -> None:
    """A line on standard error: what is said there never mixes with data."""
    print(line, file=sys.stderr)


def silent(*_: object) -> None:
    """Says nothing; serves as a Say and as a Progress."""


@contextmanager
def step(progress: Progress, what: str) -> Iterator[None]:
    """A piece of work that has no parts to count, told as none of one and then one of one."""
    progress(what, 0, 1)
    yield
    progress(what, 1, 1)
