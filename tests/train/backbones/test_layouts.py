"""SigLIP's layout and Hugging Face's: the same numbers as their own libraries give, and whatever would be guessed is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.train.backbones.backbone import load_backbone, text_features
from mtclip_edge.train.fine_tuning import unfrozen

TEXTS = ["No pleural  effusion, seen!", "The_heart is NORMAL; lungs\nclear.", "a", "lung " * 90]


def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@torch.inference_mode()
def test_siglip_is_what_open_clip_itself_would_load(
    siglip_backbone: Path, random: np.random.Generator
) -> None:
    import open_clip

    theirs, tokens = (
        open_clip.create_model(f"local-dir:{siglip_backbone}").eval(),
        open_clip.get_tokenizer(f"local-dir:{siglip_backbone}")(TEXTS),
    )
    ours = load_backbone(str(siglip_backbone))
    assert (ours.tokenizer.context_length, ours.tokenizer.pad_id, ours.tokenizer.fixed_length) == (
        64,
        1,
        True,
    )
    np.testing.assert_array_equal(ours.tokenizer(TEXTS), tokens.numpy())
    assert (ours.tokenizer(TEXTS)[3, -1], ours.tokenizer(TEXTS)[2, -1]) == (
        1,
        1,
    )  # a text that was cut keeps its end, a short one is padded with it
    torch.testing.assert_close(
        text_features(ours.text_tower, ours.tokenizer, TEXTS),
        theirs.encode_text(tokens),
        atol=1e-5,
        rtol=1e-5,
    )
    pixels = torch.from_numpy(random.normal(size=(2, 3, 64, 64)).astype(np.float32))
    torch.testing.assert_close(ours.film_tower(pixels), theirs.encode_image(pixels), atol=1e-5, rtol=1e-5)
    assert (ours.own_geometry, ours.preprocessing.mean, ours.aligned) == ("squash", (0.5, 0.5, 0.5), True)


@pytest.mark.parametrize("kind", ["hf_clip", "hf_siglip"])
@torch.inference_mode()
def test_hugging_face_folders_give_what_transformers_gives(
    kind: str, request, random: np.random.Generator
) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = request.getfixturevalue(kind)
    theirs, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ours = load_backbone(str(folder))
    limit = theirs.config.text_config.max_position_embeddings
    tokens = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=limit, return_tensors="pt")
    np.testing.assert_array_equal(ours.tokenizer(TEXTS), tokens["input_ids"].numpy())
    mask = (
        {"attention_mask": tokens["attention_mask"]} if kind == "hf_clip" else {}
    )  # SigLIP sees its padding
    expected = theirs.get_text_features(input_ids=tokens["input_ids"], **mask)
    torch.testing.assert_close(
        text_features(ours.text_tower, ours.tokenizer, TEXTS), pooled(expected), atol=1e-5, rtol=1e-5
    )
    pixels = torch.from_numpy(random.normal(size=(2, 3, 64, 64)).astype(np.float32))
    torch.testing.assert_close(
        ours.film_tower(pixels), pooled(theirs.get_image_features(pixel_values=pixels)), atol=1e-5, rtol=1e-5
    )
    assert ours.logit_scale == pytest.approx(float(theirs.logit_scale.exp()), rel=1e-6)
    assert ours.preprocessing.interpolation == ("bicubic" if kind == "hf_clip" else "bilinear")
    assert ours.own_geometry == ("crop" if kind == "hf_clip" else "squash")
    assert any("no golden embeddings" in note for note in ours.notes)


def pooled(found: Any) -> torch.Tensor:
    return found if isinstance(found, torch.Tensor) else found.pooler_output


def test_the_published_pickle_and_vocabulary_do_as_well(hf_clip: Path, tmp_path: Path) -> None:
    """PubMedCLIP's kind of folder: pytorch_model.bin, vocab.json and merges.txt."""
    from safetensors.torch import load_file

    folder = copy(hf_clip, tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"]))
    (folder / "tokenizer.json").unlink()
    backbone = load_backbone(str(folder))
    pixels = torch.ones(1, 3, 64, 64)
    torch.testing.assert_close(backbone.film_tower(pixels), load_backbone(str(hf_clip)).film_tower(pixels))
    ids = backbone.tokenizer(["the op"])[0]
    assert ids.tolist()[:5] == [515, 513, model["vocab"]["o"], model["vocab"]["p</w>"], 516]


def test_the_last_blocks_of_a_hugging_face_tower_can_be_trained(hf_clip: Path) -> None:
    tower = load_backbone(str(hf_clip)).film_tower
    unfrozen(tower, "1")
    trained = {name for name, p in tower.named_parameters() if p.requires_grad}
    assert {
        "projection.weight",
        "encoder.encoder.layers.1.mlp.fc1.weight",
        "encoder.post_layernorm.weight",
    } <= trained
    assert not any(".layers.0." in name or "embeddings" in name for name in trained)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("preprocessor_config.json", lambda c: c.pop("image_mean"), "no image_mean, and none is guessed"),
        ("preprocessor_config.json", lambda c: c.update(resample=1), "resample 1 is not known"),
        (
            "preprocessor_config.json",
            lambda c: c.update(crop_size=224),
            "films of 224 pixels\nconfig.json says 64",
        ),
        ("preprocessor_config.json", lambda c: c.update(rescale_factor=1.0), "not scaled to 0..1"),
        (
            "config.json",
            lambda c: c.update(model_type="siglip2"),
            "model_type 'siglip2' is not supported\n.*takes patches",
        ),
        (
            "config.json",
            lambda c: c["text_config"].update(num_hidden_layers=3),
            "the weights are another model's",
        ),
        (
            "config.json",
            lambda c: c["text_config"].update(max_position_embeddings=20),
            "(another model's|cannot build)",
        ),
        ("tokenizer_config.json", lambda c: c.update(padding_side="left"), "pads on the left"),
        (
            "tokenizer_config.json",
            lambda c: c.update(tokenizer_class="SiglipTokenizer", do_lower_case=False),
            "keeps capitals",
        ),
    ],
)
def test_what_is_missing_or_does_not_fit_is_refused(
    hf_clip: Path, tmp_path: Path, file: str, change: Any, message: str
) -> None:
    folder = copy(hf_clip, tmp_path)
    edit(folder / file, change)
    with pytest.raises(BackboneUnusable, match=message):
        load_backbone(str(folder))


def test_a_siglip_tokenizer_drops_punctuation_and_capitals(hf_siglip: Path, tmp_path: Path) -> None:
    """In transformers its Python class does it, so a tokenizer.json alone may not."""
    folder = copy(hf_siglip, tmp_path)
    edit(folder / "tokenizer_config.json", lambda c: c.update(tokenizer_class="SiglipTokenizer"))
    tokenizer = load_backbone(str(folder)).tokenizer
    dirty, clean = tokenizer(["  No\tpleural-effusion, (L_5)! "]), tokenizer(["no pleuraleffusion l5"])
    np.testing.assert_array_equal(dirty, clean)


@pytest.mark.parametrize("kind", ["siglip_backbone", "hf_siglip", "tiny_backbone"])
def test_another_models_tokenizer_is_found_out(kind: str, hf_clip: Path, request, tmp_path: Path) -> None:
    folder = copy(request.getfixturevalue(kind), tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(hf_clip / name, folder / name)
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(BackboneUnusable, match="the tokenizer is another model's\nit has ids up to 516"):
        load_backbone(str(folder))


def test_what_only_pythons_tokenizer_can_do_is_refused(siglip_backbone: Path, tmp_path: Path) -> None:
    folder = copy(siglip_backbone, tmp_path)
    edit(
        folder / "open_clip_config.json",
        lambda c: c["model_cfg"]["text_cfg"]["tokenizer_kwargs"].update(strip_sep_token=True),
    )
    with pytest.raises(BackboneUnusable, match="a tokenizer with strip_sep_token cannot be done here"):
        load_backbone(str(folder))


def test_code_that_a_folder_brings_is_never_run(hf_clip: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    """``auto_map`` is how a hub's model names its own Python."""
    for folder in (hf_clip, tiny_backbone):
        hostile = Path(shutil.copytree(folder, tmp_path / folder.name))
        (hostile / "evil.py").write_text(
            f"from pathlib import Path\nPath({str(tmp_path / 'executed')!r}).touch()\n"
        )
        edit(
            hostile / "config.json",
            lambda c: c.update(auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}),
        )
        assert load_backbone(str(hostile)).aligned
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"model_cfg": {"text_cfg": 1, "vision_cfg": {}}}',
        '{"model_cfg": {"vision_cfg": {}}}',
    ],
)
def test_a_configuration_that_is_none(siglip_backbone: Path, tmp_path: Path, text: str) -> None:
    folder = copy(siglip_backbone, tmp_path)
    (folder / "open_clip_config.json").write_text(text)
    with pytest.raises(BackboneUnusable, match="not an open_clip configuration"):
        load_backbone(str(folder))


@pytest.mark.parametrize("mean", [[0.5], 0.5, ["a", "b", "c"]])
def test_numbers_that_are_none(siglip_backbone: Path, hf_clip: Path, tmp_path: Path, mean: Any) -> None:
    folder = copy(siglip_backbone, tmp_path)
    edit(folder / "open_clip_config.json", lambda c: c["preprocess_cfg"].update(mean=mean))
    other = Path(shutil.copytree(hf_clip, tmp_path / "other"))
    edit(other / "preprocessor_config.json", lambda c: c.update(image_mean=mean))
    for path in (folder, other):
        with pytest.raises(BackboneUnusable, match="not the numbers of three channels"):
            load_backbone(str(path))


def test_a_size_stated_twice_must_agree(siglip_backbone: Path, tmp_path: Path) -> None:
    folder = copy(siglip_backbone, tmp_path)
    edit(folder / "open_clip_config.json", lambda c: c["preprocess_cfg"].update(size=[96, 96]))
    with pytest.raises(BackboneUnusable, match="two sizes of a film\npreprocess_cfg has 96, vision_cfg 64"):
        load_backbone(str(folder))


def test_the_model_cards_licence_is_read_where_nobody_pulled(hf_clip: Path, tmp_path: Path) -> None:
    folder = copy(hf_clip, tmp_path)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    assert load_backbone(str(folder)).licence == "cc-by-nc-4.0"
    (folder / "README.md").write_text("---\nlicense: [mit\n---\n")
    assert load_backbone(str(folder)).licence is None
