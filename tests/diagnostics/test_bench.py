"""bench measures what it says, on what is here."""

import json
from pathlib import Path

import pytest

from mtclip_edge.diagnostics import bench


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.02)
    monkeypatch.setattr(bench, "COLD_RUNS", 1)
    monkeypatch.setattr(bench, "BATCHES", (1, 2))


@pytest.mark.usefixtures("quick")
def test_everything_is_measured(mtclip, tiny_bundle: Path, source: Path) -> None:
    found = mtclip("bench", tiny_bundle, "--films", source.parent / "images", "--format", "json")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert document["schema"] == "mtclip.bench/1"
    assert document["films"] == {"count": bench.MOST_FILMS, "source": str(source.parent / "images")}
    assert document["machine"]["threads"] >= 1 and document["machine"]["cpu"]
    assert (
        document["cold"]["median_s"] > document["cold"]["floor_s"] > 0
        and document["cold"]["peak_bytes"] > 30e6
    )
    (variant,) = [v for v in document["variants"] if v["device"] == "cpu"]
    assert (variant["precision"], variant["problem"]) == ("fp32", None)
    assert 0 < variant["warm_ms"]["p50"] <= variant["warm_ms"]["p95"] and variant["warm_ms"]["runs"] >= 5
    assert set(variant["films_per_s"]) == {"1", "2"} and min(variant["films_per_s"].values()) > 0
    assert document["search"]["hnsw"] > 0 and document["search"]["exact"] > 0


@pytest.mark.usefixtures("quick")
def test_the_table_names_what_cannot_run(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(bench, "_devices", lambda: ["cpu", "openvino"])
    rows = dict(bench.summary_lines(bench.bench(tiny_bundle)))
    assert rows["fp32 on openvino"].startswith("not measured: device openvino was asked for")
    assert "films/s by batch" in rows["fp32 on cpu"] and "times the imports alone" in rows["cold query"]
    assert rows["films"] == "4, drawn"


def test_a_folder_without_films(mtclip, tmp_path: Path) -> None:
    found = mtclip("bench", "demo", "--films", tmp_path)
    assert (found.code, found.out, found.err) == (1, "", f"{tmp_path}: no film in this folder\n")
