"""Reports that are nearly the same, found without comparing every pair: MinHash of word pairs (Broder 1997),
grouped by bands; or, of fewer, exactly.

Similarity is the Jaccard index of the sets of neighbouring words, estimated from 32 hashes: its standard
error is 0.07 at 0.8, so what is counted is *about* so many. 64 bytes a report are held: the lower half of
each hash.
"""

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import ceil

import numpy as np

HASHES, BAND = 32, 4  # four of 16 bits are one number to sort by
SIMILAR = 0.8  # one word of ten another: 7 pairs of 11 are shared
_PRIME = np.uint64((1 << 31) - 1)
_RANDOM = np.random.default_rng(0)
_A = _RANDOM.integers(1, _PRIME, HASHES, dtype=np.uint64)[:, None]
_B = _RANDOM.integers(0, _PRIME, HASHES, dtype=np.uint64)[:, None]


def signature(text: str) -> np.ndarray:
    """uint16 [HASHES] of a folded text that is not empty."""
    pairs = word_pairs(text)
    keys = np.fromiter((zlib.crc32(pair.encode()) for pair in pairs), np.uint64, len(pairs)) % _PRIME
    return ((_A * keys + _B) % _PRIME).min(axis=1).astype(np.uint16)


def word_pairs(text: str) -> set[str]:
    """Neighbouring words of a folded text; of a single word itself."""
    return {f"{a} {b}" for a, b in pairwise(text.split())} or {text}


def exact_groups(texts: Sequence[str], similar: float = SIMILAR) -> np.ndarray:
    """The group of each folded text, int64 [n], as ``groups`` gives it, but with no pair missed: where a leak
    must be ruled out, and tens of thousands of texts at most are compared.

    Two sets with a Jaccard index of t or more share one of their rarest word pairs, of which so many are
    looked at that it cannot be missed (Bayardo et al. 2007, prefix filtering).
    """
    sets = [word_pairs(text) for text in texts]
    count = Counter(pair for one in sets for pair in one)
    parent, holders = np.arange(len(sets)), defaultdict[str, list[int]](list)
    for i, one in enumerate(sets):
        rarest = sorted(one, key=lambda pair: (count[pair], pair))
        looked_at = rarest[: len(one) - ceil(similar * len(one) - 1e-9) + 1]
        for other in sorted({j for pair in looked_at for j in holders[pair]}):
            shared = len(one & sets[other])
            if shared >= similar * (len(one) + len(sets[other]) - shared) - 1e-9:
                _union(parent, i, other)
        for pair in looked_at:
            holders[pair].append(i)
    return np.array([_root(parent, i) for i in range(len(parent))], np.int64)


def groups(signatures: np.ndarray, similar: float = SIMILAR) -> np.ndarray:
    """The group of each signature, int64 [n], from uint16 [n, HASHES]: near twins have the same, and so have
    their near twins.

    Whoever shares a band with its neighbour in the order of that band, or with the first of its run, is
    compared.
    """
    parent = np.arange(len(signatures))
    for start in range(0, HASHES, BAND):
        band = np.ascontiguousarray(signatures[:, start : start + BAND]).view(np.uint64)[:, 0]
        order = np.argsort(band, kind="stable")
        same = band[order][1:] == band[order][:-1]
        begins = np.flatnonzero(np.concatenate([[True], ~same]))
        first = np.repeat(begins, np.diff(np.append(begins, len(order))))
        for one in (order[:-1][same], order[first[1:]][same]):
            other = order[1:][same]
            alike = (signatures[one] == signatures[other]).mean(axis=1) >= similar
            for a, b in zip(one[alike], other[alike], strict=True):
                _union(parent, int(a), int(b))
    return np.array([_root(parent, i) for i in range(len(parent))], np.int64)


def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = int(parent[i])
    return i


def _union(parent: np.ndarray, a: int, b: int) -> None:
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)
