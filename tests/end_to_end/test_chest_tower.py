"""A film tower without a text tower, EVA-X-Ti with random weights, all the way: trained frozen and tuned, exported, asked.

With three of its twelve blocks, which are all alike, for the time it takes.
"""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchmark_scripts import script

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.export.pack import export
from mtclip_edge.export.quantization.quantize import tower_kind
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.encoders import FilmEncoder
from mtclip_edge.inference.preprocessing import tower_input
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.backbones.backbone import load_backbone
from mtclip_edge.train.evaluation import out_of_fold
from mtclip_edge.train.run import backbone_of, load_run
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.tower_session import film_session
from mtclip_edge.train.training import train

pytestmark = pytest.mark.slow

TUNED = {"unfreeze": "1", "drop_path": 0.2, "heads_first": False}


BLOCKS = 3


@pytest.fixture(scope="module")
def shallow(eva_x: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pulled folder with the first blocks alone."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(eva_x, tmp_path_factory.mktemp("shallow") / "eva-x-ti"))
    card = json.loads((folder / "backbone.json").read_text())
    config = json.loads((folder / "film_tower.json").read_text())
    (folder / "film_tower.json").write_text(json.dumps(config | {"depth": BLOCKS}))
    tensors = load_file(folder / "film_tower.safetensors")
    kept = {
        k: v for k, v in tensors.items() if not (at := re.match(r"blocks\.(\d+)", k)) or int(at[1]) < BLOCKS
    }
    save_file(kept, folder / "film_tower.safetensors")
    stated = {name: card[name] for name in ("name", "licence", "terms", "restriction")}
    (folder / "backbone.json").write_text(json.dumps(stated))
    return folder


@pytest.fixture(scope="module")
def trained(shallow: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run with the frozen tower, one whose last block was trained, and the bundle of that."""
    folder, said = tmp_path_factory.mktemp("chest-tower"), list[str]()
    config = TrainConfig(
        backbone=str(shallow), text_side="lexical", epochs=2, batch_size=16, micro_batch=16, device="cpu"
    )
    train(config, [str(source)], folder / "frozen", say=said.append)
    train(replace(config, epochs=1, **TUNED), [str(source)], folder / "tuned", say=said.append)
    # random weights put all films close together: what eight bits may change there says nothing
    loose = dict.fromkeys(("overlap", "decisions", "batch"), 0.5) | {"precision": 0.5, "cosine": 0.97}
    export(
        folder / "tuned",
        folder / "bundle",
        precision=["fp32", "int8-dynamic"],
        budget=loose,
        say=said.append,
    )
    return SimpleNamespace(**{name: folder / name for name in ("frozen", "tuned", "bundle")}, said=said)


def test_frozen_features_are_those_of_torch_in_onnxruntime_too(eva_x: Path) -> None:
    tower = load_backbone(str(eva_x)).film_tower
    pixels = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = tower(pixels).numpy()
    found = film_session(tower, 224)(pixels.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))


def test_only_the_last_block_and_what_follows_was_tuned(trained: SimpleNamespace, shallow: Path) -> None:
    run = load_run(trained.frozen)
    assert (run.record.tower_sha256, run.record.shape.film_width) == (None, 192)
    assert run.record.words_sha256 and run.record.backbone.record.name == "eva-x-ti"
    before = load_backbone(str(shallow)).film_tower.state_dict()
    after = backbone_of(load_run(trained.tuned)).film_tower.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and all(
        name.startswith((f"trunk.blocks.{BLOCKS - 1}.", "trunk.fc_norm.")) for name in changed
    )
    assert {name.split(".")[1] for name in changed} == {"blocks", "fc_norm"}
    assert not any("no place for stochastic depth" in line for line in trained.said)


def test_the_bundle_keeps_places_and_says_what_its_tower_saw(trained: SimpleNamespace, mtclip) -> None:
    manifest = json.loads((trained.bundle / "manifest.json").read_text())
    places = manifest["explain"]
    assert (places["layout"], places["grid"], places["before"], places["pooling"]) == (
        *("tokens", [14, 14]),
        *(1, "average"),
    )
    assert tower_kind(trained.bundle / "image.fp32.onnx") == "transformer"
    assert (trained.bundle / "image.int8-dynamic.onnx").is_file()
    assert tower_kind(trained.bundle / "text.fp32.onnx") == "words"
    assert not (trained.bundle / "text.int8-dynamic.onnx").exists()
    assert any("word pieces alone have nothing to quantize" in line for line in trained.said)
    info = " ".join(mtclip("info", trained.bundle).out.split())
    assert "trained on CheXpert, CheXpert Plus, MIMIC-CXR, NIH ChestX-ray14 (520,000 films" in info
    assert "licence: mit; Apache-2.0 (tokenizer of all-MiniLM-L6-v2)" in info


@torch.inference_mode()
def test_the_bundle_answers_as_torch_does(trained: SimpleNamespace, source: Path) -> None:
    run = load_run(trained.tuned)
    backbone, path = backbone_of(run), open_source(str(source)).split("validation")[0].films[0].path
    pixels = torch.from_numpy(tower_input(path, backbone.preprocessing))[None]
    expected = F.normalize(run.space.embed_films(backbone.film_tower(pixels)), dim=-1).numpy()
    encoder = FilmEncoder.load(trained.bundle / "image.fp32.onnx", backbone.preprocessing, choose("cpu"))
    np.testing.assert_allclose(encoder.encode(pixels.numpy())[0], expected, atol=1e-5)
    with Retriever.open(trained.bundle) as retriever:
        assert retriever.precision == "int8-dynamic"
        assert retriever.query(path).hits
        assert retriever.query_text("opacity in the left lung").hits


def test_asked_without_torch(trained: SimpleNamespace, source: Path, tmp_path: Path) -> None:
    film = open_source(str(source)).split("test")[0].films[0].path
    words = [
        *("mtclip", "query", str(film), "--bundle", str(trained.bundle), "--json", "--force"),
        *("--label", "abnormal"),  # of a normal report there is no map
        *("--explain", str(tmp_path / "map.png")),
    ]
    code = (
        f"import sys; sys.argv = {words!r}\nfrom mtclip_edge import cli\nassert cli._run() == 0\n"
        "print('LOADED', *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    answer, _, loaded = out.partition("LOADED")
    assert json.loads(answer)["hits"]
    assert not set(loaded.split()) & {"torch", "timm", "open_clip", "safetensors", "mtclip_edge.train"}
    assert (tmp_path / "map.png").stat().st_size > 1000


@pytest.mark.parametrize("side", ["transformer", "both"])
def test_another_text_side_is_refused_in_one_line(
    side: str, shallow: Path, source: Path, tmp_path: Path
) -> None:
    config = TrainConfig(backbone=str(shallow), text_side=side, device="cpu")
    with pytest.raises(BackboneUnusable, match=f"eva-x-ti: has no text tower, .*--text-side {side}") as found:
        train(config, [str(source)], tmp_path / "run")
    assert "--text-side lexical" in (found.value.hint or "")
    assert not (tmp_path / "run").exists()


def test_one_command_compares_it(
    shallow: Path, tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch
) -> None:
    monkeypatch.setattr(out_of_fold, "DRAWS", 20)
    words = ["--data", "phantom:110@5", "--backbone", str(shallow), "--against", str(tiny_backbone)]
    script("retrieval/chest_tower").main(
        [*words, "--out", str(tmp_path / "folds"), "--folds", "2", "--epochs", "1"]
    )
    out = capsys.readouterr().out
    assert f"| figure | chance | {tiny_backbone.name} | eva-x-ti |" in out
    assert f"| figure | eva-x-ti minus {tiny_backbone.name} |" in out
    assert "eva-x-ti: unseen: drawn films, which no published backbone has seen" in out
