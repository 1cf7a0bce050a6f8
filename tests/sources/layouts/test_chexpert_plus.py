"""CheXpert Plus as Stanford publishes it."""

from pathlib import Path

import layouts
import pytest

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.sources.source import open_source


def test_chexpert_plus(tmp_path: Path) -> None:
    reading = open_source(str(layouts.chexpert_plus(tmp_path / "c")))
    first, second = reading.studies
    assert (first.study_id, first.patient_id, first.label, first.split) == (
        "patient00001/study1",
        "patient00001",
        "abnormal",
        "train",
    )
    assert (first.findings, first.impression, first.finding_labels) == (
        "A tube.",
        "Opacity.",
        ("Lung Opacity",),
    )
    assert [(f.view, f.name) for f in first.films] == [
        ("AP", "PNG/train/patient00001/study1/view1_frontal.png"),
        ("lateral", "PNG/train/patient00001/study1/view2_lateral.png"),
    ]
    assert (second.text, second.label, second.split, second.films) == (
        "Only a narrative.",
        "normal",
        "validation",
        (),
    )
    assert [str(p) for p in reading.problems] == [
        "line 4: film not found: valid/patient00002/study1/view1_frontal.jpg (film left out)",
        "line 5: path_to_image 'oddly.jpg' names no study (row left out)",
    ]
    assert "labels from impression_fixed.json" in reading.notes
    with pytest.raises(SourceUnusable, match="no file report_fixed.json"):
        open_source(f"chexpert-plus:{tmp_path / 'c'},labels=report_fixed.json")
