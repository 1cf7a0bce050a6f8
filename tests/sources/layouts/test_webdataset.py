"""WebDataset shards, read in place."""

import gzip
from pathlib import Path

import layouts
import pytest

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.films.read import read_film
from mtclip_edge.sources.source import open_source


def test_webdataset_shards_are_read_in_place(tmp_path: Path) -> None:
    folder = layouts.wds(tmp_path / "w")
    reading = open_source(f"wds:{folder}/train-{{000..001}}.tar")
    one, two, three, four = reading.studies
    assert (one.study_id, one.patient_id, one.label, one.split, one.finding_labels) == (
        "s1",
        "p1",
        "abnormal",
        "validation",
        ("Opacity", "Mass"),
    )
    assert [(f.name, f.view) for f in one.films] == [
        ("train-000.tar!./000.png", "PA"),
        ("train-000.tar!./001.png", "lateral"),
    ]
    assert [int(read_film(f.path).grey[0, 0]) for s in reading.studies for f in s.films] == [10, 20, 30, 40]
    assert (two.study_id, two.text, two.films) == ("002", "Text alone.", ())
    assert (three.study_id, three.text) == ("a/003", "Clear.")
    assert four.study_id == "005"
    assert [str(p) for p in reading.problems] == [
        "train-001.tar!004.json: not a JSON object (text left out)",
        "train-001.tar!004: neither a film nor a text (row left out)",
    ]
    assert list(tmp_path.iterdir()) == [folder]  # nothing was extracted
    assert len(open_source(str(folder)).studies) == 4  # a folder of shards is recognised
    with pytest.raises(SourceUnusable, match="no shard matches"):
        open_source(f"wds:{folder}/test-*.tar")


def test_a_damaged_shard_gives_what_is_before_the_damage(tmp_path: Path) -> None:
    whole = layouts.wds(tmp_path / "w") / "train-000.tar"
    data = bytearray(whole.read_bytes())
    data[512 * 4 : 512 * 5] = b"\xff" * 512  # a header in the middle
    whole.write_bytes(data)
    reading = open_source(f"wds:{whole}")
    assert [s.study_id for s in reading.studies] == ["s1"]
    assert "the shard cannot be read to its end" in str(reading.problems[0])
    whole.with_suffix(".tar.gz").write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(SourceUnusable, match="a compressed shard cannot be read in place"):
        open_source(f"wds:{whole.with_suffix('.tar.gz')}")
