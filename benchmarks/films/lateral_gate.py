"""What the film gate of a model that was trained with laterals makes of them: accepted, warned of, rejected.

    python benchmarks/films/lateral_gate.py --data FRONTAL --data LATERAL

Distributions from training films, as ``export`` fits them. Thresholds are fitted on nine tenths of the
validation patients and asked of the other tenth, each once; test films have no part in it. Besides, the same
validation films inverted, turned and mirrored. Rows that end in "frontal films alone" are the gate of a
bundle without laterals.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtclip_edge.export.fitted import film_gate as fitting
from mtclip_edge.films.gate import GRID, FilmGate
from mtclip_edge.films.gate_facts import REJECT
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.sources.source import open_sources
from mtclip_edge.studies import FRONTAL, LATERAL, Study

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

SIZE = 224
PARTS = 10
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as they are": lambda grid: grid,
    "inverted": lambda grid: -grid,
    "a quarter turn": lambda grid: np.rot90(grid),
    "half a turn": lambda grid: np.rot90(grid, 2),
    "mirrored": lambda grid: grid[:, ::-1],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", required=True)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    reading = open_sources(options.data)
    how = Preprocessing(SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "squash", 256)
    train = {view: layouts(how, reading.split("train"), view) for view in (FRONTAL, LATERAL)}
    validation = reading.split("validation")
    patients = sorted({study.patient_id for study in validation})
    part_of = {patient: place % PARTS for place, patient in enumerate(patients)}
    parts = [[study for study in validation if part_of[study.patient_id] == n] for n in range(PARTS)]
    held = [{view: layouts(how, part, view) for view in (FRONTAL, LATERAL)} for part in parts]
    gates = [gate_of(train, [other for other in held if other is not part]) for part in held]
    counts = {view: sum(len(part[view]) for part in held) for view in (FRONTAL, LATERAL)}
    print(
        f"fitted on {len(train[FRONTAL])} frontal and {len(train[LATERAL])} lateral films; asked of "
        f"{counts[FRONTAL]} and {counts[LATERAL]} of validation"
    )
    print("| films | taken for laterals | accepted | warned of | rejected |\n|---|---|---|---|---|")
    for view, name in ((LATERAL, "lateral films"), (FRONTAL, "frontal films")):
        for change, apply in CHANGES.items():
            asked = [
                np.array([apply(row.reshape(GRID, GRID)).ravel() for row in part[view]]) for part in held
            ]
            print(f"| {name}, {change} | {told(gates, asked)} |")
    alone = [replace(gate, lateral=None) for gate in gates]
    for view, name in ((LATERAL, "lateral films"), (FRONTAL, "frontal films")):
        print(f"| {name}, gate of frontal films alone | {told(alone, [part[view] for part in held])} |")


def layouts(how: Preprocessing, studies: list[Study], view: int) -> np.ndarray:
    """Layouts float64 [films, 64] of the films of a view."""
    return fitting.layouts_of(how, fitting.spread(fitting.films_in(studies, view)))


def gate_of(train: dict[int, np.ndarray], validation: list[dict[int, np.ndarray]]) -> FilmGate:
    frontal, lateral = (np.concatenate([part[view] for part in validation]) for view in (FRONTAL, LATERAL))
    gate = fitting.fit_gate(fitting.Layouts(train[FRONTAL], frontal))
    return replace(gate, lateral=fitting.fit_lateral_gate(fitting.Layouts(train[LATERAL], lateral)))


def told(gates: list[FilmGate], parts: list[np.ndarray]) -> str:
    """Shares of all films, each judged by the gate that was not fitted on its part."""
    rows = []
    for gate, films in zip(gates, parts, strict=True):
        for layout in films:
            lateral = gate.sees_lateral(layout)
            weights = {fact.weight for fact in gate.facts(layout, LATERAL if lateral else FRONTAL)}
            rejected = REJECT in weights
            rows.append((lateral, not weights, bool(weights) and not rejected, rejected))
    return " | ".join(f"{share:.3f}" for share in np.mean(rows, axis=0))


if __name__ == "__main__":
    main()
