"""Films that arrive in a folder: each once, whole, and nothing that was there before."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from balanced_html import Balanced
from PIL import Image

from mtclip_edge import NOTICE
from mtclip_edge.errors import NoFilms
from mtclip_edge.films.watch import arrivals

EXAMPLES = Path(__file__).parents[2] / "examples"


def draw(path: Path, value: int = 100) -> Path:
    Image.fromarray(np.full((40, 30), value, np.uint8)).save(path)
    return path


def looks(folder: Path, *steps, recursive: bool = True) -> list[list[str]]:
    """What each look gives when ``steps`` happen before the looks, one each."""
    todo = iter(steps)

    def wait(_: float) -> None:
        step = next(todo, None)
        if step:
            step()

    found = arrivals(folder, recursive, wait=wait)
    return [[path.name for path in next(found)] for _ in range(len(steps) + 1)]


def test_what_was_there_is_not_given_and_what_comes_is_given_once(tmp_path: Path) -> None:
    draw(tmp_path / "old.png")
    found = looks(tmp_path, lambda: draw(tmp_path / "b.png"), lambda: draw(tmp_path / "a.png"), None, None)
    assert found == [[], ["b.png"], ["a.png"], [], []]


def test_a_film_is_given_when_it_is_whole(tmp_path: Path) -> None:
    whole = draw(tmp_path.parent / "whole.png").read_bytes()
    target = tmp_path / "slow.png"
    parts = [lambda n=n: target.write_bytes(whole[:n]) for n in (20, 40)]
    found = looks(tmp_path, *parts, lambda: target.write_bytes(whole), None, None)
    assert found == [[], [], [], ["slow.png"], [], []]


def test_a_replaced_film_is_given_again_and_one_that_left_and_came_back(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    found = looks(
        tmp_path,
        lambda: draw(path),
        None,
        lambda: draw(path, 7),
        None,
        path.unlink,
        lambda: draw(path, 9),
        None,
        None,
    )
    assert [names for names in found if names] == [["a.png"]] * 3


def test_only_films_and_subfolders_where_wanted(tmp_path: Path) -> None:
    def fill() -> None:
        (tmp_path / "notes.txt").write_text("not a film")
        (tmp_path / "empty.png").touch()
        (tmp_path / "day").mkdir()
        draw(tmp_path / "day" / "c.png")

    assert looks(tmp_path, fill, None, None)[1] == ["c.png"]
    shutil.rmtree(tmp_path / "day")
    assert looks(tmp_path, fill, None, None, recursive=False)[1] == []


def test_a_folder_that_is_missing_or_goes_away(tmp_path: Path) -> None:
    with pytest.raises(NoFilms, match=r"gone: cannot be watched \(No such file"):
        arrivals(tmp_path / "gone")
    (tmp_path / "here").mkdir()
    found = arrivals(tmp_path / "here", wait=lambda _: None)
    next(found)
    (tmp_path / "here").rmdir()
    with pytest.raises(NoFilms, match="here: cannot be watched"):
        next(found)


@pytest.mark.slow
def test_memory_holds_what_lies_there_only(tmp_path: Path, soak: bool) -> None:
    """Thousands of films that come and go leave nothing behind."""
    number = 0

    def step(_: float) -> None:
        nonlocal number
        for old in tmp_path.iterdir():
            if int(old.stem) < number - 1:
                old.unlink()
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        number += 1

    found = arrivals(tmp_path, wait=step)
    given = sum(len(next(found)) for _ in range(10_000 if soak else 1_500))
    assert given == number - 1
    assert found.gi_frame is not None
    assert len(found.gi_frame.f_locals["given"]) <= 3 and len(found.gi_frame.f_locals["seen"]) <= 3


def watching(folder: Path, *words: str | Path) -> subprocess.Popen:
    """The command, as it watches a folder in a process of its own."""
    command = [sys.executable, "-m", "mtclip_edge", "query", "--watch", str(folder), "--bundle", "demo"]
    # A shell's background job ignores Ctrl-C, and so would what it starts.
    listen = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*command, "--format", "jsonl", *map(str, words)], **pipes, **listen)


def test_a_watched_folder_gets_a_page_for_each_film(tmp_path: Path) -> None:
    inbox, pages = tmp_path / "inbox", tmp_path / "pages"
    inbox.mkdir()
    pages.mkdir()
    process = watching(inbox, "--save", pages, "-k", "2")
    assert process.stdout and process.stderr
    killer = threading.Timer(100, process.kill)
    killer.start()
    try:
        assert process.stderr.readline().startswith(f"watching {inbox}; ")
        for name in ("nodule", "effusion"):
            shutil.copy(EXAMPLES / f"{name}.png", inbox)
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        # The second answer is printed before its page is written.
        while len(list(pages.glob("*.html"))) < 2 and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        killer.cancel()
        process.kill()
    assert (process.returncode, out, err.splitlines()[-1]) == (130, "", "interrupted")
    assert sorted(path.name for path in pages.iterdir()) == ["effusion.html", "nodule.html"]
    assert {Path(answer["image"]).stem for answer in answers} == {"effusion", "nodule"}
    for answer in answers:
        page = Balanced((pages / f"{Path(answer['image']).stem}.html").read_text(encoding="utf-8"))
        assert page.tags.count("article") == 1 and page.text.count(NOTICE) == 2
        assert all(hit["report_id"] in page.text for hit in answer["hits"]) and len(answer["hits"]) == 2
    assert sorted(path.name for path in inbox.iterdir()) == ["effusion.png", "nodule.png"]


def test_the_command_answers_arrivals_until_it_is_interrupted(tmp_path: Path) -> None:
    process = watching(tmp_path)
    assert process.stdout and process.stderr
    try:
        assert process.stderr.readline().startswith(f"watching {tmp_path}; ")
        (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
        time.sleep(1.5)
        shutil.copy(EXAMPLES / "nodule.png", tmp_path / "arrived.png")
        killer = threading.Timer(60, process.kill)
        killer.start()
        answer = json.loads(process.stdout.readline())
        killer.cancel()
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert answer["image"] == str(tmp_path / "arrived.png") and len(answer["hits"]) == 5
    assert "broken.png: not a picture" in err and err.endswith("interrupted\n")
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--watch", "gone"], 1, "gone: cannot be watched (No such file or directory)\n"),
        (
            ["x.png", "--watch", "gone"],
            2,
            "query\nexpected one of films, --text and --watch\nsee: mtclip query --help\n",
        ),
        (
            ["--watch", "gone", "--json"],
            2,
            "--watch and --format json\nan array has no end here\nuse --format jsonl\n",
        ),
    ],
)
def test_wrong_uses(mtclip, words: list[str], code: int, said: str) -> None:
    found = mtclip("query", *words, "--bundle", "demo")
    assert (found.code, found.out, found.err) == (code, "", said)
