"""The paper's comparison runs from end to end, in both published layouts, on random weights."""

import json
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_scripts import script

from mtclip_edge.evidence.heat_map import Target, peak


def test_every_row_of_the_comparison(
    source: Path, tiny_backbone: Path, clip_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = [
        "--data",
        str(source),
        "--clip",
        str(clip_backbone),
        "--biomedclip",
        str(tiny_backbone),
        "--out",
        str(tmp_path / "out"),
    ]
    module = script("retrieval/reproduce")
    module.main([*words, "--seeds", "2", "--epochs", "2"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    names = [row[0].removeprefix("| ") for row in rows]
    baselines = [
        f"{folder.name} ({way})" for folder in (tiny_backbone, clip_backbone) for way in ("crop", "squash")
    ]
    assert names == ["|", *baselines, "CLIP", "CLIP + BCE", "CLIP + SupCon", "CLIP + BCE + SupCon"]
    by_name = dict(zip(names, rows, strict=True))
    assert by_name["CLIP"][1] == "–"  # no head was trained
    assert "±" in by_name["CLIP + BCE"][1]
    assert "±" not in by_name[baselines[0]][2]
    assert (tmp_path / "out" / "comparison.md").read_text().count("\n") == len(rows) + 1
    before = (tmp_path / "out" / "CLIP, seed 0" / "run.json").stat().st_mtime_ns
    module.main([*words, "--seeds", "2", "--epochs", "2"])
    assert (
        tmp_path / "out" / "CLIP, seed 0" / "run.json"
    ).stat().st_mtime_ns == before  # what is finished is used again


def test_the_gpu_measurements_stop_in_time_and_go_on(
    source: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    """On the CPU here: the same code, without a card."""
    module = script("speed/gpu_hour")
    words = [
        "--data",
        str(source),
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
        "--backbone",
        str(tiny_backbone),
        "--epochs",
        "2",
    ]
    module.JOBS = {"defaults": {}, "last-block": {"unfreeze": "1"}}
    module.main([*words, "--minutes", "0"])
    assert (tmp_path / "defaults" / "checkpoint.safetensors").is_file()
    assert json.loads((tmp_path / "gpu_hour.json").read_text()) == {}
    module.main(words)
    found = json.loads((tmp_path / "gpu_hour.json").read_text())
    assert set(found) == {"defaults", "last-block"}
    assert found["defaults"]["epochs"] == 2
    assert found["defaults"]["test"]["auroc"] > 0.5


def test_the_pointing_game(tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    module = script("retrieval/pointing_game")
    words = [
        "--data",
        "phantom:24@5",
        "--backbone",
        str(tiny_backbone),
        "--out",
        str(tmp_path),
        "--epochs",
        "1",
        "--seeds",
        "1",
    ]
    module.main([*words, "--films", "2", "--occlusion"])
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    by_loss = {
        name: {row[1]: row[2:] for row in rows if row[0] == name} for name in ("untrained", *module.LOSSES)
    }
    assert all(
        {"the finding: place left out", "the finding: occlusion", "chance"} <= set(ways)
        for ways in by_loss.values()
    )
    chance = {tuple(ways["chance"]) for ways in by_loss.values()}
    assert len(chance) == 1 and 0 < float(chance.pop()[0]) < 1
    assert all(0 <= float(figure) <= 1 for row in rows for figure in row[2:4])


@pytest.mark.torch
def test_a_hit_is_a_peak_in_the_box() -> None:
    module, values = script("retrieval/pointing_game"), np.zeros((7, 7), np.float32)
    values[1, 5] = 1.0
    at = (5.5 / 7, 1.5 / 7)
    inside, beside = (0.7, 0.1, 0.9, 0.3), (at[0] + 0.05, 0.1, 0.95, 0.3)
    assert module.hit(values, inside) == 1 and module.hit(values, beside) == 0
    assert module.hit(values, (at[0] + 0.01, *beside[1:])) == 1  # the tolerance
    assert (
        module.energy(values, (0.5, 0.0, 1.0, 0.5)) > 0.99
        and module.energy(values, (0.0, 0.5, 0.5, 1.0)) < 0.01
    )
    assert module.area((0.0, 0.5, 1.0, 1.0), 0.03) == pytest.approx(0.53)
    found = module.Finding("nodule", "left", "upper", "small")
    assert (
        module.sentence(found) == "Small left upper zone nodule." and module.mirrored(found).side == "right"
    )


@pytest.mark.torch
def test_occlusion_finds_the_window_that_matters() -> None:
    """An encoder that looks at one corner only: covering it takes the likeness away, anything else changes nothing."""

    def encode(pixels: np.ndarray) -> tuple[np.ndarray, None]:
        light = pixels[:, 0, 4:8, 24:28].mean(axis=(1, 2))
        return np.stack([light, np.ones(len(light))], axis=1) / np.hypot(light, 1)[:, None], None

    target = Target(np.array([1.0, 0.0], np.float32), np.zeros(2, np.float32))
    pixels = np.zeros((3, 32, 32), np.float32)
    pixels[:, 4:8, 24:28] = 2.0
    values = script("retrieval/pointing_game").occlusion(SimpleNamespace(encode=encode), pixels, target)
    x, y = peak(values)
    assert 24 / 32 <= x <= 28 / 32 and 4 / 32 <= y <= 8 / 32
    assert values.shape == (28, 28) and abs(values[-5:, :5]).max() < 1e-6


def test_what_a_benchmark_prints_is_kept_as_it_was_printed(tmp_path: Path) -> None:
    file = tmp_path / "new" / "libraries.json"
    script = Path(__file__).parents[2] / "benchmarks" / "speed" / "index_libraries.py"
    words = [sys.executable, str(script), "--reports", "500", "--only", "int8", "--json", str(file)]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["figures"] == {"tables": [], "lines": [line.strip() for line in printed.splitlines()]}
    assert kept["command"].startswith(
        "python benchmarks/speed/index_libraries.py --reports 500 --only int8 --json "
    )
    assert kept["options"] == {"reports": 500, "only": ["int8"]}
    assert kept["versions"]["numpy"] and re.fullmatch(r"\d{4}-\d\d-\d\d", kept["date"])


def test_tables_are_kept_by_their_headings() -> None:
    text = (
        "| a | b |\n|---|---|\n| 0.5 | 3 |\n| x ± y | -1.25 |\n\nchosen: 2\n| c |\n|---|\n| 7 |\n"
        + '{"d": 1}\n'
    )
    found = script("record").figures(text)
    assert found["tables"] == [[{"a": 0.5, "b": 3}, {"a": "x ± y", "b": -1.25}], [{"c": 7}]]
    assert found["lines"] == ["chosen: 2", {"d": 1}]


def test_data_and_seeds_are_kept_with_the_figures(tmp_path: Path) -> None:
    kept = script("record").circumstances(
        Namespace(data="openi", seeds=3, out=Path("scratch"), json=tmp_path)
    )
    assert (kept["data"], kept["seed"], kept["options"]) == (
        "openi",
        3,
        {"data": "openi", "seeds": 3, "out": "scratch"},
    )
