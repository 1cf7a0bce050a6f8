"""doctor, info and verify: they say what is there, not what should be."""

import json
from pathlib import Path

import pytest

from mtclip_edge.diagnostics import doctor


def states(checks: list[doctor.Check]) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def test_here_everything_works(mtclip) -> None:
    found = mtclip("doctor", "--format", "json")
    checks = {c["name"]: c for c in json.loads(found.out)}
    assert checks["CPUExecutionProvider"]["found"] == "makes a session"
    assert checks["hnswlib"]["state"] == "ok"
    assert checks["DICOM"]["found"] == "all decoders are here"
    assert checks["telemetry"]["state"] == "ok"
    assert "usable of" in checks["processors"]["found"]
    assert found.code == (1 if any(c["state"] == "bad" for c in checks.values()) else 0)
    table = mtclip("doctor")
    assert "CPUExecutionProvider" in table.out


def test_a_missing_dicom_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from mtclip_edge.films.dicom import decoders

    monkeypatch.setattr(decoders, "find_spec", lambda name: None if name == "gdcm" else name)
    (check,) = doctor._dicom()
    assert (check.state, check.found) == ("note", "pip install python-gdcm to read all")


def test_both_onnxruntimes_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" if name == "onnxruntime-gpu" else real(name))
    check = next(c for c in doctor.examine() if c.name == "onnxruntime")
    assert check.state == "bad" and "overwrite each other's files" in check.found


def test_a_provider_that_only_is_listed_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda graph, providers: real(graph, providers=["CPUExecutionProvider"]),
    )
    found = states(doctor.examine())
    assert (found["CUDAExecutionProvider"], found["CPUExecutionProvider"]) == ("bad", "ok")


def test_without_hnswlib_and_with_a_broken_bundle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mtclip
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "hnswlib", None)
    monkeypatch.setenv("MTCLIP_BUNDLE", str(tmp_path))
    found = states(doctor.examine())
    assert (found["hnswlib"], found["MTCLIP_BUNDLE"]) == ("note", "bad")
    assert mtclip("doctor").code == 1


def test_info_of_a_bundle_and_a_run(mtclip, tiny_bundle: Path, tiny_run: Path) -> None:
    about = json.loads(mtclip("info", tiny_bundle, "--format", "json").out)
    assert (about["schema"], about["kind"], about["format"]) == ("mtclip.info/1", "bundle", 1)
    table = mtclip("info", tiny_bundle).out
    for words in ("tiny-biomedclip", "licence: not stated", "HNSW, recall@10", "film fp32", "160 px, squash"):
        assert words in " ".join(table.split())
    assert json.loads(mtclip("info", tiny_run, "--format", "json").out)["kind"] == "run"
    assert "frozen" in mtclip("info", tiny_run).out


def test_info_shows_every_setting_and_its_origin(
    mtclip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MTCLIP_SEED", "4")
    (tmp_path / "t.toml").write_text("lr = 0.5\n")
    settings = json.loads(
        mtclip("info", "--config", "--config-file", tmp_path / "t.toml", "--format", "json").out
    )
    assert settings["seed"] == {"value": 4, "origin": "MTCLIP_SEED"}
    assert settings["lr"] == {"value": 0.5, "origin": str(tmp_path / "t.toml")}
    assert settings["clip"] == {"value": 1.0, "origin": "default"}
    assert "4  (MTCLIP_SEED)" in mtclip("info", "--config").out


def test_verify_names_the_damaged_file(mtclip, bundle: Path) -> None:
    good = mtclip("verify", bundle)
    assert good.code == 0
    assert {line.split()[1] for line in good.out.splitlines()} == {p.name for p in bundle.iterdir()} - {
        "manifest.json"
    }
    path = bundle / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    bad = mtclip("verify", bundle)
    assert bad.code == 3
    assert [line.split()[1] for line in bad.out.splitlines() if line.startswith("damaged")] == [
        "tokenizer.json"
    ]
    assert bad.err == f"{bundle}: 1 of 10 files are damaged\n"
    path.unlink()
    assert mtclip("verify", bundle).code == 3


@pytest.mark.parametrize("content", ["{}", "[]", "{", "[" * 100_000])
@pytest.mark.torch
def test_a_run_that_is_none(mtclip, tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    for words in (["info", tmp_path], ["export", tmp_path, "--out", tmp_path / "b"]):
        found = mtclip(*words)
        assert found.code == 3 and "run.json" in found.err
