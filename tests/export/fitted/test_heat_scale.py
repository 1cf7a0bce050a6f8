"""One scale for the maps of a bundle, and a floor that chance stays below."""

import numpy as np
import pytest

from mtclip_edge.evidence.heat_map import Target, place_map
from mtclip_edge.evidence.place_graph import Places
from mtclip_edge.export.fitted.heat_scale import heat_scale


class Linear:
    """Stands for the small graph: features to unit vectors."""

    def run(self, names: list[str], feeds: dict) -> list[np.ndarray]:
        (features,) = feeds.values()
        return [features / np.linalg.norm(features, axis=1, keepdims=True)]


class Films:
    """Stands for the film encoder: a film is its features."""

    def prepare(self, grey: np.ndarray) -> np.ndarray:
        return grey

    def features(self, pixels: np.ndarray) -> np.ndarray:
        return pixels


PLACES = Places(Linear(), (4, 4), "image", 0, "average")


def unit(random: np.random.Generator, rows: int) -> np.ndarray:
    vectors = random.normal(size=(rows, 6)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_floor_is_what_chance_reaches_in_one_of_twenty_places() -> None:
    random = np.random.default_rng(1)
    films = [random.normal(1, 1, (6, 4, 4)).astype(np.float32) for _ in range(30)]
    reports = unit(random, 50)
    found = heat_scale(PLACES, Films(), films, reports)
    assert found is not None and found.films == 30 and 0 < found.floor < found.full
    common = reports.mean(axis=0)
    values = np.stack(
        [place_map(PLACES, film, Target(report, common)) for film in films for report in unit(random, 20)]
    )
    # reports of another draw: their own spread about that mean is much alike
    assert float((values > found.floor).mean()) == pytest.approx(0.05, abs=0.02)
    again = heat_scale(PLACES, Films(), films, reports)
    assert again is not None and again.to_dict() == found.to_dict()


def test_nothing_to_fit_on() -> None:
    assert heat_scale(PLACES, Films(), [], unit(np.random.default_rng(0), 5)) is None
    assert heat_scale(PLACES, Films(), [np.ones((6, 4, 4), np.float32)], np.zeros((0, 6), np.float32)) is None
