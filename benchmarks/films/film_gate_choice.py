"""What the layout score of the film gate was chosen by: validation films, and the same films spoilt by code.

    python benchmarks/films/film_gate_choice.py BUNDLE --data SOURCE

The layout is asked about films cut, swapped, slanted and sheared (another arrangement). None of them is in
film_gate.py's table. Prints a Markdown table: the share found at the alarms that it may give.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.evaluation.metrics import auroc
from mtclip_edge.export.fitted import film_gate as fitting
from mtclip_edge.films.gate import layout_of
from mtclip_edge.films.read import read_film
from mtclip_edge.inference.preprocessing import Preprocessing, model_input
from mtclip_edge.sources.source import open_source

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

Change = Callable[[np.ndarray], np.ndarray]
Greys = list[np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    bundle, source = Bundle.open(options.bundle), open_source(options.data)
    how = Preprocessing.of(bundle.model.preprocessing)
    train, held = (
        [read_film(p).grey for p in fitting.spread(fitting.films_in(source.split(split)))]
        for split in ("train", "validation")
    )
    layout_table(how, train, held)


def layout_table(how: Preprocessing, train: Greys, held: Greys) -> None:
    print("| grid | shrinkage | mean AUROC | found at 5 % alarms |\n|---|---|---|---|")
    for grid in (4, 8, 16):
        fit, ordinary = (layouts(how, greys, grid) for greys in (train, held))
        odd = [
            layouts(how, [np.ascontiguousarray(change(g)) for g in held], grid)
            for change in REARRANGED.values()
        ]
        for shrinkage in (0.01, 0.1, 0.5):
            fitting.SHRINKAGE = shrinkage
            gaussian = fitting.fit_gaussian(fit, grid * grid)
            print(
                f"| {grid} x {grid} | {shrinkage} | {share_found(gaussian, ordinary, odd, 0.05)} |",
                flush=True,
            )


def share_found(gaussian: fitting.Gaussian, ordinary: np.ndarray, odd: list[np.ndarray], share: float) -> str:
    """Mean AUROC over kinds of spoilt films, and the mean share of them above the threshold."""
    score, others = gaussian.distance(ordinary), [gaussian.distance(part) for part in odd]
    limit = fitting.threshold(score, share)
    areas = [
        auroc(np.repeat([0, 1], [len(score), len(part)]), np.concatenate([score, part])) for part in others
    ]
    return (
        f"{np.mean(np.array(areas, float)):.4f} | {np.mean([(part > limit).mean() for part in others]):.3f}"
    )


def layouts(how: Preprocessing, greys: Greys, grid: int) -> np.ndarray:
    return np.stack([layout_of(model_input(grey, how), grid) for grey in greys])


def sheared(grey: np.ndarray) -> np.ndarray:
    by = (1, 0.6, -0.3 * grey.shape[0], 0, 1, 0)
    return np.asarray(Image.fromarray(grey).transform(grey.shape[::-1], Image.Transform.AFFINE, by))


REARRANGED: dict[str, Change] = {
    "half of it": lambda grey: grey[:, : grey.shape[1] // 2],
    "a quarter": lambda grey: grey[grey.shape[0] // 3 : -grey.shape[0] // 6, grey.shape[1] // 2 :],
    "halves swapped": lambda grey: np.roll(grey, grey.shape[1] // 2, axis=1),
    "rolled down": lambda grey: np.roll(grey, grey.shape[0] // 2, axis=0),
    "slanted": lambda grey: np.asarray(Image.fromarray(grey).rotate(45, Image.Resampling.BILINEAR)),
    "sheared": sheared,
}


if __name__ == "__main__":
    main()
