"""What a command says of its source before it does anything with it."""

import csv
import json
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


@pytest.mark.torch
def test_a_script_that_byte_pairs_were_not_made_for_is_refused(mtclip, hf_clip: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"z{number},{CHINESE[number % 2]},{number}" for number in range(40))
    table = put(tmp_path / "chinese.csv", f"study_id,report,patient_id\n{rows}\n")
    done = mtclip("train", "--data", table, "--backbone", hf_clip, "--out", tmp_path / "run")
    assert done.code == 1 and "letters are split into bytes by the text tower's byte pairs" in done.err


@pytest.fixture
def foreign(source: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """The studies of ``source`` as another program would list them, and what reads that."""
    names = {
        "study_id": "Exam",
        "patient_id": "Who",
        "image_path": "Bild",
        "findings": "Befund",
        "label": "Urteil",
    }
    words = {"normal": "gesund", "abnormal": "krank"}
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = tmp_path / "foreign.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [names.get(name, name) for name in rows[0]])
        writer.writeheader()
        for row in rows:
            row["image_path"] = row["image_path"] and str(source.parent / row["image_path"])
            row["label"] = words.get(row["label"], row["label"])
            writer.writerow({names.get(name, name): value for name, value in row.items()})
    pairs = [f"{theirs}={ours}" for ours, theirs in names.items()]
    pairs += [f"label:{theirs}={ours}" for ours, theirs in words.items()]
    return table, [word for pair in pairs for word in ("--map", pair)]


def test_an_evaluation_reads_tables_of_other_programs(
    mtclip, tiny_bundle: Path, source: Path, foreign: tuple[Path, list[str]], tmp_path: Path
) -> None:
    table, pairs = foreign

    def figures(*words: object) -> dict[str, object]:
        done = mtclip("eval", tiny_bundle, "--format", "json", *words)
        assert done.code == 0, done.err
        return json.loads(done.out)["models"][0]["figures"]

    expected = figures("--data", source)
    assert figures("--data", table, *pairs) == expected
    other = put(tmp_path / "r.csv", "Nr,Text\n1,Clear lungs.\n2,Opacity in the left lung.\n")
    mapped = figures("--data", table, *pairs, "--reports", f"{other},map=Nr:study_id+Text:report")
    assert mapped == figures("--data", source, "--reports", f"{other},map=Nr:study_id+Text:report")
    refused = mtclip("eval", tiny_bundle, "--data", table)
    assert refused.code == 1 and "did you mean --map" in refused.err


@pytest.mark.torch
def test_an_export_packs_reports_of_other_programs(mtclip, tiny_run: Path, tmp_path: Path) -> None:
    table = put(tmp_path / "r.csv", "Exam,Befund,label\n1,Clear.,gesund\n2,Mass.,krank\n")
    words = ["--map", "Befund=report", "--map", "label:krank=abnormal", "--map", "label:gesund=normal"]
    words += ["--map", "Exam=study_id"]
    refused = mtclip("export", tiny_run, "--out", tmp_path / "b", *words)
    assert refused.code == 2 and "--reports, which is not given" in refused.err
    done = mtclip(
        "export", tiny_run, "--out", tmp_path / "b", "--reports", table, *words, "--precision", "fp32"
    )
    assert done.code == 0, done.err
    counts = json.loads(mtclip("index", "stats", tmp_path / "b", "--format", "json").out)
    assert counts["labels"] == {"normal": 1, "abnormal": 1}
