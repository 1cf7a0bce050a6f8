"""Tables that other programs write: nothing of a row is lost, and no row becomes part of another's report."""

import datetime
import decimal
import gzip
import json
from pathlib import Path

import layouts
import pytest

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.sources.source import open_source
from mtclip_edge.sources.tables import plain_word, rows

HEADER = "study_id,patient_id,image_path,report,label"


def wide(n: int) -> list[str]:
    return [f"s{i},{100 + i},f.png,Report number {i}.,abnormal" for i in range(n)]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    layouts.put(path.parent / "f.png", layouts.png())
    return str(path)


def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    lines = wide(60)
    lines[19] = lines[19].replace("Report", '"Report')
    with pytest.raises(SourceUnusable, match="line 21: a quote takes 41 lines into one row"):
        open_source(write(tmp_path / "a.csv", lines))
    last = wide(5)
    last[-1] = 's4,104,f.png,"The last report is not closed'
    with pytest.raises(SourceUnusable, match="line 6: a quote takes 1 lines into one row"):
        open_source(write(tmp_path / "b.csv", last))


@pytest.mark.parametrize(
    "closed_by", ['"Report number 40."', 'Report number 40."', '"Report, number 40", no']
)
def test_a_quote_that_another_row_closes_is_refused(tmp_path: Path, closed_by: str) -> None:
    lines = wide(60)
    lines[19] = lines[19].replace("Report", '"Report')
    lines[40] = lines[40].replace("Report number 40.", closed_by)
    with pytest.raises(SourceUnusable, match="line 21: a quote takes 22 lines into one row"):
        open_source(write(tmp_path / "a.csv", lines))


def test_one_swallowed_row_of_a_last_column_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('study_id,report\ns1,"Clear.\ns2,"Effusion.\ns3,Nodule.\n')
    with pytest.raises(SourceUnusable, match="line 2: a quote takes 2 lines"):
        open_source(str(path))
    path.write_text('study_id,report\ns1,"Clear.\ns2,Effusion.\ns3,Nodule."\n')
    with pytest.raises(SourceUnusable, match="line 2: a quote takes 3 lines"):
        open_source(str(path))


def test_tabs_swallow_rows_too(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    lines = [line.replace(",", "\t") for line in [HEADER, *wide(9)]]
    lines[3] = lines[3].replace("Report", '"Report')
    path.write_text("\n".join(lines))
    with pytest.raises(SourceUnusable, match="line 4: a quote takes 7 lines"):
        open_source(str(path))


def test_reports_of_many_lines_are_read_whole(tmp_path: Path) -> None:
    text = 'Heart, lungs, bones: ""as before"".\nNo effusion,\n\nno pneumothorax, no nodule, nothing.'
    reading = open_source(write(tmp_path / "a.csv", [f's{i},1{i},f.png,"{text}",normal' for i in range(3)]))
    assert [study.report for study in reading.studies] == [
        text.replace('""', '"')
    ] * 3 and not reading.bad_rows
    narrow = tmp_path / "b.csv"
    narrow.write_text('study_id,report\n17,"Heart, ok\nLungs, clear\nBones, intact"\n18,Clear.\n')
    assert [study.report for study in open_source(str(narrow)).studies] == [
        "Heart, ok\nLungs, clear\nBones, intact",
        "Clear.",
    ]


@pytest.mark.parametrize(
    ("word", "plain"),
    [
        ("123.0", "123"),
        ("50414267.0", "50414267"),
        ("5.0414267e7", "50414267"),
        ("007.0", "007"),
        (" nan ", ""),
        ("NaN", ""),
        ("None", ""),
        ("<NA>", ""),
        ("NaT", ""),
        ("123.5", "123.5"),
        ("1.2.826.0", "1.2.826.0"),
        ("1e99", "1e99"),
        ("1e5", "1e5"),
        ("1e+05", "100000"),
        ("5.0414267E7", "50414267"),
        ("none seen", "none seen"),
    ],
)
def test_ids_and_words_that_pandas_made(word: str, plain: str) -> None:
    assert plain_word(word) == plain


def test_floats_are_ids_in_every_kind_of_table(tmp_path: Path) -> None:
    row = {
        "study_id": 7.0,
        "patient_id": 50414267.0,
        "report": "Clear.",
        "finding_labels": ["a", 2.0],
        "label": "nan",
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (tmp_path / "b.csv").write_text(
        "study_id,patient_id,report,finding_labels,label\n7.0,50414267.0,Clear.,a|2,nan\n"
    )
    (tmp_path / "c.csv").write_text("study_id,patient_id,report,finding_labels,label\n7.0,<NA>,Clear.,a|2,\n")
    made = [open_source(str(tmp_path / name)).studies[0] for name in ("a.jsonl", "b.csv")]
    assert {(s.study_id, s.patient_id, s.finding_labels, s.label) for s in made} == {
        ("7", "50414267", ("a", "2"), "unknown")
    }
    assert open_source(str(tmp_path / "c.csv")).studies[0].patient_id == "7"


def test_mimics_numbers_may_be_floats(tmp_path: Path) -> None:
    folder = layouts.mimic(tmp_path / "m")
    for table in folder.glob("*.csv.gz"):
        text = gzip.decompress(table.read_bytes()).decode()
        for number in ("10000032", "10000764", "10000898", *(f"5000000{i}" for i in range(1, 5))):
            text = text.replace(f",{number},", f",{number}.0,")
        table.write_bytes(gzip.compress(text.encode()))
    assert [s.study_id for s in open_source(str(folder)).studies] == [
        "50000001",
        "50000002",
        "50000003",
        "50000004",
    ]


def test_a_json_array_in_any_shape(tmp_path: Path) -> None:
    held = [{"study_id": f"s{i}", "report": f"Report {i}."} for i in range(3)]
    shapes = [
        json.dumps(held),
        json.dumps(held, indent=1),
        "\n\n[\n" + ",\n".join(map(json.dumps, held)) + "\n]\n",
    ]
    for number, text in enumerate(shapes):
        path = layouts.put(tmp_path / f"{number}.json", text)
        assert [study.report for study in open_source(str(path)).studies] == [
            "Report 0.",
            "Report 1.",
            "Report 2.",
        ]
    odd = layouts.put(tmp_path / "odd.json", '[{"study_id": "a", "report": "Clear."}, 3]')
    assert [str(problem) for problem in open_source(str(odd)).problems] == [
        "entry 2: not a JSON object (row left out)"
    ]
    cut = layouts.put(tmp_path / "cut.json", shapes[0][:-5])
    with pytest.raises(SourceUnusable, match="not JSON"):
        open_source(str(cut))


def test_semicolons_excels_first_line_and_utf_16(tmp_path: Path) -> None:
    text = HEADER + "\n" + "\n".join(wide(3)) + "\n"
    expected = [(f"s{i}", f"Report number {i}.") for i in range(3)]
    written = {
        "a.csv": text.replace(",", ";").encode(),
        "b.csv": b"sep=;\r\n" + text.replace(",", ";").replace("\n", "\r\n").encode(),
        "c.csv": text.replace(",", "\t").encode("utf-16"),
        "d.csv": b"\xef\xbb\xbfSEP=,\n" + text.encode(),
    }
    for name, data in written.items():
        reading = open_source(str(layouts.put(tmp_path / name, data)))
        assert [(study.study_id, study.report) for study in reading.studies] == expected, name
        assert reading.problems[0].place == (3 if name in ("b.csv",) else 2) or name == "d.csv"


def test_parquet_columns_of_any_type(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    when = datetime.datetime(2024, 1, 2, 10, 5)
    columns = {
        "study_id": pa.array(["s1", "s2"]),
        "patient_id": pa.array([100.0, None]),
        "report": pa.array(["Clear.", "Nodule."]),
        "date": pa.array([when, when], pa.timestamp("ns")),
        "acquired": pa.array([datetime.time(10, 5)] * 2, pa.time64("ns")),
        "zone": pa.array([when, when], pa.timestamp("us", "+01:00")),
        "day": pa.array([datetime.date(2024, 1, 2)] * 2),
        "kvp": pa.array([decimal.Decimal("80.5"), decimal.Decimal("90.0")]),
        "finding_labels": pa.array([["nodule"], []]),
        "place": pa.array([{"site": "A", "at": datetime.date(2024, 1, 2)}] * 2),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
        "thumb": pa.array([b"\x89PNG"] * 2),
        "took": pa.array([datetime.timedelta(1)] * 2),
        "image": pa.array([{"bytes": b"\x89PNG", "path": "f.png"}] * 2),
        "parts": pa.array([[b"a"], []]),
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    reading = open_source(str(tmp_path / "a.parquet"))
    first, second = reading.studies
    assert (first.patient_id, second.patient_id, first.date, first.finding_labels) == (
        "100",
        "s2",
        "2024-01-02",
        ("nodule",),
    )
    assert first.extra == {
        "acquired": "10:05:00",
        "zone": "2024-01-02 11:05:00+01:00",
        "day": "2024-01-02",
        "kvp": "80.5",
        "place": '{"site": "A", "at": "2024-01-02"}',
        "kind": "a",
    }
    assert second.extra["kvp"] == "90"
    assert reading.notes == (
        "columns left out: thumb (binary), took (duration[us]), image (struct<bytes: binary, path: string>), parts (list<element: binary>)",
    )


def test_a_zone_that_is_unknown_here_is_utc(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    when = pa.array([datetime.datetime(2024, 1, 2, 10, 5)], pa.timestamp("us", "Mars/Olympus"))
    parquet.write_table(
        pa.table({"study_id": ["s"], "report": ["Clear."], "date": when}), tmp_path / "a.parquet"
    )
    assert [row["date"] for _, row in rows(tmp_path / "a.parquet")] == ["2024-01-02 10:05:00"]


def test_an_object_of_columns_is_not_taken_for_one_study(tmp_path: Path) -> None:
    """As pandas' to_json writes a table: all ids in one object, all reports in another."""
    columns = {"study_id": {"0": "a", "1": "b"}, "report": {"0": "Clear.", "1": "Mass."}}
    (tmp_path / "t.json").write_text(json.dumps(columns))
    with pytest.raises(SourceUnusable, match="line 1: study_id is a JSON object, expected words"):
        open_source(str(tmp_path / "t.json"))
    rows_of = [{"study_id": "a", "report": {"findings": "Clear."}}, {"study_id": "b", "report": "{Clear.}"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows_of)))
    reading = open_source(str(tmp_path / "t.jsonl"))
    assert [study.report for study in reading.studies] == ["{Clear.}"]
    assert [str(problem) for problem in reading.problems] == [
        "line 1: report is a JSON object, expected words (row left out)"
    ]


def test_a_text_column_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"study_id": ["a"], "report": [b"Clear."], "finding_labels": ["Mass"]})
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(SourceUnusable) as refused:
        open_source(str(tmp_path / "t.parquet"))
    assert str(refused.value).endswith(
        "expected image_path, report, findings or impression; columns left out: report (binary)"
    )


def test_a_quote_that_takes_fields_of_its_own_row_is_a_bad_row(tmp_path: Path) -> None:
    lines = [
        "study_id,findings,impression,label",
        'a,"Heart large, lungs clear",Cardiomegaly,abnormal',
        'b,"open, here,Effusion" x,abnormal',
        'c,"Stable" heart,Clear,normal',
        'd,nodule of 5" here,"He said ""a, b"" again",abnormal',
        'e,"open here,Effusion" x,abnormal,',
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    reading = open_source(str(tmp_path / "t.csv"))
    assert [study.study_id for study in reading.studies] == ["a", "c", "d"]
    assert reading.studies[2].impression == 'He said "a, b" again'
    assert [str(problem) for problem in reading.problems] == [
        "line 3: a quote out of place takes fields into one (row left out)",
        "line 6: a quote out of place takes fields into one (row left out)",
    ]
