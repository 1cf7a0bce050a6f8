"""Answers as tables on a terminal, through rich, readable at 80 columns."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..errors import MtclipError, printable
from ..evidence.evidence import Evidence
from ..index.hits import ReportHit
from ..notice import DEMO, NOTICE
from ..retrieval.results import QueryResult
from .answer_words import (
    OWN_HEADING,
    abnormal_words,
    film_words,
    films_of_study_words,
    findings_of,
    margin_words,
    named_words,
    own_words,
    percentile_words,
    provenance_words,
    score_words,
    study_words,
    verdict_words,
    vote_rows,
)

_STYLES = {"abnormal": "bold red", "normal": "green", "unknown": "dim"}
# Never a colour of a label: how far to trust a call is not what is called.
_TRUST = {"confident": "bold cyan", "uncertain": "not bold cyan", "abstain": "not bold magenta"}
_STUDY = 14  # columns of a study's id; a longer one is cut at its front, --full shows it
_HIT_LINES, _MOST_LINES = 14, 4  # for the texts of all hits together, and of one
_FINDINGS, _SHARE = 3, 11  # findings in the table of votes, columns of one of its numbers


class TableWriter:
    """``full``: whole reports with all that is known of them, instead of a few lines each."""

    def __init__(self, console: Console | None = None, full: bool = False):
        self._console = console or Console(highlight=False, markup=False)
        self._results, self._full = 0, full

    def add(self, result: QueryResult) -> None:
        if self._results:
            self._console.print()
        if result.bundle.demo:
            self._console.print(DEMO, style="bold reverse")
        self._console.print(_headline(result, self._console.width))
        for line in _whose(result):
            self._console.print(line, overflow="fold")
        if result.reports or not result.rejected:
            self._reports(result.reports)
        if result.reports and result.reports[0].percentile is not None:
            self._console.print(f"nearest report: {percentile_words(result.reports[0].percentile)}")
        if films := result.films:
            self._console.print(_film_table(films))
        if evidence := result.evidence:
            self._evidence(evidence, result)
        if own := result.own_priors:
            heading = Text(f"\n{OWN_HEADING}: ", style="bold").append(own_words(own), style="not bold")
            self._console.print(heading)
            if own.hits:
                self._reports(list(own.hits))
            self._console.print()
        self._console.print(provenance_words(result), style="dim", overflow="ellipsis", no_wrap=True)
        self._results += 1

    def _reports(self, hits: list[ReportHit]) -> None:
        if not self._full:
            self._console.print(_report_table(hits, self._console))
            return
        for hit in hits:
            self._console.print(_full_heading(hit))
            self._console.print(Padding(_full_report(hit), (0, 0, 0, 3)))

    def _evidence(self, evidence: Evidence, result: QueryResult) -> None:
        if evidence.agreement:
            self._console.print(_agreement_table(result, self._console.width))
        if evidence.contrast.abnormal or evidence.contrast.normal:
            self._console.print(_contrast(evidence, self._console))
        if words := margin_words(evidence):
            self._console.print(words, style="dim")

    def failed(self, name: str, error: MtclipError) -> None:
        pass

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
            f"\n{_flat(verdict_words(result.evidence))}",
            style=_TRUST.get(verdict or "", "not bold dim"),
        )
    if result.input is not None and (words := film_words(result.input)):
        line.append(
            f"\n{_flat(words)}",
            style="bold red" if result.rejected else "not bold yellow",
        )
    return line


def _whose(result: QueryResult) -> list[str]:
    """A line for a study's films, one for a patient's ids where they were asked for."""
    lines = [words] if (words := films_of_study_words(result)) else []
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
    dated = any(hit.date for hit in hits)
    columns = ["#", "similarity", "study", *(["date"] if dated else []), "label"]
    cells = [
        [
            Text(str(h.rank)),
            Text(score_words(h.score)),
            Text(_study(h)),
            *([Text(h.date or "")] if dated else []),
            _label(h.label),
        ]
        for h in hits
    ]
    table = _plain_table()
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place < 2 else "left", no_wrap=True)
        table.columns[place].width = max([len(name), *(len(row[place]) for row in cells)])
    room = console.width - sum(column.width or 0 for column in table.columns) - 2 * len(columns)
    table.add_column("report", width=max(room, 10))
    lines = min(_MOST_LINES, max(1, _HIT_LINES // max(1, len(hits))))
    for hit, row in zip(hits, cells, strict=True):
        table.add_row(*row, _lines(_report_text(hit), console, max(room, 10), lines))
    return table


def _study(hit: ReportHit) -> str:
    words = printable(study_words(hit))
    return words if len(words) <= _STUDY else "…" + words[1 - _STUDY :]


def _full_heading(hit: ReportHit) -> Text:
    line = Text(f"{hit.rank}. {score_words(hit.score)}  ").append_text(_label(hit.label))
    return line.append(f"  report {hit.report_id}", style="dim")


def _full_report(hit: ReportHit) -> Text:
    """What is known of a report: its studies, its findings and its whole text."""
    parts = []
    dates = [
        f"{name} ({date})" if date else name
        for name, date in zip(hit.study_ids, hit.study_dates, strict=True)
    ]
    more = f" and {hit.studies - len(dates)} more" if hit.studies > len(dates) else ""
    lines = [
        (f"{'study' if hit.studies == 1 else 'studies'}", ", ".join(dates) + more),
        ("findings named", ", ".join(findings_of(hit))),
        ("says", named_words(hit) or ""),
    ]
    sections = [("Impression", hit.impression), ("Findings", hit.findings)]
    for name, words in [*lines, *(sections if hit.impression or hit.findings else [("Report", hit.text)])]:
        if words:
            parts.append(Text(f"{name}: ", style="dim").append(_flat(words), style="default not dim"))
    return Text("\n").join(parts)


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


def _agreement_table(result: QueryResult, width: int) -> Table:
    """How the hits vote: their label, and the findings that most of them name."""
    table, rows = _plain_table(), vote_rows(result, _FINDINGS)
    longest = max([16, *(len(printable(name)) for name, *_ in rows)])
    table.add_column("agreement", no_wrap=True, overflow="ellipsis", width=min(longest, width - 2 * _SHARE))
    for name in ("reports", "index"):
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
