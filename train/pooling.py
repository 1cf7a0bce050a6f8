"""Chooses what a backbone's film tower pools: the whole film, or its left and right half apart."""

from dataclasses import replace

from mtclip_edge.errors import BackboneUnusable

from .backbones.backbone import Backbone
from .backbones.split import LeftRightTower


def with_pool(backbone: Backbone, pool: str) -> Backbone:
    """The backbone whose film tower pools the whole film, as it does itself, or its halves apart.

    Errors: BackboneUnusable where it cannot.
    """
    if pool == "whole":
        return backbone
    if backbone.aligned:
        raise BackboneUnusable(
            f"pool = halves: the towers of {backbone.name} share a space, which halves do not lie in",
            "expected towers that are not aligned, as compact's",
            "leave pool = whole",
        )
    tower = LeftRightTower(backbone.film_tower, backbone.preprocessing.size).eval()
    return replace(backbone, film_tower=tower, film_width=2 * backbone.film_width, pool=pool)
