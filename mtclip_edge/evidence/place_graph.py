"""What the film tower knows of each place, and the small graph that tells what a film would be with other
places.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.records import PlacesRecord
from ..errors import MapMissing
from ..inference.device import choose, open_session

IMAGE, TOKENS = (
    "image",
    "tokens",
)  # layouts: [films, channels, rows, columns]; [films, before + places, channels]
AVERAGE, FIRST = "average", "first"  # poolings: the mean over all places; the first token, which no place is
PLACE_FEATURES, PLACE_EMBEDDING = "place_features", "place_embedding"


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

    @classmethod
    def open(cls, bundle: Bundle) -> "Places":
        """Errors: MapMissing, ArtefactDamaged."""
        record = bundle.model.explain
        if not record:
            raise MapMissing(
                f"{bundle.path}: this bundle has no graph for maps",
                hint="export the run again",
            )
        return cls.of(open_session(bundle.file(record.file), choose("cpu"))[0], record)

    @classmethod
    def of(cls, session: Any, record: PlacesRecord) -> "Places":
        return cls(session, record.grid, record.layout, record.before, record.pooling)

    def embed(self, features: np.ndarray) -> np.ndarray:
        """Features float32 [rows, channels] to unit vectors float32 [rows, dim].

        Where the tower pools by the mean, each row of a place, or of several pooled; else all tokens of one
        film.
        """
        return np.asarray(
            self.session.run([PLACE_EMBEDDING], {PLACE_FEATURES: np.ascontiguousarray(features, np.float32)})[
                0
            ]
        )

    def each(self, features: np.ndarray) -> np.ndarray:
        """The film graph's features of one film, without its batch axis, by place: float32 [places,
        channels], row by row.
        """
        return features.reshape(len(features), -1).T if self.layout == IMAGE else features[self.before :]

    def alone(self, features: np.ndarray) -> np.ndarray:
        """What a film would be of which each place is all: unit vectors float32 [places, dim]."""
        return (
            self.embed(features)[self.before :] if self.pooling == FIRST else self.embed(self.each(features))
        )

    def whole(self, features: np.ndarray) -> np.ndarray:
        """The film's own embedding, float32 [dim], from its features."""
        return np.asarray(
            self.embed(features)[0]
            if self.pooling == FIRST
            else self.embed(self.each(features).mean(axis=0)[None])[0]
        )
