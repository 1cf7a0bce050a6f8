"""Long work is never silent: a line where nothing was said for a while, a row on a terminal, nothing for what is quick."""

import io
import re
import time

import pytest
from rich.console import Console

from mtclip_edge.display import progress_bars
from mtclip_edge.display.progress_bars import ProgressBars, Rows
from mtclip_edge.progress import step


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second stands for two."""
    monkeypatch.setattr(progress_bars, "PATIENCE", 0.1)
    monkeypatch.setattr(progress_bars, "_LOOK", 0.01)


@pytest.mark.usefixtures("hasty")
def test_a_long_step_gets_lines_ever_fewer(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBars() as bars, step(bars, "exporting the film tower"):
        time.sleep(1.2)  # lines after 0.1, 0.3, 0.7
    found = lines_of(capsys)
    assert 2 <= len(found) <= 3
    assert all(line.startswith("exporting the film tower") for line in found)


@pytest.mark.usefixtures("hasty")
def test_what_is_counted_tells_its_count_and_what_has_no_name_its_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressBars() as bars:
        bars("films", 0, 40)
        bars("films", 7, 40)
        time.sleep(0.2)
        bars("films", 40, 40)
        time.sleep(0.5)
    first, *rest = lines_of(capsys)
    assert first == "films: 7 of 40"
    assert rest and all(re.fullmatch(r"at work: 0:00 since the last line", line) for line in rest)


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBars() as bars:
        with step(bars, "quick"):
            bars("films", 1, 2)
        bars.say("done")
    assert lines_of(capsys) == ["done"]


@pytest.mark.usefixtures("hasty")
def test_the_inner_work_is_told_and_then_the_outer_again(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBars() as bars, step(bars, "outer"):
        bars("films", 1, 2)
        time.sleep(0.15)
        bars("films", 2, 2)
        time.sleep(0.4)
    first, *rest = lines_of(capsys)
    assert first == "films: 1 of 2" and rest and all(line.startswith("outer") for line in rest)


def test_a_terminal_of_80_columns_shows_rows_that_go_when_they_are_done() -> None:
    out = io.StringIO()
    rows = Rows(Console(file=out, force_terminal=True, width=80, color_system=None))
    rows.start()
    rows.update("making and proving film int8-dynamic", 0, 1)
    rows.update("layers quantized alone", 30, 100)
    rows._bars.refresh()
    rows.update("layers quantized alone", 100, 100)
    rows.update("making and proving film int8-dynamic", 1, 1)
    rows.say("film fp32: [bold]as it is[/bold]")
    rows.stop()
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", out.getvalue())]
    assert any("layers quantized alone" in line and "30/100" in line for line in shown)
    assert any("making and proving film int8-dynamic" in line and "0:00" in line for line in shown)
    assert "film fp32: [bold]as it is[/bold]" in shown
    assert max(map(len, shown)) <= 80 and not any("…" in line for line in shown)
    last = shown[-2:]
    assert not any("layers" in line for line in last)


def test_a_step_is_none_of_one_and_then_one_of_one() -> None:
    told: list[tuple[str, int, int]] = []
    with pytest.raises(ValueError, match="stop"), step(lambda *what: told.append(what), "a"):
        raise ValueError("stop")
    assert told == [("a", 0, 1)]
    with step(lambda *what: told.append(what), "b"):
        pass
    assert told[1:] == [("b", 0, 1), ("b", 1, 1)]
