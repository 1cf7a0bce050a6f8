"""What a command says of its source before it does anything with it."""

import unicodedata
from pathlib import Path

import pytest
from layouts import png, put


@pytest.fixture
def bad(tmp_path: Path) -> str:
    rows = [f"{i},Report number {i}.,{'sick' if i % 2 else 'normal'}" for i in range(10)]
    return str(put(tmp_path / "bad.csv", "study_id,report,label\n" + "\n".join(rows) + "\n"))


def test_too_many_bad_rows_stop_an_index(mtclip, bundle: Path, bad: str) -> None:
    before = sorted(path.name for path in bundle.iterdir())
    found = mtclip("index", "add", bundle, bad)
    assert (
        found.code == 1
        and "5 of 15 rows are bad, more than 5 %" in found.err
        and "--allow-bad-rows" in found.err
    )
    assert sorted(path.name for path in bundle.iterdir()) == before
    assert mtclip("index", "add", bundle, bad, "--allow-bad-rows").code == 0
    assert mtclip("index", "build", bundle, bad, "--map", "label:sick=abnormal").code == 0


@pytest.mark.torch
def test_too_many_bad_rows_and_leaking_tables_stop_a_training(mtclip, tmp_path: Path, bad: str) -> None:
    out = tmp_path / "run"
    found = mtclip("train", "--data", bad, "--out", out)
    assert found.code == 1 and "rows are bad, more than 5 %" in found.err and not out.exists()
    tables = [
        put(tmp_path / f"{split}.csv", f"study_id,patient_id,report,split\n{split},7,Clear.,{split}\n")
        for split in ("train", "validation")
    ]
    found = mtclip("train", "--data", tables[0], "--data", tables[1], "--out", out)
    assert (
        found.code == 1
        and "1 patients are in the splits train and validation of" in found.err
        and not out.exists()
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_of_films_as_windows_writes_it(mtclip, bundle: Path, tmp_path: Path, encoding: str) -> None:
    names = ["one.png", unicodedata.normalize("NFD", "zweite Röntgen.png")]
    for name in names:
        put(tmp_path / name, png(size=(64, 64)))
    words = "\r\n".join(str(tmp_path / unicodedata.normalize("NFC", name)) for name in names)
    listed = put(tmp_path / "list.txt", words.encode(encoding))
    found = mtclip(
        "query", "--files-from", listed, "--bundle", bundle, "--format", "ids", "--force", "-k", "1"
    )
    assert found.code == 0 and len(found.out.splitlines()) == 2, found.err


CHINESE = [
    "\u53f3\u4fa7\u80f8\u8154\u79ef\u6db2\u3002",
    "\u53cc\u80ba\u672a\u89c1\u5f02\u5e38\u3002",
]  # an effusion; nothing abnormal


def test_a_language_that_the_tower_does_not_know_is_refused(mtclip, bundle: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"z{number},{text}" for number, text in enumerate(CHINESE))
    table = put(tmp_path / "chinese.csv", f"study_id,report\n{rows}\n")
    before = sorted(path.name for path in bundle.iterdir())
    for command in ("add", "build"):
        found = mtclip("index", command, bundle, table)
        assert found.code == 1 and "words are unknown to the text tower's word list" in found.err
    assert sorted(path.name for path in bundle.iterdir()) == before
    found = mtclip("query", "--text", CHINESE[0], "--bundle", bundle)
    assert (found.code, found.out) == (1, "") and found.err.startswith("--text: 6 of 6 words are unknown")
    told = mtclip(
        "query", "--text", f"opacity in the left lung {CHINESE[0][:1]}", "--bundle", bundle, "--format", "ids"
    )
    assert told.code == 0 and "1 of 6 words (16.7%) are unknown to the text tower's word list\n" in told.err
    inspected = mtclip("data", "inspect", table, "--format", "json")
    assert inspected.code == 0
