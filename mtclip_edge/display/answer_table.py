"""Answers as tables on a terminal, through rich, readable at 80 columns."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..evidence.evidence import Evidence
from ..index.hits import ReportHit
from ..notice import DEMO, NOTICE
from ..retrieval.results import QueryResult
from .answer_words import (
    abnormal_words,
    film_words,
    margin_words,
    named_words,
    provenance_words,
    score_words,
    verdict_words,
    vote_rows,
)

_STYLES = {"abnormal": "bold red", "normal": "green", "unknown": "dim"}
_VERDICTS = {"confident": "not bold green", "uncertain": "not bold yellow", "abstain": "not bold red"}
_HIT_LINES, _MOST_LINES = 14, 4  # for the texts of all hits together, and of one
_FINDINGS, _SHARE = 3, 9  # findings in the table of votes, columns of one of its numbers


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
        if result.reports or not result.rejected:
            self._console.print(_report_table(result.reports, self._console))
        if films := result.films:
            self._console.print(_film_table(films))
        if evidence := result.evidence:
            self._evidence(evidence)
        self._console.print(provenance_words(result), style="dim", overflow="ellipsis", no_wrap=True)
        self._results += 1

    def _evidence(self, evidence: Evidence) -> None:
        if evidence.agreement:
            self._console.print(_agreement_table(evidence, self._console.width))
        if evidence.contrast.abnormal or evidence.contrast.normal:
            self._console.print(_contrast(evidence, self._console))
        if words := margin_words(evidence):
            self._console.print(words, style="dim")

    def close(self) -> None:
        if self._results:
            self._console.print(NOTICE, style="bold")


def _headline(result: QueryResult, width: int) -> Text:
    """The film or text on one line, cut at its front (a path's end tells more); what the head says and
    how far to trust it.
    """
    name = printable(result.value)
    line = Text(name if len(name) <= width else "…" + name[1 - width :], style="bold")
    if result.abnormal is not None:
        line.append(f"\n{abnormal_words(result.abnormal)}", style="not bold")
    if result.abnormal is not None and result.evidence is not None:
        verdict = result.evidence.judgement.verdict
        line.append(
            f"\n{_cut(verdict_words(result.evidence), width)}",
            style=_VERDICTS.get(verdict or "", "not bold dim"),
        )
    if result.input is not None and (words := film_words(result.input)):
        line.append(
            f"\n{_cut(words, (9 if result.rejected else 2) * width)}",
            style="bold red" if result.rejected else "not bold yellow",
        )
    return line


def _whose(result: QueryResult) -> list[str]:
    """A line for a study's films, one for a patient's ids where they were asked for."""
    lines = []
    if result.study is not None and len(result.study) > 1:
        left = [
            f"{printable(film.image.rsplit('/', 1)[-1])} ({film.reason})"
            for film in result.study
            if not film.counted
        ]
        lines.append(f"study of {len(result.study)} films" + (f", without {', '.join(left)}" if left else ""))
    if result.input is not None and (ids := result.input.ids) is not None:
        lines.append(
            printable(
                "  ".join(
                    f"{name.replace('_', ' ')} {value or 'not given'}" for name, value in asdict(ids).items()
                )
            )
        )
    return lines


def _report_table(hits: list[ReportHit], console: Console) -> Table:
    """A few lines for each report, fewer the more there are: with five, and all that stands beside them,
    30 lines are enough.
    """
    compared = any(hit.percentile is not None for hit in hits)
    columns = ["#", "similarity", *(["percentile"] if compared else []), "studies", "label"]
    cells = [
        [
            Text(str(h.rank)),
            Text(score_words(h.score)),
            *([_percentile(h)] if compared else []),
            Text(f"×{h.studies}"),
            _label(h.label),
        ]
        for h in hits
    ]
    table = _plain_table()
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if name == "label" else "right", no_wrap=True)
        table.columns[place].width = max([len(name), *(len(row[place]) for row in cells)])
    room = console.width - sum(column.width or 0 for column in table.columns) - 2 * len(columns)
    table.add_column("report", width=max(room, 10))
    lines = min(_MOST_LINES, max(1, _HIT_LINES // max(1, len(hits))))
    for hit, row in zip(hits, cells, strict=True):
        table.add_row(*row, _lines(_report_text(hit), console, max(room, 10), lines))
    return table


def _percentile(hit: ReportHit) -> Text:
    return Text("" if hit.percentile is None else f"{hit.percentile:.0f}")


def _label(label: str) -> Text:
    return Text(label, style=_STYLES[label])


def _report_text(hit: ReportHit) -> Text:
    """What it says of the findings asked for, then impression, then findings."""
    text = Text(f"[{printable(words)}]  " if (words := named_words(hit)) else "", style="")
    text.append(_flat(hit.impression or hit.text))
    if hit.impression and hit.findings:
        text.append("  " + _flat(hit.findings), style="dim")
    return text


def _lines(text: Text, console: Console, width: int, most: int) -> Text:
    """The first lines of a text as it wraps at a width; an ellipsis says that there is more."""
    wrapped = text.wrap(console, width)
    kept = wrapped[:most]
    if len(wrapped) > most:
        kept[-1].rstrip()
        kept[-1].truncate(width - 1)
        kept[-1].append("…")
    return Text("\n").join(kept)


def _agreement_table(evidence: Evidence, width: int) -> Table:
    """How the hits vote: their label, and the findings that most of them name."""
    table, rows = _plain_table(), vote_rows(evidence, _FINDINGS)
    longest = max([16, *(len(printable(name)) for name, *_ in rows)])
    table.add_column("agreement", no_wrap=True, overflow="ellipsis", width=min(longest, width - 3 * _SHARE))
    for name in ("hits", "index", "lift"):
        table.add_column(name, justify="right", no_wrap=True, width=_SHARE - 2)
    for name, *shares in rows:
        table.add_row(Text(printable(name)), *shares)
    return table


def _contrast(evidence: Evidence, console: Console) -> Text:
    """The nearest report of either label, one line each."""
    lines = []
    for label, hit in (("abnormal", evidence.contrast.abnormal), ("normal", evidence.contrast.normal)):
        if hit is not None:
            line = Text(f"nearest {label}".ljust(16), style=_STYLES[label]).append(
                f"  {score_words(hit.score)}  ", style="not bold default"
            )
            lines.append(line + _lines(_report_text(hit), console, max(console.width - len(line), 10), 1))
    return Text("\n").join(lines)


def _plain_table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")


def _film_table(hits: list[Any]) -> Table:
    table = _plain_table()
    for name, justify in (
        ("#", "right"),
        ("similarity", "right"),
        ("study", "left"),
        ("label", "left"),
        ("film", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for hit in hits:
        label = Text(hit.label, style=_STYLES[hit.label])
        table.add_row(
            str(hit.rank), f"{hit.score:.3f}", Text(printable(hit.study_id)), label, Text(printable(hit.film))
        )
    return table


def _flat(text: str) -> str:
    """On one line, whatever it holds."""
    return printable(" ".join(text.split()))


def _cut(text: str, length: int) -> str:
    text = _flat(text)
    return text if len(text) <= length else text[: length - 1].rsplit(" ", 1)[0] + "…"
