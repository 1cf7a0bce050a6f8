"""What lateral films add: trained beside frontal ones, asked alone, and averaged with them into a study.

    python benchmarks/retrieval/study_views.py --data FRONTAL --data LATERAL [--folds 5] [--seeds 1]

Three trainings of each fold, on the same studies: frontal films alone (``--views frontal``), all with a
learned vector for laterals (``--views all``), and all with nobody told which is lateral. Each is asked by the
fold that it never saw: every frontal film by itself, and every study that has both views, by its frontal
films, its laterals, and both. Films of one view are averaged first, then the two views, by equal weights or
by the weight that did best on the studies that chose the epoch. All figures search the fold's reports and
leave the film's own patient out as ``eval`` does; differences are paired, patients drawn with replacement.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mtclip_edge.display.figure_names import digits, title
from mtclip_edge.display.progress_bars import ProgressBars
from mtclip_edge.evaluation.bootstrap import Bootstrapped, differences, over_trainings
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import DRAWS, SEED, Judged, evaluate, selection_score
from mtclip_edge.evaluation.folds import Fold, fold_studies, together
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.inference.vector_cache import file_keys
from mtclip_edge.studies import Study
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.training import Fitted, fit_splits, read_sources
from mtclip_edge.train.views import without

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
)
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the laterals in a study's mean
EQUAL = 0.5
# Names of what is asked: a training, and what it was asked by.
FILMS = (
    "frontal films: trained alone",
    "frontal films: trained with laterals",
    "frontal films: view not told",
)
ALONE, WITH, UNTOLD = "frontal", "all", "untold"
PAIRS = (
    (FILMS[0], FILMS[1]),
    (FILMS[0], FILMS[2]),
    (f"studies: {WITH}, frontal", f"studies: {WITH}, both"),
    (f"studies: {ALONE}, frontal", f"studies: {WITH}, both"),
    (f"studies: {WITH}, both", f"studies: {WITH}, weighted"),
    (f"studies: {ALONE}, frontal", f"studies: {WITH}, frontal"),
    (f"studies: {ALONE}, frontal", f"studies: {ALONE}, both"),
    (f"studies: {UNTOLD}, both", f"studies: {WITH}, both"),
)


@dataclass(frozen=True)
class Views:
    """Each study of both views as its two means: unit vectors float32 [studies, dim], logits [studies]."""

    studies: tuple[Study, ...]
    frontal: np.ndarray
    lateral: np.ndarray
    logits: np.ndarray  # float32 [2, studies]

    def mean(self, weight: float) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors and logits of the studies, the laterals weighing so much."""
        vectors = (1 - weight) * self.frontal + weight * self.lateral
        return _unit(vectors), (1 - weight) * self.logits[0] + weight * self.logits[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    with ProgressBars() as bars:
        reading = read_sources(options.data, say=bars.say)
        studies = [study for study in reading.studies if study.films and study.split != "test"]
        digests, _ = file_keys([film.path for study in studies for film in study.films])
        folds, _ = fold_studies(studies, digests, options.folds, 0)
        drawn: dict[str, list[list[list[Bootstrapped]]]] = {}  # [folds][seeds] by name
        weights = []
        for fold in folds:
            made: dict[str, list[list[Bootstrapped]]] = {}
            for seed in range(options.seeds):
                for name, figures, weight in asked(fold, seed, bars):
                    made.setdefault(name, []).append(figures)
                    weights += [weight] if name.endswith(f"{WITH}, weighted") else []
            for name, seeds in made.items():
                drawn.setdefault(name, []).append(seeds)
            bars.say(f"fold {fold.number} of {len(folds)}")
    both = sum({"lateral"} < {_side(film.view) for film in study.films} for study in studies)
    films = sum(len(study.films) for study in studies)
    print(
        f"{films} films of {len(studies)} studies, {both} with both views; {options.seeds} trainings a fold"
    )
    report({name: over(folds_of) for name, folds_of in drawn.items()})
    print(f"weight of the laterals that did best on validation, by training: {weights}")


def asked(fold: Fold, seed: int, bars: ProgressBars) -> list[tuple[str, list[Bootstrapped], float]]:
    """Every figure of one fold and seed, by what was asked."""
    rows = []
    for place, (name, views) in enumerate(((ALONE, "frontal"), (WITH, "all"), (UNTOLD, "all"))):
        config = TrainConfig(views=views, seed=seed, device="cpu")
        parts = [fold.train, fold.validation, fold.held]
        if name == UNTOLD:
            train, validation = ([_untold(study) for study in part] for part in parts[:2])
            # One is called lateral by nobody: all are trained as they are.
            fitted = fit_splits(config, (train, validation), "the fold", None, progress=bars)
        else:
            fitted = fit_splits(config, (fold.train, fold.validation), "the fold", None, progress=bars)
        frontal = [without(study, ("lateral",)) for study in fold.held]
        table, output = fitted.judge(Cases.of(frontal), bars)
        rows.append((FILMS[place], _drawn(table.cases, output, fold), 0.0))
        rows += _of_studies(name, fitted, fold, bars)
    return rows


def _of_studies(
    name: str, fitted: Fitted, fold: Fold, bars: ProgressBars
) -> list[tuple[str, list[Bootstrapped], float]]:
    views, reports = views_of(fitted, fold.held, bars)
    chosen = best_weight(fitted, fold, bars)
    cases = Cases.of(fold.held)
    first = {id(study): row for row, study in reversed(list(enumerate(cases.studies)))}
    cases = cases.only([first[id(study)] for study in views.studies])
    rows = []
    for what, weight in (("frontal", 0.0), ("lateral", 1.0), ("both", EQUAL), ("weighted", chosen)):
        vectors, logits = views.mean(weight)
        output = ModelOutput(vectors, logits, reports, fitted.calibration)
        rows.append((f"studies: {name}, {what}", _drawn(cases, output, fold), weight))
    return rows


def views_of(fitted: Fitted, studies: Sequence[Study], bars: ProgressBars) -> tuple[Views, np.ndarray]:
    """The studies that have both views as a training sees them, and all reports, float32 [reports, dim]."""
    table, output = fitted.judge(Cases.of(studies), bars)
    assert output.logit is not None
    assert output.report is not None
    rows: dict[int, tuple[Study, dict[str, list[int]]]] = {}
    for row, (film, study) in enumerate(zip(table.cases.films, table.cases.studies, strict=True)):
        rows.setdefault(id(study), (study, {}))[1].setdefault(_side(film.view), []).append(row)
    both = [(study, sides) for study, sides in rows.values() if {"frontal", "lateral"} <= sides.keys()]
    vectors, logits = [], []
    for side in ("frontal", "lateral"):
        vectors.append(_unit(np.stack([output.film[sides[side]].mean(axis=0) for _, sides in both])))
        logits.append([output.logit[sides[side]].mean() for _, sides in both])
    return Views(tuple(study for study, _ in both), *vectors, np.array(logits, np.float32)), output.report


def best_weight(fitted: Fitted, fold: Fold, bars: ProgressBars) -> float:
    """What the laterals weigh best on the studies that chose the epoch."""
    views, reports = views_of(fitted, fold.validation, bars)
    cases = Cases.of([without(study, ("lateral",)) for study in fold.validation])
    first = {id_: row for row, id_ in reversed([(r, s.study_id) for r, s in enumerate(cases.studies)])}
    cases = cases.only([first[study.study_id] for study in views.studies])
    scores = [selection_score(evaluate(cases, *views.mean(weight), reports)) or 0.0 for weight in WEIGHTS]
    return WEIGHTS[int(np.argmax(scores))]


def _drawn(cases: Cases, output: ModelOutput, fold: Fold) -> list[Bootstrapped]:
    judged = Judged(cases, output)
    wanted = [m for m in judged.measures() if m.figure.name in FIGURES and m.figure.subset == "all"]
    return judged.drawn(wanted, DRAWS, SEED + fold.number)


def over(folds: Sequence[Sequence[list[Bootstrapped]]]) -> list[Bootstrapped]:
    """[folds][seeds] as one."""
    whole = [together(of_one_seed) for of_one_seed in zip(*folds, strict=True)]
    return over_trainings(whole, SEED) if len(whole) > 1 else whole[0]


def report(drawn: dict[str, list[Bootstrapped]]) -> None:
    """What each gets, then the differences, as tables of Markdown."""
    print(f"\n| asked by | {' | '.join(title(name) for name in FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    for name, figures in drawn.items():
        found = {d.figure.name: d.figure for d in figures}
        cells = ["–" if found[one].value is None else f"{found[one].value:{digits(one)}}" for one in FIGURES]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n| difference | {' | '.join(title(name) for name in FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    for one, other in PAIRS:
        gained = {figure.name: figure for figure in differences(drawn[one], drawn[other])}
        cells = [
            f"{f.value:+{digits(n)}} [{f.low:+{digits(n)}}, {f.high:+{digits(n)}}]" if f else "–"
            for n in FIGURES
            for f in [gained.get(n)]
        ]
        print(f"| {other} minus {one} | {' | '.join(cells)} |")


def _side(view: str) -> str:
    return view if view in ("lateral", "other") else "frontal"


def _untold(study: Study) -> Study:
    return replace(study, films=tuple(replace(film, view="unknown") for film in study.films))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    main()
