"""The reader's marks: what was useful, what was not, and notes, added line by line to a file on this machine.

A mark names its film by a hash with a salt of the file's own, so that two marks on one film can be told to be
of one film, and a hash is of no use beside another file; it never holds a name or a path. What is once
written is never changed.
"""

import csv
import io
import json
import os
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Refused, WrongOption

SCHEMA = "mtclip.marks/1"
KINDS = ("useful", "not", "note")
LONGEST_NOTE = 500
COLUMNS = ("film", "answer", "shown_at", "time", "seconds", "report_id", "rank", "mark", "note", "bundle")


@dataclass(frozen=True)
class Marked:
    """What is marked: the film, as ``Marks.film_id`` calls it, its answer, when that was shown, its reports
    in their order, and the one that is meant, None for the answer as a whole.
    """

    film: str
    answer: str
    shown_at: datetime
    bundle: str
    reports: Sequence[str]
    report_id: str | None


class Marks:
    """An append-only file of marks. Errors: Refused where it cannot be used."""

    def __init__(self, path: Path):
        self._path, self._lock = path, threading.Lock()
        if path.is_dir() or not path.parent.is_dir():
            raise Refused(f"--marks {path}: {'is a folder' if path.is_dir() else f'no folder {path.parent}'}")
        head = self._head()
        if head is None:
            self._salt = secrets.token_hex(16)
            self._append({"schema": SCHEMA, "salt": self._salt})
        else:
            self._salt = head

    def film_id(self, grey: np.ndarray) -> str:
        """What marks call a film: a salted hash of its pixels, uint8 [height, width]."""
        digest = blake2b(digest_size=16, key=bytes.fromhex(self._salt))
        digest.update(str(grey.shape).encode())
        digest.update(np.ascontiguousarray(grey).tobytes())
        return digest.hexdigest()

    def add(self, what: Marked, kind: str, note: str | None) -> dict[str, Any]:
        """The line that was written, and is on the disk. Errors: WrongOption, Refused."""
        if kind not in KINDS:
            raise WrongOption(f"mark {kind[:40]!r}", f"expected {', '.join(KINDS)}")
        if (kind == "note") != bool(note):
            raise WrongOption("a note without words" if kind == "note" else "words without a note")
        if note and len(note) > LONGEST_NOTE:
            raise WrongOption(f"a note of {len(note)} letters", f"expected at most {LONGEST_NOTE}")
        if what.report_id is not None and what.report_id not in what.reports:
            raise WrongOption("report_id", "this answer has no such report")
        now = datetime.now().astimezone()
        line = {
            "film": what.film,
            "answer": what.answer,
            "shown_at": what.shown_at.isoformat(timespec="seconds"),
            "time": now.isoformat(timespec="seconds"),
            "seconds": round((now - what.shown_at).total_seconds(), 1),
            "bundle": what.bundle,
            "reports": list(what.reports),
            "report_id": what.report_id,
            "rank": None if what.report_id is None else list(what.reports).index(what.report_id) + 1,
            "mark": kind,
            "note": note,
        }
        with self._lock:
            self._append(line)
        return line

    def read(self) -> list[dict[str, Any]]:
        """Every mark, in the order of writing; what a crash cut off is passed over. Errors: Refused."""
        return [line for line in self._lines() if "mark" in line]

    def as_json(self) -> str:
        return json.dumps({"schema": SCHEMA, "marks": self.read()}, ensure_ascii=False, indent=1)

    def as_csv(self) -> str:
        """The table of a reader study, a row a mark. A cell that a spreadsheet would compute is quoted."""
        out = io.StringIO()
        table = csv.DictWriter(out, COLUMNS, extrasaction="ignore")
        table.writeheader()
        for line in self.read():
            table.writerow({name: _plain(line.get(name)) for name in COLUMNS})
        return out.getvalue()

    def _head(self) -> str | None:
        """The salt; None where the file is new. Errors: Refused."""
        lines = self._lines()
        if not lines:
            return None
        head = lines[0]
        if head.get("schema") != SCHEMA or not isinstance(head.get("salt"), str):
            raise Refused(f"--marks {self._path}: holds something else than marks", hint="give another file")
        return str(head["salt"])

    def _lines(self) -> list[dict[str, Any]]:
        try:
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        except (OSError, ValueError):
            raise Refused(f"--marks {self._path}: cannot be read") from None
        found = []
        for line in text.splitlines():
            try:
                one = json.loads(line)
            except ValueError:
                continue
            if isinstance(one, dict):
                found.append(one)
        if text.strip() and not found:
            raise Refused(f"--marks {self._path}: holds something else than marks", hint="give another file")
        return found

    def _append(self, line: dict[str, Any]) -> None:
        """One write of a whole line, behind whatever a crash left of another. Errors: Refused."""
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        try:
            with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "rb+") as file:
                size = file.seek(0, os.SEEK_END)
                if size:
                    file.seek(size - 1)
                    data = data if file.read(1) == b"\n" else b"\n" + data
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Refused(f"--marks {self._path}: cannot be written ({error.strerror})") from None


def _plain(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
