"""The reader's marks: one file, added to, without names."""

import csv
import io
import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from mtclip_edge.errors import Refused, WrongOption
from mtclip_edge.server.marks import Marked, Marks

EXAMPLES = Path(__file__).parents[2] / "examples"
NOW = datetime.now().astimezone()


def marked(report: str | None = None, film: str = "f1") -> Marked:
    return Marked(film, "key", NOW, "sha256:1", ["r1", "r2"], report)


def test_marks_are_added_and_read(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    marks = Marks(path)
    marks.add(marked("r2"), "useful", None)
    before = path.read_bytes()
    Marks(path).add(marked(), "note", "=SUM(A1)")
    Marks(path).add(marked(film="f2"), "not", None)
    assert path.read_bytes().startswith(before)
    found = Marks(path).read()
    assert [(one["mark"], one["rank"]) for one in found] == [("useful", 2), ("note", None), ("not", None)]
    assert found[0]["film"] == found[1]["film"] != found[2]["film"]  # one film, told by its bytes
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0
    rows = list(csv.DictReader(io.StringIO(marks.as_csv())))
    assert [row["mark"] for row in rows] == ["useful", "note", "not"] and rows[1]["note"] == "'=SUM(A1)"
    assert json.loads(marks.as_json())["schema"] == "mtclip.marks/1"


def test_a_film_is_called_by_its_pixels_and_otherwise_in_another_file(tmp_path: Path) -> None:
    grey, other = np.zeros((4, 6), np.uint8), np.zeros((6, 4), np.uint8)
    one, two = (Marks(tmp_path / name) for name in ("a", "b"))
    assert one.film_id(grey) == Marks(tmp_path / "a").film_id(grey.copy())
    assert len({one.film_id(grey), one.film_id(other), two.film_id(grey)}) == 3


def test_a_line_that_was_cut_off_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    Marks(path).add(marked(), "useful", None)
    with path.open("ab") as file:
        file.write(b'{"film": "ab')
    Marks(path).add(marked(), "not", None)
    assert [one["mark"] for one in Marks(path).read()] == ["useful", "not"]


@pytest.mark.parametrize(
    ("kind", "note", "report"),
    [
        ("good", None, None),
        ("note", None, None),
        ("useful", "x", None),
        ("note", "x" * 501, None),
        ("useful", None, "r9"),
    ],
)
def test_what_is_no_mark(tmp_path: Path, kind: str, note: str | None, report: str | None) -> None:
    marks = Marks(tmp_path / "marks.jsonl")
    with pytest.raises(WrongOption):
        marks.add(marked(report), kind, note)
    assert not marks.read()


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    for content in ("patients\n", '{"a": 1}\n'):
        path = tmp_path / "other"
        path.write_text(content)
        with pytest.raises(Refused, match="something else"):
            Marks(path)
        assert path.read_text() == content
    with pytest.raises(Refused, match="no folder"):
        Marks(tmp_path / "none" / "marks")
    with pytest.raises(Refused, match="is a folder"):
        Marks(tmp_path)


def test_marks_through_the_server(marking: TestClient, tmp_path: Path) -> None:
    data = (EXAMPLES / "effusion.png").read_bytes()
    found = marking.post("/api/query", params={"name": "Jane_Doe.png"}, content=data).json()
    report = found["hits"][1]["report_id"]
    assert (
        marking.post(
            "/api/marks", json={"key": found["key"], "report_id": report, "mark": "useful"}
        ).status_code
        == 200
    )
    assert (
        marking.post("/api/marks", json={"key": found["key"], "mark": "note", "note": "helped"}).status_code
        == 200
    )
    assert marking.post("/api/marks", json={"key": found["key"], "mark": "fine"}).status_code == 400
    assert marking.post("/api/marks", json={"key": "gone", "mark": "useful"}).status_code == 404
    assert (
        marking.post("/api/marks", json={"key": found["key"], "mark": "useful", "who": "me"}).status_code
        == 400
    )
    marks = marking.get("/api/marks").json()["marks"]
    assert [(one["report_id"], one["rank"], one["mark"], one["note"]) for one in marks] == [
        (report, 2, "useful", None),
        (None, None, "note", "helped"),
    ]
    assert marking.get("/api/marks?format=csv").text.count("\n") == 3
    assert marking.get("/api/marks?format=xml").status_code == 400
    assert "Jane" not in (tmp_path / "marks.jsonl").read_text()
    assert marking.get("/api/about").json()["marks"] is True


def test_without_a_file_no_mark_is_kept(client: TestClient) -> None:
    assert client.get("/api/marks").status_code == 404
    assert client.post("/api/marks", json={"key": "k", "mark": "useful"}).status_code == 404
