"""Fine-tuning the film tower: squashed films in memory, augmented batch by batch.

Augmentations are those a film can really have: a small rotation, scale and shift, another exposure. No horizontal flip: the heart has
a side. BatchNorm keeps the statistics it came with, so that a film's features do not depend on its batch.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.images import read_film
from mtclip_edge.preprocess import Preprocessing, squash
from mtclip_edge.reporting import Progress

ROTATION, SCALE, SHIFT, CONTRAST, BRIGHTNESS = 0.10, 0.08, 0.05, 0.20, 0.10  # radians, shares of the film, of 0..1 grey
_EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Pixels:
    """Squashed films uint8 [films, size, size]; ``rows[i]`` is the film of the i-th path, -1 where it could not be read."""

    grey: Tensor
    rows: np.ndarray
    problems: tuple[str, ...]


def load_pixels(paths: Sequence[Path], how: Preprocessing, progress: Progress) -> Pixels:
    """Decode and squash every film once; 3,000 films of 224 pixels take 150 MB."""
    films: list[np.ndarray] = []
    rows, problems = np.full(len(paths), -1, np.int64), []
    with ThreadPoolExecutor(2) as pool:
        for i, found in enumerate(pool.map(lambda path: _squashed(path, how), paths)):
            if isinstance(found, str):
                problems.append(found)
            else:
                rows[i] = len(films)
                films.append(found)
            progress("films", i + 1, len(paths))
    grey = np.stack(films) if films else np.zeros((0, how.size, how.size), np.uint8)
    return Pixels(torch.from_numpy(grey), rows, tuple(problems))


class Tower(nn.Module):
    """The film tower with its preprocessing: uint8 [batch, size, size] to features float32 [batch, width]."""

    mean: Tensor
    std: Tensor

    def __init__(self, tower: nn.Module, how: Preprocessing):
        super().__init__()
        self.tower = tower.to(memory_format=torch.channels_last).requires_grad_(True)
        self.register_buffer("mean", torch.tensor(how.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(how.std)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> "Tower":
        super().train(mode)
        for module in self.tower.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, grey: Tensor) -> Tensor:
        light = grey[:, None].float() / 255
        if self.training:
            light = augmented(light)
        pixels = (light - self.mean) / self.std
        return self.tower(pixels.contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def features(self, grey: Tensor) -> Tensor:
        """Features of many films in ``eval`` mode, in batches."""
        self.eval()
        device = self.mean.device
        return torch.cat([self(part.to(device)) for part in grey.split(_EVALUATION_BATCH)])


def augmented(light: Tensor) -> Tensor:
    """Films float32 [batch, 1, size, size] in 0..1, each moved and exposed a little differently."""
    batch = len(light)

    def uniform(width: float) -> Tensor:
        return width * (2 * torch.rand(batch, device=light.device) - 1)

    angle, scale = uniform(ROTATION), 1 + uniform(SCALE)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([cos, -sin, uniform(SHIFT), sin, cos, uniform(SHIFT)], dim=1).view(batch, 2, 3)
    moved = F.grid_sample(light, F.affine_grid(matrix, list(light.shape), align_corners=False), align_corners=False)
    contrast, brightness = 1 + uniform(CONTRAST), uniform(BRIGHTNESS)
    return (moved * contrast[:, None, None, None] + brightness[:, None, None, None]).clamp(0, 1)


def _squashed(path: Path, how: Preprocessing) -> np.ndarray | str:
    try:
        return squash(read_film(path).grey, how)
    except FilmUnreadable as error:
        return str(error)
