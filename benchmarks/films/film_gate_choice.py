"""What the scores of the film gate were chosen by: validation films, and the same films spoilt by code.

    python benchmarks/films/film_gate_choice.py BUNDLE --data SOURCE

The layout is asked about films cut, swapped, slanted and sheared (another arrangement), the embedding about films with the same 8 x 8
mean grey values and other detail, which no layout can tell. None of them is in film_gate.py's table. Prints two Markdown tables: the
share found at the alarms that each may give.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.evaluation.metrics import auroc
from mtclip_edge.export.fitted import film_gate as fitting
from mtclip_edge.films.gate import layout_of
from mtclip_edge.films.read import read_film
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.encoders import FilmEncoder, open_film_encoder
from mtclip_edge.inference.precision import most_exact
from mtclip_edge.sources.source import open_source

Change = Callable[[np.ndarray], np.ndarray]
Greys = list[np.ndarray]
SIDE, FIELD = 256, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True)
    options = parser.parse_args()
    bundle, source = Bundle.open(options.bundle), open_source(options.data)
    encoder, _ = open_film_encoder(bundle, choose("cpu"), most_exact(bundle.precisions("image")))
    train, held = ([read_film(p).grey for p in fitting.spread(fitting.films_in(source.split(split)))] for split in ("train", "validation"))
    layout_table(encoder, train, held)
    embedding_table(encoder, train, held)


def layout_table(encoder: FilmEncoder, train: Greys, held: Greys) -> None:
    print("| grid | shrinkage | mean AUROC | found at 5 % alarms |\n|---|---|---|---|")
    for grid in (4, 8, 16):
        fit, known = (layouts(encoder, greys, grid) for greys in (train, held))
        odd = [layouts(encoder, [np.ascontiguousarray(change(g)) for g in held], grid) for change in REARRANGED.values()]
        for shrinkage in (0.01, 0.1, 0.5):
            fitting.SHRINKAGE = shrinkage
            gaussian = fitting.fit_gaussian(fit, grid * grid)
            print(f"| {grid} x {grid} | {shrinkage} | {found(gaussian, known, odd, 0.05)} |", flush=True)


def embedding_table(encoder: FilmEncoder, train: Greys, held: Greys) -> None:
    print("\n| axes | shrinkage | mean AUROC | found at 1 % alarms |\n|---|---|---|---|")
    fit, known = encoder.encode_films(train)[0], encoder.encode_films(held)[0]
    odd = [encoder.encode_films([change(squared(g)) for g in held])[0] for change in SPOILT.values()]
    for axes in (8, 16, 32, 64, 128):
        fitting.SHRINKAGE = 0.1
        print(f"| {axes} | 0.1 | {found(fitting.fit_gaussian(fit, axes), known, odd, fitting.EMBEDDING_WARN)} |", flush=True)


def found(gaussian: fitting.Gaussian, known: np.ndarray, odd: list[np.ndarray], share: float) -> str:
    """Mean AUROC over kinds of spoilt films, and the mean share of them above the threshold."""
    score, others = gaussian.distance(known), [gaussian.distance(part) for part in odd]
    limit = fitting.threshold(score, share)
    areas = [auroc(np.repeat([0, 1], [len(score), len(part)]), np.concatenate([score, part])) for part in others]
    return f"{np.mean(np.array(areas, float)):.4f} | {np.mean([(part > limit).mean() for part in others]):.3f}"


def layouts(encoder: FilmEncoder, greys: Greys, grid: int) -> np.ndarray:
    return np.stack([layout_of(encoder.prepare(grey), grid) for grey in greys])


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


def squared(grey: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def resized(grey: np.ndarray, how: Image.Resampling) -> np.ndarray:
    """Nothing but the 8 x 8 mean grey values."""
    return np.asarray(Image.fromarray(grey).resize((8, 8), Image.Resampling.BOX).resize((SIDE, SIDE), how))


def shuffled(grey: np.ndarray, piece: int = 4) -> np.ndarray:
    """Every field's pieces in another order."""
    random, grey = np.random.default_rng(0), grey.copy()
    for top in range(0, SIDE, FIELD):
        for left in range(0, SIDE, FIELD):
            n = FIELD // piece
            parts = grey[top : top + FIELD, left : left + FIELD].reshape(n, piece, n, piece).swapaxes(1, 2).reshape(-1, piece, piece)
            parts = random.permutation(parts).reshape(n, n, piece, piece).swapaxes(1, 2)
            grey[top : top + FIELD, left : left + FIELD] = parts.reshape(FIELD, FIELD)
    return grey


SPOILT: dict[str, Change] = {
    "shuffled": shuffled,
    "mosaic": lambda grey: resized(grey, Image.Resampling.NEAREST),
    "without detail": lambda grey: resized(grey, Image.Resampling.BICUBIC),
    "noisy": lambda grey: np.clip(grey + np.random.default_rng(0).normal(0, 50, grey.shape), 0, 255).astype(np.uint8),
    "blurred": lambda grey: np.asarray(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(6))),
    "lined": lambda grey: np.where((np.arange(SIDE) % 12 < 3)[:, None], 250, grey).astype(np.uint8),
}


if __name__ == "__main__":
    main()
