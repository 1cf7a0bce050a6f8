"""What a backbone saw is told by the table alone; what is not known is said to be unknown."""

import re
from pathlib import Path

import pytest

from mtclip_edge.bundle.exposure import (
    SETS,
    TABLE,
    UNKNOWN,
    exposure_line,
    exposure_note,
    exposure_of,
    public_set,
)

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "backbones.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("compact", ()),
        ("biomedclip", ()),
        ("BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", ()),
        ("whyxrayclip", ("mimic-cxr",)),
        ("yyupenn/whyxrayclip", ("mimic-cxr",)),
        ("eva-x-ti", ("chexpert", "mimic-cxr", "nih")),
        ("clip-b16", None),
        ("ViT-B-16-SigLIP", None),
        ("XraySigLIP__vit-b-16-siglip-512__webli", None),
        ("medsiglip-448", None),
        ("my-own", None),
    ],
)
def test_a_backbone_is_known_by_its_name(name: str, seen: tuple[str, ...] | None) -> None:
    assert exposure_of(name).seen == seen
    assert (exposure_of(name) is UNKNOWN) == (name == "my-own")


def test_every_name_of_pull_is_in_the_table() -> None:
    text = (Path(__file__).parents[2] / "train" / "backbones" / "pull.py").read_text(encoding="utf-8")
    block = re.search(r"^NAMES = \{(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert block
    names = re.findall(r"^    \"([\w-]+)\":", block[1], re.MULTILINE)
    assert len(names) >= 4
    assert all(exposure_of(name) is not UNKNOWN for name in ("compact", *names))


def test_the_page_prints_the_table() -> None:
    for row in TABLE:
        assert f"| {row.trained_on} |" in PAGE, row.trained_on
        assert row.source in PAGE, row.source
    assert all({*(row.seen or ())} <= set(SETS) for row in TABLE)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("openi:NLMCXR",), "openi"),
        (("kaggle-iu:x",), "openi"),
        (("mimic-cxr:files",), "mimic-cxr"),
        (("chexpert-plus:x",), "chexpert"),
        (("phantom:200@3",), "phantom"),
        (("manifest:nih", "NIH ChestX-ray14 labels Data_Entry_2017_v2020.csv"), "nih"),
        (("manifest:x", "Open-i Indiana University Chest X-ray Collection"), "openi"),
        (("manifest:mine", "folder /data/nih_cxr"), None),
        (("manifest:mine",), None),
        (("manifest:mine", "MIMIC-CXR and CheXpert"), None),
        (("openi:x", "said to be like MIMIC-CXR"), "openi"),
    ],
)
def test_a_public_set_is_told_by_kind_or_by_the_column_source(words: tuple, named: str | None) -> None:
    assert public_set(words) == named


def test_the_note_says_seen_unseen_or_unknown() -> None:
    verdict, why = exposure_note("whyxrayclip", {"mimic-cxr": 30, "openi": 10})
    assert verdict == "seen" and "30 of 40 films are of MIMIC-CXR" in why and "too good" in why
    assert exposure_note("whyxrayclip", {"openi": 10})[0] == "unseen"
    assert exposure_note("whyxrayclip", {"openi": 10, None: 3})[0] == "unknown"
    assert "3 of the 13" in exposure_note("whyxrayclip", {"openi": 10, None: 3})[1]
    assert exposure_note("clip-b16", {"openi": 10})[0] == "unknown"
    assert exposure_note("clip-b16", {"phantom": 10})[0] == "unseen"
    assert "is not in docs/guide/backbones.md" in exposure_note("mine", {"nih": 1})[1]
    assert exposure_line("whyxrayclip").startswith("MIMIC-CXR (")
    assert exposure_line("mine").startswith("unknown")
    assert exposure_line("compact").startswith("none of the public chest film sets")
