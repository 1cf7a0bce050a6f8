"""Folds each BatchNorm of a film tower into the convolution before it while the tower is trained, and takes
it out again.

A BatchNorm that keeps its statistics is a scale and a shift of each channel: in the convolution's own weights
they cost nothing, by themselves a pass over all activations forth and two back. What is written stays in the
tower's own layout: there the norm only undoes its own statistics.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

# Of the largest feature: what rounding may differ by.
TOLERANCE = 1e-4


class FoldedNorm(nn.Module):
    """Stands where a BatchNorm was: what is left of it is the activation that timm's have in them."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.drop, self.act = (getattr(norm, name, None) or nn.Identity() for name in ("drop", "act"))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(x))


@dataclass(frozen=True)
class Pair:
    """Names of a convolution and of the BatchNorm behind it, and what the norm held."""

    conv: str
    norm: str
    has_bias: bool
    norm_state: Mapping[str, Tensor]
    eps: float

    def unfolded(self, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Convolution and norm in the tower's own layout that do what the folded convolution does.

        The norm scales by its own deviation and shifts by its own mean: no division by a scale that training
        may have brought to 0.
        """
        bias = weights[f"{self.conv}.bias"]
        mean, variance = (self.norm_state[name].to(bias.device) for name in ("running_mean", "running_var"))
        yield f"{self.conv}.weight", weights[f"{self.conv}.weight"]
        if self.has_bias:
            yield f"{self.conv}.bias", torch.zeros_like(bias)
        for name, value in self.norm_state.items():
            yield f"{self.norm}.{name}", value
        yield f"{self.norm}.weight", (variance + self.eps).sqrt()
        yield f"{self.norm}.bias", bias + mean


@dataclass(frozen=True)
class Folding:
    """What was folded in a tower; nothing where it has no such norms."""

    pairs: tuple[Pair, ...] = ()

    def plain(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of the folded tower under the names of the tower as it came."""
        inside = {f"{pair.conv}.{name}" for pair in self.pairs for name in ("weight", "bias")}
        rest = {name: value for name, value in state.items() if name not in inside}
        return rest | dict(item for pair in self.pairs for item in pair.unfolded(state))


@torch.no_grad()
def fold_norms(tower: nn.Module, size: int) -> Folding:
    """Fold in place, in ``eval`` mode, whatever takes gradients going on to; ``size`` of a film in pixels.

    A tower that is not the same afterwards is left as it came.
    """
    tower.eval()
    films = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    before, found = _followed(tower, films)
    kept = {name: module for pair in found for name, module in ((n, tower.get_submodule(n)) for n in pair)}
    pairs = tuple(_fold(tower, conv, norm) for conv, norm in found)
    if pairs and not torch.allclose(tower(films), before, rtol=0, atol=TOLERANCE * float(before.abs().max())):
        for name, module in kept.items():
            tower.set_submodule(name, module)
        return Folding()
    return Folding(pairs)


def _followed(tower: nn.Module, films: Tensor) -> tuple[Tensor, list[tuple[str, str]]]:
    """The tower's features, and its convolutions whose output a BatchNorm takes, each used once."""
    made: dict[int, tuple[str, Tensor]] = {}  # the tensor is held, so that no other gets its number
    taken: list[tuple[str, str]] = []

    def note(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Conv2d):
                made[id(output)] = name, output
            elif id(inputs[0]) in made:
                taken.append((made[id(inputs[0])][0], name))

        return module.register_forward_hook(after)

    handles = [
        note(name, module)
        for name, module in tower.named_modules()
        if isinstance(module, nn.Conv2d) or _keeps_statistics(module)
    ]
    try:
        features = tower(films)
    finally:
        for handle in handles:
            handle.remove()
    names = [name for pair in taken for name in pair]
    return features, [pair for pair in taken if all(names.count(name) == 1 for name in pair)]


def _keeps_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def _fold(tower: nn.Module, conv_name: str, norm_name: str) -> Pair:
    conv, norm = tower.get_submodule(conv_name), tower.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    state = {name: value.detach().clone() for name, value in norm.state_dict().items()}
    had_bias, trained = conv.bias is not None, conv.weight.requires_grad
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    folded = deepcopy(conv)  # of timm's kinds too, which pad by themselves
    folded.weight = nn.Parameter(weight.detach().clone(memory_format=torch.preserve_format), trained)
    folded.bias = nn.Parameter(bias.detach().clone(), trained)
    tower.set_submodule(conv_name, folded)
    tower.set_submodule(norm_name, FoldedNorm(norm))
    return Pair(conv_name, norm_name, had_bias, state, norm.eps)
