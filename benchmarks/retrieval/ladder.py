"""Every rung of the ladder on one run: what the gate says, how large the file is, how long one input takes
beside fp32.

    python benchmarks/retrieval/ladder.py RUN [--towers image,text] [--precision …] [--rounds 20] >
    ladder.jsonl

A line of JSON for each rung, failed ones too. Times are the smallest of the rounds, fp32 measured again
beside each rung: the ratio is what counts on a busy machine.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mtclip_edge.errors import ParityFailed
from mtclip_edge.export.pack import export
from mtclip_edge.export.parity.limits import limits_of
from mtclip_edge.export.proof import Proof
from mtclip_edge.export.quantization.ladder import PRECISIONS
from mtclip_edge.inference.device import choose, open_session
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.tokenizer import Tokenizer
from mtclip_edge.sources.source import open_sources
from mtclip_edge.train.run import backbone_of, load_run

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--towers", default="image,text")
    parser.add_argument("--precision", default=",".join(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=20)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        bundle = export(options.run, scratch / "bundle", precision=["fp32"], say=_say)
        model, run = bundle.model, load_run(options.run)
        tokenizer = Tokenizer.of(bundle.file(model.tokenizer.file), model.tokenizer)
        preprocessing = Preprocessing.of(model.preprocessing)
        proof = Proof(
            run, backbone_of(run), model.dim, open_sources(run.sources), preprocessing, tokenizer, {}, _say
        )
        reports = np.load(bundle.file(bundle.index.vectors))[: bundle.index.reports]
        for tower in options.towers.split(","):
            paths = {p: scratch / f"{tower}.{p}.onnx" for p in PRECISIONS} | {
                "fp32": bundle.graph(tower, "fp32")
            }
            feed = (proof.film_feeds() if tower == "image" else proof.text_feeds())[0]
            for precision in options.precision.split(","):
                print(
                    json.dumps(_rung(proof, tower, precision, paths, reports, feed, options.rounds)),
                    flush=True,
                )


def _rung(
    proof: Proof,
    tower: str,
    precision: str,
    paths: dict[str, Path],
    reports: np.ndarray,
    feed: Any,
    rounds: int,
) -> dict[str, Any]:
    try:
        row = proof.rung(tower, precision, paths, reports)
    except ParityFailed as failure:
        return {"tower": tower, "precision": precision, "impossible": str(failure)}
    ours, plain = _timed([paths[precision], paths["fp32"]], feed, rounds)
    times = {
        "bytes": paths[precision].stat().st_size,
        "ms": round(ours, 2),
        "fp32_ms": round(plain, 2),
        "speed": round(plain / ours, 2),
    }
    return {**asdict(row), "failed": row.failures(limits_of(precision)), **times}


def _timed(graphs: list[Path], feed: Any, rounds: int) -> list[float]:
    """Smallest milliseconds of one input through each graph, turn by turn."""
    sessions = [open_session(graph, choose("cpu"))[0] for graph in graphs]
    best = [float("inf")] * len(graphs)
    for _ in range(rounds):
        for i, session in enumerate(sessions):
            started = time.perf_counter()
            session.run(None, feed)
            best[i] = min(best[i], 1000 * (time.perf_counter() - started))
    return best


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
