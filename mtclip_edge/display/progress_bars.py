"""What long work shows on stderr, so that it is never silent: on a terminal a row for all that is at work,
with its count or the time it has taken so far; elsewhere a line for what takes more than two seconds, and
ever fewer after it.
"""

import sys
import threading
import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.progress_bar import ProgressBar
from rich.text import Text

PATIENCE = 2.0  # seconds without a line, where there is no terminal
MOST_PATIENCE = 60.0
_LOOK = 0.25  # seconds between two looks at the clock
_NAMELESS = "at work"


class _Shown(Protocol):
    """Where progress and lines go."""

    def update(self, what: str, done: int, total: int) -> None: ...
    def say(self, line: str) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


class ProgressBars:
    """Rows on a terminal, lines elsewhere; called with what is at work, how much is done, and of how much (1:
    it has no parts to count).
    """

    def __init__(self) -> None:
        self._shown: _Shown = Rows(Console(stderr=True)) if sys.stderr.isatty() else Lines()

    def __call__(self, what: str, done: int, total: int) -> None:
        self._shown.update(what, done, total)

    def say(self, line: str) -> None:
        """A line of the log, as it is: neither markup nor wrapping."""
        self._shown.say(line)

    def __enter__(self) -> "ProgressBars":
        self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.stop()


class _Bar(BarColumn):
    """None where there are no parts to count: a moving one would be sent anew all the time."""

    def render(self, task: Task) -> ProgressBar | Text:  # type: ignore[override]
        return Text("") if task.total is None else super().render(task)


class _Told(ProgressColumn):
    """Done of all, how fast and how long it will take; the time so far where there are no parts."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(_clock(task.elapsed or 0), style="dim")
        rate = f" {task.speed:.1f}/s" if task.speed else ""
        left = "" if task.time_remaining is None else f", {_clock(task.time_remaining)} left"
        return Text(f"{int(task.completed)}/{int(task.total)}{rate}{left}", style="dim")


class Rows:
    """A row for each thing at work, gone when it is done; where nothing has a name, a row with the time since
    the last line.
    """

    def __init__(self, console: Console) -> None:
        # A spinner of letters that every terminal has.
        columns = SpinnerColumn("line"), TextColumn("{task.description}"), _Bar(20), _Told()
        # What is printed meanwhile is data and stays on stdout; a library's warning goes above the rows.
        self._bars = Progress(*columns, console=console, transient=True, redirect_stdout=False)
        self._nameless = self._bars.add_task(_NAMELESS, total=None)
        self._tasks: dict[str, TaskID] = {}

    def update(self, what: str, done: int, total: int) -> None:
        if done >= total:
            if what in self._tasks:
                self._bars.remove_task(self._tasks.pop(what))
        else:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=None if total == 1 else total)
            self._bars.update(self._tasks[what], completed=done)
        self._bars.reset(self._nameless, visible=not self._tasks)

    def say(self, line: str) -> None:
        self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._bars.reset(self._nameless)

    def start(self) -> None:
        self._bars.start()

    def stop(self) -> None:
        self._bars.stop()


class Lines:
    """What is said, and a line where nothing was for a while: after two seconds, four, eight, up to a minute,
    and anew for work of another name.
    """

    def __init__(self) -> None:
        self._at_work: dict[str, tuple[float, int, int]] = {}  # since when, done, total; the latest last
        self._known: set[str] = set()
        self._wait, self._since = PATIENCE, time.monotonic()  # since: the last line
        self._lock, self._over = threading.Lock(), threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def update(self, what: str, done: int, total: int) -> None:
        with self._lock:
            if done >= total:
                self._at_work.pop(what, None)
                return
            if what not in self._known:
                self._known.add(what)
                self._wait = PATIENCE
            began = self._at_work[what][0] if what in self._at_work else time.monotonic()
            self._at_work[what] = began, done, total

    def say(self, line: str) -> None:
        with self._lock:
            self._print(line)

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        self._since = time.monotonic()

    def _look(self) -> None:
        while not self._over.wait(_LOOK):
            with self._lock:
                silence = time.monotonic() - self._since
                if silence >= self._wait and not self._over.is_set():
                    self._print(self._line(silence))
                    self._wait = min(2 * self._wait, MOST_PATIENCE)

    def _line(self, silence: float) -> str:
        if not self._at_work:
            return f"{_NAMELESS}: {_clock(silence)} since the last line"
        what, (began, done, total) = next(reversed(self._at_work.items()))
        spent = time.monotonic() - began
        if total > 1:
            return f"{what}: {done} of {total}"
        return f"{what}: {_clock(spent)} so far" if spent >= 1 else what

    def start(self) -> None:
        self._watch.start()

    def stop(self) -> None:
        self._over.set()
        self._watch.join()


def _clock(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
