"""The paper's comparison: CLIP and BiomedCLIP as they are, and BiomedCLIP with projectors trained by each
combination of the losses.

    python benchmarks/retrieval/reproduce.py --data SOURCE --clip DIR --biomedclip DIR --out DIR [--seeds 5]
    [--epochs N] [--protocol openi|mimic-3041|chexpert-5x200 [--model RUN|BUNDLE]...]

docs/paper/reproduce.md says how to get the two directories. Writes a run for each combination and seed, one
evaluation of them all beside both baselines (metrics.json, report.html) and the comparison as a Markdown
table (comparison.md). What is finished already is used again. With --protocol the films, hits and figures are
those of a published protocol instead, beside what was published (protocols.py); --seeds 0 trains nothing.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtclip_edge.display.progress_bars import ProgressBars
from mtclip_edge.errors import LeakFound, MtclipError, WrongOption
from mtclip_edge.evaluation.bundle_models import Model, Task, bundle_models
from mtclip_edge.evaluation.exposed import exposed
from mtclip_edge.evaluation.film_rows import write_rows
from mtclip_edge.files import private_dir
from mtclip_edge.sources.source import Reading, open_source
from mtclip_edge.studies import Study
from mtclip_edge.train.evaluation.ablation import VARIANTS
from mtclip_edge.train.evaluation.evaluate import EvaluationRequest, assess, find_leaks
from mtclip_edge.train.evaluation.models import backbone_models, run_model
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.training import train

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
sys.path.insert(0, str(Path(__file__).parent))

import protocols
from record import measured

FIGURES = {
    "AUROC": "auroc",
    "macro P@10": "precision@10.macro",
    "normal": "precision@10.normal",
    "abnormal": "precision@10.abnormal",
    "mAP@10": "map@10",
    "nDCG@10": "ndcg@10",
    "R@10 film > report": "recall@10.film_to_report",
    "R@10 report > film": "recall@10.report_to_film",
    "gap": "balance_gap@10",
}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--clip", help="CLIP as an open_clip directory")
    parser.add_argument("--biomedclip", help="BiomedCLIP as an open_clip directory")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--protocol", choices=protocols.PROTOCOLS, help="films and hits as published")
    parser.add_argument(
        "--model", type=Path, action="append", default=[], help="with --protocol: a run or bundle of yours"
    )
    try:
        measured(parser, measure, words)
    except MtclipError as error:
        sys.exit(str(error))


def measure(options: argparse.Namespace) -> None:
    backbones = [spec for spec in (options.biomedclip, options.clip) if spec]
    if options.protocol:
        if not backbones and not options.model:
            raise WrongOption("nothing to ask", "expected --biomedclip, --clip or --model")
        by_protocol(options)
    elif len(backbones) < 2 or options.model:
        raise WrongOption("without --protocol", "expected --clip and --biomedclip, and no --model")
    else:
        compare(options)


def trained(options: argparse.Namespace, bars: ProgressBars) -> list[Path]:
    """A run of BiomedCLIP for each combination of losses and seed; those that are there are used again."""
    config = TrainConfig(backbone=options.biomedclip, epochs=options.epochs)
    runs = []
    for name, weights in VARIANTS.items():
        for seed in range(options.seeds):
            out, settings = options.out / f"{name}, seed {seed}", replace(config, seed=seed, **weights)
            runs.append(train(settings, [options.data], out, resume=True, say=bars.say).path)
    return runs


def by_protocol(options: argparse.Namespace) -> None:
    """The table of a protocol: what was published, each backbone zero-shot, each run and bundle."""
    protocol, classes = options.protocol, options.protocol == protocols.CLASSES
    with ProgressBars() as bars:
        reading = open_source(options.data)
        studies = protocols.asked(protocol, reading.studies)
        runs = trained(options, bars) if options.biomedclip and options.seeds and not classes else []
        _refuse_leaks(reading, studies, [*runs, *options.model], bars)
        searched = [*protocols.prompts(), *studies] if classes else studies
        models = _models(options, runs, Task.of(studies, searched, say=bars.say, progress=bars))
    lines = [protocols.note(protocol, studies)]
    for backbone in dict.fromkeys(model.backbone for model in models):
        if told := exposed(backbone, studies):
            lines.append(f"exposure: {told['why']}")
    lines += ["", *(_class_table(models) if classes else _pair_table(protocol, models))]
    private_dir(options.out)
    write_rows(options.out, models)
    (options.out / f"{protocol}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _models(options: argparse.Namespace, runs: Sequence[Path], task: Task) -> list[Model]:
    models: list[Model] = []
    for spec in filter(None, (options.biomedclip, options.clip)):
        models += backbone_models(spec, task)
    for path in (*runs, *options.model):
        models += [run_model(path, task)] if (path / "run.json").is_file() else bundle_models(path, task)
    return models


def _refuse_leaks(
    reading: Reading, studies: Sequence[Study], paths: Sequence[Path], bars: ProgressBars
) -> None:
    """Errors: LeakFound where splits share patients or films, or a run was trained on what is asked."""
    if leaks := find_leaks(reading, studies, paths, bars.say):
        raise LeakFound("; ".join(leaks[:2]), "every figure would be too good")


def _pair_table(protocol: str, models: Sequence[Model]) -> list[str]:
    rows = [*protocols.PUBLISHED.get(protocol, ()), protocols.chance_recalls(len(models[0].cases.films))]
    rows += [protocols.pair_recalls(model, _title(model)) for model in models]
    return [protocols.RECALL_HEAD, *map(protocols.recall_row, rows)]


def _class_table(models: Sequence[Model]) -> list[str]:
    figures = {_title(model): protocols.class_figures(model) for model in models}
    names = list(next(iter(figures.values())))
    head = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    return head + [
        f"| {title} | {' | '.join(_cell([row[name]]) for name in names)} |" for title, row in figures.items()
    ]


def _title(model: Model) -> str:
    name = Path(model.name).name
    return f"{name}, {model.precision}" if model.precision else name


def compare(options: argparse.Namespace) -> None:
    """The paper's comparison on the test split of a source."""
    with ProgressBars() as bars:
        runs = trained(options, bars)
        request = EvaluationRequest(
            options.data, tuple(runs), (options.biomedclip, options.clip), out=options.out / "evaluation"
        )
        document = assess(request, say=bars.say, progress=bars)
    table = comparison(document)
    (options.out / "comparison.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def comparison(document: Mapping[str, Any]) -> str:
    """A row for each baseline and each combination of losses: the mean over its seeds, with their
    standard deviation.
    """
    rows: dict[str, list[Mapping[str, float | None]]] = {}
    for model in document["models"]:
        name = Path(model["name"]).name.rsplit(", seed", 1)[0]
        rows.setdefault(name, []).append(
            {f["name"]: f["value"] for f in model["figures"] if f["subset"] == "all"}
        )
    lines = [f"| | {' | '.join(FIGURES)} |", f"|---|{'---|' * len(FIGURES)}"]
    for name, runs in rows.items():
        lines.append(
            f"| {name} | {' | '.join(_cell([run.get(key) for run in runs]) for key in FIGURES.values())} |"
        )
    return "\n".join(lines)


def _cell(values: list[float | None]) -> str:
    given = [value for value in values if value is not None]
    if not given:
        return "–"
    spread = f" ± {statistics.stdev(given):.3f}" if len(given) > 1 else ""
    return f"{statistics.mean(given):.3f}{spread}"


if __name__ == "__main__":
    main()
