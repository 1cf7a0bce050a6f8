"""Names and values in columns on a terminal: what describes a bundle, a run, a source or this machine."""

from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import printable

_STATES = {"ok": "green", "note": "yellow", "bad": "bold red"}


class Checked(Protocol):
    """What ``mtclip doctor`` looked at: ``state`` is one of _STATES."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def found(self) -> str: ...


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and values in two columns."""
    table = _plain_table()
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(printable(name), printable(value))
    _print(table)


def print_checks(checks: Sequence[Checked]) -> None:
    """The findings of ``mtclip doctor``: state, name and what was found."""
    table = _plain_table()
    table.add_column()
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(Text(check.state, style=_STATES[check.state]), check.name, printable(check.found))
    _print(table)


def _plain_table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)


def _print(table: Table) -> None:
    Console(highlight=False, markup=False).print(table)
