"""A source by its word: what kind it is, how it is told, and tables in every spelling."""

import gzip
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from layouts import packed, png, put

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.sources.source import open_source, stream_source


def test_two_layouts_in_one_folder_are_not_chosen_between(tmp_path: Path, openi: dict[str, str]) -> None:
    packed(tmp_path / "o", openi, "zip")
    put(tmp_path / "o" / "annotation.json", '{"train": [{"id": "1", "report": "x"}]}')
    with pytest.raises(
        SourceUnusable,
        match=r"several layouts\nr2gen \(annotation.json\); openi \(reports.zip\)\nname one, e.g. r2gen:",
    ):
        open_source(str(tmp_path / "o"))
    assert len(open_source(f"r2gen:{tmp_path / 'o'}").studies) == 1


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        SourceUnusable,
        match="no kind of source 'mimic'\nexpected one of manifest, .*\ndid you mean mimic-cxr:x",
    ):
        open_source("mimic:x")
    odd = put(tmp_path / "a:b,c=d.csv", "study_id,report\n1,T.\n")
    assert len(open_source(str(odd)).studies) == 1  # a colon and a comma may be in a file's name


def test_json_lines_parquet_gzip_and_open_clips_names(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    put(tmp_path / "a.png", png())
    rows = [
        {
            "study_id": "1",
            "image_path": "a.png",
            "report": "T.",
            "label": "normal",
            "finding_labels": "A|B",
            "ward": "7",
        },
        {"study_id": "2", "image_path": "", "report": "U.", "label": "", "finding_labels": "", "ward": ""},
    ]
    plain = put(
        tmp_path / "m.csv",
        "study_id,image_path,report,label,finding_labels,ward\n1,a.png,T.,normal,A|B,7\n2,,U.,,,\n",
    )
    as_json = [{**rows[0], "study_id": 1, "finding_labels": ["A", "B"]}, {**rows[1], "image_path": None}]
    files = [
        put(tmp_path / "m.csv.gz", gzip.compress(plain.read_bytes())),
        put(tmp_path / "m.jsonl", "".join(json.dumps(row) + "\n" for row in as_json)),
        tmp_path / "m.parquet",
    ]
    parquet.write_table(pa.Table.from_pylist(rows), files[2])
    expected = [asdict(s) | {"source": ""} for s in open_source(str(plain)).studies]
    for file in files:
        assert [asdict(s) | {"source": ""} for s in open_source(str(file)).studies] == expected, file
    clip = put(tmp_path / "clip.csv", "filepath\ttitle\na.png\tA title.\ngone.png\tB.\n")
    one, two = open_source(str(clip)).studies
    assert (one.study_id, one.text, one.films[0].name, two.films) == ("a.png", "A title.", "a.png", ())
    bad = put(tmp_path / "bad.jsonl", '{"study_id": "1", "report": "T."}\n[1]\n{\n{"report": "x"}\n')
    assert [str(p) for p in open_source(str(bad)).problems] == [
        "line 2: not a JSON object (row left out)",
        "line 3: not JSON (row left out)",
        "line 4: study_id is empty (row left out)",
    ]
    for file in (
        put(tmp_path / "x.parquet", b"PAR1nonsense"),
        put(tmp_path / "x.csv.gz", files[0].read_bytes()[:40]),
    ):
        with pytest.raises(SourceUnusable, match="not a readable Parquet file|damaged gzip"):
            open_source(str(file))


def test_rows_of_a_study_that_do_not_lie_together_are_joined(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(6)]
    for name in names:
        put(tmp_path / name, png())
    rows = [("a", 0), ("b", 1), ("a", 2), ("c", 3), ("b", 4), ("a", 5)]
    table = put(tmp_path / "m.csv", "study_id,image_path\n" + "".join(f"{s},{i}.png\n" for s, i in rows))
    assert [(s.study_id, [f.name for f in s.films]) for s in open_source(str(table)).studies] == [
        ("a", ["0.png", "2.png", "5.png"]),
        ("b", ["1.png", "4.png"]),
        ("c", ["3.png"]),
    ]
    streamed = [item.study.study_id for item in stream_source(str(table))]  # each as soon as it is whole
    assert streamed == ["c", "b", "a"]
