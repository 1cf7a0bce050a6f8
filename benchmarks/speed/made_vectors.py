"""Made report vectors in any number, with the shape that real ones have, for index_libraries.py and
index_bundle.py.

2,000 clusters of unequal size, a tenth near-twins, with the spectrum that Open-I's report embeddings have
(variance of the i-th axis as i to the -1.4: some 20 numbers carry most of it); queries near reports.
"""

import re
from pathlib import Path

import numpy as np

DIM, QUERIES = 256, 200


def made(rows: int, dim: int = DIM, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32 [rows, dim] and queries [200, dim]."""
    random = np.random.default_rng(seed)
    spectrum = (np.arange(1, dim + 1) ** -0.7).astype(np.float32)
    centres = spectrum * random.normal(size=(2000, dim)).astype(np.float32)
    share = 1 / np.arange(1, 2001)
    vectors = np.empty((rows, dim), np.float32)
    for start in range(0, rows, 50_000):
        part = vectors[start : start + 50_000]
        cluster = random.choice(2000, len(part), p=share / share.sum())
        part[:] = centres[cluster] + 0.7 * spectrum * random.standard_normal(part.shape, np.float32)
        twins = np.flatnonzero(random.random(len(part)) < 0.1)
        part[twins] = part[(twins * 7) % len(part)] + 0.02 * spectrum * random.standard_normal(
            (len(twins), dim), np.float32
        )
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    scale = float(1 / np.linalg.norm(1.22 * spectrum))
    queries = vectors[random.integers(0, rows, QUERIES)] + 0.2 * scale * spectrum * random.standard_normal(
        (QUERIES, dim), np.float32
    )
    return vectors, (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)


def peak() -> float:
    """Peak resident memory of this program in MB; ``getrusage`` would count what the process that started
    it held.
    """
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3  # type: ignore[index]
