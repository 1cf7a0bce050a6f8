"""R2Gen's annotation.json."""

import json
from pathlib import Path

import pytest
from layouts import png, put

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.sources.privacy import is_public
from mtclip_edge.sources.source import open_source


def test_r2gen_with_a_blank_key_and_mimics_numbers(tmp_path: Path) -> None:
    entries = {
        "train": [
            {
                "id": "CXR2384_IM-0942",
                "report": "Clear  lungs.",
                "image_path": ["CXR2384_IM-0942/0.png", "gone.png"],
                "split": "train",
            }
        ],
        "val": [{"id": "3321", "report": "Flat names.", "image_path": ["CXR3321_IM-1588-1001.png"]}],
        "    ": [
            {"id": "d1", "study_id": 5, "subject_id": 7, "report": "Mimic.", "image_path": []},
            {"id": "x y", "report": None, "image_path": None},
            {"report": "no id"},
        ],
    }
    folder = tmp_path / "r"
    put(folder / "annotation.json", json.dumps(entries, indent=2))
    put(folder / "images" / "CXR2384_IM-0942" / "0.png", png())
    reading = open_source(str(folder))
    assert [
        (s.study_id, s.patient_id, s.split, s.findings, s.label, len(s.films)) for s in reading.studies
    ] == [
        ("2384", "2384", "train", "Clear lungs.", "unknown", 1),
        ("3321", "3321", "validation", "Flat names.", "unknown", 0),
        ("5", "7", "test", "Mimic.", "unknown", 0),
    ]
    assert [is_public(s.source) for s in reading.studies] == [
        True,
        True,
        False,
    ]  # MIMIC's reports are given to persons
    assert [str(p).split(": ", 1)[1] for p in reading.problems] == [
        "film not found: gone.png (film left out)",
        "film not found: CXR3321_IM-1588-1001.png (film left out)",
        "neither a film nor a text (row left out)",
        "no id (row left out)",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"train": 3}',
        '{"train": [{"id": "1"}',
        '{"train": [{"id": "1"} {"id": "2"}]}',
        '{"a": [[[1]]]}',
        "{}x",
    ],
)
def test_an_annotation_of_another_shape_is_an_error(tmp_path: Path, text: str) -> None:
    put(tmp_path / "r" / "annotation.json", text)
    with pytest.raises(SourceUnusable):
        open_source(str(tmp_path / "r"))


def test_entries_longer_than_a_piece_of_the_file(tmp_path: Path) -> None:
    entries = {
        "train": [{"id": str(i), "report": "word " * 40_000 + str(i)} for i in range(3)],
        "val": [],
        "test": [{"id": "9", "report": "x"}],
    }
    put(tmp_path / "annotation.json", json.dumps(entries))
    assert [(s.study_id, len(s.text)) for s in open_source(str(tmp_path / "annotation.json")).studies] == [
        ("0", 200_001),
        ("1", 200_001),
        ("2", 200_001),
        ("9", 1),
    ]
