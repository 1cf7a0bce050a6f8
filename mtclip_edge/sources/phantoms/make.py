"""One phantom from a seed and a number: findings, film and report."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...files import replace_with
from ...studies import split_of
from .findings import Finding, choose
from .wording import Report, write

if TYPE_CHECKING:
    from .draw import Drawn

VERSION = 1  # raise it when the same seed gives another film or report


@dataclass(frozen=True)
class Phantom:
    """``findings`` is what is drawn (empty: a normal film); ``report`` names exactly that."""

    seed: int
    number: int
    findings: tuple[Finding, ...]
    report: Report

    @property
    def patient_id(self) -> str:
        return f"phantom-{self.seed}-{self.number}"

    @property
    def label(self) -> str:
        return "abnormal" if self.findings else "normal"

    @cached_property
    def drawn(self) -> "Drawn":
        """Film (uint8 [height, width]) and the box of each finding. Drawn when first asked for."""
        from .draw import draw

        return draw(np.random.default_rng([self.seed, self.number, 1]), self.findings)


def make(seed: int, number: int) -> Phantom:
    """The ``number``-th phantom of a seed. Some wordings are kept for patients of the test split."""
    random = np.random.default_rng([seed, number, 0])
    findings = choose(random)
    held_out = split_of(f"phantom-{seed}-{number}") == "test"
    return Phantom(seed, number, findings, write(random, findings, held_out))


def save(phantom: Phantom, path: Path) -> Path:
    """A phantom's film as a grey PNG."""
    from PIL import Image

    return replace_with(path, lambda file: Image.fromarray(phantom.drawn.grey).save(file, "PNG"))
