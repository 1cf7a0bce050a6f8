"""The log of a node: what happened, in counts and hashes; never a name, an id or a word of a header."""

import hashlib
import logging
import os
import socket
import sys
import time
import warnings
from logging.handlers import RotatingFileHandler
from typing import Any

from ..errors import Refused
from .settings import Log

LOGGER = logging.getLogger("mtclip.node")
_THEIRS = ("pydicom", "pynetdicom", "highdicom", "PIL", "uvicorn")


def begin(log: Log, show_ids: bool) -> None:
    """Log to a file that is turned over, or to standard error, and silence the libraries for good: their
    warnings quote patients. Errors: Refused.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if log.file is not None:
        try:
            handler = _PrivateLog(
                log.file, maxBytes=log.largest, backupCount=log.kept, encoding="utf-8", errors="replace"
            )
        except OSError as error:
            raise Refused(f"{log.file}: cannot be written ({error.strerror})") from None
    formatter = logging.Formatter("%(asctime)sZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    logging.raiseExceptions = False  # a full disk under the log is not the end of the node
    for name in _THEIRS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")
    _shown.whole = show_ids


class _PrivateLog(RotatingFileHandler):
    """Each file of it is its owner's alone."""

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Shown:
    whole = False


_shown = _Shown()


def tell(what: str, **facts: object) -> None:
    """A line: what happened, and facts by name."""
    said = " ".join(f"{name}={_word(value)}" for name, value in facts.items() if value is not None)
    LOGGER.info("%s", f"{what} {said}".rstrip())


def _word(value: object) -> str:
    word = f"{value:.3g}" if isinstance(value, float) else str(value)
    return f'"{word}"' if " " in word else word


def short(uid: str) -> str:
    """What stands for a UID in the log."""
    return uid if _shown.whole else hashlib.blake2b(uid.encode(), digest_size=5).hexdigest()


def notify(state: str) -> None:
    """Tell systemd, where it started this process (sd_notify(3)): READY=1, STOPPING=1, WATCHDOG=1."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as there:
            there.connect("\0" + address[1:] if address.startswith("@") else address)
            there.sendall(state.encode())
    except OSError:  # a node without its systemd still works
        pass
