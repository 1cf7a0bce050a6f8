"""Converts EVA-X's published weights, a film tower alone, to timm's names: the tensors and numbers, without
its code.

EVA-X-Ti (Yao et al., arXiv:2405.05237; github.com/hustvl/EVA-X) is a ViT-Ti/16 in the manner of EVA-02:
pre-norm blocks, SwiGLU, rotary positions beside learned ones. It was trained to fill in masked patches, and
its file is that training's checkpoint: weights in half precision beside an optimiser and what the masked task
alone needs. As its publisher does it, the mean of the patches comes first and the last norm after it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtclip_edge.errors import BackboneUnusable

from .folder import save

if TYPE_CHECKING:
    from timm.models.eva import Eva


@dataclass(frozen=True)
class FilmTower:
    """A published film tower: its file, what its publisher says of it, and ``film_tower.json`` for it."""

    file: str
    licence: str
    config: dict[str, Any]


TI = FilmTower(
    file="eva_x_tiny_patch16_merged520k_mim.pt",
    licence="MIT",
    config={
        "architecture": "eva_x",
        "image_size": 224,
        "patch_size": 16,
        "width": 192,
        "depth": 12,
        "heads": 3,
        # Those of its publisher's fine-tuning: the shorter side scaled, the centre cropped.
        "preprocess": {
            "mean": [0.49185243] * 3,
            "std": [0.28509309] * 3,
            "interpolation": "bicubic",
            "geometry": "crop",
        },
    },
)

# What a checkpoint may have around the weights, in the order in which its publisher's code looks.
_WRAPPERS = ("model_ema", "model", "module", "state_dict")
# Records of a training that such checkpoints may hold: kept as empty shells, so that no code of theirs runs.
_RECORDS = (
    "argparse.Namespace",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
)
_MASKED_TASK = ("mask_token", "lm_head.weight", "lm_head.bias")
_ROTATION = re.compile(r"(?:blocks\.\d+\.attn\.)?rope\.freqs_(cos|sin)")
_RENAMED = ((".mlp.w12.", ".mlp.fc1."), (".mlp.w3.", ".mlp.fc2."))
_HALF = 2e-3  # what half precision makes of a sine


def build(config: dict[str, Any]) -> "Eva":
    """The tower of a ``film_tower.json``, with weights at random. Errors: whatever timm raises for numbers
    that make none.
    """
    from timm.models.eva import Eva

    grid = config["image_size"] // config["patch_size"]
    return Eva(
        img_size=config["image_size"],
        patch_size=config["patch_size"],
        embed_dim=config["width"],
        depth=config["depth"],
        num_heads=config["heads"],
        mlp_ratio=4 * 2 / 3,
        swiglu_mlp=True,
        use_rot_pos_emb=True,
        ref_feat_shape=(grid, grid),
        num_classes=0,
        global_pool="avg",
    )


def convert(published: Path, tower: FilmTower, target: Path) -> Path:
    """Write a published checkpoint's film tower as safetensors under timm's names, fp32.

    Errors: BackboneUnusable (not plain, another model's); OSError with its number (a full disk).
    """
    theirs = _weights(_read(published), published.name)
    model = build(tower.config)
    expected = {name: value.shape for name, value in model.state_dict().items()}
    ours: dict[str, Tensor] = {}
    for name, value in theirs.items():
        if name in _MASKED_TASK:
            continue
        if turned := _ROTATION.fullmatch(name):
            _check_rotation(model, turned[1], value, f"{tower.file}: {name}")
            continue
        ours[_renamed(name)] = value
    wrong = [f"{name} is missing" for name in expected if name not in ours]
    wrong += [f"{name} is not known" for name in ours if name not in expected]
    wrong += [
        f"{name} is {list(value.shape)}, not {list(expected[name])}"
        for name, value in ours.items()
        if name in expected and value.shape != expected[name]
    ]
    wrong += [f"{name} is not finite" for name, value in ours.items() if not bool(value.isfinite().all())]
    if wrong:
        raise BackboneUnusable(
            f"{tower.file}: the weights are another model's",
            f"{len(wrong)} of its tensors do not fit: {', '.join(wrong[:3])}{', …' if wrong[3:] else ''}"[
                :300
            ],
        )
    return save({name: value.float().contiguous() for name, value in ours.items()}, target)


def _renamed(name: str) -> str:
    for theirs, ours in _RENAMED:
        name = name.replace(theirs, ours)
    return f"fc_{name}" if name in ("norm.weight", "norm.bias") else name


class _Shell:
    """Stands for a record of a training run: holds what the file holds, does nothing."""


def _read(published: Path) -> Any:
    """A checkpoint, nothing of it executed. Errors: BackboneUnusable."""
    from torch.serialization import safe_globals

    try:
        with safe_globals([(_Shell, name) for name in _RECORDS]):
            return torch.load(published, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # pickle, zip and torch each raise their own classes on damaged or hostile bytes
        raise BackboneUnusable(
            f"{published}: not a plain weights file ({type(error).__name__})", hint="nothing was loaded"
        ) from None


def _weights(content: Any, file: str) -> dict[str, Tensor]:
    """Tensors by name, out of what a training saved around them. Errors: BackboneUnusable."""
    for name in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise BackboneUnusable(f"{file}: no weights in it", f"expected them at its top, or in {_WRAPPERS[2]}")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _check_rotation(model: "Eva", kind: str, value: Tensor, what: str) -> None:
    """The file's own table of rotations is the one that timm computes. Errors: BackboneUnusable."""
    rotary: Any = model.rope
    sine, cosine = rotary.get_embed().chunk(2, dim=-1)
    ours = sine if kind == "sin" else cosine
    if value.shape != ours.shape or not torch.allclose(value.float(), ours, rtol=0, atol=_HALF):
        raise BackboneUnusable(
            f"{what}: other rotary positions than this timm's",
            hint="use the timm in constraints.txt",
        )
