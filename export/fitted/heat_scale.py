"""Fits the colours of a bundle's maps on validation films: one scale for all of them, and a floor below which
there is nothing to see.
"""

from collections.abc import Sequence

import numpy as np

from ...bundle.records import HeatRecord
from ...evidence.heat_map import Target, place_maps
from ...evidence.place_graph import Places
from ...inference.encoders import FilmEncoder

FILMS = 64  # at most
RANDOM = 20  # reports drawn for each film
FLOOR = 95  # percentile of all places of maps of random reports
FULL = 90  # percentile of the highest places of maps of the reports that were found
SEED = 0


def heat_scale(
    places: Places, films: FilmEncoder, pictures: Sequence[np.ndarray], reports: np.ndarray
) -> HeatRecord | None:
    """From grey films uint8 [height, width] and all reports, unit vectors float32 [reports, dim]; None
    without films or reports.
    """
    if not len(pictures) or not len(reports):
        return None
    random, common = np.random.default_rng(SEED), reports.mean(axis=0, dtype=np.float64).astype(np.float32)
    by_chance, highest = [], []
    for grey in pictures[:FILMS]:
        features = films.features(films.prepare(grey))
        best = int(np.argmax(reports @ places.whole(features)))
        drawn = random.integers(0, len(reports), RANDOM)
        targets = [Target(reports[row], common) for row in (best, *drawn)]
        found, *others = place_maps(places, features, targets)
        highest.append(float(found.max()))
        by_chance.append(np.stack(others))
    floor = max(0.0, float(np.percentile(np.stack(by_chance), FLOOR)))
    full = max(float(np.percentile(highest, FULL)), 1.25 * floor, floor + 1e-6)
    return HeatRecord(round(floor, 8), round(full, 8), len(highest))
