"""Recipes of training side by side, each film judged by what never saw it: what a default is chosen by.

    python benchmarks/retrieval/folds.py --data SOURCE --out DIR [--folds 5] [--seeds 3]
    [--first N] [--recipe NAME=KEY=VALUE,…]...

The same as ``mtclip eval --folds``, of which it prints the few figures that decide, and the differences from
the first recipe with their paired intervals. The films are those of train and validation; what is finished
in DIR is used again.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtclip_edge.display.figure_names import digits, title
from mtclip_edge.display.progress_bars import ProgressBars
from mtclip_edge.train.evaluation.out_of_fold import FoldsRequest, cross_validate

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

FIGURES = (
    "auroc",
    "precision@10.macro",
    "precision@10.normal",
    "precision@10.abnormal",
    "ndcg@10",
    "recall@10.film_to_report",
    "recall@10.report_to_film",
    "median_rank.film_to_report",
    "rsum",
    "balance_gap@10",
    "ece.calibrated",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--fold-seed", type=int, default=0)
    parser.add_argument("--first", type=int, help="only the first N folds, for a dear recipe")
    parser.add_argument("--recipe", action="append", default=[], metavar="NAME=KEY=VALUE,…")
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    request = FoldsRequest(
        options.data,
        options.folds,
        options.fold_seed,
        tuple(options.recipe),
        {"device": "cpu"},
        options.seeds,
        out=options.out,
        first=options.first,
    )
    with ProgressBars() as bars:
        document = cross_validate(request, say=bars.say, progress=bars)
    report(document)


def report(document: Mapping[str, Any]) -> None:
    """How it was divided, then the figures of each recipe and the differences as tables of Markdown."""
    models, folds, data = document["models"], document["folds"], document["data"]
    print(
        f"{data['films']} films of {data['patients']} patients, {data['reports']} distinct reports, in "
        f"{folds['count']} folds of {folds['groups']} groups; studies of test left out: "
        f"{folds['test_studies_left_out']}; {folds['trainings']} trainings each; reports searched in a fold: "
        f"{', '.join(str(part['reports']) for part in folds['parts'])}"
    )
    rows = [{f["name"]: f for f in model["figures"] if f["subset"] == "all"} for model in models]
    names = [model["name"] for model in models]
    print(f"\n| figure | chance | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for name in FIGURES:
        chance = next((row[name]["chance"] for row in rows if name in row), None)
        cells = [shown(row.get(name)) for row in rows]
        bound = "" if chance is None else f"{chance:{digits(name)}}"
        print(f"| {title(name)} | {bound} | {' | '.join(cells)} |")
    for difference in document["differences"]:
        found = {f["name"]: f for f in difference["figures"] if f["subset"] == "all"}
        print(f"\n| figure | {difference['model']} minus {difference['against']} |\n|---|---|")
        for name in FIGURES:
            if name in found:
                print(f"| {title(name)} | {shown(found[name], '+')} |")
    for model, recipe in zip(models, folds["recipes"], strict=True):
        seconds = sum(sum(one["seconds"].values()) for one in recipe["trainings"])
        print(f"\n{model['name']}: {'; '.join(model['notes'])}; {seconds:.0f} s of training in all")


def shown(figure: Mapping[str, Any] | None, sign: str = "") -> str:
    if figure is None or figure["value"] is None:
        return "–"
    one = digits(figure["name"])
    lift = f" ×{figure['lift']:.2f}" if figure["lift"] is not None else ""
    low, high = figure["low"], figure["high"]
    return f"{figure['value']:{sign}{one}} [{low:{sign}{one}}, {high:{sign}{one}}]{lift}"


if __name__ == "__main__":
    main()
