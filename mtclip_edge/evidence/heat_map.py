"""Maps where a film resembles a report: how much each place adds to their cosine.

One pass: the film tower's features by place, each left out in turn (where the tower pools by the mean),
through the small graph of ``place_graph``. The map is the cosine that is lost, less what the mean of all
reports loses: what a film shares with every report says nothing about this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.records import HeatRecord
from .place_graph import Places

# What is known, in a line below each map; figures in docs/concepts/explain.md.
WORTH = (
    "shows what moved the similarity, not where disease is: no better than chance on boxes by radiologists"
)


@dataclass(frozen=True)
class Target:
    """What a map is of: a report that was found, or a text.

    ``vector`` float32 [dim], unit length; ``common`` the mean of all reports.
    """

    vector: np.ndarray
    common: np.ndarray
    report_id: str | None = None
    rank: int | None = None

    def to_dict(self) -> dict[str, Any]:
        if self.report_id is None:
            return {"kind": "text"}
        return {"kind": "report", "report_id": self.report_id, "rank": self.rank}

    def of(self, vectors: np.ndarray) -> np.ndarray:
        """How much nearer unit vectors [rows, dim] are to the target than to the reports in the mean,
        float64 [rows].
        """
        return vectors.astype(np.float64) @ (self.vector.astype(np.float64) - self.common.astype(np.float64))


@dataclass(frozen=True)
class Explained:
    """``values`` float32 [rows, columns] over the whole film, ``grey`` the film uint8 [height, width];
    ``file`` where it was written; ``heat`` the colours of the bundle's maps, None where it has none: then
    those of a map reach to its own highest value.
    """

    target: Target
    values: np.ndarray
    grey: np.ndarray
    file: str | None = None
    heat: HeatRecord | None = None

    @property
    def peak(self) -> tuple[float, float]:
        """Where the map is highest, x and y as shares of the film."""
        return peak(self.values)

    def to_dict(self) -> dict[str, Any]:
        x, y = self.peak
        return {
            "method": "map",
            "target": self.target.to_dict(),
            "file": self.file,
            "grid": list(self.values.shape),
            "peak": {"x": round(x, 4), "y": round(y, 4), "value": round(float(self.values.max()), 6)},
            "floor": self.heat and self.heat.floor,
            "full": self.heat and self.heat.full,
        }

    def png(self, longest: int = 1024) -> bytes:
        """A PNG: the film in grey, at most ``longest`` pixels on its longer side, with the map laid over
        it and what it is below.
        """
        from .heat_picture import picture

        return picture(self.grey, self.values, self.range, self.legend, longest)

    @property
    def range(self) -> tuple[float, float]:
        """Values of which the first colour, and the last, are drawn."""
        if self.heat:
            return self.heat.floor, self.heat.full
        return 0.0, max(0.0, float(self.values.max()))

    @property
    def legend(self) -> tuple[str, ...]:
        """Neither a report's words nor a text that was given: a picture travels farther than the answer
        it belongs to.
        """
        of = (
            "the text given"
            if self.target.report_id is None
            else f"rank {self.target.rank}, report {self.target.report_id}"
        )
        highest = max(0.0, float(self.values.max()))
        if self.heat and highest <= self.heat.floor:
            return of, f"nothing above chance: at most {highest:.4f} of cosine, chance {self.heat.floor:.4f}"
        return of, f"map: at most {highest:.4f} of cosine", WORTH

    def write(self, path: Path) -> "Explained":
        """Write the picture, readable by its owner only; a file of that name is replaced. Errors: OSError."""
        from ..files import private_dir, write_bytes

        private_dir(path.parent)
        write_bytes(path, self.png())
        return replace(self, file=str(path))


def place_map(places: Places, features: np.ndarray, target: Target) -> np.ndarray:
    """One pass's map, float32 [rows, columns], from the film graph's features of one film."""
    return place_maps(places, features, [target])[0]


def place_maps(places: Places, features: np.ndarray, targets: Sequence[Target]) -> list[np.ndarray]:
    """The maps of several targets from one pass."""
    found = places.without(features)
    if found is None:
        # The tower takes a token of its own, of which no place can be left out afterwards: each is asked by
        # itself, beside their mean.
        rows = places.alone(features)
        values = [alone - alone.mean() for alone in (target.of(rows) for target in targets)]
    else:
        values = [seen[0] - seen[1:] for seen in (target.of(found) for target in targets)]
    return [value.reshape(places.grid).astype(np.float32) for value in values]


def peak(values: np.ndarray) -> tuple[float, float]:
    """x and y of the highest cell's middle as shares of the film; the first of equals."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return (column + 0.5) / values.shape[1], (row + 0.5) / values.shape[0]
