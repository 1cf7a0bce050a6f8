"""A folder of films to embeddings: ours, a plain loop over open_clip, and the bare session fed with ready
tensors (the mark to reach).

    python benchmarks/speed/folder.py RUN BUNDLE FOLDER [--films 500] [--rounds 3]

The bundle's fp32 graph and the run's own weights; films a second, and ours over the others, round by round.
The page cache is warm.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.export.graphs.towers import FilmGraph
from mtclip_edge.films.read import looks_like_film, read_film
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.embed_films import BATCH, embed_films
from mtclip_edge.inference.encoders import FilmEncoder
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.progress import silent
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.train.run import backbone_of, load_run
from mtclip_edge.workers import threads

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(threads())
    films = [path for path in sorted(options.folder.rglob("*")) if path.is_file() and looks_like_film(path)][
        : options.films
    ]
    ways = {
        "bare session": bare_session(options.bundle, films),
        "embed_films": ours(options.bundle, films),
        "query_many": answers(options.bundle, films),
        "open_clip loop": plain_loop(options.run, options.bundle, films),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, work in ways.items():
            started = time.perf_counter()
            work()
            rates[name].append(len(films) / (time.perf_counter() - started))
    print(f"{len(films)} films, {threads()} threads")
    for name, values in rates.items():
        ratios = [value / bare for value, bare in zip(values, rates["bare session"], strict=True)]
        print(
            f"  {name:16s} {statistics.median(values):7.1f} films/s   of the bare session "
            f"{statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def bare_session(bundle: Path, films: list[Path]) -> Callable[[], object]:
    """The tower alone: tensors lie ready, in batches of the same size."""
    encoder = _encoder(bundle)
    ready = np.stack(
        [encoder.prepare(read_film(path, render=encoder.preprocessing.render).grey) for path in films]
    )
    return lambda: [encoder.encode(ready[start : start + BATCH]) for start in range(0, len(ready), BATCH)]


def ours(bundle: Path, films: list[Path]) -> Callable[[], object]:
    encoder = _encoder(bundle)
    return lambda: embed_films(encoder, films, Bundle.open(bundle).model.dim, silent)


def answers(bundle: Path, films: list[Path]) -> Callable[[], object]:
    """Embedding, search and report texts: what ``mtclip query FOLDER`` does."""
    retriever = Retriever.open(bundle, precision="fp32", force=True)
    return lambda: list(retriever.query_many([(str(path), path) for path in films]))


def plain_loop(run_path: Path, bundle: Path, films: list[Path]) -> Callable[[], object]:
    """What one writes first: open, resize, normalise, stack, forward."""
    run, opened = load_run(run_path), Bundle.open(bundle)
    graph = FilmGraph(backbone_of(run), run.space, opened.model.dim).eval()
    how = Preprocessing.of(opened.model.preprocessing)
    mean, std = (torch.tensor(values)[:, None, None] for values in (how.mean, how.std))

    def one(path: Path) -> torch.Tensor:
        grey = Image.open(path).convert("L").resize((how.size, how.size), Image.Resampling.BICUBIC)
        return (torch.from_numpy(np.asarray(grey, np.float32) / 255)[None].repeat(3, 1, 1) - mean) / std

    def work() -> None:
        with torch.inference_mode():
            for start in range(0, len(films), BATCH):
                graph(torch.stack([one(path) for path in films[start : start + BATCH]]))

    return work


def _encoder(bundle: Path) -> FilmEncoder:
    opened = Bundle.open(bundle)
    return FilmEncoder.load(
        opened.graph("image", "fp32"), Preprocessing.of(opened.model.preprocessing), choose("cpu")
    )


if __name__ == "__main__":
    main()
