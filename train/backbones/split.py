"""Splits a film tower where it pools: what it knows of each place before, and what it makes of that after."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtclip_edge.bundle.records import PlacesRecord
from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.evidence.place_graph import AVERAGE, FIRST, HALVES, IMAGE, TOKENS, halves

from .first_token import Cut, cut_open_clip, cut_timm

_SAME = 1e-4  # of the largest number: what two ways to one tower's output may differ by


@dataclass(frozen=True)
class Split:
    """A film tower in two halves: pixels to features of each place, and these to the tower's output [batch,
    width].

    ``layout`` image: [batch, channels, rows, columns]; tokens: [batch, before + places, channels], with
    ``before`` tokens that are no place. ``pooling`` average: the mean over all places; first: the first
    token, which no place is; halves: the means over the left and the right half, side by side, and
    ``channels`` counts both. ``each`` takes features [rows, channels]: by average each as if it were all that
    a film has; by first those of one film's tokens, in their order; and gives the outputs [rows, width].
    ``last`` holds weights of the second half that the tower does not have in this form.
    """

    features: Callable[[Tensor], Tensor]
    finish: Callable[[Tensor], Tensor]
    each: Callable[[Tensor], Tensor]
    layout: str
    grid: tuple[int, int]
    channels: int
    before: int
    pooling: str
    last: nn.Module | None = None

    def record(self, file: str) -> PlacesRecord:
        """As the manifest holds it."""
        return PlacesRecord(file, self.layout, self.grid, self.before, self.pooling)


@dataclass(frozen=True)
class _Parts:
    """``cut`` takes the first half apart further, where it is a transformer of a known kind."""

    features: Callable[[Tensor], Tensor]
    finish: Callable[[Tensor], Tensor]
    cut: Callable[[], Cut | None]


def split(tower: nn.Module, size: int) -> Split | None:
    """The halves of timm's and open_clip's own towers that pool by the mean or the first token, found by
    trying; None for others.
    """
    if isinstance(tower, LeftRightTower):
        return tower.split(size)
    parts = _parts(tower)
    if parts is None:
        return None
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        actual, expected = parts.features(pixels), tower(pixels)
        shape = _shape(tower, actual)
        if shape is None:
            return None
        layout, grid, before = shape
        for pooling in (AVERAGE, FIRST) if before else (AVERAGE,):
            pooled = _pooled(actual, layout, before, pooling)

            def each(features: Tensor) -> Tensor:
                return parts.finish(_alone(features, layout, before))

            if _same(each(pooled), expected):
                whole = Split(
                    parts.features, parts.finish, each, layout, grid, pooled.shape[1], before, pooling
                )
                shorter = _shortened(whole, parts.cut()) if pooling == FIRST else None
                return (
                    shorter
                    if shorter and _same(shorter.finish(shorter.features(pixels)), expected)
                    else whole
                )
    return None


class LeftRightTower(nn.Module):
    """A film tower that pools the left and the right half of the film apart: float32 [batch, 3, size, size]
    to [batch, 2 width], the half first that is left to who looks at it.

    Behind a mean over the whole film nobody can tell the sides apart. Of an odd number of columns the middle
    one is shared, half of it to each half.
    """

    shares: Tensor

    def __init__(self, tower: nn.Module, size: int):
        """Errors: BackboneUnusable where the tower pools otherwise than by the mean, or too few places."""
        super().__init__()
        whole = split(tower, size)
        if whole is None or whole.pooling != AVERAGE:
            raise BackboneUnusable(
                "pool = halves: this film tower does not pool its places by their mean",
                "compact does, and other convolutional towers",
            )
        if whole.grid[0] * (-(-whole.grid[1] // 2)) < 2 or whole.grid[1] < 2:
            raise BackboneUnusable(
                f"pool = halves: at {size} pixels this tower has {whole.grid[0]} x {whole.grid[1]} places",
                "expected two or more in each half",
            )
        self.tower = tower
        # Plain values alone: a copy of this tower must not run the weights of the first.
        self.layout, self.grid, self.before = whole.layout, whole.grid, whole.before
        shares = torch.from_numpy(np.stack([half / half.sum() for half in halves(self.grid[1])]))
        self.register_buffer("shares", shares, persistent=False)  # of columns, for each half

    def forward(self, pixels: Tensor) -> Tensor:
        parts = _parts(self.tower)
        assert parts is not None
        return self._each(self._pooled(parts.features(pixels)))

    def split(self, size: int) -> Split | None:
        """As ``split`` of the tower within, with halves for the mean."""
        whole = split(self.tower, size)
        if whole is None:
            return None
        return replace(
            whole,
            finish=lambda features: self._each(self._pooled(features)),
            each=self._each,
            channels=2 * whole.channels,
            pooling=HALVES,
        )

    def _pooled(self, features: Tensor) -> Tensor:
        """Features by place to the means of both halves, [batch, 2 channels]."""
        if self.layout == TOKENS:
            features = features[:, self.before :].unflatten(1, self.grid).permute(0, 3, 1, 2)
        by_column = features.mean(dim=2)
        return torch.cat([(by_column * share).sum(dim=2) for share in self.shares.unbind()], dim=1)

    def _each(self, rows: Tensor) -> Tensor:
        """Features of both halves, [rows, 2 channels], to outputs [rows, 2 width]."""
        parts = _parts(self.tower)
        assert parts is not None
        sides = rows.chunk(2, dim=1)
        return torch.cat([parts.finish(_alone(side, self.layout, self.before)) for side in sides], dim=1)


def _shortened(whole: Split, cut: Cut | None) -> Split | None:
    """The halves parted before the last block instead of after it, of which the second then computes the
    first token only.
    """
    if cut is None:
        return None
    return replace(
        whole,
        features=cut.before,
        finish=lambda tokens: whole.each(cut.norm(cut.first(tokens))),
        each=lambda rows: whole.each(cut.norm(cut.block(rows[None]))[0]),
        last=cut.first,
    )


def _same(actual: Tensor, expected: Tensor) -> bool:
    return torch.allclose(actual, expected, rtol=0, atol=_SAME * float(expected.abs().max()))


def _parts(tower: nn.Module) -> _Parts | None:
    trunk: Any = getattr(tower, "trunk", None)
    if hasattr(trunk, "forward_features") and hasattr(trunk, "forward_head"):
        head: Any = tower.head
        return _Parts(
            trunk.forward_features,
            lambda features: head(trunk.forward_head(features)),
            lambda: cut_timm(trunk),
        )
    own: Any = tower
    if (
        all(hasattr(own, name) for name in ("_embeds", "_global_pool", "final_ln_after_pool"))
        and own.attn_pool is None
    ):
        return _Parts(
            lambda pixels: _own_features(own, pixels),
            lambda features: _own_finish(own, features),
            lambda: cut_open_clip(own),
        )
    return None


def _own_features(tower: Any, pixels: Tensor) -> Tensor:
    features = tower.transformer(tower._embeds(pixels))
    return features if tower.final_ln_after_pool else tower.ln_post(features)


def _own_finish(tower: Any, features: Tensor) -> Tensor:
    pooled = tower._global_pool(features)[0]
    pooled = tower.ln_post(pooled) if tower.final_ln_after_pool else pooled
    return pooled if tower.proj is None else pooled @ tower.proj


def _shape(tower: nn.Module, features: Tensor) -> tuple[str, tuple[int, int], int] | None:
    """Layout, rows and columns of places, and tokens before them; None where they cannot be told."""
    if features.ndim == 4:
        return IMAGE, (features.shape[2], features.shape[3]), 0
    owner: Any = getattr(getattr(tower, "trunk", None), "patch_embed", tower)
    grid = getattr(owner, "grid_size", None)
    if features.ndim != 3 or grid is None or not 0 <= (before := features.shape[1] - grid[0] * grid[1]) <= 8:
        return None
    return TOKENS, (int(grid[0]), int(grid[1])), before


def _pooled(features: Tensor, layout: str, before: int, pooling: str) -> Tensor:
    if layout == IMAGE:
        return features.mean(dim=(2, 3))
    return features[:, 0] if pooling == FIRST else features[:, before:].mean(dim=1)


def _alone(features: Tensor, layout: str, before: int) -> Tensor:
    """A map with one place (and tokens before it) that has these features everywhere."""
    if layout == IMAGE:
        return features[:, :, None, None]
    return features[:, None].expand(-1, before + 1, -1)
