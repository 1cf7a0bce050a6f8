"""Is the side kept: films whose report names one side, against that report with left and right exchanged.

    python benchmarks/retrieval/side.py --data phantom:1000@41 [--seeds 2] [--set unfreeze=all,size=128]
    python benchmarks/retrieval/side.py --data SOURCE --folds 5

Three recipes: the whole film pooled, its halves pooled apart, halves with exchanged reports as wrong ones.
Asked are films whose report names one side and never the other: of phantoms those of the test split, of a
source those of validation, which chose the epoch too, or with --folds every film out of fold; the test split
of a source is left alone. *Prefers*: the film is nearer to its report than to the exchange. *On its
side*: the map of the report peaks on the side that it names. *Changes*: the map of the exchange peaks on the
other side. *Both*: the two together, which a map that does not look at the side cannot do. Of phantoms the
findings with a side are asked besides, each by a sentence of our own. Exact 95 % intervals. Beside it what
retrieval costs: means over trainings, and the difference from the first recipe with its standard error.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import evaluate
from mtclip_edge.evidence.heat_map import Target, peak, place_map
from mtclip_edge.evidence.place_graph import Places
from mtclip_edge.inference.preprocessing import tower_input
from mtclip_edge.progress import silent
from mtclip_edge.sources.phantoms.make import make
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study
from mtclip_edge.train.backbones.split import split
from mtclip_edge.train.evaluation.fold_store import folds_without_test
from mtclip_edge.train.settings import TrainConfig, resolve, typed
from mtclip_edge.train.side import exchanged, only_side
from mtclip_edge.train.tower_features import report_features
from mtclip_edge.train.training import Fitted, fit_splits

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from pointing_boxes import exact_interval
from pointing_game import Graph, mirrored, sentence
from record import measured

RECIPES: dict[str, dict[str, Any]] = {
    "whole": {},
    "halves": {"pool": "halves"},
    "halves, exchanged": {"pool": "halves", "side_negatives": 1.0},
}
MAPS = (
    "peak on its side",
    "changes",
    "both",
    "against the exchange: on its side",
    "against it: changes",
    "against it: both",
)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Asked:
    """A text that names one side, asked of a film, and its exchange; ``kind`` report or finding."""

    kind: str
    film: Path
    text: str
    other: str
    side: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--set", default="text_side=lexical", help="KEY=VALUE,… of every recipe")
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    base = {key: typed(value) for key, _, value in (pair.partition("=") for pair in options.set.split(","))}
    studies = open_source(options.data).studies
    parts = list(_parts(studies, options.folds))
    asked, figures = {}, {}
    for recipe in options.recipes:
        results: list[tuple[str, np.ndarray]] = []
        rows: list[dict[str, float]] = []
        for train, validation, held in parts:
            for seed in range(options.seeds):
                config, _ = resolve({"seed": seed, "device": "cpu", **base, **RECIPES[recipe]}, None)
                found, row = _judged(config, train, validation, held)
                results += found
                rows.append(row)
                _say(f"{recipe}: {len(rows)} of {len(parts) * options.seeds} trainings")
        asked[recipe], figures[recipe] = results, rows
    _tell_sides(asked)
    _tell_retrieval(figures)


def _parts(
    studies: Sequence[Study], folds: int
) -> Iterator[tuple[Sequence[Study], Sequence[Study], Sequence[Study]]]:
    """Studies to train on, to choose by and to ask."""
    if not folds:
        by = {name: [s for s in studies if s.split == name] for name in ("train", "validation", "test")}
        drawn = all(study.study_id.startswith("phantom-") for study in studies)
        yield by["train"], by["validation"], by["test" if drawn else "validation"]
        return
    for fold in folds_without_test(studies, folds):
        yield fold.train, fold.validation, fold.held


@torch.inference_mode()
def _judged(
    config: TrainConfig, train: Sequence[Study], validation: Sequence[Study], held: Sequence[Study]
) -> tuple[list[tuple[str, np.ndarray]], dict[str, float]]:
    """What is asked of the held films, bool [prefers, on its side, changes] each, and retrieval's figures."""
    with torch.inference_mode(False):
        fitted = fit_splits(config, (train, validation), "the data", None)
    table, output = fitted.judge(Cases.of(held))
    asked = list(_asked(table.cases))
    texts = [text for one in asked for text in (one.text, one.other)]
    common = _embedded(fitted, list(dict.fromkeys(s.tower_text for s in train if s.report_id))).mean(axis=0)
    vectors = _embedded(fitted, texts).reshape(len(asked), 2, -1)
    halves = split(fitted.backbone.film_tower, fitted.backbone.preprocessing.size)
    assert halves is not None
    places = Places.of(Graph(halves, fitted.fit.space), halves.record("f"))
    maps: dict[Path, np.ndarray] = {}
    results = []
    for one, (own, other) in zip(asked, vectors, strict=True):
        if one.film not in maps:
            pixels = torch.from_numpy(tower_input(one.film, fitted.backbone.preprocessing)[None])
            maps = {one.film: halves.features(pixels)[0].numpy()}
        film = places.whole(maps[one.film])
        against = [(own, common), (other, common), (own, other), (other, own)]
        sides = [_side(place_map(places, maps[one.film], Target(*pair))) for pair in against]
        opposite = {"left": "right", "right": "left"}[one.side]
        found_there = [side == (opposite if i % 2 else one.side) for i, side in enumerate(sides)]
        told = [bool(film @ own > film @ other), *found_there]
        results.append((one.kind, np.array(told)))
    return results, _row(evaluate(table.cases, output.film, output.logit, output.report))


def _asked(cases: Cases) -> Iterator[Asked]:
    """Reports that name one side, film by film; of phantoms the findings with a side too."""
    for study, film in zip(cases.studies, cases.films, strict=True):
        text = study.tower_text
        if study.report_id and (side := only_side(text)):
            yield Asked("report", film.path, text, exchanged(text), side)
        if study.study_id.startswith("phantom-"):
            _, seed, number = study.study_id.split("-")
            findings = make(int(seed), int(number)).findings
            if len({finding.side for finding in findings if finding.side}) == 1:
                for one in (finding for finding in findings if finding.side):
                    yield Asked("finding", film.path, sentence(one), sentence(mirrored(one)), one.side)


def _side(values: np.ndarray) -> str:
    """The patient's side of a map's peak, which is the viewer's other one; empty in the middle column."""
    x, _ = peak(values)
    return "" if abs(x - 0.5) < 1e-9 else "right" if x < 0.5 else "left"


def _embedded(fitted: Fitted, texts: list[str]) -> np.ndarray:
    features = report_features(fitted.backbone, texts, silent, CPU)
    return fitted.fit.space.embed_texts(torch.from_numpy(features)).numpy()


def _row(found: dict[str, Any]) -> dict[str, float]:
    row = {"AUROC": found["auroc"], "macro P@10": found["precision@10"]["macro"]}
    for name in ("film_to_report", "report_to_film"):
        recall = found[name]["recall@10"]
        row[f"R@10 lift {name}"] = recall["value"] / recall["chance"]
    return row


def _tell_sides(asked: dict[str, list[tuple[str, np.ndarray]]]) -> None:
    for kind in ("report", "finding"):
        first = True
        for recipe, results in asked.items():
            told = np.array([values for name, values in results if name == kind])
            if not len(told):
                continue
            if first:
                print(f"\n| asked by {kind} | prefers its side | {' | '.join(MAPS)} |")
                print(f"|---|---|{'---|' * len(MAPS)}")
                first = False
            prefers, own, other, apart, apart_other = told.T
            columns = [prefers, own, other, own & other, apart, apart_other, apart & apart_other]
            print(f"| {recipe} | {' | '.join(_share(column) for column in columns)} |", flush=True)
        if not first:
            print(f"\n{kind}: {len(told)} asked", flush=True)


def _share(hits: np.ndarray) -> str:
    low, high = exact_interval(int(hits.sum()), len(hits))
    return f"{hits.mean():.3f} [{low:.3f}, {high:.3f}]"


def _tell_retrieval(figures: dict[str, list[dict[str, float]]]) -> None:
    names = list(next(iter(figures.values()))[0])
    print(f"\n| recipe | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    first = next(iter(figures.values()))
    for recipe, rows in figures.items():
        cells = []
        for name in names:
            cell = f"{statistics.fmean(row[name] for row in rows):.3f}"
            if rows is not first and len(rows) > 1:
                apart = [row[name] - one[name] for row, one in zip(rows, first, strict=True)]
                error = statistics.stdev(apart) / len(apart) ** 0.5
                cell += f" ({statistics.fmean(apart):+.3f} ± {error:.3f})"
            cells.append(cell)
        print(f"| {recipe} | {' | '.join(cells)} |")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
