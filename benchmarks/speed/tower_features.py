"""Features of compact's frozen towers by torch eager and by onnxruntime, in turn, and how far apart they are.

    python benchmarks/speed/tower_features.py --data SOURCE [--films 256] [--reports 256]

On as many threads as OMP_NUM_THREADS says. Each batch goes through both in turn; the ratio is the median over
batches (least and most beside it), milliseconds are of the processor, all threads together. Films as
``train`` computes them, eight at a time; reports through the text tower the same way, which stays in torch:
the ratio says why.
"""

import argparse
import io
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtclip_edge.inference.device import choose, open_session
from mtclip_edge.inference.embed_films import film_batches
from mtclip_edge.progress import silent
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.backbones.backbone import Backbone, load_backbone, text_features
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.split_tensors import prepared
from mtclip_edge.train.tower_features import CPU_FILMS
from mtclip_edge.train.tower_session import OPSET, FrozenTower, film_session

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

CPU = torch.device("cpu")
Run = Callable[[Any], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--films", type=int, default=256)
    parser.add_argument("--reports", type=int, default=256)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    studies = open_source(options.data).studies
    backbone = prepared(load_backbone("compact"), None, TrainConfig().via)
    paths = [film.path for study in studies for film in study.films][: options.films]
    texts = list({s.report_id: s.tower_text for s in studies if s.report_id}.values())[: options.reports]
    print(f"{len(paths)} films, {len(texts)} reports, {torch.get_num_threads()} threads")
    heads = "tower | torch, ms | onnxruntime, ms | ratio | least | most | largest difference"
    print(f"| {heads} | largest feature |")
    print(f"|{'---|' * 8}")
    films = [b.pixels for b in film_batches(paths, backbone.preprocessing, CPU_FILMS, silent)]
    started = time.perf_counter()
    session = film_session(backbone.film_tower, backbone.preprocessing.size)
    made = time.perf_counter() - started
    compare("film", films, FrozenTower(backbone.film_tower, CPU, silent)._torch, session)
    by_length = sorted(texts, key=len)
    batches = [by_length[i : i + CPU_FILMS] for i in range(0, len(by_length), CPU_FILMS)]
    compare("text", batches, text_by_torch(backbone), text_session(backbone))
    print(f"making the film tower's session: {made:.1f} s")


def compare(name: str, batches: Sequence[Any], torch_run: Run, ort_run: Run) -> None:
    """A row of the table; the first batch is run once before."""
    for run in (torch_run, ort_run):
        run(batches[0])
    times: list[tuple[float, float]] = []
    apart, largest, count = 0.0, 0.0, 0
    for batch in batches:
        (slow, expected), (quick, given) = timed(torch_run, batch), timed(ort_run, batch)
        times.append((slow, quick))
        apart = max(apart, float(np.abs(expected - given).max()))
        largest, count = max(largest, float(np.abs(expected).max())), count + len(batch)
    ratios = sorted(slow / quick for slow, quick in times)
    means = [1000 * sum(column) / count for column in zip(*times, strict=True)]
    print(
        f"| {name} | {means[0]:.1f} | {means[1]:.1f} | {statistics.median(ratios):.2f} | {ratios[0]:.2f} | "
        f"{ratios[-1]:.2f} | {apart:.1e} | {largest:.2f} |",
        flush=True,
    )


def timed(run: Run, batch: Any) -> tuple[float, np.ndarray]:
    started = time.process_time()
    features = run(batch)
    return time.process_time() - started, features


def text_by_torch(backbone: Backbone) -> Run:
    def run(texts: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return text_features(backbone.text_tower, backbone.tokenizer, texts).numpy()

    return run


def text_session(backbone: Backbone) -> Run:
    """The text tower traced as the film tower is."""
    ids = torch.from_numpy(backbone.tokenizer(["No effusion or pneumothorax is seen.", "Clear."]))
    graph = io.BytesIO()
    axes = {"ids": {0: "batch", 1: "length"}, "features": {0: "batch"}}
    names: dict[str, Any] = {"input_names": ["ids"], "output_names": ["features"], "dynamic_axes": axes}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(backbone.text_tower, (ids,), graph, **names, opset_version=OPSET, dynamo=False)
    session, _ = open_session(graph.getvalue(), choose("cpu"), threads=torch.get_num_threads())
    return lambda texts: session.run(["features"], {"ids": backbone.tokenizer(texts)})[0]


if __name__ == "__main__":
    main()
