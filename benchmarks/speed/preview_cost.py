"""What previews cost a cold query that does not show them: the same film asked of a bundle with and without,
in turns.

    python benchmarks/speed/preview_cost.py WITHOUT WITH FILM [--pairs 15]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from mtclip_edge.bundle.bundle import Bundle

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("without", type=Path)
    parser.add_argument("with_previews", type=Path)
    parser.add_argument("film", type=Path)
    parser.add_argument("--pairs", type=int, default=15)
    measured(parser, measure)


def measure(asked: argparse.Namespace) -> None:
    """Medians in milliseconds, the median of the paired differences, and the file's size."""
    times: dict[Path, list[float]] = {asked.without: [], asked.with_previews: []}
    for pair in range(asked.pairs + 1):
        for bundle in list(times)[:: 1 if pair % 2 else -1]:
            started = time.perf_counter()
            words = ["query", str(asked.film), "--bundle", str(bundle), "--format", "ids"]
            subprocess.run(
                [sys.executable, "-m", "mtclip_edge", *words], check=True, stdout=subprocess.DEVNULL
            )
            if pair:  # the first fills the page cache
                times[bundle].append(1000 * (time.perf_counter() - started))
    plain, shown = times.values()
    apart = [b - a for a, b in zip(plain, shown, strict=True)]
    quartiles = statistics.quantiles(apart, n=4)
    record = Bundle.open(asked.with_previews).manifest.site.previews
    assert record is not None
    size = (asked.with_previews / record.file).stat().st_size
    print(f"without {statistics.median(plain):.0f} ms, with {statistics.median(shown):.0f} ms")
    print(f"paired difference {quartiles[1]:+.1f} ms (quartiles {quartiles[0]:+.1f} to {quartiles[2]:+.1f})")
    print(f"{record.reports} previews of at most {record.longest} px: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
