"""Compressed frames through their decoders, each in a process of its own that a damaged file may bring down.

CharLS (pyjpegls) was busy for more than 20 seconds with 2 kB of a damaged stream; GDCM writes to standard
error. So all compiled decoders of DICOM's own compressions run in ``decoder_process``, with limits of time
and memory; it stays alive for the next film. One decoder for each compression, never a choice by what happens
to be installed: lossy ones may differ in the last bit.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SECONDS, SECONDS_A_MEGAPIXEL = 15.0, 2.0  # a hundred times what a frame takes
# What each decoder is: the module it needs and the package that has it. None is under the GPL.
NEEDS = {
    "jpeg": ("gdcm", "python-gdcm"),
    "jpeg_ls": ("jpeg_ls", "pyjpegls"),
    "jpeg_2000": ("openjpeg", "pylibjpeg-openjpeg"),
}

_idle: "list[_Process]" = []
_lock = threading.Lock()


class DecodeFailed(Exception):
    """The decoder refused the frame, died of it, or took too long; the message says which, and quotes
    nothing of the file.
    """


def missing(decoder: str) -> str | None:
    """The package to install where a decoder is not here."""
    module, package = NEEDS[decoder]
    return None if find_spec(module) else package


def decode(decoder: str, frame: bytes, task: Mapping[str, Any]) -> bytes:
    """A frame's pixels, little endian, 8 or 16 bits a sample by the stream's precision.

    Errors: DecodeFailed, MemoryError.
    """
    try:
        process = _take()
    except OSError as error:
        raise DecodeFailed(f"its process cannot be started, {error.strerror}") from None
    try:
        pixels = process.ask({**task, "decoder": decoder}, frame)
    except BaseException:
        process.end()
        raise
    with _lock:
        _idle.append(process)
    if pixels is None:
        raise DecodeFailed("the decoder refuses it")
    return pixels


def _take() -> "_Process":
    with _lock:
        while _idle:
            process = _idle.pop()
            if process.alive:
                return process
            process.end()
    return _Process()


class _Process:
    def __init__(self) -> None:
        self._owner = os.getpid()  # a fork has its parent's pipes: it must not talk through them
        program = str(Path(__file__).with_name("decoder_process.py"))
        # -P: the package's folder must not come before the standard library.
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-P", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    @property
    def alive(self) -> bool:
        return self._owner == os.getpid() and self._child.poll() is None

    def ask(self, task: Mapping[str, Any], frame: bytes) -> bytes | None:
        """The pixels; None where the decoder refuses. Errors: DecodeFailed."""
        seconds = SECONDS + SECONDS_A_MEGAPIXEL * task["rows"] * task["columns"] / 1e6
        late = threading.Event()
        killer = threading.Timer(seconds, self._end_late, [late])
        killer.daemon = True
        killer.start()
        try:
            return self._asked(task, frame)
        except (OSError, EOFError):
            why = (
                f"the decoder did not end within {seconds:.0f} s"
                if late.is_set()
                else "the decoder crashed on it"
            )
            raise DecodeFailed(why) from None
        finally:
            killer.cancel()

    def _asked(self, task: Mapping[str, Any], frame: bytes) -> bytes | None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({**task, "length": len(frame)}).encode() + b"\n")
        self._child.stdin.write(frame)
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        if (length := int(line)) < 0:
            return None
        pixels = self._child.stdout.read(length)
        if len(pixels) != length:
            raise EOFError
        return pixels

    def _end_late(self, late: threading.Event) -> None:
        late.set()
        self._child.kill()

    def end(self) -> None:
        if self._owner == os.getpid():
            self._child.kill()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe
            with suppress(OSError):  # what was not yet written has no reader any more
                pipe.close()
        if self._owner == os.getpid():
            self._child.wait()


@atexit.register
def _end_all() -> None:
    with _lock:
        while _idle:
            _idle.pop().end()
