"""Does ``eval --ablate``: measures what each loss adds, on cached features: CLIP alone, + BCE, + SupCon, all
three, several seeds each.

A figure is its mean over the seeds. Each bootstrap draw takes patients and, besides, trainings with
replacement (the same seeds for all combinations), so an interval says how far the result carries to other
films and to another set of trainings.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mtclip_edge.errors import LeakFound
from mtclip_edge.evaluation.bootstrap import Bootstrapped, over_trainings, with_control
from mtclip_edge.evaluation.bundle_models import of_split
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.document import Result, document
from mtclip_edge.evaluation.exposed import exposed
from mtclip_edge.evaluation.figures import SEED, Judged
from mtclip_edge.evaluation.leaks import between_splits
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.progress import Progress, Say, silent, step
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.settings import TrainConfig

from ..backbones.backbone import Backbone, load_backbone
from ..loop import Fit, embed
from ..pooling import with_pool
from ..projector import ProjectorShape
from ..split_tensors import Table, choose_device, tabulate, with_exchanged
from ..training import shape_for, with_text_side
from ..views import of_views

VARIANTS: dict[str, dict[str, Any]] = {
    "CLIP": {"bce": 0.0, "supcon": 0.0},
    "CLIP + BCE": {"supcon": 0.0},
    "CLIP + SupCon": {"bce": 0.0},
    "CLIP + BCE + SupCon": {},
}
SEEDS = 5
_SPREAD = ("auroc", "precision@10.macro", "recall@10.film_to_report", "recall@10.report_to_film")


def ablate(
    data: str,
    config: TrainConfig,
    *,
    split: str = "test",
    seeds: int = SEEDS,
    allow_leaks: bool = False,
    say: Say = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train every variant with every seed, choose each one's epoch on validation, judge on ``split``;
    gives the document.
    """
    with step(progress, "reading the source"):
        reading = open_source(data)
    for line in reading.summary_lines():
        say(line)
    leaks = between_splits(reading)
    if leaks and not allow_leaks:
        raise LeakFound("; ".join(leaks[:2]), hint="mend the splits, or add --allow-leaks to see them marked")
    with step(progress, "loading the backbone"):
        backbone = load_backbone(config.backbone)
    device, _ = choose_device(config.device)
    splits = reading.split("train"), reading.split("validation"), of_split(reading, split)
    studies, views = of_views(config, splits, say)
    backbone = with_pool(with_text_side(config, backbone, studies[0]), config.pool)
    tables = [tabulate(backbone, Cases.of(some), progress, device) for some in studies]
    tables[0] = with_exchanged(config, backbone, tables[0], progress)
    seen_reports = frozenset(study.report_id for study in studies[0] if study.report_id)
    exposure = exposed(backbone.name, tables[2].cases.studies)
    results = []
    for name, weights in VARIANTS.items():
        drawn = []
        for seed in range(seeds):
            one = replace(config, seed=seed, **weights)
            shape = replace(shape_for(one, backbone), views=views)
            with step(progress, f"training and judging {name}, seed {seed}"):
                drawn.append(_one(one, shape, backbone, tables, seen_reports))
            say(f"{name}, seed {seed}")
        averaged, control = (_averaged(name, [one[i] for one in drawn]) for i in (0, 1))
        results.append(
            replace(averaged, drawn=tuple(with_control(averaged.drawn, control.drawn)), exposure=exposure)
        )
    return document(results, tables[2].cases, data, split, leaks=leaks)


def _one(
    config: TrainConfig,
    shape: ProjectorShape,
    backbone: Backbone,
    tables: Sequence[Table],
    seen_reports: frozenset[str],
) -> tuple[list[Bootstrapped], list[Bootstrapped]]:
    """One training, its figures on the third table, and their control."""
    train, validation, test = tables
    fitted = Fit(config, shape, backbone.logit_scale, train, validation, test.label.device).run(
        None, False, silent
    )
    calibration = fitted.finish()
    film, logit, report = embed(fitted.space, test)
    embedded = ModelOutput(
        film, logit if config.bce else None, report, calibration, prefixes=fitted.shape.prefixes
    )
    judged = Judged(test.cases, embedded, seen_reports)
    return judged.draw(), judged.control()


def _averaged(name: str, runs: Sequence[Sequence[Bootstrapped]]) -> Result:
    """The mean over seeds of every figure."""
    keyed = [{(d.figure.name, d.figure.subset): d for d in run} for run in runs]
    return Result(name, "ablation", None, _spread(keyed), tuple(over_trainings(runs, SEED)))


def _spread(keyed: Sequence[dict[tuple[str, str], Bootstrapped]]) -> tuple[str, ...]:
    """Standard deviation over the seeds of the figures that matter most."""
    notes = [f"mean of {len(keyed)} seeds"]
    for name in _SPREAD:
        values = [run[name, "all"].figure.value for run in keyed if (name, "all") in run]
        computed = [value for value in values if value is not None]
        if len(computed) > 1:
            notes.append(f"{name}: standard deviation over seeds {statistics.stdev(computed):.4f}")
    return tuple(notes)
