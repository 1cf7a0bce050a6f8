"""Does a heat map peak where radiologists drew a box?

    python benchmarks/retrieval/pointing_boxes.py BUNDLE --boxes nih_boxes.csv --data nih_cxr

The boxes (``image_path``, ``finding``, ``x``, ``y``, ``width``, ``height`` as shares of the film from its
upper left corner) of one film and finding are one case. Its map is that of ``query --text FINDING
--explain``; a hit is a peak inside one of its boxes, without tolerance. Prints the pooled hit rate with its
exact 95 % interval (Clopper and Pearson 1934) beside that of a sentence that affirms the finding (reports
often name one to deny it), of a text that names none, beside the film's centre, and beside chance: the mean
share of the film that the boxes cover, and how often points at random would hit as many.
"""

import argparse
import csv
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mtclip_edge.evidence.heat_map import peak
from mtclip_edge.evidence.heat_picture import resized
from mtclip_edge.retrieval.retriever import Retriever

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

Box = tuple[float, float, float, float]  # left, top, right, bottom
GRID = 56  # cells on which a smooth map is looked at
NO_FINDING = "normal chest x-ray"
AFFIRMED = "Findings consistent with {}."
CENTRE = (0.5, 0.5)


@dataclass(frozen=True)
class Case:
    """One finding on one film, and the boxes around it as shares of the film."""

    film: Path
    finding: str
    boxes: tuple[Box, ...]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--boxes", type=Path, required=True, help="the table of boxes")
    parser.add_argument("--data", type=Path, required=True, help="the folder that its image_path is in")
    measured(parser, measure, words)


def measure(options: argparse.Namespace) -> None:
    cases = read_cases(options.boxes, options.data)
    chance = [area(case.boxes) for case in cases]
    films = len({case.film for case in cases})
    print(f"{len(cases)} findings with {sum(len(c.boxes) for c in cases)} boxes on {films} films")
    print(f"chance (mean share of the film inside the boxes): {np.mean(chance):.3f}")
    with Retriever.open(options.bundle, evidence=False, force=True) as retriever:
        named = [_map(retriever, case, case.finding.lower()) for case in cases]
        affirmed = [_map(retriever, case, AFFIRMED.format(case.finding.lower())) for case in cases]
        unnamed = [_map(retriever, case, NO_FINDING) for case in cases]
    print("\n| peak of | hits | rate | exact 95 % | over chance | points at random do as well |")
    print("|---|---|---|---|---|---|")
    ways: dict[str, Callable[[int], tuple[float, float]]] = {
        "the finding's text": lambda i: peak(named[i]),
        "the same, smooth": lambda i: peak(resized(named[i], GRID, GRID, smooth=True)),
        f"{AFFIRMED.format('…')!r}": lambda i: peak(affirmed[i]),
        f"the text {NO_FINDING!r}": lambda i: peak(unnamed[i]),
        "the film's centre": lambda _: CENTRE,
    }
    for name, point in ways.items():
        print(row(name, sum(hit(point(i), case.boxes) for i, case in enumerate(cases)), chance))
    upper = sum(peak(values)[1] < 0.5 for values in named)
    drawn = sum(np.mean([top + bottom for _, top, _, bottom in case.boxes]) < 1 for case in cases)
    apart = [inside(values, case.boxes) for values, case in zip(named, cases, strict=True)]
    error = np.std(apart, ddof=1) / len(apart) ** 0.5 if len(apart) > 1 else float("nan")
    print(f"\nof the finding's text: {upper} peaks lie in the upper half of the film, {drawn} boxes do")
    print(f"inside the boxes the map lies {np.mean(apart):+.2f} ± {error:.2f} deviations from its own mean")


def row(name: str, hits: int, chance: Sequence[float]) -> str:
    """A line of the table: hits among as many cases as there are chances."""
    rate, (low, high) = hits / len(chance), exact_interval(hits, len(chance))
    return (
        f"| {name} | {hits} of {len(chance)} | {rate:.3f} | {low:.3f} to {high:.3f} | "
        f"{rate / np.mean(chance):.2f} | {at_least(hits, chance):.3f} |"
    )


def read_cases(boxes: Path, films: Path) -> list[Case]:
    """The table's rows by film and finding, in its order. Errors: SystemExit for what is no box."""
    drawn: dict[tuple[Path, str], list[Box]] = {}
    with boxes.open(encoding="utf-8", newline="") as file:
        for line, cells in enumerate(csv.DictReader(file), 2):
            try:
                x, y, width, height = (float(cells[name]) for name in ("x", "y", "width", "height"))
                film, finding = films / cells["image_path"], cells["finding"]
            except (KeyError, TypeError, ValueError):
                sys.exit(f"{boxes}: line {line}: expected image_path, finding, x, y, width, height")
            box = (x, y, x + width, y + height)
            if not (0 <= box[0] < box[2] <= 1.001 and 0 <= box[1] < box[3] <= 1.001):
                sys.exit(f"{boxes}: line {line}: not a box in shares of the film")
            drawn.setdefault((film, finding), []).append(box)
    if not drawn:
        sys.exit(f"{boxes}: no boxes")
    return [Case(film, finding, tuple(found)) for (film, finding), found in drawn.items()]


def hit(point: tuple[float, float], boxes: Sequence[Box]) -> bool:
    x, y = point
    return any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in boxes)


def inside(values: np.ndarray, boxes: Sequence[Box]) -> float:
    """How far the map lies inside the boxes from its mean over the film, in its standard deviations; 0 for a
    box too small to hold a cell of the smooth map, and for a map without any.
    """
    fine = resized(values, GRID, GRID, smooth=True)
    at = (np.arange(GRID) + 0.5) / GRID
    held = np.array([[hit((float(x), float(y)), boxes) for x in at] for y in at])
    return float((fine[held].mean() - fine.mean()) / fine.std()) if held.any() and fine.std() > 0 else 0.0


def area(boxes: Sequence[Box]) -> float:
    """Share of the film that the boxes cover together: what a point at random hits."""
    columns = sorted({side for box in boxes for side in (box[0], box[2])})
    rows = sorted({side for box in boxes for side in (box[1], box[3])})
    return sum(
        (right - left) * (bottom - top)
        for left, right in pairwise(columns)
        for top, bottom in pairwise(rows)
        if hit(((left + right) / 2, (top + bottom) / 2), boxes)
    )


def exact_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share: the shares under which the count is not too rare."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else _solved(lambda p: at_least(hits, [p] * count) - tail)
    high = 1.0 if hits == count else _solved(lambda p: tail - 1 + at_least(hits + 1, [p] * count))
    return low, high


def at_least(hits: int, chances: Sequence[float]) -> float:
    """How often independent tries with these chances hit at least so often (Poisson's binomial)."""
    counts = np.zeros(len(chances) + 1)
    counts[0] = 1.0
    for chance in chances:
        counts[1:] = counts[1:] * (1 - chance) + counts[:-1] * chance
        counts[0] *= 1 - chance
    return float(math.fsum(counts[hits:]))


def _solved(rising: Callable[[float], float]) -> float:
    """Where a rising function of a share passes 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def _map(retriever: Retriever, case: Case, text: str) -> np.ndarray:
    """The map of a text on a case's film, float32 [rows, columns]."""
    answer = retriever.query(str(case.film), 1)
    return retriever.explain(str(case.film), answer, text=text).values


if __name__ == "__main__":
    main()
