"""An evaluation for a person: a row for each figure with chance beside it, a column for each model, then
the differences.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..notice import NOTICE
from .figure_names import (
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
_LABELS, _INTERVAL, _VALUE = (
    50,
    29,
    13,
)  # columns of a terminal: a row's head, a model with its interval, and without


def print_eval(document: Mapping[str, Any], console: Console | None = None) -> None:
    console = console or Console(highlight=False, markup=False)
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
    for table in eval_tables(document, width, wide):
        console.print(table, width=width, crop=False)
        console.print()
    console.print(CONTROL, style="dim")
    draws = f"95 % intervals: {document['intervals']['draws']} bootstrap draws by patient."
    console.print(
        draws if wide else f"{draws} Those of the single models are in metrics.json, or in a wider terminal.",
        style="dim",
    )
    console.print(NOTICE, style="bold")


def eval_tables(document: Mapping[str, Any], width: int, wide: bool) -> Iterator[Table]:
    """One table for each group of figures, then one for each model against the first.

    Not ``wide``: without the models' intervals.
    """
    models = document["models"]
    room = (width - _LABELS) // len(models) - 2
    names = [_end(printable(f"{model['name']} {model['precision'] or ''}".strip()), room) for model in models]
    for heading, rows in grouped([_short(model["figures"]) for model in models]):
        table = _table(heading, names, rows[:_MOST_FINDINGS] if heading == FINDINGS else rows, wide)
        if heading == RELEVANCE:
            table.caption = Text(constant_answer(document["data"]), style="dim", justify="left")
            table.caption_justify = "left"
        yield table
    for difference in document["differences"]:
        yield _difference(difference)


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
        one = first(row)
        name = title(one["name"]) + prevalence(one) + (" (anecdote)" if one["anecdote"] else "")
        if one["subset"].startswith(("first", "view")):
            name += f", {one['subset']}"
        bounds = (one["chance"], (one.get("control") or {}).get("value"))
        plain = (_plain(value, one["name"]) for value in bounds)
        table.add_row(name, *plain, *(_cell(figure, wide) for figure in row))
    return table


def _difference(difference: Mapping[str, Any]) -> Table:
    """What another model has more than the first; in bold where the interval excludes 0."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(Text(printable(f"{difference['model']} minus {difference['against']}")), overflow="fold")
    table.add_column("difference", justify="right")
    for figure in difference["figures"]:
        if figure["subset"] == "all" and figure["name"].startswith(_SHOWN):
            apart = figure["low"] is not None and (figure["low"] > 0 or figure["high"] < 0)
            table.add_row(title(figure["name"]), Text(_interval(figure, "+"), style="bold" if apart else ""))
    return table


def _end(name: str, room: int) -> str:
    """A name that fits: of a path its end tells more than its beginning."""
    return name if len(name) <= room else "…" + name[1 - room :]


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
