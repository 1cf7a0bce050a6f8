"""An evaluation for a person: on a terminal a summary first; a row for each figure with chance beside it, a
column for each model (one below the other where intervals would not fit), then the differences.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..notice import NOTICE
from .evaluation_summary import end, letters, summary_lines
from .figure_names import (
    ANECDOTE,
    CONTROL,
    FINDINGS,
    RELEVANCE,
    Figure,
    Row,
    constant_answer,
    digits,
    first,
    grouped,
    prevalence,
    shortcomings,
    title,
)

# The table is the short answer; metrics.json has every figure.
_SHOWN = (
    "recall@1.",
    "recall@5.",
    "recall@10.",
    "median_rank.",
    "balance_gap",
    "rsum",
    "precision@10.",
    "map@",
    "ndcg@",
    "auroc",
    "auprc",
    "ece",
    "sensitivity",
    "specificity",
    "risk.",
    "coverage.",
    "aurc.",
)
_MOST_FINDINGS = 8
_NAMES, _VALUES = 30, 27  # columns of a row's head, and of a value with interval and lift, where models stack
_STACKED = 80  # columns of a table of stacked models
_LABELS, _INTERVAL, _VALUE = (
    50,
    29,
    13,
)  # columns of a terminal: a row's head, a model with its interval, and without


def print_eval(document: Mapping[str, Any], console: Console | None = None, full: bool = False) -> None:
    """``full``: every finding, those of few studies too. Where the console is no terminal there is no
    summary, and every model has a column.
    """
    console = console or Console(highlight=False, markup=False)
    if console.is_terminal:
        print_summary(document, console)
    for leak in document["leaks"]:
        console.print(f"LEAK: {printable(leak)}", style="bold red")
    for line in exposure_lines(document["models"]):
        console.print(line, style="bold red" if line.startswith("EXPOSURE") else "dim")
    console.print(_corpus(document["data"]), style="dim")
    for line in shortcomings(document["data"]):
        console.print(line, style="bold")
    wide = console.width >= _LABELS + _INTERVAL * len(document["models"])
    width = max(
        console.width, _LABELS + _VALUE * len(document["models"])
    )  # longer lines rather than lost columns
    if console.is_terminal and not wide:
        print_models(document["models"], console)
        for table in stacked_tables(document, full):
            console.print(table, width=max(console.width, _STACKED), crop=False)
            console.print()
        wide = True
    else:
        for table in eval_tables(document, width, wide, full, folded=console.is_terminal):
            console.print(table, width=width, crop=False)
            console.print()
    console.print(CONTROL, style="dim")
    draws = f"95 % intervals: {document['intervals']['draws']} bootstrap draws by patient."
    console.print(
        draws if wide else f"{draws} Those of the single models are in metrics.json, or in a wider terminal.",
        style="dim",
    )
    console.print(NOTICE, style="bold")


def print_summary(document: Mapping[str, Any], console: Console) -> None:
    """Which model is better, before anything else."""
    for number, line in enumerate(summary_lines(document, max(80, console.width))):
        console.print(Text(line), style="" if number else "bold", soft_wrap=True)
    console.print()


def print_models(models: Sequence[Mapping[str, Any]], console: Console) -> None:
    """What each letter of the tables stands for; nothing where there is one model."""
    for mark, model in zip(letters(len(models)), models, strict=True):
        if len(models) > 1:
            name = printable(f"{model['name']} {model['precision'] or ''}".strip())
            console.print(Text(f"{mark} = {name}"), overflow="fold")
    console.print()


def eval_tables(
    document: Mapping[str, Any], width: int, wide: bool, full: bool = False, folded: bool = False
) -> Iterator[Table]:
    """One table for each group of figures, then one for each model against the first.

    Not ``wide``: without the models' intervals. Of findings all where ``full``, else the most frequent;
    ``folded``: else those of enough studies, and a line that counts the rest.
    """
    models = document["models"]
    room = (width - _LABELS) // len(models) - 2
    names = [end(printable(f"{model['name']} {model['precision'] or ''}".strip()), room) for model in models]
    for heading, rows in grouped([_short(model["figures"]) for model in models]):
        shown, rest = rows, ""
        if heading == FINDINGS and not full:
            shown, rest = frequent(rows) if folded else (rows[:_MOST_FINDINGS], "")
        yield _captioned(_table(heading, names, shown, wide), heading, document["data"], rest)
    for difference in document["differences"]:
        yield _difference(difference)


def stacked_tables(document: Mapping[str, Any], full: bool) -> Iterator[Table]:
    """The same with a line for each model, named by a letter, so that intervals fit into 80 columns."""
    models = document["models"]
    marks = letters(len(models)) if len(models) > 1 else [""]
    for heading, rows in grouped([_short(model["figures"]) for model in models]):
        shown, rest = frequent(rows) if heading == FINDINGS and not full else (rows, "")
        yield _captioned(_stacked(heading, marks, shown), heading, document["data"], rest)
    for difference, mark in zip(document["differences"], marks[1:], strict=True):
        yield _difference(difference, f"{mark} minus {marks[0]}")


def frequent(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """The findings of enough studies to say something of others, and a line that counts the rest."""
    shown = [row for row in rows if int(first(row)["studies"]) >= ANECDOTE]
    rest = len(rows) - len(shown)
    if not rest:
        return shown, ""
    what = "1 finding" if rest == 1 else f"{rest} findings"
    return shown, f"{what} with fewer than {ANECDOTE} studies: see --full, or --format json"


def _captioned(table: Table, heading: str, data: Mapping[str, Any], rest: str) -> Table:
    """With what a constant answer has, below the figures that it bounds, or ``rest``."""
    words = constant_answer(data) if heading == RELEVANCE else rest
    if words:
        table.caption = Text(words, style="dim", justify="left")
        table.caption_justify = "left"
    return table


def _stacked(heading: str, marks: Sequence[str], rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(heading, width=_NAMES, overflow="fold")
    if len(marks) > 1:
        table.add_column("")
    table.add_column("", width=_VALUES)
    table.add_column("chance", justify="right", style="dim")
    table.add_column("control", justify="right", style="dim")
    for row in rows:
        head = [_row_head(row), *_bounds(row)]
        for mark, figure in zip(marks, row, strict=True):
            named = [mark] if len(marks) > 1 else []
            table.add_row(head[0], *named, _cell(figure, True), *head[1:])
            head = [""] * len(head)
    return table


def exposure_lines(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each backbone; loud where it was trained on these films."""
    told = {
        model["exposure"]["why"]: model["exposure"]["verdict"] for model in models if model.get("exposure")
    }
    return [
        printable(f"{'EXPOSURE' if verdict == 'seen' else 'exposure'}: {why}")
        for why, verdict in told.items()
    ]


def _corpus(data: Mapping[str, Any]) -> str:
    labels = ", ".join(f"{count} {name}" for name, count in data["labels"].items() if count)
    searched = f" (of {data['searched']})" if data["searched"] else ""
    return printable(
        f"{data['source']}, {data['split']}: {data['films']} films ({labels}) of "
        f"{data['patients']} patients, "
        f"{data['reports']} distinct reports{searched}"
    )


def _short(figures: Sequence[Figure]) -> list[Figure]:
    """Those of the short answer, and findings."""
    return [figure for figure in figures if figure["name"].startswith((*_SHOWN, "finding@"))]


def _table(heading: str, names: list[str], rows: list[Row], wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(heading, min_width=30)
    table.add_column("chance", justify="right", style="dim")
    table.add_column("control", justify="right", style="dim")
    for name in names:
        table.add_column(Text(name), justify="right")
    for row in rows:
        table.add_row(_row_head(row), *_bounds(row), *(_cell(figure, wide) for figure in row))
    return table


def _row_head(row: Row) -> str:
    one = first(row)
    name = title(one["name"]) + prevalence(one) + (" (anecdote)" if one["anecdote"] else "")
    return f"{name}, {one['subset']}" if one["subset"].startswith(("first", "view")) else name


def _bounds(row: Row) -> list[str]:
    """Chance and control."""
    one = first(row)
    return [_plain(value, one["name"]) for value in (one["chance"], (one.get("control") or {}).get("value"))]


def _difference(difference: Mapping[str, Any], heading: str | None = None) -> Table:
    """What another model has more than the first; in bold where the interval excludes 0."""
    named = heading or printable(f"{difference['model']} minus {difference['against']}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(Text(named), overflow="fold", min_width=_NAMES if heading else None)
    table.add_column("difference", justify="right")
    for figure in difference["figures"]:
        if figure["subset"] == "all" and figure["name"].startswith(_SHOWN):
            apart = figure["low"] is not None and (figure["low"] > 0 or figure["high"] < 0)
            table.add_row(title(figure["name"]), Text(_interval(figure, "+"), style="bold" if apart else ""))
    return table


def _cell(figure: Mapping[str, Any] | None, wide: bool) -> str:
    if figure is None or figure["value"] is None:
        return "not computed"
    lift = f" ×{figure['lift']:.1f}" if figure["lift"] is not None else ""
    return f"{_interval(figure) if wide else _plain(figure['value'], figure['name'])}{lift}"


def _interval(figure: Mapping[str, Any], sign: str = "") -> str:
    places = digits(figure["name"])
    bounds = (
        "" if figure["low"] is None else f" [{figure['low']:{sign}{places}}, {figure['high']:{sign}{places}}]"
    )
    return f"{figure['value']:{sign}{places}}{bounds}"


def _plain(value: float | None, name: str) -> str:
    return "" if value is None else f"{value:{digits(name)}}"
