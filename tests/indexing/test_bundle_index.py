"""``Index``: what the command line does with the searchable part of a bundle, for a program."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtclip_edge import Index, NotABundle, Refused, Retriever, Study, WrongOption, open_source


def study(number: int, text: str, split: str = "train") -> Study:
    return Study(f"new{number}", f"q{number}", report=text, label="abnormal", split=split, source="here")


def test_studies_are_added_found_and_taken_out_again(bundle: Path) -> None:
    index, said = Index.open(bundle), list[str]()
    before = index.stats()
    new = [study(1, "Left pleural effusion and a fractured rib."), study(2, "Clear lungs.", "test")]
    changed = index.add(new, split="train", say=said.append)
    assert changed.index.studies == before["studies"] + 1 == index.bundle.index.studies
    assert changed.generation == before["generation"] + 1
    assert any("new1" not in line and "patient" in line for line in said)  # texts of patients are in it now
    with Retriever.open(index.path) as retriever:
        assert retriever.query_text("fractured rib", 1).reports[0].study_ids == ("new1",)
    assert index.would_remove(patients=["q1"])["studies"] == 1
    assert index.stats()["studies"] == before["studies"] + 1
    index.remove(patients=["q1"])
    assert index.stats()["studies"] == before["studies"]
    assert (
        repr(index)
        == f"<Index of {bundle}: {before['reports']} distinct reports of {before['studies']} studies>"
    )


def test_a_source_is_taken_by_name_or_as_it_was_read(bundle: Path, source: Path) -> None:
    index = Index.open(str(bundle))
    by_name = index.build(source, split="validation").index
    reading = open_source(source)
    assert index.build(reading, split="validation").index.studies == by_name.studies
    assert index.add(reading.split("validation")).index.studies == by_name.studies  # nothing new
    with pytest.raises(WrongOption, match="map with studies that are read already"):
        index.add(reading, map=["a=report"])


def test_another_bundle_is_merged_by_path_or_as_an_index(bundle: Path, tiny_bundle: Path) -> None:
    index = Index.open(bundle)
    held = index.stats()["studies"]
    gone = [s.study_id for s in open_source(tiny_bundle.parent / "drawn" / "manifest.csv").split("train")[:3]]
    index.remove(studies=gone, missing_ok=True)
    assert index.stats()["studies"] < held
    assert (
        index.merge(Index.open(tiny_bundle)).index.studies == held == index.merge(tiny_bundle).index.studies
    )
    assert index.rebuild().index.studies == held


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.add([study(1, "x")]),
        lambda index: index.build([study(1, "x")]),
        lambda index: index.remove(studies=["a"]),
        lambda index: index.merge("demo"),
        lambda index: index.rebuild(),
    ],
    ids=["add", "build", "remove", "merge", "rebuild"],
)
def test_the_demo_bundle_is_read_and_never_changed(change: Callable[[Index], Any]) -> None:
    index = Index.open("demo")
    assert index.stats()["reports"] > 100
    with pytest.raises(Refused, match="the demo bundle stays as it is"):
        change(index)


def test_what_makes_no_sense_is_told(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(NotABundle):
        Index.open(tmp_path / "none")
    index = Index.open(bundle)
    for which in ({}, {"studies": []}):
        with pytest.raises(WrongOption, match="nothing to remove"):
            index.remove(**which)
    with pytest.raises(WrongOption, match=r"patients '4711'\nexpected several, as \['4711'\]"):
        index.would_remove(patients="4711")
    with pytest.raises(WrongOption, match="split 'tset'"):
        index.add([study(1, "x")], split="tset")
