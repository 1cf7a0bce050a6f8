"""No warning and no log line of the libraries that decode films: they would quote what is in a file, and
that may be a patient.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("pydicom", "PIL")
_lock = threading.Lock()
_inside = 0
_saved: "tuple[warnings.catch_warnings[None], list[int]] | None" = None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence for as long as any thread is inside.

    Filters and log levels belong to the process: the last one out restores them.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _saved
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        catcher = warnings.catch_warnings()
        catcher.__enter__()
        warnings.simplefilter("ignore")
        levels = [logging.getLogger(name).level for name in LOGGERS]
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        _saved = catcher, levels


def _leave() -> None:
    global _inside, _saved
    with _lock:
        _inside -= 1
        if _inside or _saved is None:
            return
        catcher, levels = _saved
        for name, level in zip(LOGGERS, levels, strict=True):
            logging.getLogger(name).setLevel(level)
        catcher.__exit__(None, None, None)
        _saved = None
