"""The loss ablation on cached features: CLIP alone, + BCE, + SupCon, all three; several seeds; the test split of a source.

    python benchmarks/ablation.py --data manifest.csv [--backbone compact] [--seeds 3]

Every run chooses its epoch on validation. Prints a Markdown table of mean ± standard deviation over the seeds.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from mtclip_edge.settings import TrainConfig
from mtclip_edge.sources import open_source
from mtclip_edge.train import fit, tables
from mtclip_edge.train.backbone import load_backbone

VARIANTS = {
    "CLIP": {"bce": 0.0, "supcon": 0.0},
    "CLIP + BCE": {"supcon": 0.0},
    "CLIP + SupCon": {"bce": 0.0},
    "CLIP + BCE + SupCon": {},
}
FIGURES = {
    "AUROC": lambda r: r["auroc"],
    "macro P@10": lambda r: r["precision@10"]["macro"],
    "normal": lambda r: r["precision@10"]["normal"],
    "abnormal": lambda r: r["precision@10"]["abnormal"],
    "Recall@10 film > report": lambda r: r["film_to_report"]["recall@10"]["value"],
    "lift": lambda r: r["film_to_report"]["recall@10"]["lift"],
    "Recall@10 report > film": lambda r: r["report_to_film"]["recall@10"]["value"],
    "lift back": lambda r: r["report_to_film"]["recall@10"]["lift"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--backbone", default="compact")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    backbone, reading = load_backbone(options.backbone), open_source(options.data)
    device, _ = tables.choose_device("auto")
    splits = [tables.tabulate(backbone, reading.split(name), lambda *_: None, device) for name in ("train", "validation", "test")]
    print(f"| losses | {' | '.join(FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    for name, weights in VARIANTS.items():
        results = [one(TrainConfig(seed=seed, **weights), backbone, splits, device) for seed in range(options.seeds)]
        print(f"| {name} | {' | '.join(cell([figure(r) for r in results]) for figure in FIGURES.values())} |", flush=True)


def one(config: TrainConfig, backbone: object, splits: list, device: object) -> dict:
    """Train on the first table, choose on the second, measure on the third."""
    train, validation, test = splits
    with tempfile.TemporaryDirectory() as folder:
        done = fit.Fit(config, fit.shape_for(config, backbone), backbone.logit_scale, train, validation, device)
        done.run(Path(folder), False, lambda _: None)
    done.space.load_state_dict(done.best)
    return fit.evaluate_table(done.space, test, config)


def cell(values: list[float | None]) -> str:
    if None in values:
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
