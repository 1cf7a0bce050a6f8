"""NIH ChestX-ray14: labels, no reports."""

from pathlib import Path

import layouts
import pytest
from layouts import put

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.sources.source import open_source


def test_nih(tmp_path: Path) -> None:
    reading = open_source(str(layouts.nih(tmp_path / "n")))
    assert [
        (s.study_id, s.patient_id, s.label, s.finding_labels, s.films[0].view) for s in reading.studies
    ] == [
        ("00000001_000", "1", "abnormal", ("Cardiomegaly",), "PA"),
        ("00000001_001", "1", "abnormal", ("Cardiomegaly", "Emphysema"), "PA"),
        ("00000002_000", "2", "normal", (), "AP"),
        ("00000003_000", "3", "abnormal", ("Hernia",), "PA"),
    ]
    assert [s.split == "test" for s in reading.studies] == [False, False, False, True]
    assert all(s.text == "" and s.films[0].path.is_file() for s in reading.studies)
    assert [str(p) for p in reading.problems] == ["line 6: film not found: 00000009_000.png (row left out)"]
    put(tmp_path / "other" / "Data_Entry_2017.csv", "Image,Label\na,b\n")
    with pytest.raises(SourceUnusable, match="not the columns of NIH"):
        open_source(str(tmp_path / "other"))
