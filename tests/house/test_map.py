"""docs/architecture.md is the map of the house: its picture, its files and its table are those of the code."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]
ROOMS = {path.name for path in (ROOT / "mtclip_edge").iterdir() if (path / "__init__.py").is_file()}


def words(contract: dict, key: str) -> set[str]:
    return {name.removeprefix("mtclip_edge.") for name in contract[key]}


def test_the_table_is_that_of_the_contracts() -> None:
    forbidden = {
        c["source_modules"][0].split(".")[-1]: words(c, "forbidden_modules")
        for c in CONTRACTS
        if c["id"] in ROOMS
    }
    (layers,) = (contract["layers"] for contract in CONTRACTS if contract["type"] == "layers")
    floors = [set(layer.split(" | ")) for layer in layers]
    below = {room: set().union(*floors[i + 1 :]) for i, floor in enumerate(floors) for room in floor}
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert rows.pop("commands").startswith("every room")
    assert set(rows) == set(forbidden) == ROOMS - {"commands"}
    for room, cell in rows.items():
        assert set(re.findall(r"`(\w+)`", cell)) == below[room] - forbidden[room], room


def test_the_picture_has_the_layers_in_their_order() -> None:
    (layers,) = (contract["layers"] for contract in CONTRACTS if contract["type"] == "layers")
    drawn = PAGE.split("```")[1].splitlines()
    lines = [set(re.split(r"\s+", line[:24].strip())) for line in drawn if line and line[0].isalpha()]
    assert lines == [*(set(layer.split(" | ")) for layer in layers if layer != "__main__"), {"ground"}]


def test_the_ground_is_complete() -> None:
    drawn = re.search(r"^ground +(.+)$", PAGE, re.MULTILINE)
    assert drawn and set(drawn[1].split(", ")) == {
        path.stem
        for path in (ROOT / "mtclip_edge").glob("*.py")
        if not path.is_symlink() and not path.stem.startswith("__")
    }


def test_every_file_that_the_flows_name_is_there() -> None:
    named = set(re.findall(r"`((?:[\w]+/)+[\w]+\.py|[\w]+/(?:[\w]+/)+)`", PAGE))
    assert len(named) > 30
    missing = [name for name in named if not (ROOT / "mtclip_edge" / name).exists()]
    assert not missing, missing
