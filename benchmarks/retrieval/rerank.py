"""What the abnormal head's word on a film gains where it may change the order of reports, out of fold.

    python benchmarks/retrieval/rerank.py --data SOURCE --out DIR [--folds 5] [--seeds 1]
    [--recipe NAME=KEY=VALUE,…]...

Trains as ``mtclip eval --folds`` does, or takes up what is finished in DIR. Then every held-out film's
reports are put in order by cosine + weight · log (p(label of the report | film) / p(label)), the head
calibrated on the other folds, for each weight; once with the share of each label among the films trained on
as p(label), once with one half. Shown with the paired differences from the order by cosine, drawn by patient.
The head's own balanced accuracy (the mean share of each label that it decides rightly at that share) is what
an order by label can reach where a film's list holds one label alone.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtclip_edge.display.progress_bars import ProgressBars
from mtclip_edge.evaluation.bootstrap import Bootstrapped, Figure, Measure, differences, over_trainings
from mtclip_edge.evaluation.figures import DRAWS, SEED, Judged
from mtclip_edge.evaluation.folds import Fold, together
from mtclip_edge.evaluation.metrics import weighted_mean
from mtclip_edge.evaluation.model_on_cases import ModelOnCases
from mtclip_edge.export.fitted.rerank_weight import prior_of
from mtclip_edge.index.rerank import score_table
from mtclip_edge.progress import silent
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.evaluation.fold_store import FoldStore, Judgement
from mtclip_edge.train.evaluation.further import further
from mtclip_edge.train.evaluation.out_of_fold import FoldsRequest, cross_validate
from mtclip_edge.train.evaluation.recipes import Recipe, read_recipes

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
SHOWN = ("precision@1.macro", "precision@10.macro", "map@10", "ndcg@10", "recall@10.film_to_report")
TRAINED, HALF = "prior of the films trained on", "no prior"
PRIORS = (TRAINED, HALF)
HEAD = "balanced accuracy"
GAP = "macro P@10 - balanced accuracy"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--recipe", action="append", default=[], metavar="NAME=KEY=VALUE,…")
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    base = {"device": "cpu"}
    request = FoldsRequest(
        options.data,
        options.folds,
        recipes=tuple(options.recipe),
        base=base,
        trainings=options.seeds,
        out=options.out,
    )
    studies = [s for s in open_source(options.data).studies if s.films and s.split != "test"]
    store = FoldStore.open(options.out, studies, options.folds, request.seed, False)
    recipes = read_recipes(request.recipes, base)
    if not all(_finished(store, recipe, options.seeds) for recipe in recipes):
        with ProgressBars() as bars:
            cross_validate(request, say=bars.say, progress=bars)
    for recipe in recipes:
        trained = _finished(store, recipe, options.seeds)
        for prior in PRIORS:
            report(recipe.name, prior, {w: _figures(store, trained, prior, w) for w in WEIGHTS})


def _finished(store: FoldStore, recipe: Recipe, seeds: int) -> list[list[Judgement]]:
    """What is finished of a recipe, [seeds][folds]; nothing where any is missing."""
    configs = [replace(recipe.config, seed=recipe.config.seed + number) for number in range(seeds)]
    more = further(recipe.also, store.studies, False, silent)
    there = [
        [store.read(recipe.name, fold.number, config, more) for fold in store.folds] for config in configs
    ]
    return [[one for one in folds if one] for folds in there] if all(map(all, there)) else []


def _figures(
    store: FoldStore, trained: list[list[Judgement]], prior: str, weight: float
) -> list[Bootstrapped]:
    """The figures over all folds and trainings with a weight."""
    seeds = [
        together([_drawn(one, fold, prior, weight) for fold, one in zip(store.folds, folds, strict=True)])
        for folds in trained
    ]
    return over_trainings(seeds, SEED) if len(seeds) > 1 else seeds[0]


def _drawn(one: Judgement, fold: Fold, prior: str, weight: float) -> list[Bootstrapped]:
    """The figures of one fold with a weight; ``prior`` names what the head's probability is measured by."""
    cases, output = one.cases(fold), one.output
    share = prior_of(fold.train)
    scores = ModelOnCases(cases, output).cosines
    if scores is not None and output.logit is not None and output.calibration is not None:
        probability = np.round(output.calibration.probability(output.logit), 4)
        by = share if prior == TRAINED else 0.5
        scores = score_table(scores, cases.told_labels, probability, by, weight)
    model = Judged(cases, replace(output, score=scores))
    wanted = [*model.precisions((1, 10)), *model.gradings(), *model.recalls("all"), *_head(model, share)]
    return model.drawn([m for m in wanted if m.figure.name in (*SHOWN, HEAD, GAP)], DRAWS, SEED + fold.number)


def _head(model: Judged, share: float) -> list[Measure]:
    """The head's balanced accuracy where its probability is at least what it was trained on, and how far
    macro P@10 stays behind that.
    """
    output, labels = model.embedded, model.cases.labels
    if output.logit is None or output.calibration is None:
        return []
    right = ((output.calibration.probability(output.logit) >= share) == (labels == 1)).astype(float)
    parts = [np.where(labels == code, right, np.nan) for code in (0, 1)]
    studies = int((labels >= 0).sum())
    macro = next(m for m in model.precisions((10,)) if m.figure.name == "precision@10.macro")

    def balanced(films: np.ndarray, _: np.ndarray) -> np.ndarray:
        return (weighted_mean(parts[0], films) + weighted_mean(parts[1], films)) / 2

    return [
        Measure(Figure(HEAD, "all", None, studies=studies), balanced),
        Measure(Figure(GAP, "all", None, studies=studies), lambda f, r: macro.draw(f, r) - balanced(f, r)),
    ]


def report(name: str, prior: str, by_weight: dict[float, list[Bootstrapped]]) -> None:
    plain = by_weight[0.0]
    print(f"\n{name}, {prior}\n")
    print(f"| weight | {' | '.join((*SHOWN, HEAD, GAP))} |\n|---|{'---|' * (len(SHOWN) + 2)}")
    for weight, drawn in by_weight.items():
        values = {d.figure.name: d.figure for d in drawn}
        cells = [_value(values.get(key), "+" if key == GAP else "") for key in (*SHOWN, HEAD, GAP)]
        print(f"| {weight} | {' | '.join(cells)} |")
    print(f"\n{name}, {prior}: difference from the order by cosine\n")
    print(f"| weight | {' | '.join(SHOWN)} |\n|---|{'---|' * len(SHOWN)}")
    for weight, drawn in by_weight.items():
        if weight:
            gain = {figure.name: figure for figure in differences(plain, drawn)}
            print(f"| {weight} | {' | '.join(_value(gain.get(key), '+') for key in SHOWN)} |", flush=True)


def _value(figure: Figure | None, sign: str = "") -> str:
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return "–"
    return f"{figure.value:{sign}.4f} [{figure.low:{sign}.4f}, {figure.high:{sign}.4f}]"


if __name__ == "__main__":
    main()
