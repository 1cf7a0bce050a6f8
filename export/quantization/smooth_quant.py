"""Evens out a tower's activations before it is quantized: SmoothQuant's folding (Xiao et al. 2023, eq. 4).

A few channels of a LayerNorm's output are far larger than the rest and would take the whole range of 8 bits.
Each channel is divided by s there and the next layer's weights are multiplied by s: the same function, with
ranges that both fit.

Exact only where the LayerNorm feeds that layer alone: in pre-norm transformers (ViT, CLIP), not in BERT,
whose residual takes it too.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ALPHA = 0.5  # how much of the difficulty moves from activations to weights


@dataclass(frozen=True)
class Pair:
    """A LayerNorm and the weight [outputs, channels] of the layer that alone takes its output."""

    norm: nn.LayerNorm
    weight: nn.Parameter


def pairs(tower: nn.Module) -> list[Pair]:
    """All places of a tower that can be smoothed; none for other kinds of tower."""
    return [pair for block in tower.modules() for pair in _of_block(block)]


def smoothed(tower: nn.Module, pixels: Tensor, alpha: float = ALPHA) -> nn.Module:
    """A copy of a tower that gives the same outputs.

    ``pixels`` float32 [films, 3, size, size] show how large its activations are.
    """
    tower = copy.deepcopy(tower)
    layers = pairs(tower)
    largest = _largest(tower, [pair.norm for pair in layers], pixels)
    with torch.no_grad():
        for pair, activation in zip(layers, largest, strict=True):
            weight = pair.weight.abs().amax(dim=0).clamp(min=1e-5)
            scale = (activation.clamp(min=1e-5) ** alpha / weight ** (1 - alpha)).clamp(min=1e-5)
            pair.norm.weight.div_(scale)
            if pair.norm.bias is not None:
                pair.norm.bias.div_(scale)
            pair.weight.mul_(scale)
    return tower


def _of_block(block: nn.Module) -> Iterator[Pair]:
    """timm's blocks and open_clip's own, by the names of their parts."""
    for norm, layer, weight in (
        ("norm1", "attn.qkv", "weight"),
        ("norm2", "mlp.fc1", "weight"),
        ("ln_1", "attn", "in_proj_weight"),
        ("ln_2", "mlp.c_fc", "weight"),
    ):
        source, target = _part(block, norm), _part(block, layer)
        matrix = getattr(target, weight, None) if target is not None else None
        if (
            isinstance(source, nn.LayerNorm)
            and source.weight is not None
            and isinstance(matrix, nn.Parameter)
            and matrix.ndim == 2
        ):
            yield Pair(source, matrix)


def _part(module: nn.Module, path: str) -> nn.Module | None:
    part: nn.Module | None = module
    for name in path.split("."):
        part = getattr(part, name, None)
    return part


@torch.inference_mode()
def _largest(tower: nn.Module, norms: list[nn.LayerNorm], pixels: Tensor) -> list[Tensor]:
    """The largest absolute output of each channel of each norm, float32 [channels]."""
    most = [torch.zeros(norm.normalized_shape[0]) for norm in norms]

    def watch(index: int) -> object:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            most[index] = torch.maximum(
                most[index], output.detach().abs().reshape(-1, output.shape[-1]).amax(dim=0)
            )

        return norms[index].register_forward_hook(hook)

    hooks = [watch(index) for index in range(len(norms))]
    try:
        for start in range(0, len(pixels), 8):
            tower(pixels[start : start + 8])
    finally:
        for hook in hooks:
            hook.remove()  # type: ignore[attr-defined]
    return most
