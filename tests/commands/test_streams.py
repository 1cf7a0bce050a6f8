"""Standard input and output as they come: pipes that close, disks that are full, terminals of few letters, Ctrl-C."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def test_standard_input_is_an_image_or_a_list(
    mtclip, tiny_bundle: Path, films: list[Path], monkeypatch
) -> None:
    class Stdin(io.TextIOWrapper):
        pass

    monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(films[0].read_bytes())))
    image = json.loads(mtclip("query", "-", "--bundle", tiny_bundle, "--json").out)
    assert image["image"] == "-"
    direct = json.loads(mtclip("query", films[0], "--bundle", tiny_bundle, "--json").out)
    assert image["hits"] == direct["hits"]
    monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(f"{films[1]}\n{films[2]}\n".encode())))
    listed = mtclip("query", "--files-from", "-", "--bundle", tiny_bundle)
    assert [json.loads(line)["image"] for line in listed.out.splitlines()] == [str(films[1]), str(films[2])]


def start(*words: str | Path, **options: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "mtclip_edge", *map(str, words)]
    # A shell starts background jobs with Ctrl-C ignored, and their children inherit it.
    ready = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **ready)


def test_ctrl_c_is_130_and_one_line(tiny_backbone: Path, source: Path, tmp_path: Path) -> None:
    with start(
        "train",
        "--data",
        source,
        "--backbone",
        tiny_backbone,
        "--out",
        tmp_path / "run",
        "--epochs",
        "5000",
        "--lr",
        "1e-9",
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 3/"):
                break
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
    why = err.splitlines()[-2]
    assert why.startswith("stopped in epoch ") and "of 5000: interrupted; best so far: epoch " in why
    assert "--resume goes on after epoch " in why
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words", ["query --files-from - --bundle {bundle} --format json", "info {bundle} --format json", "--help"]
)
def test_a_reader_that_goes_away_is_no_error(tiny_bundle: Path, films: list[Path], words: str) -> None:
    listing = "\n".join([str(films[0])] * 40)
    script = (
        f"{sys.executable} -m mtclip_edge {words.format(bundle=tiny_bundle)} | true; exit ${{PIPESTATUS[0]}}"
    )
    found = subprocess.run(
        ["bash", "-c", script], input=listing, capture_output=True, text=True, env={**os.environ}
    )
    assert (found.returncode, found.stderr.replace("40 films answered, 0 could not be read\n", "")) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_standard_output_is_one_line_and_exit_1(tiny_bundle: Path, films: list[Path]) -> None:
    for words in (f"info {tiny_bundle} --format json", f"query {films[0]} --bundle {tiny_bundle} --json"):
        found = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m mtclip_edge {words} > /dev/full"],
            capture_output=True,
            text=True,
        )
        assert found.returncode == 1
        assert len(found.stderr.splitlines()) == 1 and "No space left on device" in found.stderr


def test_ctrl_c_during_the_first_imports_is_no_traceback(tiny_bundle: Path, films: list[Path]) -> None:
    code = (
        "import signal, sys, threading, os\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from mtclip_edge.__main__ import main\n"
        "main()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (130, "interrupted\n")


def test_square_brackets_are_not_markup(
    mtclip, tiny_run: Path, source: Path, tmp_path: Path, monkeypatch
) -> None:
    import shutil

    monkeypatch.setenv("COLUMNS", "400")

    copy = Path(shutil.copytree(tiny_run, tmp_path / "run[red]a[/x]"))
    found = mtclip("eval", copy, "--data", source)
    assert found.code == 0
    assert str(copy) in found.out


@pytest.mark.parametrize(
    "words",
    [
        ["query", "{film}", "--bundle", "{bundle}", "--format", "table"],
        ["query", "{film}", "--bundle", "{bundle}"],
    ],
)
def test_a_terminal_that_is_not_utf_8(tiny_bundle: Path, films: list[Path], words: list[str]) -> None:
    words = [word.format(film=films[0], bundle=tiny_bundle) for word in words]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    found = subprocess.run(
        [sys.executable, "-m", "mtclip_edge", *words], capture_output=True, env=environment
    )
    assert (found.returncode, found.stderr) == (0, b"")
    if "table" not in words:
        json.loads(found.stdout)


def test_closed_standard_output(tiny_bundle: Path, films: list[Path]) -> None:
    script = f"{sys.executable} -m mtclip_edge query {films[0]} --bundle {tiny_bundle} >&-"
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert "internal error" not in found.stderr and "Traceback" not in found.stderr


def test_no_color_is_honoured(tiny_bundle: Path, films: list[Path]) -> None:
    words = [
        sys.executable,
        "-m",
        "mtclip_edge",
        "query",
        str(films[0]),
        "--bundle",
        str(tiny_bundle),
        "--format",
        "table",
    ]
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {
        "TERM": "xterm-256color"
    }
    coloured = subprocess.run(words, capture_output=True, text=True, env=plain | {"FORCE_COLOR": "1"}).stdout
    without = subprocess.run(
        words, capture_output=True, text=True, env=plain | {"FORCE_COLOR": "1", "NO_COLOR": "1"}
    ).stdout
    assert re.search(r"\x1b\[[0-9;]*3[12]m", coloured)
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9]m", without)


def test_completion_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        **os.environ,
        "_MTCLIP_COMPLETE": "complete_bash",
        "COMP_WORDS": "mtclip que",
        "COMP_CWORD": "1",
    }
    found = subprocess.run(
        [sys.executable, "-m", "mtclip_edge"], capture_output=True, text=True, env=environment
    )
    assert found.stdout.split() == ["query"]
