"""Film towers in two halves, before and behind their pooling, and the left and right half of a film apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.evidence.place_graph import Places
from mtclip_edge.train.backbones.backbone import load_backbone
from mtclip_edge.train.backbones.split import LeftRightTower, Split, split


class Second:
    """The second half in torch, asked as the runtime asks the small graph."""

    def __init__(self, halves: Split):
        self._halves = halves

    def run(self, _: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        (rows,) = feeds.values()
        return [self._halves.each(torch.from_numpy(rows)).numpy()]


@torch.inference_mode()
def test_both_halves_are_the_tower(tiny_backbone: Path, clip_backbone: Path, cnn_backbone: Path) -> None:
    known = {
        "vit": (load_backbone(str(tiny_backbone)), "tokens", (10, 10), 1, "first"),
        "clip": (load_backbone(str(clip_backbone)), "tokens", (4, 4), 1, "first"),
        "cnn": (load_backbone(str(cnn_backbone)), "image", (3, 3), 0, "average"),
    }
    for name, (backbone, layout, grid, before, pooling) in known.items():
        size = backbone.preprocessing.size
        halves = split(backbone.film_tower, size)
        assert halves is not None and halves.record("f").to_dict() == {
            "file": "f",
            "layout": layout,
            "grid": list(grid),
            "before": before,
            "pooling": pooling,
        }, name
        assert (halves.last is not None) == (pooling == "first")
        pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
        found, expected = halves.features(pixels), backbone.film_tower(pixels)
        torch.testing.assert_close(halves.finish(found), expected, rtol=0, atol=1e-6)
        read = Places.of(Second(halves), halves.record("f"))
        for one, wanted in zip(found.numpy(), expected.numpy(), strict=True):
            np.testing.assert_allclose(read.whole(one), wanted, rtol=1e-4, atol=1e-5)
            assert len(read.each(one)) == len(read.alone(one)) == grid[0] * grid[1]


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["vit", "clip"])
def test_the_last_block_is_cut_to_its_first_token(
    kind: str, tiny_backbone: Path, clip_backbone: Path
) -> None:
    """The same output for weights that are not small, with scales too; and what a place alone gives is the whole block's token."""
    tower: Any = load_backbone(str(tiny_backbone if kind == "vit" else clip_backbone)).film_tower
    random = torch.Generator().manual_seed(2)
    for weight in tower.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=random))
    block = tower.trunk.blocks[-1] if kind == "vit" else tower.transformer.resblocks[-1]
    setattr(block, "ls1" if kind == "vit" else "ls_1", Halved())
    size = 160 if kind == "vit" else 64
    halves = split(tower, size)
    assert halves is not None and halves.last is not None
    pixels = torch.randn(3, 3, size, size, generator=random)
    expected, found = tower(pixels), halves.features(pixels)
    torch.testing.assert_close(
        halves.finish(found), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())
    )
    tokens = (
        tower.trunk.forward_features
        if kind == "vit"
        else lambda p: tower.ln_post(tower.transformer(tower._embeds(p)))
    )(pixels)
    finish = (
        (lambda t: tower.head(tower.trunk.forward_head(t)))
        if kind == "vit"
        else (lambda t: t[:, 0] @ tower.proj)
    )
    alone = finish(tokens[0][:, None].expand(-1, 2, -1))
    torch.testing.assert_close(halves.each(found[0]), alone, rtol=1e-4, atol=1e-5 * float(alone.abs().max()))


class Halved(nn.Module):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens / 2


@pytest.mark.parametrize("change", ["norm of queries", "gate", "another block", "another trunk"])
def test_a_block_of_another_kind_stays_whole(change: str, tiny_backbone: Path) -> None:
    tower: Any = load_backbone(str(tiny_backbone)).film_tower
    block = tower.trunk.blocks[-1]
    if change == "norm of queries":
        block.attn.q_norm = nn.LayerNorm(block.attn.head_dim)
    elif change == "gate":
        block.attn.gate = nn.Linear(64, 64)
    elif change == "another block":
        block.__class__ = type("Other", (type(block),), {})
    else:
        tower.trunk.__class__ = type("Other", (type(tower.trunk),), {})
    halves = split(tower, 160)
    assert halves is not None and (halves.pooling, halves.last) == ("first", None)


def test_the_mean_of_tokens_is_told_from_the_first(tiny_backbone: Path) -> None:
    tower = load_backbone(str(tiny_backbone)).film_tower
    tower.trunk.global_pool = "avg"
    halves = split(tower, 160)
    assert halves is not None and halves.pooling == "average"


def test_a_tower_of_another_kind_has_no_halves(tiny_backbone: Path) -> None:
    assert split(nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), 32) is None
    tower = load_backbone(str(tiny_backbone)).film_tower
    tower.trunk.global_pool = "max"  # of no place can be told what it adds
    assert split(tower, 160) is None


@torch.inference_mode()
def test_left_and_right_are_pooled_apart(cnn_backbone: Path) -> None:
    """Of three columns the middle one counts half for each mean; the runtime pools as the tower does."""
    tower = load_backbone(str(cnn_backbone)).film_tower
    whole, apart = split(tower, 96), LeftRightTower(tower, 96)
    halves = split(apart, 96)
    assert whole is not None and halves is not None
    assert (halves.pooling, halves.channels, halves.grid) == ("halves", 2 * whole.channels, (3, 3))
    pixels = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    found, given = halves.features(pixels), apart(pixels)
    left, middle, right = found.mean(dim=2).unbind(dim=2)
    by_hand = torch.cat([whole.each((side + middle / 2) / 1.5) for side in (left, right)], dim=1)
    torch.testing.assert_close(given, by_hand)
    torch.testing.assert_close(halves.finish(found), given)
    read = Places.of(Second(halves), halves.record("f"))
    for one, wanted in zip(found.numpy(), given.numpy(), strict=True):
        np.testing.assert_allclose(read.whole(one), wanted, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_change_on_one_side_stays_on_its_side(cnn_backbone: Path) -> None:
    apart = LeftRightTower(load_backbone(str(cnn_backbone)).film_tower, 96)
    halves = split(apart, 96)
    assert halves is not None
    found = halves.features(torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1)))
    changed = found.clone()
    changed[..., 0] += 1
    before, after = halves.finish(found).chunk(2, dim=1), halves.finish(changed).chunk(2, dim=1)
    assert torch.equal(before[1], after[1]) and not torch.allclose(before[0], after[0], atol=1e-3)


@torch.inference_mode()
def test_halves_of_tokens(tiny_backbone: Path) -> None:
    tower = load_backbone(str(tiny_backbone)).film_tower
    with pytest.raises(BackboneUnusable, match="does not pool its places by their mean"):
        LeftRightTower(tower, 160)
    tower.trunk.global_pool = "avg"
    apart = LeftRightTower(tower, 160)
    halves, pixels = (
        split(apart, 160),
        torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(1)),
    )
    assert halves is not None and (halves.layout, halves.pooling, halves.before) == ("tokens", "halves", 1)
    read = Places.of(Second(halves), halves.record("f"))
    for one, wanted in zip(halves.features(pixels).numpy(), apart(pixels).numpy(), strict=True):
        np.testing.assert_allclose(read.whole(one), wanted, rtol=1e-4, atol=1e-5)


def test_too_few_places_for_two_halves(cnn_backbone: Path) -> None:
    tower = load_backbone(str(cnn_backbone)).film_tower
    with pytest.raises(BackboneUnusable, match="at 32 pixels this tower has 1 x 1 places"):
        LeftRightTower(tower, 32)
