"""Backbones as trainings and hubs leave them: their own file names, prefixes of wrappers, cache folders, towers with more outputs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from backbone_layouts import make_coca_layout
from safetensors.torch import load_file, save_file

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.train.backbones.backbone import Backbone, load_backbone, text_features

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def folder(clip_backbone: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clip_backbone, tmp_path / "copy"))


@torch.inference_mode()
def same(ours: Backbone, folder: Path) -> bool:
    """Whether both towers give what those of another folder give."""
    theirs = load_backbone(str(folder))
    pixels, texts = torch.ones(1, 3, 64, 64), ["no effusion"]
    films = torch.equal(ours.film_tower(pixels), theirs.film_tower(pixels))
    return films and torch.equal(*(text_features(b.text_tower, b.tokenizer, texts) for b in (ours, theirs)))


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "model.", "module.", "model._orig_mod.", "module.model.clip."]
)
@pytest.mark.parametrize("pickled", [False, True])
def test_prefixes_of_wrappers_are_taken_off(
    clip_backbone: Path, folder: Path, prefix: str, pickled: bool
) -> None:
    tensors = {f"{prefix}{name}": value for name, value in load_file(folder / WEIGHTS).items()}
    if pickled:  # as Lightning saves them
        (folder / WEIGHTS).unlink()
        more = {"loss.weight": torch.ones(3)} if prefix == "model." else {}
        saved = {
            "epoch": 3,
            "global_step": 10,
            "state_dict": {**more, **tensors},
            "optimizer_states": [{"state": {}}],
        }
        torch.save(saved, folder / "last.ckpt")
    else:
        save_file(tensors, folder / WEIGHTS)
    assert same(load_backbone(str(folder)), clip_backbone)


def test_a_tower_that_was_compiled_alone(clip_backbone: Path, folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file(
        {name.replace("visual.", "visual._orig_mod."): value for name, value in tensors.items()},
        folder / WEIGHTS,
    )
    assert same(load_backbone(str(folder)), clip_backbone)


def test_two_models_in_one_file_are_not_guessed_between(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    both = {
        f"{which}.{name}": value.clone()
        for which in ("student", "teacher")
        for name, value in tensors.items()
    }
    save_file(both, folder / WEIGHTS)
    with pytest.raises(
        BackboneUnusable,
        match=r"holds several models \(student\., teacher\.\)\nsave the one that is meant by itself",
    ):
        load_backbone(str(folder))


def test_a_hugging_face_model_inside_a_wrapper(hf_clip: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(hf_clip, tmp_path / "copy"))
    tensors = load_file(folder / "model.safetensors")
    save_file({f"model.{name}": value for name, value in tensors.items()}, folder / "model.safetensors")
    assert same(load_backbone(str(folder)), hf_clip)


def test_a_trainings_checkpoint_has_its_own_name(clip_backbone: Path, folder: Path) -> None:
    """open_clip's training saves epoch_3.pt with the optimiser beside the weights."""
    tensors = {f"module.{name}": value for name, value in load_file(folder / WEIGHTS).items()}
    (folder / WEIGHTS).unlink()
    torch.save(
        {"epoch": 3, "name": "run", "state_dict": tensors, "optimizer": {"state": {}}}, folder / "epoch_3.pt"
    )
    alone = load_backbone(str(folder))
    assert same(alone, clip_backbone) and alone.spec == str(folder)
    shutil.copy(folder / "epoch_3.pt", folder / "epoch_12.pt")
    with pytest.raises(
        BackboneUnusable,
        match=r"several files of weights \(epoch_12.pt, epoch_3.pt\)\nname the one that is meant: ",
    ):
        load_backbone(str(folder))
    named = load_backbone(str(folder / "epoch_3.pt"))
    assert same(named, clip_backbone) and named.spec == str(folder / "epoch_3.pt")
    assert same(load_backbone(named.spec), clip_backbone)  # as a run that was trained on it will


@pytest.mark.parametrize("parts", [1, 2])
def test_weights_in_parts_are_told(hf_clip: Path, tmp_path: Path, parts: int) -> None:
    folder = Path(shutil.copytree(hf_clip, tmp_path / "copy"))
    for number in range(1, parts + 1):
        shutil.copy(folder / "model.safetensors", folder / f"model-0000{number}-of-00002.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneUnusable, match=r"the weights are in parts \(model-00001-of-00002"):
        load_backbone(str(folder))


def test_what_holds_no_model_is_one_line(folder: Path) -> None:
    save_file({"weight": torch.ones(2)}, folder / WEIGHTS)
    with pytest.raises(BackboneUnusable, match="open_clip cannot build this model"):
        load_backbone(str(folder))
    (folder / WEIGHTS).write_bytes(b"none")
    with pytest.raises(BackboneUnusable, match="not a file of weights"):
        load_backbone(str(folder))
    (folder / WEIGHTS).unlink()
    with pytest.raises(BackboneUnusable, match="no weights"):
        load_backbone(str(folder))


def test_a_hubs_cache_folder_is_its_snapshot(clip_backbone: Path, tmp_path: Path) -> None:
    cache = tmp_path / "models--publisher--small-clip"
    (cache / "refs").mkdir(parents=True)
    (cache / "blobs").mkdir()
    snapshot = cache / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    for file in clip_backbone.iterdir():  # the hub's client keeps files under their hashes and links to them
        shutil.copy(file, cache / "blobs" / file.stem)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.stem)
    loaded = load_backbone(str(cache))
    assert same(loaded, clip_backbone)
    assert (loaded.name, loaded.spec) == ("small-clip", str(snapshot))
    (cache / "snapshots" / "4567def").mkdir()
    with pytest.raises(BackboneUnusable, match="2 snapshots, and refs/main names none of them\nname one"):
        load_backbone(str(cache))
    (cache / "refs" / "main").write_text("0123abc\n")
    assert load_backbone(str(cache)).spec == str(snapshot)
    assert load_backbone(str(snapshot)).name == "small-clip"


@pytest.mark.parametrize("kind", ["hf_clip", "hf_siglip"])
def test_a_folder_that_transformers_5_writes(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPProcessor, SiglipProcessor

    published = request.getfixturevalue(kind)
    folder = Path(shutil.copytree(published, tmp_path / "saved"))
    parts = (
        AutoImageProcessor.from_pretrained(_with_kind(folder, kind)),
        AutoTokenizer.from_pretrained(published),
    )
    (folder / "preprocessor_config.json").unlink()
    (CLIPProcessor if kind == "hf_clip" else SiglipProcessor)(*parts).save_pretrained(folder)
    assert (folder / "processor_config.json").is_file() and not (folder / "preprocessor_config.json").exists()
    ours, theirs = load_backbone(str(folder)), load_backbone(str(published))
    assert (ours.preprocessing, ours.own_geometry) == (theirs.preprocessing, theirs.own_geometry)
    assert same(ours, published)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    with pytest.raises(BackboneUnusable, match="processor_config.json: no image_mean, and none is guessed"):
        load_backbone(str(folder))


def _with_kind(folder: Path, kind: str) -> Path:
    """transformers asks the folder which image processor it is; published folders say so."""
    file = folder / "preprocessor_config.json"
    named = {"hf_clip": "CLIPImageProcessor", "hf_siglip": "SiglipImageProcessor"}[kind]
    file.write_text(json.dumps({**json.loads(file.read_text()), "image_processor_type": named}))
    return folder


@torch.inference_mode()
def test_cocas_towers_without_their_captions(tmp_path: Path, random: np.random.Generator) -> None:
    import open_clip

    folder = make_coca_layout(tmp_path / "coca")
    theirs, texts = (
        open_clip.create_model(f"local-dir:{folder}").eval(),
        ["No effusion.", "The heart is enlarged."],
    )
    ours = load_backbone(str(folder))
    pixels = torch.from_numpy(random.normal(size=(2, 3, 64, 64)).astype(np.float32))
    torch.testing.assert_close(ours.film_tower(pixels), theirs.encode_image(pixels, normalize=False))
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    np.testing.assert_array_equal(ours.tokenizer(texts), tokens.numpy())
    torch.testing.assert_close(
        text_features(ours.text_tower, ours.tokenizer, texts),
        theirs.encode_text(tokens, normalize=False),
        atol=1e-5,
        rtol=1e-5,
    )
