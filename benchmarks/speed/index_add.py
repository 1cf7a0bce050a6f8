"""How many new reports a second ``index add`` takes in, as a whole command: start, table, tokenizer, text
tower, store, words, graph.

    python benchmarks/speed/index_add.py BUNDLE --data SOURCE [--reports 8000] [--repeats 3]

The reports are drawn: sentences of the source's own reports, mixed anew, no two alike. Each repeat adds to a
fresh copy of the bundle.
"""

import argparse
import csv
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study, distinct_reports

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

CLI = Path(__file__).parents[2] / "cli.py"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--reports", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    texts = mixed(open_source(options.data).studies, options.reports, options.seed)
    seconds = []
    with tempfile.TemporaryDirectory() as name:
        table = Path(name) / "new.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["study_id", "patient_id", "report", "split"])
            writer.writerows([f"new-{i}", f"new-{i}", text, "train"] for i, text in enumerate(texts))
        for repeat in range(options.repeats):
            bundle = Path(shutil.copytree(options.bundle, Path(name) / f"bundle-{repeat}"))
            before = Bundle.open(bundle).index.reports
            seconds.append(added(bundle, table))
            assert Bundle.open(bundle).index.reports == before + len(texts)
            shutil.rmtree(bundle)
    of = Bundle.open(options.bundle)
    tower = sum(of.graph("text", name).stat().st_size for name in of.precisions("text"))
    whole = sum(file.stat().st_size for file in options.bundle.iterdir())
    middle, work = (statistics.median(column) for column in zip(*seconds, strict=True))
    heads = ("new reports", "letters each", "seconds", "of a processor", "reports a second")
    print(f"| {' | '.join((*heads, 'text tower, MB', 'bundle, MB'))} |")
    print("|---|---|---|---|---|---|---|")
    rate, letters = len(texts) / middle, statistics.mean(map(len, texts))
    sizes = f"{tower / 1e6:.1f} | {whole / 1e6:.1f}"
    print(f"| {len(texts)} | {letters:.0f} | {middle:.1f} | {work:.1f} | {rate:.0f} | {sizes} |")
    print(f"each repeat: {', '.join(f'{wall:.1f}' for wall, _ in seconds)} s")


def added(bundle: Path, table: Path) -> tuple[float, float]:
    """Seconds that the whole command took, and those of a processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    words = [sys.executable, str(CLI), "index", "add", str(bundle), f"manifest:{table}"]
    subprocess.run(words, check=True, capture_output=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def mixed(studies: tuple[Study, ...] | list[Study], count: int, seed: int) -> list[str]:
    """Distinct reports as long as the source's own, of its sentences in another order."""
    there = [report.first.tower_text for report in distinct_reports(studies)]
    sentences = [[part for part in text.split(". ") if part] for text in there]
    every, drawn = [part for parts in sentences for part in parts], np.random.default_rng(seed)
    new: dict[str, None] = {}
    while len(new) < count:
        length = len(sentences[drawn.integers(len(sentences))]) + 1
        new[". ".join(every[place] for place in drawn.integers(len(every), size=length))] = None
    return list(dict.fromkeys(new))


if __name__ == "__main__":
    main()
