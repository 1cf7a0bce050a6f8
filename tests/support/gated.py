"""Drawn films for a film gate, and a bundle that has one."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from drawn import draw
from PIL import Image

from mtclip_edge.studies import Film, Study

PARTS = {"train": 120, "validation": 205, "new": 30}  # to fit on, for thresholds, that nothing has seen


def draw_gate_films(folder: Path) -> None:
    """The films of all parts, by name."""
    folder.mkdir()
    random = np.random.default_rng(11)
    for part, count in PARTS.items():
        for number in range(count):
            draw(random, [None, "left", "right"][random.integers(3)]).save(folder / f"{part}{number}.png")


def gate_studies(folder: Path) -> SimpleNamespace:
    """The studies of each part, one film each."""

    def study(name: str) -> Study:
        return Study(name, name, (Film(folder / f"{name}.png", f"{name}.png"),))

    return SimpleNamespace(
        **{part: [study(f"{part}{number}") for number in range(count)] for part, count in PARTS.items()}
    )


def with_gate(bundle: Path, folder: Path, films: SimpleNamespace) -> None:
    """A copy of a bundle in ``folder``, its gate fitted on drawn films."""
    from mtclip_edge.export.fitted.film_gate import refit

    lines: list[str] = []
    refit(Path(shutil.copytree(bundle, folder)), films.train, films.validation, say=lines.append)
    assert lines == ["film gate: fitted on 325 training and validation films, thresholds by 5 folds of them"]


def write_odd_films(film: Path, folder: Path) -> None:
    """The same film as it is, inverted, and turned twice."""
    grey = np.asarray(Image.open(film))
    turned = {"a": grey, "inverted": 255 - grey, "right": np.rot90(grey, -1), "down": np.rot90(grey, 2)}
    for name, picture in turned.items():
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{name}.png")
