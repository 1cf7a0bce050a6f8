"""What a person sees on a terminal of 80 columns while a command works and when it is done."""

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest

pty = pytest.importorskip("pty")
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.png"))


def on_terminal(*words: str | Path, whole: bool = False) -> SimpleNamespace:
    """A command whose stdout is a terminal of 80 columns, and its stderr too where ``whole``; what was written
    to the terminal without escapes, a line each, and stderr.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "mtclip_edge", *map(str, words)],
        stdout=theirs,
        stderr=theirs if whole else subprocess.PIPE,
        env=environment | {"TERM": "xterm"},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    err = ""
    if process.stderr:
        err = process.stderr.read().decode()
        process.stderr.close()
    code = process.wait()
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    return SimpleNamespace(code=code, lines=re.split(r"[\r\n]+", plain.rstrip()), err=err)


@pytest.fixture(scope="module")
def evaluated() -> SimpleNamespace:
    return on_terminal("eval", "demo", "--data", "phantom:60@9", "--split", "all")


def test_an_evaluation_begins_with_five_lines(evaluated: SimpleNamespace) -> None:
    assert evaluated.code == 0, evaluated.err
    head, *figures = evaluated.lines[:5]
    assert re.match(r"demo \S+: surely above chance in \d of 4 main figures$", head)
    assert [line.split("  ")[1] for line in figures] == [
        "AUROC",
        "macro P@10",
        "R@10 film>report",
        "R@10 report>film",
    ]
    for line in figures:
        assert re.search(r"\d \[\d.*\]  chance \d.*(surely|not sure|below)$", line), line


def test_intervals_fit_into_80_columns_and_rare_findings_are_one_line(evaluated: SimpleNamespace) -> None:
    assert max(map(len, evaluated.lines)) <= 80
    (row,) = [line for line in evaluated.lines if line.startswith("AUROC ")]
    assert "[" in row and row.rstrip().endswith("]")
    (heading,) = [i for i, line in enumerate(evaluated.lines) if line.startswith("Per finding")]
    assert re.match(r"\d findings with fewer than 20 studies: see --full, or", evaluated.lines[heading + 1])
    assert not any("anecdote" in line for line in evaluated.lines[heading:])


def test_an_evaluation_ends_with_what_it_left_and_what_to_type(evaluated: SimpleNamespace) -> None:
    assert evaluated.err.splitlines()[-2:] == [
        "nothing was written: --out DIR keeps figures, a page and a row a film",
        "next: mtclip query FILM --bundle demo",
    ]


def test_all_findings_are_listed_where_they_are_asked_for(mtclip) -> None:
    found = mtclip("eval", "demo", "--data", "phantom:60@9", "--split", "all", "--full")
    assert found.code == 0 and "(anecdote)" in found.out and "fewer than" not in found.out
    assert not found.out.startswith("demo")  # no summary in a pipe
    wrong = mtclip("eval", "demo", "--data", "phantom:60@9", "--full", "--format", "json")
    assert (wrong.code, wrong.err) == (2, "--full and --format json\nit is for tables; json is whole\n")


@pytest.mark.parametrize("words", [["--sort", "name"], ["--by", "study"]])
def test_a_bar_stands_where_answers_come_late(words: list[str]) -> None:
    found = on_terminal("query", *EXAMPLES, "--bundle", "demo", "--no-rerank", *words, whole=True)
    assert found.code in (0, 5), found.lines
    bars = [i for i, line in enumerate(found.lines) if re.search(rf"films +\S+ +\d/{len(EXAMPLES)}", line)]
    (heading,) = [i for i, line in enumerate(found.lines) if line.startswith("film ")]
    assert bars and max(bars) < heading
    assert not any(re.search(r"\d/\d", line) for line in found.lines[heading:])


def test_json_stays_alone_on_stdout(mtclip) -> None:
    found = mtclip("data", "inspect", "phantom:5@1", "--format", "json")
    assert json.loads(found.out)["studies"] == 5
    assert found.err.splitlines()[-1] == "next: mtclip train --data phantom:5@1 --out run"
    judged = mtclip("eval", "demo", "--data", "phantom:20@9", "--split", "all", "--format", "json")
    assert json.loads(judged.out)["schema"] == "mtclip.eval/1"
    assert judged.err.splitlines()[-1] == "next: mtclip query FILM --bundle demo"


def test_changes_of_an_index_end_with_a_query(mtclip, bundle: Path) -> None:
    following = f"next: mtclip query FILM --bundle {bundle}"
    added = mtclip("index", "add", bundle, "phantom:3@77")
    assert added.code == 0 and added.err.splitlines()[-1] == following
    assert mtclip("verify", bundle).err.splitlines() == [following]


def test_a_name_with_a_space_can_be_typed() -> None:
    from mtclip_edge.commands.options import next_line

    assert next_line(("show", "my bundle", "A"), ("info", Path("b"))) == (
        "next: mtclip show 'my bundle' A, or mtclip info b"
    )


def test_training_ends_with_why_and_which_epoch(
    mtclip, tiny_backbone: Path, source: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    found = mtclip(
        "train", "--data", source, "--backbone", tiny_backbone, "--out", run, "--epochs", "2", "--lr", "1e-3"
    )
    assert (found.code, found.out) == (0, "")
    stopped, kept, wrote, following = found.err.splitlines()[-4:]
    assert stopped == "stopped after epoch 2: the last of 2"
    best = max(
        map(json.loads, (run / "log.jsonl").read_text().splitlines()), key=lambda one: one["selection"]
    )
    assert kept.startswith(f"kept: epoch {best['epoch']}, the highest mean of AUROC, macro P@10, R@10")
    assert kept.endswith(f"on validation: {best['selection']:.4f}")
    assert wrote.startswith(f"{run}: best epoch {best['epoch']} of 2; wrote run.json, weights.safetensors")
    assert following == f"next: mtclip eval {run} --data {source}, or mtclip export {run} --out BUNDLE"


@pytest.mark.usefixtures("known_graphs")
def test_an_export_names_its_long_steps(mtclip, tiny_run: Path, tmp_path: Path) -> None:
    found = mtclip("export", tiny_run, "--out", tmp_path / "b", "--precision", "fp32")
    assert found.code == 0
    said = found.err.splitlines()
    assert "exporting the film tower" in said and "exporting the text tower" in said
    assert "distinct reports of" in said[-2] and said[-2].endswith("graphs: image fp32, text fp32")
    assert said[-1] == (
        f"next: mtclip query FILM --bundle {tmp_path / 'b'}, or mtclip eval {tmp_path / 'b'} --data SOURCE"
    )
