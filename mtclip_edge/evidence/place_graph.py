"""What the film tower knows of each place, and the small graph that tells what a film would be with other
places.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.records import PlacesRecord
from ..errors import MapMissing
from ..inference.device import choose, open_session
from ..inference.encoders import VIEW
from ..studies import FRONTAL

IMAGE, TOKENS = (
    "image",
    "tokens",
)  # layouts: [films, channels, rows, columns]; [films, before + places, channels]
# Poolings: the mean over all places; the first token, which no place is; the means over the film's left half
# and over its right one, side by side.
AVERAGE, FIRST, HALVES = "average", "first", "halves"
PLACE_FEATURES, PLACE_EMBEDDING = "place_features", "place_embedding"


def halves(columns: int) -> tuple[np.ndarray, np.ndarray]:
    """How much each column counts for the film's left and right half, as it is looked at: float32 [columns]
    of 1 and 0; the middle one of an odd number is shared, half of it to each.
    """
    left = np.clip(columns / 2 - np.arange(columns, dtype=np.float32), 0, 1)
    return left, left[::-1].copy()


@dataclass(frozen=True)
class Places:
    """The second graph of a bundle, and how to read the film graph's features: the manifest's ``explain``
    entry.
    """

    session: Any
    grid: tuple[int, int]
    layout: str
    before: int
    pooling: str
    view: int | None = None  # of the film, where the tower was trained with laterals

    @classmethod
    def open(cls, bundle: Bundle, view: int = FRONTAL) -> "Places":
        """For a film of a view (``studies.view_code``). Errors: MapMissing, ArtefactDamaged."""
        record = bundle.model.explain
        if not record:
            raise MapMissing(
                f"{bundle.path}: this bundle has no graph for maps",
                hint="export the run again",
            )
        places = cls.of(open_session(bundle.file(record.file), choose("cpu"))[0], record)
        return replace(places, view=view if bundle.model.takes_laterals else None)

    @classmethod
    def of(cls, session: Any, record: PlacesRecord) -> "Places":
        return cls(session, record.grid, record.layout, record.before, record.pooling)

    def embed(self, features: np.ndarray) -> np.ndarray:
        """Features float32 [rows, channels] to unit vectors float32 [rows, dim].

        Where the tower pools by the mean, each row of a place, or of several pooled; by halves, of a place of
        the left half and behind it one of the right; else all tokens of one film.
        """
        feed = {PLACE_FEATURES: np.ascontiguousarray(features, np.float32)}
        if self.view is not None:
            feed[VIEW] = np.array([self.view], np.int64)
        return np.asarray(self.session.run([PLACE_EMBEDDING], feed)[0])

    def each(self, features: np.ndarray) -> np.ndarray:
        """The film graph's features of one film, without its batch axis, by place: float32 [places,
        channels], row by row.
        """
        return features.reshape(len(features), -1).T if self.layout == IMAGE else features[self.before :]

    def alone(self, features: np.ndarray) -> np.ndarray:
        """What a film would be of which each place is all: unit vectors float32 [places, dim].

        By halves: all of its own half, the other as it is.
        """
        if self.pooling == FIRST:
            return self.embed(features)[self.before :]
        each = self.each(features)
        parts = [np.where(weight[:, None] > 0, each, _mean(each, weight)) for weight in self._weights()]
        return self.embed(np.concatenate(parts, axis=1))

    def whole(self, features: np.ndarray) -> np.ndarray:
        """The film's own embedding, float32 [dim], from its features."""
        return np.asarray(self.embed(features if self.pooling == FIRST else self._pooled(features)[None])[0])

    def without(self, features: np.ndarray) -> np.ndarray | None:
        """What a film is, and what it would be without each place in turn: unit vectors float32 [1 + places,
        dim].

        None where no place can be left out: by the first token, or where one is all that a mean is of.
        """
        weights = [] if self.pooling == FIRST else self._weights()
        if not weights or any((weight.sum() - weight).min() <= 0 for weight in weights):
            return None
        each, parts = self.each(features), []
        for weight in weights:
            own = weight[:, None]
            parts.append((own.sum() * _mean(each, weight) - own * each) / (own.sum() - own))
        rest = np.concatenate(parts, axis=1)
        return self.embed(np.concatenate([self._pooled(features)[None], rest]))

    def _pooled(self, features: np.ndarray) -> np.ndarray:
        """What the tower makes its output of, float32 [channels], by halves [2 channels]."""
        each = self.each(features)
        return np.concatenate([_mean(each, weight) for weight in self._weights()])

    def _weights(self) -> list[np.ndarray]:
        """How much each place counts for each mean that is taken, float32 [places]: of all places, or of a
        half's.
        """
        rows, columns = self.grid
        parts = halves(columns) if self.pooling == HALVES else [np.ones(columns, np.float32)]
        return [np.tile(part, rows) for part in parts]


def _mean(each: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return (weight[:, None] * each).sum(axis=0) / weight.sum()
