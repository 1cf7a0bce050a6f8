"""What an English report affirms and denies: three hundred sentences written for it, and other languages."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from mtclip_edge.index.denial import AFFIRMED, ASKED, DENIED, by_stance, is_english, passages
from mtclip_edge.index.denial_cues import EVENTS, events

_STANCE = {"+": AFFIRMED, "-": DENIED, "?": ASKED}
_MARKED = re.compile(r"(?<!\S)\(?([-+?])(?=[A-Za-z])")
LINES = [
    line.replace("\\n", "\n")
    for line in (Path(__file__).parent / "denial_sentences.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def _unmarked(line: str) -> tuple[str, list[tuple[int, str]]]:
    """A sentence without its signs, and the place and stance of each word that had one."""
    text, wanted, last = "", [], 0
    for mark in _MARKED.finditer(line):
        text += line[last : mark.start(1)]
        wanted.append((len(text), _STANCE[mark[1]]))
        last = mark.end(1)
    return text + line[last:], wanted


def _stance(text: str, at: int) -> str:
    return next(part.stance for part in passages(text) if part.start <= at < part.end)


@pytest.mark.parametrize("line", LINES)
def test_a_sentence_is_read(line: str) -> None:
    text, wanted = _unmarked(line)
    assert [(text[at:], _stance(text, at)) for at, _ in wanted] == [(text[at:], s) for at, s in wanted]


def test_there_are_three_hundred_sentences_with_marks() -> None:
    marks = [mark for line in LINES for _, mark in _unmarked(line)[1]]
    assert len(LINES) >= 300 and all(_unmarked(line)[1] for line in LINES)
    assert min(marks.count(AFFIRMED), marks.count(DENIED)) > 150 and marks.count(ASKED) > 10


@pytest.mark.parametrize("line", LINES)
def test_passages_cover_a_text_without_gaps(line: str) -> None:
    text, _ = _unmarked(line)
    parts = passages(text)
    assert "".join(text[part.start : part.end] for part in parts) == text
    assert all(a.end == b.start and a.stance != b.stance for a, b in pairwise(parts))


def test_the_quick_search_for_cues_finds_what_the_slow_one_finds() -> None:
    for line in LINES:
        text, _ = _unmarked(line)
        slow = [(m.lastgroup, m.span()) for m in EVENTS.finditer(text)]
        assert [(m.lastgroup, m.span()) for m in events(text)] == slow, text


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("No pleural effusion or pneumothorax.", True),
        ("Cardiomegaly.", True),
        ("NORMAL CHEST", True),
        ("", True),
        ("Derrame pleural izquierdo sin neumotorax.", False),
        ("Kein Erguss, keine Infiltrate. Das Herz ist nicht vergrößert.", False),
        ("Pas d'épanchement pleural. Le coeur est de taille normale.", False),
        ("Не выявлено плеврального выпота.", False),
        ("双肺未见明显异常", False),
        ("Sem derrame pleural e com consolidação.", False),
    ],
)
def test_other_languages_are_told_apart(text: str, english: bool) -> None:
    assert is_english(text) == english
    assert (by_stance(text) is None) is not english


def test_words_are_sorted_by_what_is_said_of_them() -> None:
    read = by_stance("Small effusion. No pneumothorax. Evaluate for fracture. Mild edema.")
    assert read is not None
    affirmed, denied, asked = read
    assert "effusion" in affirmed and "edema" in affirmed and "pneumothorax" not in affirmed
    assert "No pneumothorax" in denied and "Evaluate for fracture" in asked
