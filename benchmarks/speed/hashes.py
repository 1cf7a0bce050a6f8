"""What checking a gigabyte costs, by every hash that a bundle could use.

    python benchmarks/speed/hashes.py

xxh3 and blake3 are compared where their packages are installed.
"""

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured


def measure(_: argparse.Namespace) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from mtclip_edge.files import parts_sha256, sha256

    with tempfile.NamedTemporaryFile() as file:
        block = np.random.default_rng(0).bytes(64 << 20)
        for _ in range(16):
            file.write(block)
        file.flush()
        path = Path(file.name)
        ways: dict[str, Callable[[], object]] = {
            "sha256, one thread": lambda: sha256(path),
            "sha256 in parts": lambda: parts_sha256(path),
            "blake2b, one thread": lambda: _stream(path, hashlib.blake2b()),
        }
        try:
            import blake3
            import xxhash

            ways["xxh3-128"] = lambda: _stream(path, xxhash.xxh3_128())
            ways["blake3, all threads"] = lambda: (
                blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(path).digest()
            )
            ways["xxh3-128, 2 threads"] = lambda: list(
                ThreadPoolExecutor(2).map(lambda i: _stream(path, xxhash.xxh3_128(), i), range(2))
            )
        except ImportError:
            pass
        for name, work in ways.items():
            times = []
            for _ in range(5):
                started = time.perf_counter()
                work()
                times.append(time.perf_counter() - started)
            print(
                f"{name:22s} {1.0737 / statistics.median(times):6.2f} GB/s ({1.0737 / max(times):.2f} to "
                f"{1.0737 / min(times):.2f})"
            )


def _stream(path: Path, digest, half: int | None = None) -> bytes:
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        left = path.stat().st_size if half is None else path.stat().st_size // 2
        file.seek((half or 0) * left)
        while left > 0 and (count := file.readinto(buffer)):
            digest.update(buffer[:count])
            left -= count
    return digest.digest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measured(parser, measure)


if __name__ == "__main__":
    main()
