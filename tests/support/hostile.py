"""What a film may do to the process that reads it, as functions that a worker is asked to get its bytes from."""

import os
import socket
import time
from pathlib import Path


def dies() -> bytes:
    os._exit(1)


def sleeps() -> bytes:
    time.sleep(60)
    return b""


def fills_memory() -> bytes:
    return bytes(16 << 30)


def writes_a_file(path: str) -> bytes:
    with Path(path).open("wb") as file:
        file.write(b"x" * 10_000)
    return b""


def calls_home(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return b""
