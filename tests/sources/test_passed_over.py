"""What a source does not take is counted by the rule that says so, and is no bad row; what cannot be told is unknown, never normal."""

from pathlib import Path

import layouts
import pytest
from layouts import dicom, png, put, shard

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.sources.layouts.padchest import TABLE
from mtclip_edge.sources.source import open_source

PIXELS = {"Rows": 10, "Columns": 12}


def test_webdataset_keys_may_be_uids(tmp_path: Path) -> None:
    members = [
        (f"1.2.826.0.1.{i}.{end}", png() if end == "png" else f"Report {i}.")
        for i in range(5)
        for end in ("png", "txt")
    ]
    plain = [
        (f"{i:06d}.{end}", png() if end == "png" else "Clear.")
        for i in range(3)
        for end in ("film.png", "report.txt")
    ]
    reading = open_source(f"wds:{shard(tmp_path / 'a.tar', [*plain, *members])}")
    assert [s.study_id for s in reading.studies] == [
        *(f"{i:06d}" for i in range(3)),
        *(f"1.2.826.0.1.{i}" for i in range(5)),
    ]
    assert [s.text for s in reading.studies[3:]] == [f"Report {i}." for i in range(5)]
    assert not reading.bad_rows and not reading.tally.passed_over


def test_webdataset_members_of_other_endings_are_counted(tmp_path: Path) -> None:
    members = [
        ("0.png", png()),
        ("0.cls", "1"),
        ("0.txt", "Clear."),
        ("1.0.png", png()),
        ("1.1.png", png()),
        ("2.cls", "0"),
        ("README", "x"),
    ]
    reading = open_source(f"wds:{shard(tmp_path / 'a.tar', members)}")
    assert [s.study_id for s in reading.studies] == ["0", "1"]
    assert reading.tally.passed_over == {
        "a member that is no film, text or JSON by its ending (.cls)": 2,
        "a member that is no film, text or JSON by its ending (none)": 1,
    }
    assert [str(p) for p in reading.problems] == [
        "a.tar!1.1.png: a second film of one sample: a key ends at its first dot (film left out)"
    ]
    assert "  passed over: 2 × a member that is no film, text or JSON by its ending (.cls); 1 ×" in "\n".join(
        reading.summary_lines()
    )
    with pytest.raises(
        SourceUnusable, match="no study can be used\npassed over: 1 × a member that is no film"
    ):
        open_source(f"wds:{shard(tmp_path / 'b.tar', [('0.cls', '1')])}")


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("['normal']", "normal"),
        ("['normal', ]", "normal"),
        ("['normal', 'pleural eff", "unknown"),
        ("['normal'", "unknown"),
        ("['normal', '", "unknown"),
        ("['cardiomegaly', 'pleural", "unknown"),
        ("normal", "unknown"),
        ("[]", "unknown"),
        ("nan", "unknown"),
        ("['NORMAL']", "normal"),
        ("['cardiomegaly', \"loss of patient's volume\"]", "abnormal"),
    ],
)
def test_padchests_cut_lists_are_unknown(tmp_path: Path, word: str, label: str) -> None:
    header = "ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,Projection,Report,MethodLabel,Labels"
    layouts.table(
        tmp_path / TABLE.replace("*", ""),
        header,
        [("f.png", "0", "20140915", "s", "p", "PA", "sin hallazgos", "RNN", word)],
    )
    put(tmp_path / "0/f.png", png())
    reading = open_source(f"padchest:{tmp_path}")
    assert (reading.studies[0].label, len(reading.studies[0].films)) == (label, 1)
    whole = label != "unknown" or word in ("[]", "nan")
    assert reading.bad_rows == (not whole)
    assert bool(reading.studies[0].finding_labels) == (label == "abnormal")  # none of half a list


def test_a_folder_of_a_pacs_gives_its_chest_radiographs(tmp_path: Path) -> None:
    objects = {
        "chest": {"Modality": "DX", "BodyPartExamined": "CHEST"},
        "thorax": {"Modality": "CR", "BodyPartExamined": "", "StudyDescription": "Thorax p.a."},
        "unsaid": {"Modality": "CR"},
        "scanned": {"Modality": "OT", "BodyPartExamined": "CHEST"},
        "ct": {"Modality": "CT", "BodyPartExamined": "CHEST"},
        "knee": {"Modality": "DX", "BodyPartExamined": "KNEE"},
        "hand": {"Modality": "CR", "SeriesDescription": "HAND PA"},
        "letter": {"Modality": "OT"},
    }
    for number, (name, tags) in enumerate(objects.items()):
        dicom(
            tmp_path / f"{name}.dcm",
            uid=f"1.{number}",
            StudyInstanceUID=str(number),
            PatientID=name,
            **PIXELS,
            **tags,
        )
    dicom(tmp_path / "sr.dcm", uid="2.1", StudyInstanceUID="21", PatientID="a", Modality="SR")
    dicom(
        tmp_path / "raw.dcm",
        uid="2.2",
        StudyInstanceUID="22",
        PatientID="a",
        private="1.3.12.2.1107.5.9.1",
        Modality="OT",
    )
    reading = open_source(str(tmp_path))
    assert [study.patient_id for study in reading.studies] == ["chest", "scanned", "thorax", "unsaid"]
    assert not reading.bad_rows
    assert reading.tally.passed_over == {
        "modality CT": 1,
        "a radiograph of another region (KNEE)": 1,
        "a radiograph of another region (HAND)": 1,
        "modality OT that names no chest": 1,
        "modality SR without pixels": 1,
        "a private object without pixels": 1,
    }


def test_what_is_no_dicom_is_counted_by_kind(tmp_path: Path) -> None:
    """Zips and pictures among the files of a PACS may be films that somebody misses."""
    dicom(tmp_path / "a", uid="1.1", StudyInstanceUID="1", PatientID="P", Modality="CR", **PIXELS)
    put(tmp_path / "film.png", png())
    put(tmp_path / "study.zip", b"PK\3\4")
    put(tmp_path / "readme", "text")
    put(tmp_path / "cut", (tmp_path / "a").read_bytes()[:150])
    put(tmp_path / "reports.csv", "study_uid,report\n1,Clear.\n")
    reading = open_source(str(tmp_path))
    assert len(reading.studies) == 1
    assert not reading.bad_rows
    assert reading.tally.passed_over == {
        "no DICOM: a picture": 1,
        "no DICOM: a zip": 1,
        "no DICOM: text": 1,
        "an object of no modality without pixels": 1,
    }


def test_tables_beside_dicom_files_are_told(tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", uid="1.1", StudyInstanceUID="1", PatientID="P", Modality="CR", **PIXELS)
    put(tmp_path / "train.csv", "study_id,report\n1,Clear.\n")
    put(tmp_path / "notes.csv", "who,what\nx,y\n")
    reading = open_source(str(tmp_path))
    assert (
        f"not read: train.csv beside the DICOM files; train.csv by itself: manifest:{tmp_path}/train.csv"
        in reading.notes
    )
    put(tmp_path / "manifest.csv", "study_id,report\n1,Clear.\n")
    assert open_source(str(tmp_path)).notes == (
        "read as manifest: it holds manifest.csv; DICOM files beside it are read only where it names them",
    )


def test_a_row_with_an_unreadable_label_keeps_film_and_report(tmp_path: Path) -> None:
    put(tmp_path / "f.png", png())
    table = put(
        tmp_path / "m.csv",
        "study_id,image_path,report,label\na,f.png,Clear.,healthy\nb,f.png,Mass.,Abnormal\n",
    )
    reading = open_source(str(table))
    assert [(s.label, s.text, len(s.films)) for s in reading.studies] == [
        ("unknown", "Clear.", 1),
        ("abnormal", "Mass.", 1),
    ]
    assert [str(p) for p in reading.problems] == [
        "line 2: label 'healthy', expected normal, abnormal, unknown or empty (label left out)"
    ]
