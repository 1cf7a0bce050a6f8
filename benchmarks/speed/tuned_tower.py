"""What a step of training compact's film tower costs: as it came, with BatchNorm folded, and its last blocks
alone on kept views.

    python benchmarks/speed/tuned_tower.py [--films 16] [--rounds 5] [--unfreeze all,9,6,3]

Forward and backward of drawn films, on as many threads as OMP_NUM_THREADS says; all take turns in one
process. Milliseconds a film are of the processor, all threads together; the ratio is that of the whole tower
as it came over the other, the median of rounds (least and most beside it). Kept views leave the frozen blocks
out of every step and put them before the first: how much of the tower they are stands in the last column,
which is spent once for each view.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from mtclip_edge.progress import silent
from mtclip_edge.train.backbones.backbone import load_backbone
from mtclip_edge.train.fine_tuning import FineTunedTower
from mtclip_edge.train.folding import Folding

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

Step = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--unfreeze", default="all,9,6,3")
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    size = load_backbone("compact").preprocessing.size
    films = torch.randint(0, 256, (options.films, size, size), dtype=torch.uint8)
    steps: dict[str, Step] = {"the whole tower as it came": step(tower("all", folded=False), films)}
    before: dict[str, Step] = {}
    for blocks in options.unfreeze.split(","):
        made = tower(blocks, folded=True)
        if blocks == "all":
            steps["the whole tower, folded"] = step(made, films)
            continue
        steps[f"its last {blocks} blocks, folded, frozen ones each step"] = step(made, films)
        above = tower(blocks, folded=True)
        views = above.keep_views(films, 1, 0, silent)
        name = f"its last {blocks} blocks on kept views"
        steps[name] = step(above, views[torch.arange(len(films))])
        before[name] = once(above, films)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, run in steps.items():
            times[name].append(timed(run))
    first = times["the whole tower as it came"]
    print("| what is trained | ms a film | ratio | least | most | ms a view, once |")
    print(f"|{'---|' * 6}")
    for name, own in times.items():
        ratios = sorted(a / b for a, b in zip(first, own, strict=True))
        per_film = 1000 * statistics.median(own) / len(films)
        spent = f"{1000 * timed(before[name]) / len(films):.1f}" if name in before else ""
        shown = f"{statistics.median(ratios):.2f} | {ratios[0]:.2f} | {ratios[-1]:.2f}"
        print(f"| {name} | {per_film:.1f} | {shown} | {spent} |", flush=True)


def tower(blocks: str, folded: bool) -> FineTunedTower:
    backbone = load_backbone("compact")
    made = FineTunedTower(backbone.film_tower, backbone.preprocessing, blocks)
    if folded:
        return made
    plain = load_backbone("compact")
    made.tower, made.folding = plain.film_tower.to(memory_format=torch.channels_last), Folding()
    made.tower.requires_grad_(True)
    return made


def step(made: FineTunedTower, given: torch.Tensor) -> Step:
    def run() -> None:
        made.train()
        made(given).square().mean().backward()

    run()
    return run


def once(made: FineTunedTower, films: torch.Tensor) -> Step:
    """The frozen blocks of one view of each film, and its keeping."""

    def run() -> None:
        made.keep_views(films, 1, 0, silent)

    return run


def timed(run: Step) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


if __name__ == "__main__":
    main()
