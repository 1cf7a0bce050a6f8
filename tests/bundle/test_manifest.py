"""The manifest: every field by type and bounds; whatever a hostile hand writes with a right hash is one line and exit 3."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import rewrite

from mtclip_edge.bundle.bundle import MANIFEST, Bundle
from mtclip_edge.bundle.manifest import Manifest
from mtclip_edge.errors import ArtefactDamaged, ArtefactIncompatible

NASTY: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    0.5,
    1e400,
    2**80,
    "",
    "../x",
    "/etc/passwd",
    ".hidden",
    "a" * 100_000,
    "\x1b[2J",
    [],
    [[]] * 3,
    {},
    {"a": {"a": {}}},
    float("nan"),
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a parsed JSON document."""
    if isinstance(value, dict):
        return [path, *(way for key, each in value.items() for way in leaves(each, (*path, key)))]
    if isinstance(value, list):
        return [path, *(way for place, each in enumerate(value[:2]) for way in leaves(each, (*path, place)))]
    return [path]


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def test_what_is_read_is_written_again(tiny_bundle: Path) -> None:
    raw = json.loads((tiny_bundle / MANIFEST).read_text())
    assert {**Manifest.read(raw).to_dict(), "self_sha256": raw["self_sha256"]} == raw


def test_fields_of_a_version_that_knows_more_survive_a_change(bundle: Path) -> None:
    rewrite(bundle, later={"what": ["we", "do", "not", "know"]})
    assert Bundle.open(bundle).manifest.to_dict()["later"] == {"what": ["we", "do", "not", "know"]}


def test_no_value_in_any_place_is_more_than_one_line(bundle: Path, random: np.random.Generator) -> None:
    """Every field of a real manifest, each with a few of the nasty values: it opens, or says where it is damaged."""
    document = json.loads((bundle / MANIFEST).read_text())
    ways, refused = [way for way in leaves(document) if way and way[0] != "self_sha256"], 0
    assert len(ways) > 150
    for way in ways:
        for value in (NASTY[i] for i in random.choice(len(NASTY), 3, replace=False)):
            changed = json.loads(json.dumps(document))
            replaced(changed, way, value)
            try:
                rewrite(bundle, lambda manifest, to=changed: (manifest.clear(), manifest.update(to)))
                opened = Bundle.open(bundle)
                list(opened.manifest.to_dict())
            except (ArtefactDamaged, ArtefactIncompatible) as damage:
                refused += 1
                assert (
                    str(damage).count("\n") <= 2 and "\x1b" not in str(damage) and len(str(damage)) < 1000
                ), way
    assert refused > len(ways)


@pytest.mark.parametrize("name", ["../reports.sqlite", "/dev/zero", ".x", "a/b", "", "x" * 200, "a\nb"])
@pytest.mark.parametrize("field", ["store", "vectors", "terms"])
def test_a_file_is_a_plain_name_beside_the_manifest(
    bundle: Path, name: str, field: str, mtclip, film: Path
) -> None:
    rewrite(bundle, lambda manifest: manifest["index"].update({field: name}))
    found = mtclip("query", film, "--bundle", bundle)
    assert (found.code, found.out) == (3, "")
    assert f"damaged (index.{field} is not a plain file name)" in found.err


def test_a_file_that_a_part_names_must_be_listed_with_its_hash(bundle: Path) -> None:
    rewrite(bundle, lambda manifest: manifest["files"].pop(manifest["index"]["store"]))
    with pytest.raises(ArtefactDamaged, match=r"damaged .no files\.reports-1\.sqlite"):
        Bundle.open(bundle)
