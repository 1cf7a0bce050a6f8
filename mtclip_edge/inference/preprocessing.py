"""Turns a film file into a tower's input: the only copy. Training and query both use it, with the numbers in
run and bundle.

Geometry ``squash`` scales the whole film to a square: a centre crop would cut off lung bases, and 256 px
training copies are squashed already. ``crop`` is what open_clip does (shorter side scaled, centre cropped)
and serves zero-shot baselines. The resize is Pillow's (8-bit, antialiased), so the same file gives the same
numbers everywhere.

``render`` says how a DICOM film's stored values became grey before (``films/dicom/grayscale``); pictures have
no choice there.

``via``: training copies have often been squashed to 256 px already (Lanczos, as Open-I's here). A film of
full size that takes the same way embeds like its copy: cosine 0.991 at least on four pairs of a trained
model, 0.977 without (docs/results/results.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..bundle.records import PreprocessingRecord
from ..errors import ArtefactIncompatible
from ..fields import Fields
from ..films.film import FilmSource
from ..films.read import read_film

GEOMETRIES = ("squash", "crop")
INTERPOLATIONS = ("bicubic", "bilinear")
RENDERS = ("voi", "percentile", "minmax")


@dataclass(frozen=True)
class Preprocessing:
    """``size`` in pixels; larger films are squashed to ``via`` pixels first, 0 for not.

    ``mean`` and ``std`` for each of the three (equal) channels of an input scaled to 0..1."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    geometry: str = "squash"
    via: int = 0
    render: str = "voi"

    def __post_init__(self) -> None:
        if (
            self.interpolation not in INTERPOLATIONS
            or self.geometry not in GEOMETRIES
            or self.render not in RENDERS
        ):
            choice = f"{self.interpolation}/{self.geometry}/{self.render}"
            raise ArtefactIncompatible(f"preprocessing {choice} is not known to this version")
        if (
            self.size < 1
            or (self.via and self.via < self.size)
            or len(self.mean) != 3
            or len(self.std) != 3
            or min(self.std) <= 0
        ):
            raise ArtefactIncompatible(f"preprocessing makes no sense: {self}")

    def to_dict(self) -> dict[str, Any]:
        """As in a manifest.

        The default ``render`` is left out: what was made before it could be chosen keeps its identity.
        """
        return {
            "size": self.size,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "geometry": self.geometry,
            "via": self.via,
            **({"render": self.render} if self.render != RENDERS[0] else {}),
        }

    def record(self) -> PreprocessingRecord:
        """As a manifest or a run holds it."""
        return PreprocessingRecord.read(Fields(self.to_dict()))

    @classmethod
    def of(cls, record: PreprocessingRecord) -> "Preprocessing":
        """As a manifest or a run holds it. Errors: ArtefactIncompatible."""
        return cls.from_dict(record.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def tower_input(source: FilmSource, how: Preprocessing) -> np.ndarray:
    """A film's file as float32 [3, size, size]. Errors: FilmUnreadable."""
    return model_input(grey_film(source, how), how)


def grey_film(source: FilmSource, how: Preprocessing) -> np.ndarray:
    """A film's file as grey values uint8 [height, width], rendered as the tower learned it.

    Errors: FilmUnreadable.
    """
    return read_film(source, render=how.render).grey


def model_input(grey: np.ndarray, how: Preprocessing) -> np.ndarray:
    """One film, uint8 [height, width], as float32 [3, size, size]."""
    small = (squash if how.geometry == "squash" else cropped)(grey, how)
    return np.take(_normalised(how), small, axis=1)


@lru_cache(maxsize=8)
def _normalised(how: Preprocessing) -> np.ndarray:
    """What each of the 256 grey values becomes in each channel, float32 [3, 256]: looking up is four
    times faster than computing.
    """
    value = np.arange(256, dtype=np.float32) / np.float32(255)
    mean, std = (np.array(numbers, np.float32)[:, None] for numbers in (how.mean, how.std))
    return (value - mean) / std


def squash(grey: np.ndarray, how: Preprocessing) -> np.ndarray:
    """The whole film, uint8 [height, width], as a square uint8 [size, size]."""
    if how.via and max(grey.shape) > how.via:
        grey = _via(grey, how.via)
    return _resized(grey, how.size, how.size, how)


def _via(grey: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.LANCZOS))


def cropped(grey: np.ndarray, how: Preprocessing) -> np.ndarray:
    """The film with its shorter side scaled to ``size``, and of that the middle, uint8 [size, size];
    rounding as in torchvision.
    """
    height, width = grey.shape
    short = min(height, width)
    tall, wide = (int(how.size * side / short) if side > short else how.size for side in (height, width))
    top, left = round((tall - how.size) / 2), round((wide - how.size) / 2)
    return _resized(grey, tall, wide, how)[top : top + how.size, left : left + how.size]


def _resized(grey: np.ndarray, height: int, width: int, how: Preprocessing) -> np.ndarray:
    from PIL import Image

    method = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[how.interpolation]
    return np.asarray(Image.fromarray(grey).resize((width, height), method))
