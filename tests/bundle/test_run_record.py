"""A run's record is read by type and bounds: whatever a stranger's run.json holds, it is one line and exit code 3."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mtclip_edge.bundle.run_record import read_run_record, write_run_record
from mtclip_edge.errors import ArtefactDamaged


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def values(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def test_what_is_written_is_what_was_read(run: Path) -> None:
    before = {**values(run), "a later version's": [1, {"x": None}]}
    (run / "run.json").write_text(json.dumps(before))
    write_run_record(run, read_run_record(run))
    assert values(run) == before


def test_records_of_before_are_read(run: Path) -> None:
    """Licence terms, render, origins, device and times came later than the first runs."""
    older = values(run)
    for name in ("terms", "restriction", "weights_sha256"):
        del older["backbone"][name]
    for name in ("origins", "device", "seconds", "notice", "made_by", "tower_sha256"):
        del older[name]
    del older["config"]["render"]
    (run / "run.json").write_text(json.dumps(older))
    record = read_run_record(run)
    assert (
        record.tower_sha256 is None and record.device is None and record.backbone.record.restriction is None
    )


PLACES = [
    ("format",),
    ("config",),
    ("config", "bce"),
    ("config", "seed"),
    ("config", "dropout"),
    ("backbone",),
    ("backbone", "spec"),
    ("backbone", "aligned"),
    ("preprocessing", "size"),
    ("preprocessing", "mean"),
    ("preprocessing", "interpolation"),
    ("shape", "dim"),
    ("shape", "hidden"),
    ("shape", "residual"),
    ("data", "sources"),
    ("data", "films"),
    ("data", "films", "train"),
    ("best_epoch",),
    ("epochs_run",),
    ("validation",),
    ("validation", "auroc"),
    ("validation", "film_to_report"),
    ("calibration",),
    ("weights_sha256",),
    ("tower_sha256",),
    ("origins",),
    ("device",),
    ("seconds",),
]
HOSTILE = [-1, 10**400, 1e308, float("nan"), "x" * 30_000, True, [], [[]], {"a": {}}, {"temperature": 0}]


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_hostile_values_are_one_line(mtclip, run: Path, place: tuple[str, ...]) -> None:
    whole = values(run)
    for value in HOSTILE:
        changed = json.loads(json.dumps(whole))
        inner = changed
        for name in place[:-1]:
            inner = inner[name]
        if inner[place[-1]] == value:
            continue
        inner[place[-1]] = value
        (run / "run.json").write_text(json.dumps(changed))
        found = mtclip("info", run)
        harmless = found.code == 0  # a number within its bounds, say
        assert harmless or (
            found.code == 3 and found.err.startswith(f"{run}") and found.err.count("\n") <= 3
        ), (value, found)
        assert "Traceback" not in found.err and len(found.err) < 500


def test_what_a_value_should_be_is_said(run: Path) -> None:
    whole = values(run)
    for change, told in (
        ({"best_epoch": 10_000}, "best_epoch is not a whole number from 1 to 30"),
        ({"shape": {**whole["shape"], "hidden": 0}}, "shape.hidden is not a whole number from 1 to 16384"),
        ({"weights_sha256": "0" * 63}, "weights_sha256 is not a SHA-256"),
        ({"data": {**whole["data"], "sources": "a.csv"}}, "data.sources is not a list of at most 1000 texts"),
    ):
        (run / "run.json").write_text(json.dumps({**whole, **change}))
        with pytest.raises(ArtefactDamaged) as error:
            read_run_record(run)
        assert str(error.value).startswith(
            f"{run / 'run.json'}: not the record of a run ({told.split(' is ')[0]}"
        ), error.value


def test_a_shape_that_the_weights_do_not_have_takes_no_memory(mtclip, run: Path) -> None:
    whole = values(run)
    whole["shape"] |= {"hidden": 16_384, "film_width": 16_384}
    (run / "run.json").write_text(json.dumps(whole))
    found = mtclip("export", run, "--out", run.parent / "bundle")
    assert (found.code, found.err) == (3, f"{run}/weights.safetensors: not of the shape that run.json says\n")
