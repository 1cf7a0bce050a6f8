"""What a person sees: tables on stdout, progress on stderr, both through rich and readable at 80 columns."""

import sys
from dataclasses import asdict
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from . import NOTICE
from .errors import printable
from .results import QueryResult, ReportHit

_STYLES = {"abnormal": "bold red", "normal": "green", "unknown": "dim"}
_TEXT_LENGTH = 220  # of a report in a table: three or four lines at 80 columns
DEMO = "DEMO BUNDLE: drawn films, invented reports"


class TableWriter:
    def __init__(self, console: Console | None = None):
        self._console = console or Console(highlight=False, markup=False)
        self._results = 0

    def add(self, result: QueryResult) -> None:
        if self._results:
            self._console.print()
        if result.bundle.demo:
            self._console.print(DEMO, style="bold reverse")
        self._console.print(_headline(result, self._console.width))
        for line in _whose(result):
            self._console.print(line, overflow="fold")
        self._console.print(_report_table(result.reports))
        if found := result.films:
            self._console.print(_film_table(found))
        self._console.print(_provenance(result), style="dim")
        self._results += 1

    def close(self) -> None:
        if self._results:
            self._console.print(NOTICE, style="bold")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


class ProgressBars:
    """A bar for each kind of work on stderr; nothing where stderr is not a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what)
        self._bars.update(self._tasks[what], completed=done, total=total)

    def say(self, line: str) -> None:
        """A line of the log above the bars, as it is: neither markup nor wrapping."""
        if self._bars.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> "ProgressBars":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()


def _headline(result: QueryResult, width: int) -> Text:
    """The film or text on one line, cut at its front (a path's end tells more), and what the abnormal head says."""
    name = printable(result.value)
    line = Text(name if len(name) <= width else "…" + name[1 - width :], style="bold")
    if result.abnormal is not None:
        note = "" if result.abnormal.calibrated else " (not calibrated)"
        line.append(f"\nabnormal {100 * result.abnormal.probability:.0f} %{note}", style="not bold")
    return line


def _whose(result: QueryResult) -> list[str]:
    """A line for a study's films, one for a patient's ids where they were asked for."""
    lines = []
    if result.study is not None and len(result.study) > 1:
        left = [f"{printable(film.image.rsplit('/', 1)[-1])} ({film.reason})" for film in result.study if not film.counted]
        lines.append(f"study of {len(result.study)} films" + (f", without {', '.join(left)}" if left else ""))
    if result.input is not None and (ids := result.input.ids) is not None:
        lines.append(printable("  ".join(f"{name.replace('_', ' ')} {value or 'not given'}" for name, value in asdict(ids).items())))
    return lines


def _report_table(hits: list[ReportHit]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=True, header_style="dim")
    table.add_column("#", justify="right")
    table.add_column("similarity", justify="right")
    table.add_column("studies", justify="right")
    table.add_column("label")
    table.add_column("report", ratio=1, overflow="fold")
    for hit in hits:
        label = Text(hit.label, style=_STYLES[hit.label])
        table.add_row(str(hit.rank), f"{hit.score:.3f}", f"×{hit.studies}", label, _report_text(hit))
    return table


def _report_text(hit: ReportHit) -> Text:
    """Impression first, then findings, cut to a few lines."""
    first = hit.impression or hit.text
    rest = hit.findings if hit.impression else ""
    text = Text(_cut(first, _TEXT_LENGTH))
    if rest and len(first) < _TEXT_LENGTH - 20:
        text.append("  " + _cut(rest, _TEXT_LENGTH - len(first)), style="dim")
    return text


def _film_table(hits: list[Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, justify in (("#", "right"), ("similarity", "right"), ("study", "left"), ("label", "left"), ("film", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for hit in hits:
        label = Text(hit.label, style=_STYLES[hit.label])
        table.add_row(str(hit.rank), f"{hit.score:.3f}", Text(printable(hit.study_id)), label, Text(printable(hit.film)))
    return table


def _provenance(result: QueryResult) -> str:
    facts = result.bundle
    return f"{facts.reports} reports of {facts.studies} studies · {facts.search.used} · {facts.precision.name} on {result.device.used}"


def _cut(text: str, length: int) -> str:
    text = " ".join(printable(text).split())
    return text if len(text) <= length else text[: length - 1].rsplit(" ", 1)[0] + "…"


def print_pairs(pairs: list[tuple[str, str]]) -> None:
    """Names and values in two columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(printable(name), printable(value))
    Console(highlight=False, markup=False).print(table)


def print_checks(checks: list[Any]) -> None:
    """The findings of ``mtclip doctor``."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    styles = {"ok": "green", "note": "yellow", "bad": "bold red"}
    for check in checks:
        table.add_row(Text(check.state, style=styles[check.state]), check.name, printable(check.found))
    Console(highlight=False, markup=False).print(table)
