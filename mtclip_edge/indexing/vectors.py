"""The vector array of a bundle: written in blocks, mapped where it is read; the first rows are reports,
the rest films.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..files import replace_with
from ..index.opening import open_vectors

ROWS = 65_536  # copied at a time: 64 MB of 256 numbers
MOST_RECALL_QUERIES = 500


def recall_queries(reports: np.ndarray, films: np.ndarray) -> np.ndarray:
    """Films are what will be asked; without any, the reports themselves, shifted so that none finds
    itself at distance zero.
    """
    if len(films):
        return np.asarray(films[:: max(1, len(films) // MOST_RECALL_QUERIES)][:MOST_RECALL_QUERIES])
    some = reports[:: max(1, len(reports) // MOST_RECALL_QUERIES)][:MOST_RECALL_QUERIES]
    noise = np.random.default_rng(0).normal(0, 0.3 / reports.shape[1] ** 0.5, some.shape)
    return (some + noise).astype(np.float32)


def write_vectors(path: Path, dim: int, reports: Sequence[np.ndarray], films: Sequence[np.ndarray]) -> Path:
    """The vector array, float32 [reports + films, dim], from parts [n, dim] that may be larger than
    memory (mapped files).
    """
    parts = [part for part in (*reports, *films) if len(part)]

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (sum(map(len, parts)), dim)}
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                for start in range(0, len(part), ROWS):
                    file.write(np.ascontiguousarray(part[start : start + ROWS], "<f4").data)

    return replace_with(path, write)


@dataclass(frozen=True)
class IndexFiles:
    """The checked files of a bundle's searchable part, and its vectors."""

    store: Path
    terms: Path | None
    vectors: np.ndarray
    reports: int

    @classmethod
    def of(cls, bundle: Bundle) -> "IndexFiles":
        """Errors: ArtefactDamaged, ArtefactIncompatible."""
        record = bundle.index
        terms = bundle.file(record.terms) if record.terms else None
        return cls(
            bundle.file(record.store),
            terms,
            open_vectors(bundle, bundle.file(record.vectors)),
            record.reports,
        )

    @property
    def report_vectors(self) -> np.ndarray:
        return self.vectors[: self.reports]

    @property
    def film_vectors(self) -> np.ndarray:
        return self.vectors[self.reports :]
