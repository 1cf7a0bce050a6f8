"""``evaluate`` and the doors of training and export: the command line's own figures, from Python."""

import json
from pathlib import Path

import pytest

from mtclip_edge import NotABundle, WrongOption, evaluate
from mtclip_edge.export import export
from mtclip_edge.train import TrainConfig, train


def test_it_gives_the_document_of_the_command(
    tiny_bundle: Path, source: Path, tmp_path: Path, mtclip
) -> None:
    said: list[str] = []
    document = evaluate(str(tiny_bundle), data=source, out=tmp_path / "out", say=said.append)
    told = json.loads(mtclip("eval", tiny_bundle, "--data", source, "--format", "json").out)
    assert json.loads(json.dumps(document))["models"] == told["models"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["models"] == told["models"]
    assert any("studies" in line for line in said)


def test_what_cannot_be_judged_is_told(source: Path, tmp_path: Path) -> None:
    with pytest.raises(NotABundle):
        evaluate(tmp_path, data=source)
    with pytest.raises(WrongOption, match="nothing to evaluate"):
        evaluate(data=source)
    with pytest.raises(WrongOption, match="split 'tset'"):
        evaluate("demo", data=source, split="tset")


@pytest.mark.torch
def test_the_doors_of_training_and_export_take_paths_as_words(
    source: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    from mtclip_edge.export import pack
    from mtclip_edge.train import settings, training

    assert (train, TrainConfig, export) == (training.train, settings.TrainConfig, pack.export)
    config = TrainConfig(backbone=str(tiny_backbone), epochs=1, batch_size=32)
    run = train(config, str(source), str(tmp_path / "run"))
    assert list(run.sources) == [f"manifest:{source}"] and (tmp_path / "run" / "run.json").is_file()
    with pytest.raises(WrongOption):
        export(str(tmp_path / "run"), str(tmp_path / "bundle"), precision=["int3"])
