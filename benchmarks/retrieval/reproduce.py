"""The paper's comparison: CLIP and BiomedCLIP as they are, and BiomedCLIP with projectors trained by each
combination of the losses.

    python benchmarks/retrieval/reproduce.py --data SOURCE --clip DIR --biomedclip DIR --out DIR [--seeds 5]
    [--epochs N]

docs/paper/reproduce.md says how to get the two directories. Writes a run for each combination and seed, one
evaluation of them all beside both baselines (metrics.json, report.html) and the comparison as a Markdown
table (comparison.md). What is finished already is used again.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtclip_edge.display.progress_bars import ProgressBars
from mtclip_edge.train.evaluation.ablation import VARIANTS
from mtclip_edge.train.evaluation.evaluate import EvaluationRequest, assess
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.training import train

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

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
    parser.add_argument("--clip", required=True, help="CLIP as an open_clip directory")
    parser.add_argument("--biomedclip", required=True, help="BiomedCLIP as an open_clip directory")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    measured(parser, measure, words)


def measure(options: argparse.Namespace) -> None:
    config = TrainConfig(backbone=options.biomedclip, epochs=options.epochs)
    with ProgressBars() as bars:
        runs = []
        for name, weights in VARIANTS.items():
            for seed in range(options.seeds):
                out = options.out / f"{name}, seed {seed}"
                runs.append(
                    train(
                        replace(config, seed=seed, **weights), [options.data], out, resume=True, say=bars.say
                    ).path
                )
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
