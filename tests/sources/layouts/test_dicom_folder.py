"""A tree of DICOM files with their reports."""

from pathlib import Path

from layouts import dicom, put

from mtclip_edge.sources.source import open_source


def test_a_tree_of_dicom_files_with_reports(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    pixels = {"Rows": 10, "Columns": 12, "Modality": "CR"}
    dicom(
        folder / "x/1",
        uid="1.1",
        StudyInstanceUID="1",
        AccessionNumber="A1",
        PatientID="P1",
        StudyDate="20240305",
        ViewPosition="PA",
        **pixels,
    )
    dicom(
        folder / "y/2.dcm",
        uid="1.2",
        StudyInstanceUID="1",
        AccessionNumber="A1",
        PatientID="P1",
        StudyDate="20240305",
        ViewPosition="LL",
        **pixels,
    )
    dicom(folder / "y/3.dcm", uid="2.1", StudyInstanceUID="2", AccessionNumber="A2", PatientID="P2", **pixels)
    dicom(folder / "y/4.dcm", uid="3.1", StudyInstanceUID="3", PatientID="P3", Modality="SR")
    put(folder / "y/5.dcm", b"no DICOM")
    put(folder / "y/readme.txt", "not said")
    table = "accession,study_uid,report,label\nA1,,Clear.,normal\n,2,Effusion.,abnormal\nA9,,Lost.,\nA1,,Twice.,\n,,Nobody's.,\n"
    put(folder / "reports.csv", table)
    reading = open_source(str(folder))
    one, two = reading.studies
    assert (one.study_id, one.patient_id, one.date, one.text, one.label) == (
        "1",
        "P1",
        "2024-03-05",
        "Clear.",
        "normal",
    )
    assert [(f.name, f.view) for f in one.films] == [("x/1", "PA"), ("y/2.dcm", "lateral")]
    assert (two.study_id, two.text, two.films[0].view, two.date) == ("2", "Effusion.", "unknown", "")
    assert [str(p) for p in reading.problems] == [
        "y/5.dcm: not DICOM (film left out)",
        "line 4: a report of no study here, or of one that has its report already (row left out)",
        "line 5: a report of no study here, or of one that has its report already (row left out)",
        "line 6: neither an accession number nor a study UID (row left out)",
    ]
    assert reading.tally.passed_over == {"modality SR without pixels": 1, "no DICOM: text": 1}
    (folder / "reports.csv").unlink()
    assert [s.text for s in open_source(f"dicom:{folder}").studies] == ["", ""]
    elsewhere = put(tmp_path / "r.csv", table)
    assert [s.text for s in open_source(f"dicom:{folder},reports={elsewhere}").studies] == [
        "Clear.",
        "Effusion.",
    ]
