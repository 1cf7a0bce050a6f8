"""Checks golden embeddings: what a backbone made of two drawn films and two sentences when it was pulled,
compared whenever it is loaded.

They find what hashes cannot: another preprocessing than the folder's, or a library that builds another model
from the same files. The films lie in the folder as PNG, so that they pass through reading, squashing and
normalising like any other.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.inference.preprocessing import Preprocessing, tower_input
from mtclip_edge.inference.tokenizer import Tokenizer

from .folder import NoTextTower

FILMS = ("golden-1.png", "golden-2.png")
TEXTS = ("The lungs are clear.", "There is an opacity in the left lower lung, with a small pleural effusion.")
# Largest ‖now - then‖ / ‖then‖. fp32 on another processor or thread count: 1e-6 to 1e-5; ImageNet's mean and
# std for CLIP's: 0.01 and more.
TOLERANCE = 1e-3


def draw(folder: Path) -> None:
    """The two films, phantoms of seed 0, one normal and one not."""
    from PIL import Image

    from mtclip_edge.sources.phantoms.make import make

    drawn = [make(0, number) for number in range(40)]
    for name, label in zip(FILMS, ("normal", "abnormal"), strict=True):
        Image.fromarray(next(p for p in drawn if p.label == label).drawn.grey).save(
            folder / name, optimize=True
        )


@torch.inference_mode()
def embed(
    folder: Path,
    film_tower: torch.nn.Module,
    text_tower: torch.nn.Module,
    how: Preprocessing,
    tokenizer: Tokenizer,
) -> dict[str, Any]:
    """Tower outputs of the folder's films and of the sentences, float32 [2, width] each; of films alone
    where there is no text tower.
    """
    pixels = np.stack([tower_input(folder / name, how) for name in FILMS])
    films = {"films": film_tower(torch.from_numpy(pixels)).numpy()}
    if isinstance(text_tower, NoTextTower):
        return films
    return {**films, "texts": text_tower(torch.from_numpy(tokenizer(list(TEXTS)))).numpy()}


def stored(outputs: dict[str, Any]) -> dict[str, Any]:
    """As ``backbone.json`` holds them: seven digits, which is what fp32 has."""
    return {
        name: [[float(f"{value:.7g}") for value in row] for row in rows] for name, rows in outputs.items()
    }


def compare(path: Path, outputs: dict[str, Any], expected: dict[str, Any]) -> None:
    """Errors: BackboneUnusable, in one line that says which tower."""
    for name, rows in outputs.items():
        then = np.asarray(expected[name], np.float64)
        far = (
            float("inf")
            if then.shape != rows.shape
            else float((np.linalg.norm(rows - then, axis=1) / np.linalg.norm(then, axis=1)).max())
        )
        if not far <= TOLERANCE:
            raise BackboneUnusable(
                f"{path}: the {name[:-1]} tower does not give what it gave when pulled (off by {far:.2g}, "
                f"at most {TOLERANCE:g})"
            )
