"""A folder of films: a line each, CSV, order, near reports only, and counts that add up."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from balanced_html import Balanced
from bundle_evidence import commit_evidence
from PIL import Image

from mtclip_edge import Retriever
from mtclip_edge.display.answer_csv import FILM, REPORT, _safe
from mtclip_edge.display.page_writer import PageForEach

SUMMARY = "6 files: 3 answered, 1 rejected, 1 could not be read, 1 passed over"


@pytest.fixture
def judged(bundle: Path) -> Path:
    return commit_evidence(bundle)


@pytest.fixture
def folder(films: list[Path], tmp_path: Path) -> Path:
    """Three films, one that is rejected, one that is damaged, and a text."""
    (tmp_path / "mixed").mkdir()
    for film in films:
        shutil.copy(film, tmp_path / "mixed" / film.name)
    Image.fromarray(np.zeros((200, 200), np.uint8)).save(tmp_path / "mixed" / "black.png")
    (tmp_path / "mixed" / "cut.png").write_bytes(films[0].read_bytes()[:200])
    (tmp_path / "mixed" / "note.txt").write_text("no film")
    return tmp_path / "mixed"


def rows(out: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(out)))


def test_the_overview_is_a_line_a_film_and_all_add_up(
    mtclip, judged: Path, folder: Path, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    found = mtclip("query", folder, "--bundle", judged, "--format", "table")
    lines = found.out.splitlines()
    assert lines[0].split() == ["film", "verdict", "abnormal", "call", "best", "report"] and len(lines) == 7
    assert max(map(len, lines)) <= 100 and found.err.splitlines()[-1] == SUMMARY and found.code == 5
    by_name = {line.split()[0]: line for line in lines[1:6]}
    assert "rejected" in by_name["black.png"] and "uniform" in by_name["black.png"]
    assert "unreadable" in by_name["cut.png"]
    for document in map(json.loads, mtclip("query", folder, "--bundle", judged).out.splitlines()):
        line = by_name[Path(document["image"]).name]
        if document["hits"]:
            assert document["evidence"]["verdict"] in line and document["abnormal"]["call"] in line
            assert document["hits"][0]["impression"].split()[0] in line
    full = mtclip("query", folder, "--bundle", judged, "--full", "-k", "2")
    for document in map(json.loads, mtclip("query", folder, "--bundle", judged, "-k", "2").out.splitlines()):
        for hit in document["hits"]:
            assert " ".join(hit["findings"].split())[:40] in " ".join(full.out.split())
            assert hit["study_ids"][0] in full.out and hit["report_id"] in full.out


def test_csv_has_fixed_columns_and_every_film(mtclip, judged: Path, folder: Path) -> None:
    found = mtclip("query", folder, "--bundle", judged, "--format", "csv", "-k", "2")
    table = rows(found.out)
    assert list(table[0]) == [*FILM, *REPORT] and found.err.splitlines()[-1] == SUMMARY
    status = {Path(row["film"]).name: row["status"] for row in table}
    assert sorted(status.values()) == ["answered"] * 3 + ["rejected", "unreadable"]
    assert [row["rank"] for row in table].count("1") == 3 and len(table) == 3 * 2 + 2
    documents = [
        json.loads(line) for line in mtclip("query", folder, "--bundle", judged, "-k", "2").out.splitlines()
    ]
    hits = {(d["image"], str(h["rank"])): (h, d) for d in documents for h in d["hits"]}
    for row in table:
        if row["status"] == "answered":
            hit, document = hits[row["film"], row["rank"]]
            assert (row["report_id"], row["call"]) == (hit["report_id"], document["abnormal"]["call"])
            assert (float(row["score"]), row["study_id"]) == (hit["score"], "|".join(hit["study_ids"]))
    marked = mtclip("query", folder, "--bundle", judged, "--format", "csv", "--bom", "-k", "2")
    assert marked.out == "\ufeff" + found.out


@pytest.mark.parametrize("begin", "=+-@")
def test_no_cell_is_a_formula(begin: str) -> None:
    assert _safe(f"{begin}1+1") == f"'{begin}1+1" and _safe(f"  {begin}x") == f"'{begin}x"
    assert _safe(-0.5) == -0.5 and _safe("a=b") == "a=b" and _safe(None) is None
    assert _safe("\t=1").startswith("'")


def test_an_order_holds_for_every_format_and_the_page(
    mtclip, judged: Path, folder: Path, tmp_path: Path
) -> None:
    words = ["query", folder, "--bundle", judged]
    found = {d["image"]: d for d in map(json.loads, mtclip(*words).out.splitlines())}
    probability = {name: d["abnormal"]["probability"] if d["abnormal"] else -1 for name, d in found.items()}
    page = tmp_path / "a.html"
    for order in ("abnormal", "name", "verdict"):
        lines = mtclip(*words, "--sort", order, "--save", page).out.splitlines()
        names = [json.loads(line)["image"] for line in lines]
        if order == "abnormal":
            assert names == sorted(found, key=lambda name: (-probability[name], name))
        elif order == "name":
            assert names == sorted(found)
        else:
            assert found[names[-1]]["input"]["verdict"] == "reject"
        said = Balanced(page.read_text()).said
        headings = [text for tag, text in said if tag == "h2"]
        assert headings[1:] == [Path(name).name for name in names]
    last = rows(mtclip(*words, "--sort", "name", "--format", "csv").out)[-1]
    assert last["status"] == "unreadable"


def test_reports_that_are_not_near_are_left_out(mtclip, judged: Path, films: list[Path]) -> None:
    words = ["query", films[0], "--bundle", judged, "--json", "-k", "1000"]
    scores = [hit["score"] for hit in json.loads(mtclip(*words).out)["hits"]]
    assert min(scores) < max(scores)
    commit_evidence(judged, best_scores=np.linspace(min(scores), max(scores), 101).tolist())
    every = json.loads(mtclip(*words).out)
    least = sorted({hit["percentile"] for hit in every["hits"]})[1]
    near = json.loads(mtclip(*words, "--min-percentile", least).out)
    assert near["hits"] == [hit for hit in every["hits"] if hit["percentile"] >= least]
    assert 0 < len(near["hits"]) < len(every["hits"]) and near["evidence"]["agreement"] is None
    assert json.loads(mtclip(*words, "--min-percentile", "0").out)["evidence"] == every["evidence"]


def test_without_percentiles_nothing_is_near(mtclip, tiny_bundle: Path, films: list[Path]) -> None:
    found = mtclip("query", films[0], "--bundle", tiny_bundle, "--min-percentile", "5")
    assert (found.code, found.out) == (1, "") and "fewer than 20 validation films" in found.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--full", "--json"], "--full and --format json"),
        (["--bom"], "--bom and --format jsonl"),
        (["--sort", "size"], "sort 'size'"),
        (["--min-percentile", "101"], "--min-percentile 101"),
    ],
)
def test_options_that_do_not_go_together(
    mtclip, tiny_bundle: Path, films: list[Path], words: list[str], line: str
) -> None:
    found = mtclip("query", films[0], "--bundle", tiny_bundle, *words)
    assert (found.code, found.out, found.err.splitlines()[0]) == (2, "", line)


def test_a_page_for_each_film_that_arrives(judged: Path, films: list[Path], tmp_path: Path) -> None:
    class Seen:
        def __init__(self) -> None:
            self.answers: list[object] = []

        def add(self, result: object) -> None:
            self.answers.append(result)

        def failed(self, name: str, error: object) -> None: ...
        def close(self) -> None: ...

    seen = Seen()
    (tmp_path / "pages").mkdir()
    with Retriever.open(judged, keep_films=True) as retriever:
        out = PageForEach(seen, tmp_path / "pages", retriever)
        for film in (films[0], films[1], films[0]):
            out.add(retriever.query(film, k=1))
    names = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert names == sorted([f"{films[0].stem}.html", f"{films[0].stem}-2.html", f"{films[1].stem}.html"])
    assert len(seen.answers) == 3
    assert all(Balanced((tmp_path / "pages" / n).read_text()).tags.count("article") == 1 for n in names)
