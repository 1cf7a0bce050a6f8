"""Many films on a terminal, a line each: name, verdict, abnormal, call, the best report's first words."""

from rich.console import Console
from rich.text import Text

from ..errors import MtclipError, printable
from ..notice import DEMO, NOTICE
from ..retrieval.results import QueryResult
from .answer_words import films_of_study_words, own_short_words, percent, short_name
from .film_order import verdict_of

_VERDICT, _ABNORMAL, _CALL, _LEAST = 15, 8, 8, 12  # columns
_STYLES = {"abnormal": "bold red", "normal": "green"}


class OverviewWriter:
    """A line for each film, those that cannot be read among them."""

    def __init__(self, console: Console | None = None):
        self._console = console or Console(highlight=False, markup=False)
        room = self._console.width - _VERDICT - _ABNORMAL - _CALL - 4 * 2
        self._name = max(_LEAST, room * 2 // 5)
        self._report = max(_LEAST, room - self._name)
        self._lines = 0

    def add(self, result: QueryResult) -> None:
        abnormal = result.abnormal
        call = Text(
            (abnormal.call or "") if abnormal else "",
            _STYLES.get(abnormal.call or "", "") if abnormal else "",
        )
        first = result.reports[0] if result.reports else None
        said = f"{first.impression or first.text}" if first else _reasons(result)
        if not self._lines and result.bundle.demo:
            self._console.print(DEMO, style="bold reverse")
        probability = abnormal.probability if abnormal else None
        told = "" if probability is None else percent(probability)
        self._line(short_name(result), _verdict(result), told, call, said)
        if words := films_of_study_words(result):
            self._console.print(f"  {words}", style="dim", overflow="fold")
        if result.own_priors:
            self._console.print(f"  {own_short_words(result.own_priors)}", style="dim", overflow="fold")

    def failed(self, name: str, error: MtclipError) -> None:
        self._line(name.replace("\\", "/").rsplit("/", 1)[-1], "unreadable", "", Text(""), error.what)

    def _line(self, name: str, verdict: str, abnormal: str, call: Text, said: str) -> None:
        if not self._lines:
            heading = Text(style="dim")
            heads = ("film", "verdict", "abnormal", "call", "best report")
            for head, width in zip(heads, self._widths, strict=True):
                heading.append(_cell(head, width) + "  ")
            self._print(heading)
        self._lines += 1
        name = printable(name)
        name = name if len(name) <= self._name else "…" + name[1 - self._name :]
        line = Text(_cell(name, self._name) + "  ")
        line.append(_cell(verdict, _VERDICT) + "  ").append(_cell(abnormal, _ABNORMAL) + "  ")
        line.append_text(call).append(" " * (_CALL - len(call) + 2)).append(printable(" ".join(said.split())))
        line.truncate(self._console.width, overflow="ellipsis")
        self._print(line)

    @property
    def _widths(self) -> tuple[int, int, int, int, int]:
        return self._name, _VERDICT, _ABNORMAL, _CALL, self._report

    def _print(self, line: Text) -> None:
        line.rstrip()
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def close(self) -> None:
        if self._lines:
            self._console.print(NOTICE, style="bold")


def _cell(words: str, width: int) -> str:
    return words[:width].ljust(width)


def _verdict(result: QueryResult) -> str:
    """The verdict in a word or two; a film that is in doubt itself says so."""
    verdict = verdict_of(result)
    doubt = "warn, " if result.input and result.input.verdict == "warn" else ""
    return doubt + (verdict or "none")


def _reasons(result: QueryResult) -> str:
    return "; ".join(result.input.reasons) if result.input else ""
