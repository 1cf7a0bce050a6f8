"""MIMIC-CXR as PhysioNet publishes it."""

from dataclasses import asdict
from pathlib import Path

import layouts
import pytest
from layouts import by_id

from mtclip_edge.errors import WrongOption
from mtclip_edge.sources.source import open_source


def test_mimic(tmp_path: Path) -> None:
    reading = open_source(str(layouts.mimic(tmp_path / "m")))
    found = {s.study_id: s for s in reading.studies}
    assert [(s.study_id, s.patient_id, s.split, s.label, s.date) for s in reading.studies] == [
        ("50000001", "10000032", "train", "normal", "2180-05-06"),
        ("50000002", "10000032", "train", "abnormal", "2180-06-26"),
        ("50000003", "10000764", "validation", "unknown", "2131-11-03"),
        ("50000004", "10000898", "test", "unknown", ""),  # No Finding beside a finding: contradictory
    ]
    assert [(f.view, f.name) for f in found["50000001"].films] == [
        ("PA", "files/p10/p10000032/s50000001/aaa-1.jpg"),
        ("lateral", "files/p10/p10000032/s50000001/aaa-2.jpg"),
    ]
    assert (found["50000001"].findings, found["50000001"].impression) == (
        "The lungs are clear. Heart is normal.",
        "No acute disease.",
    )
    assert found["50000002"].impression == "Left effusion."  # the last of two
    assert found["50000002"].finding_labels == ("Pleural Effusion",)
    assert (
        found["50000003"].text == "Single view shows an intrathoracic tube in good place."
    )  # the last paragraph
    assert found["50000004"].impression == "Right upper opacity." and not found["50000004"].films
    assert [str(p) for p in reading.problems] == [
        "line 6: film not found: ddd-1 (film left out)",
        "line 6: date 'nonsense' (date left out)",
    ]
    assert reading.notes[0] == "read as mimic-cxr: it holds mimic-cxr-2.0.0-chexpert.csv.gz"
    assert "labels from mimic-cxr-2.0.0-chexpert.csv.gz" in reading.notes


def test_mimic_with_the_other_labeller_and_reports_elsewhere(tmp_path: Path) -> None:
    plain = by_id(layouts.mimic(tmp_path / "plain"))
    zipped = layouts.mimic(tmp_path / "plain2", zipped=True)
    found = by_id(f"mimic-cxr:{zipped},reports={zipped / 'reports.zip'}")
    assert [asdict(s) | {"films": 0, "source": 0} for s in found.values()] == [
        asdict(s) | {"films": 0, "source": 0} for s in plain.values()
    ]
    sectioned = layouts.table(
        tmp_path / "mimic_cxr_sectioned.csv",
        "study,impression,findings,last_paragraph,comparison",
        [("s50000002", "Left\neffusion.", "", "", "")],
    )
    found = by_id(f"mimic-cxr:{zipped},labels=negbio,reports={sectioned}")
    assert (found["50000002"].text, found["50000001"].text) == ("Left effusion.", "")
    assert (found["50000003"].label, found["50000001"].label) == ("abnormal", "unknown")
    with pytest.raises(WrongOption, match="expected one of chexpert, negbio"):
        open_source(f"mimic-cxr:{zipped},labels=gpt")
