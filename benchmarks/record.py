"""What a benchmark prints, kept as a file beside the page that shows it: ``--json docs/results/NAME.json``.

A script calls ``measured(parser, measure)``. What ``measure(options)`` prints goes to the terminal as ever,
and into the file as ``figures``: each Markdown table as rows by their headings, each line of JSON as it is,
every other line as text.
"""

import argparse
import io
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

SCHEMA = "mtclip.benchmark/1"
PACKAGES = ("mtclip-edge", "numpy", "onnxruntime", "torch", "hnswlib")


def measured(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], None],
    words: Sequence[str] | None = None,
) -> None:
    """Parse, measure, and write what was printed where ``--json`` wants it."""
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="keep command, data, seed, date and figures there"
    )
    options = parser.parse_args(words)
    if options.json is None:
        measure(options)
        return
    said = _Both(sys.stdout)
    with redirect_stdout(said):
        measure(options)
    script, given = Path(sys.argv[0]), sys.argv[1:] if words is None else words
    document = {
        "schema": SCHEMA,
        "command": _command(script, given),
        **circumstances(options),
        "figures": figures(said.getvalue()),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps(document, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8"
    )


def circumstances(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures rest on; paths as they were given, never made absolute."""
    values = {name: value for name, value in vars(options).items() if name != "json"}
    return {
        "data": values.get("data"),
        "seed": values.get("seed", values.get("seeds")),
        "date": datetime.now(UTC).date().isoformat(),
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in values.items()},
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "versions": {name: number for name in PACKAGES if (number := _version(name))},
    }


def figures(text: str) -> dict[str, list[Any]]:
    """``tables``: lists of rows by heading; ``lines``: what stood between them, lines of JSON as what
    they say.
    """
    tables: list[list[dict[str, Any]]] = []
    lines: list[Any] = []
    headings: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith("|"):
            headings = None
            lines += [json.loads(line) if line.startswith("{") else line.strip()] if line.strip() else []
        elif headings is None:
            headings = _cells(line)
            tables.append([])
        elif not re.fullmatch(r"[|:\- ]+", line):
            tables[-1].append(dict(zip(headings, map(_number, _cells(line)), strict=False)))
    return {"tables": tables, "lines": lines}


class _Both(io.StringIO):
    """Keeps what is written and hands it on."""

    def __init__(self, out: TextIO):
        super().__init__()
        self._out = out

    def write(self, text: str) -> int:
        self._out.write(text)
        return super().write(text)

    def flush(self) -> None:
        self._out.flush()


def _command(script: Path, words: Sequence[str]) -> str:
    where = script.resolve()
    here = Path(__file__).resolve().parents[1]
    named = str(where.relative_to(here)) if where.is_relative_to(here) else script.name
    # Where the checkout lies on one machine is nobody else's business.
    return shlex.join(["python", named, *(word.removeprefix(f"{here}/") for word in words)])


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _number(cell: str) -> float | int | str:
    if re.fullmatch(r"[+-]?\d+", cell):
        return int(cell)
    return float(cell) if re.fullmatch(r"[+-]?\d+\.\d+", cell) else cell


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
