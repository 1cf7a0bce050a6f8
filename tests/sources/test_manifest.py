"""Manifests: what is read, and every way a row or a file can be wrong."""

from pathlib import Path

import pytest
from PIL import Image

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.sources.source import open_source, open_sources


def write(folder: Path, text: str, *films: str, name: str = "manifest.csv") -> Path:
    folder.mkdir(exist_ok=True)
    for film in films:
        Image.new("L", (8, 8)).save(folder / film)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_row_with_everything(tmp_path: Path) -> None:
    header = (
        "study_id,patient_id,image_path,view,findings,impression,report,label,finding_labels,split,ward\n"
    )
    path = write(tmp_path, header + "s1,p1,a.png,PA,F.,I.,,Abnormal,Opacity|Effusion,val,7B\n", "a.png")
    (study,) = open_source(str(path)).studies
    assert (study.study_id, study.patient_id, study.label, study.split) == (
        "s1",
        "p1",
        "abnormal",
        "validation",
    )
    assert study.finding_labels == ("Opacity", "Effusion")
    assert [(f.name, f.view, f.path) for f in study.films] == [("a.png", "PA", tmp_path / "a.png")]
    assert study.text == "F. I."
    assert study.extra == {"ward": "7B"}


def test_only_study_id_and_one_column_are_needed(tmp_path: Path) -> None:
    reading = open_source(str(write(tmp_path, "study_id,report\n1,Clear lungs.\n")))
    (study,) = reading.studies
    assert (study.patient_id, study.label, study.films, study.text) == ("1", "unknown", (), "Clear lungs.")
    assert study.split == "train"  # by the hash of patient 1


def test_rows_of_a_study_are_joined(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "study_id,image_path,report\n1,a.png,T.\n2,b.png,U.\n1,c.png,T.\n",
        "a.png",
        "b.png",
        "c.png",
    )
    reading = open_source(str(path))
    assert [[f.name for f in s.films] for s in reading.studies] == [["a.png", "c.png"], ["b.png"]]
    assert not reading.problems


def test_bad_rows_are_named_by_line_and_never_dropped_silently(tmp_path: Path) -> None:
    rows = [
        "study_id,patient_id,image_path,report,label,split",
        's1,p,a.png,"a report\nof two lines",normal,',  # lines 2 and 3
        "s2,p,,,,",
        "s3,p,,Text.,maybe,",
        "s4,p,,Text.,,train2",
        ",p,,Text.,,",
        "s1,p,a.png,other,normal,",
        "s5,p,gone.png,Kept text.,,",
        "s6,p,gone.png,,,",
        "s7,p,,too,many,,fields",
        's1,p,a.png,"a report\nof two lines",normal,',
    ]
    reading = open_source(str(write(tmp_path, "\n".join(rows) + "\n", "a.png")))
    assert [str(p) for p in reading.problems] == [
        "line 4: neither a film nor a text (row left out)",
        "line 5: label 'maybe', expected normal, abnormal, unknown or empty (label left out)",
        "line 6: split 'train2', expected train, validation, test or empty (row left out)",
        "line 7: study_id is empty (row left out)",
        "line 8: study s1 again, with another report (row left out)",
        "line 9: film not found: gone.png (film left out)",
        "line 10: film not found: gone.png (row left out)",
        "line 11: 7 fields, expected 6 (row left out)",
        "line 12: study s1 again, with no new film (row left out)",
    ]
    assert [s.study_id for s in reading.studies] == ["s1", "s3", "s5"]
    assert reading.studies[2].text == "Kept text."
    assert reading.summary().endswith("3 studies, 1 films, 3 reports, 9 bad rows")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty, expected a table with a header line"),
        ("id,report\n1,T.\n", "no column study_id"),
        ("study_id,ward\n1,A\n", "neither a film nor a text column"),
        ("study_id,report,report\n1,A,B\n", "column report appears twice"),
        ("study_id,report\n", "no study can be used"),
        ("study_id,report\n1,\n", "line 2: neither a film nor a text"),
    ],
)
def test_unusable_manifests(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceUnusable, match=message):
        open_source(str(write(tmp_path, text)))


def test_a_missing_manifest_names_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, "study_id,report\n1,T.\n", name="other.csv")
    with pytest.raises(SourceUnusable, match="no such manifest\nin that folder: other.csv"):
        open_source(f"manifest:{tmp_path}")


def test_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("study_id,report\n1,Größe\n".encode("latin-1"))
    with pytest.raises(SourceUnusable, match=r"not UTF-8 \(byte 20 is 0xf6\)"):
        open_source(str(tmp_path / "m.csv"))


def test_tabs_and_a_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_bytes(b"\xef\xbb\xbfstudy_id\treport\n1\tA, b and c.\n")
    (study,) = open_source(str(tmp_path / "m.tsv")).studies
    assert study.text == "A, b and c."


def test_sources_that_share_a_study_id_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "study_id,report\n1,T.\n")
    two = write(tmp_path / "two", "study_id,report\n1,U.\n")
    three = write(tmp_path / "three", "study_id,report\n2,U.\n")
    assert len(open_sources([str(one), str(three)]).studies) == 2
    for pair in ([one, two], [one, one]):
        with pytest.raises(SourceUnusable, match="study 1 is in"):
            open_sources([str(path) for path in pair])


@pytest.mark.realdata
def test_open_i_is_what_its_description_says(real_data: Path) -> None:
    reading = open_source(str(real_data / "openi_frontal"))
    assert not reading.problems
    rows = [study for study in reading.studies for _ in study.films]
    assert (len(reading.studies), len(rows)) == (2544, 2631)
    assert [sum(s.label == label for s in rows) for label in ("normal", "abnormal", "unknown")] == [
        947,
        1632,
        52,
    ]
    assert [sum(s.split == name for s in rows) for name in ("train", "validation", "test")] == [
        1854,
        275,
        502,
    ]


def test_the_first_bad_rows_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    text = "study_id,report\n1,T.\n" + "".join(f"{i},\n" for i in range(2, 30))
    lines = open_source(str(write(tmp_path, text))).summary_lines()
    assert len(lines) == 24
    assert lines[1] == "  labels: 0 normal, 0 abnormal, 1 unknown"
    assert lines[2] == "  line 3: neither a film nor a text (row left out)"
    assert lines[-2:] == ["  and 8 more", "  by reason: 28 × neither a film nor a text (row left out)"]


def test_a_study_says_its_source_by_name_not_by_path(tmp_path: Path) -> None:
    """A bundle is carried to other machines; the paths of this one stay here."""
    whole = write(tmp_path / "hospital", "study_id,report\n1,T.\n")
    assert open_source(str(whole)).studies[0].source == "manifest:hospital"
    assert open_source(str(tmp_path / "hospital")).studies[0].source == "manifest:hospital"
    assert (
        open_source(str(write(tmp_path, "study_id,report\n1,T.\n", name="ward.csv"))).studies[0].source
        == "manifest:ward.csv"
    )
