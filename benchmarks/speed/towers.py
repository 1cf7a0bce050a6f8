"""The film tower with projector by every engine here: torch eager and compiled, onnxruntime in each packed
precision, OpenVINO; and what fraction of this machine's peak each reaches.

    python benchmarks/speed/towers.py RUN BUNDLE [--rounds 15] [--batches 1,8]

All take turns in one process, with the same threads and the same ready tensors. Printed per engine: median
milliseconds, the ratio torch eager / engine (min, median, max over rounds), and multiply-adds a second over
the rate of a large fp32 matrix product.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.export.graphs.towers import FilmGraph
from mtclip_edge.inference.device import choose, open_session
from mtclip_edge.inference.encoders import FILM_EMBEDDING, PIXELS, FilmEncoder
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.train.run import backbone_of, load_run
from mtclip_edge.workers import threads

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

Engine = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", default="1,8")
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(threads())
    bundle, run = Bundle.open(options.bundle), load_run(options.run)
    graph = FilmGraph(backbone_of(run), run.space, bundle.model.dim).eval()
    size = Preprocessing.of(bundle.model.preprocessing).size
    for batch in map(int, options.batches.split(",")):
        pixels = np.random.default_rng(0).normal(0, 1, (batch, 3, size, size)).astype(np.float32)
        peers = torch_engines(graph)
        engines = {**peers, **onnxruntime_engines(bundle), **openvino_engine(bundle)}
        expected = engines["torch eager"](pixels)
        for name, engine in engines.items():
            cosine = float((engine(pixels) * expected).sum(axis=1).min())
            assert cosine > 0.85, f"{name} answers something else (cosine {cosine:.3f})"
        work = {name: multiply_adds(Whole(graph) if name in peers else graph, pixels) for name in engines}
        report(batch, timed(engines, pixels, options.rounds), work, peak())


class Whole(torch.nn.Module):
    """The tower as open_clip runs it, with the projector: the exported graph leaves out what the tower
    does not use.
    """

    def __init__(self, graph: FilmGraph):
        super().__init__()
        self.graph = graph

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.graph._embedded(self.graph.tower(pixels))


def torch_engines(graph: FilmGraph) -> dict[str, Engine]:
    def run(module: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> Engine:
        def engine(pixels: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return module(torch.from_numpy(pixels))[0].numpy()

        return engine

    return {"torch eager": run(Whole(graph)), "torch.compile": run(torch.compile(Whole(graph)))}


def onnxruntime_engines(bundle: Bundle) -> dict[str, Engine]:
    engines: dict[str, Engine] = {}
    for precision in bundle.precisions("image"):
        encoder = FilmEncoder.load(
            bundle.graph("image", precision),
            Preprocessing.of(bundle.model.preprocessing),
            choose("cpu"),
            precision,
        )
        engines[f"ours, {precision}"] = lambda pixels, encoder=encoder: encoder.encode(pixels)[0]
    session, _ = open_session(bundle.graph("image", "fp32"), choose("cpu"), spinning=True)
    engines["fp32, threads spinning"] = lambda pixels: session.run([FILM_EMBEDDING], {PIXELS: pixels})[0]
    return engines


def openvino_engine(bundle: Bundle) -> dict[str, Engine]:
    try:
        import openvino
    except ImportError:
        return {}
    settings = {
        "INFERENCE_NUM_THREADS": threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = openvino.Core().compile_model(str(bundle.graph("image", "fp32")), "CPU", settings)
    return {"OpenVINO, fp32": lambda pixels: model({PIXELS: pixels})[FILM_EMBEDDING]}


def timed(engines: dict[str, Engine], pixels: np.ndarray, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine(pixels)
            times[name].append(time.perf_counter() - started)
    return times


def multiply_adds(graph: torch.nn.Module, pixels: np.ndarray) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        graph(torch.from_numpy(pixels))
    return counter.get_total_flops() / 2


def peak() -> float:
    """Multiply-adds a second of a 2048 x 2048 x 2048 product in fp32, the best of ten."""
    a = torch.rand(2048, 2048)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - started)
    return 2048**3 / best


def report(batch: int, times: dict[str, list[float]], work: dict[str, float], most: float) -> None:
    least, whole = min(work.values()) / batch / 1e9, max(work.values()) / batch / 1e9
    print(
        f"batch {batch}: {whole:.2f} G multiply-adds a film, {least:.2f} as exported; peak {most / 1e9:.0f} "
        f"G/s; {threads()} threads"
    )
    for name, values in times.items():
        ratios = sorted(base / value for base, value in zip(times["torch eager"], values, strict=True))
        median = statistics.median(values)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(
            f"  {name:24s} {1000 * median / batch:8.1f} ms a film   eager / it {spread:22s} "
            f"{work[name] / median / most:.0%} of peak"
        )


if __name__ == "__main__":
    main()
