"""Does ``eval --folds``: trains each recipe on all folds but one and judges it on that one, in turn, so that
every film is judged by what never saw its patient, its report or a near twin of it.

What is finished is kept in the output folder, a file for each training, so that a killed one goes on. A held
film searches the reports of its own fold, as ``eval`` searches those of a split; the epoch is chosen, and the
head calibrated, on a part of the other folds.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from mtclip_edge.errors import WrongOption
from mtclip_edge.evaluation.bootstrap import Bootstrapped, over_trainings, with_control
from mtclip_edge.evaluation.bundle_models import Model
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.document import Result, document
from mtclip_edge.evaluation.exposed import exposed
from mtclip_edge.evaluation.figures import DRAWS, SEED, Judged
from mtclip_edge.evaluation.film_rows import write_rows
from mtclip_edge.evaluation.folds import INNER, Fold, together
from mtclip_edge.evaluation.leaks import shared_patients
from mtclip_edge.progress import Progress, Say, silent, step
from mtclip_edge.sources.source import Reading, open_source
from mtclip_edge.studies import LABELS, Study
from mtclip_edge.train.settings import TrainConfig

from ..training import fit_splits
from .fold_store import FoldStore, Judgement, backbone_name, settled
from .further import Further, further
from .recipes import Recipe, read_recipes

# Told by fold, so that a reader sees how far folds differ.
_BY_FOLD = ("auroc", "precision@10.macro", "recall@10.film_to_report", "recall@10.report_to_film")


@dataclass(frozen=True)
class FoldsRequest:
    """What ``eval --folds`` is told. ``base`` holds settings of every recipe that does not say otherwise."""

    data: str
    count: int = 5
    seed: int = 0  # that studies are divided by
    recipes: tuple[str, ...] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    trainings: int = 1  # of each recipe and fold, by seeds that count up
    with_test: bool = False
    out: Path = Path("folds")
    allow_bad_rows: bool = False
    first: int | None = None  # only so many of the folds are trained and judged, for a dear recipe


def cross_validate(
    request: FoldsRequest, *, say: Say = silent, progress: Progress = silent
) -> dict[str, Any]:
    """Train and judge what is not finished yet; gives the document.

    Errors: WrongOption, SourceUnusable, RunUnusable (the folder holds something else), those of ``train``.
    """
    if request.trainings < 1:
        raise WrongOption(f"--seeds {request.trainings}", "expected 1 or more")
    if request.first is not None and not 1 <= request.first <= request.count:
        raise WrongOption(f"first {request.first} folds", f"expected 1 to {request.count}")
    recipes = read_recipes(request.recipes, request.base)
    with step(progress, "reading the source"):
        reading = open_source(request.data)
    for line in reading.summary_lines():
        say(line)
    reading.refuse_bad_rows(request.allow_bad_rows)
    studies = _asked(reading, request.with_test, say)
    with step(progress, "dividing into folds"):
        store = FoldStore.open(request.out, studies, request.count, request.seed, request.with_test)
        store = replace(store, asked=store.folds[: request.first])
        for recipe in recipes:
            store.check(recipe.name, recipe.config)
    say(
        f"{request.count} folds of {len(studies)} studies in {store.clusters} groups that share a patient, "
        f"a film or nearly a report; the largest has {store.largest}"
    )
    results, trainings = [], {}
    for recipe in recipes:
        judged = _trained(recipe, request, store, say, progress)
        trainings[recipe.name] = judged
        with step(progress, f"figures and intervals of {recipe.name}"):
            results.append(_result(recipe, judged, store))
    cases = _union([fold_of_seeds[0] for fold_of_seeds in next(iter(trainings.values()))], store.asked)
    split = "all splits" if request.with_test else "train and validation"
    tables = write_rows(request.out, list(_models(recipes, trainings, store)))
    say(f"{request.out}: {' and '.join(tables)}, a row for each film out of fold")
    if request.first is not None:
        split += f", the first {request.first} of {request.count} folds"
    made = document(results, cases, request.data, f"{split}, out of fold")
    return {**made, "folds": _told(request, store, recipes, trainings, reading)}


def _models(
    recipes: Sequence[Recipe], trainings: Mapping[str, list[list[Judgement]]], store: FoldStore
) -> Iterator[Model]:
    """Each training as a model of the films of its fold."""
    for recipe in recipes:
        for fold, seeds in zip(store.asked, trainings[recipe.name], strict=True):
            for number, one in enumerate(seeds):
                part = f"fold {fold.number}, seed {recipe.config.seed + number}"
                yield Model(recipe.name, "recipe", one.cases(fold), one.output, part=part)


def _asked(reading: Reading, with_test: bool, say: Say) -> list[Study]:
    """The studies that are divided: with films, without the test split unless it is wanted."""
    filmed = [study for study in reading.studies if study.films]
    test = [study for study in filmed if study.split == "test"]
    rest = [study for study in filmed if study.split != "test"]
    if with_test:
        say(
            f"the test split is taken in, {len(test)} studies: "
            "what is chosen by these figures cannot be judged on it any more"
        )
        return filmed
    say(f"the test split is left out: {len(test)} studies (--split all takes them in)")
    if shared := shared_patients(rest, test):
        say(f"{len(shared)} patients of the test split are in these folds too, the first {min(shared)}")
    return rest


def _trained(
    recipe: Recipe, request: FoldsRequest, store: FoldStore, say: Say, progress: Progress
) -> list[list[Judgement]]:
    """What each training of each fold makes of the fold, read where it is finished: [folds][trainings]."""
    judged, more = [], further(recipe.also, store.studies, request.allow_bad_rows, say)
    for fold in store.asked:
        seeds = []
        for number in range(request.trainings):
            config = replace(recipe.config, seed=recipe.config.seed + number)
            there = store.read(recipe.name, fold.number, config, more)
            seeds.append(there or _train(recipe, fold, config, store, more, say, progress))
        judged.append(seeds)
    return judged


def _train(
    recipe: Recipe,
    fold: Fold,
    config: TrainConfig,
    store: FoldStore,
    more: Further,
    say: Say,
    progress: Progress,
) -> Judgement:
    """One training on the other folds and what else the recipe trains on, kept before it is told."""
    name = recipe.name
    where = f"{name}, fold {fold.number} of {len(store.folds)}, seed {config.seed}"
    # A tower's training is long: each epoch is kept and told. That of projectors takes seconds.
    scratch = store.scratch(name, fold.number, config.seed) if config.trains_tower else None
    tell: Say = (lambda line: say(f"{where}: {line}")) if scratch else silent
    fitted = fit_splits(
        config,
        ((*fold.train, *more.beside(fold)), fold.validation),
        where,
        scratch,
        resume=True,
        say=tell,
        progress=progress,
    )
    table, output = fitted.judge(Cases.of(fold.held), progress)
    for problem in table.problems:
        say(f"left out: {problem}")
    judgement = Judgement.of(table.cases, output, fitted.fit, fitted.seconds)
    store.write(name, fold.number, config, judgement, more)
    if scratch:
        shutil.rmtree(scratch)
    summary = judgement.summary(fold)
    precision = summary["precision@10"]
    figures = {"AUROC": summary["auroc"], "macro P@10": precision and precision["macro"]}
    shown = ", ".join(f"{key} {value:.3f}" for key, value in figures.items() if value is not None)
    say(f"{where}: epoch {judgement.best_epoch} of {judgement.epochs}, {shown}")
    return judgement


def _result(recipe: Recipe, judged: Sequence[Sequence[Judgement]], store: FoldStore) -> Result:
    """All figures of a recipe over the folds, beside their control; with several trainings of each their
    mean.
    """
    drawn, control = (
        [[_drawn(one, fold, dealt) for one in seeds] for seeds, fold in zip(judged, store.asked, strict=True)]
        for dealt in (False, True)
    )  # [folds][trainings] each
    told = (f"{k} {' '.join(v) if isinstance(v, list) else v}" for k, v in recipe.given.items())
    given = ", ".join(told) or "all defaults"
    studies = [study for fold in store.asked for study in fold.held]
    return Result(
        recipe.name,
        "recipe",
        None,
        (given, *_notes(drawn)),
        tuple(with_control(_over_all(drawn), _over_all(control))),
        exposure=exposed(backbone_name(recipe.config.backbone), studies),
    )


def _over_all(drawn: Sequence[Sequence[list[Bootstrapped]]]) -> list[Bootstrapped]:
    """The figures of [folds][trainings] as one."""
    whole = [together(folds_of_one) for folds_of_one in zip(*drawn, strict=True)]
    return over_trainings(whole, SEED) if len(whole) > 1 else whole[0]


def _drawn(judgement: Judgement, fold: Fold, dealt: bool) -> list[Bootstrapped]:
    """The figures of one fold, or their control. Patients are drawn within it, by a seed of the fold's own:
    the same for every recipe and training.
    """
    seen = frozenset(study.report_id for study in fold.train if study.report_id)
    model = Judged(judgement.cases(fold), judgement.output, seen)
    return (model.control if dealt else model.draw)(DRAWS, SEED + fold.number)


def _notes(drawn: Sequence[Sequence[Sequence[Bootstrapped]]]) -> list[str]:
    """The main figures fold by fold, each the mean of its trainings."""
    lines = [
        f"mean of {len(drawn)} folds" + (f", {len(drawn[0])} trainings each" if len(drawn[0]) > 1 else "")
    ]
    for name in _BY_FOLD:
        values = []
        for seeds in drawn:
            found = [
                d.figure.value
                for one in seeds
                for d in one
                if (d.figure.name, d.figure.subset) == (name, "all")
            ]
            values.append([value for value in found if value is not None])
        if all(values):
            lines.append(f"{name} by fold: {' '.join(f'{fmean(value):.3f}' for value in values)}")
    return lines


def _union(judged: Sequence[Judgement], folds: Sequence[Fold]) -> Cases:
    """The cases of all folds: no report is in two."""
    parts = [one.cases(fold) for one, fold in zip(judged, folds, strict=True)]
    return Cases(
        tuple(film for part in parts for film in part.films),
        tuple(study for part in parts for study in part.studies),
        tuple(report for part in parts for report in part.reports),
    )


def _told(
    request: FoldsRequest,
    store: FoldStore,
    recipes: Sequence[Recipe],
    trainings: dict[str, list[list[Judgement]]],
    reading: Reading,
) -> dict[str, Any]:
    """How it was done, for the document."""
    test = sum(bool(study.films) and study.split == "test" for study in reading.studies)
    return {
        "count": request.count,
        "seed": request.seed,
        "trainings": request.trainings,
        "inner_validation": f"1 in {INNER}",
        "groups": store.clusters,
        "largest_group": store.largest,
        "test_studies_left_out": 0 if request.with_test else test,
        "parts": [_part(fold) for fold in store.asked],
        "recipes": [
            {
                "name": recipe.name,
                "given": dict(recipe.given),
                "settings": settled(recipe.config).to_dict(),
                "trainings": [
                    {"fold": fold.number, "seed": recipe.config.seed + number, **one.told()}
                    for fold, seeds in zip(store.asked, trainings[recipe.name], strict=True)
                    for number, one in enumerate(seeds)
                ],
            }
            for recipe in recipes
        ],
    }


def _part(fold: Fold) -> dict[str, Any]:
    labels = np.array([study.label for study in fold.held])
    return {
        "fold": fold.number,
        "studies": len(fold.held),
        "patients": len({study.patient_id for study in fold.held}),
        "films": sum(len(study.films) for study in fold.held),
        "reports": len({study.report_id for study in fold.held if study.report_id}),
        "labels": {name: int((labels == name).sum()) for name in LABELS},
        "trained_on": len(fold.train),
        "chosen_on": len(fold.validation),
    }
