"""Makes the rungs of the ladder of precisions, each so that it passes the gate, and says which a bundle gets
by itself.

| rung | how |
|---|---|
| fp32 | the exported graph |
| fp16w | weights stored in half precision, computed in fp32 |
| fp16 | half precision throughout, for CUDA and TensorRT |
| int8 | static: ranges measured on train films; the worst layers stay in float until the gate passes |
| int8-dynamic | ranges taken as they come; the runtime feeds rows one by one |
| w8 | weights in 8 bits, computed in fp32 |
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mtclip_edge.progress import Progress, Say, silent

from ..parity.gate import FilmUnderTest, TextUnderTest
from ..parity.limits import Limits, Row
from .quantize import (
    Feed,
    by_harm,
    convert_to_fp16,
    quantize_dynamically,
    quantize_weights,
    store_weights_in_fp16,
)
from .static import Calibrated

PRECISIONS = ("fp32", "fp16w", "fp16", "int8", "int8-dynamic", "w8")
IN_EIGHT_BITS = ("int8", "int8-dynamic", "w8")
# docs/guide/export.md has the measurements behind both.
CPU_DEFAULT = {"cnn": "fp16w", "transformer": "int8-dynamic", "words": "fp32"}
CPU_ORDER = {
    "cnn": ("int8", "fp32", "fp16w", "w8", "int8-dynamic", "fp16"),
    "transformer": ("int8-dynamic", "int8", "fp32", "fp16w", "w8", "fp16"),
    "words": ("fp32", "fp16w", "w8", "int8", "int8-dynamic", "fp16"),
}
IN_FLOAT = (
    1 / 16,
    1 / 8,
    1 / 4,
    1 / 2,
)  # shares of the layers that stay in float, tried in turn; beyond half nothing is won
SEARCHED = ("int8", "int8-dynamic")  # made again with layers in float until the gate passes
TRIED_ON = 16  # inputs that tell how much harm one layer does
NEAR = 0.05  # a first look may miss the limit on the overlap by as much and the gate is asked all the same
_MAKE: dict[str, Callable[[Path, Path], Path]] = {
    "fp16w": store_weights_in_fp16,
    "fp16": convert_to_fp16,
    "w8": quantize_weights,
}
UnderTest = FilmUnderTest | TextUnderTest


@dataclass(frozen=True)
class Material:
    """What a tower's rungs are made of: its fp32 graph, and inputs to calibrate with, one feed each.

    ``smooth`` writes the same tower with even ranges, or gives None.
    """

    fp32: Path
    feeds: Callable[[], Sequence[Feed]]
    smooth: Callable[[Path], Path | None] = lambda _: None


@dataclass(frozen=True)
class Climb:
    """One rung of one tower: what is asked of it and where it goes; ``scratch`` is a folder for what is
    tried.
    """

    tested: UnderTest
    material: Material
    precision: str
    target: Path
    limits: Limits
    say: Say
    scratch: Path
    progress: Progress = silent

    def searched(self) -> Row:
        """Quantize all layers, then ever fewer, leaving the worst in float, until the gate passes; the
        row of the last try.
        """
        if self.precision != "int8":
            return self._in_float(self.material.fp32, partial(quantize_dynamically, self.material.fp32), None)
        best, how = self._best()
        return self._in_float(best.source, best.quantize, how)

    def _in_float(self, source: Path, make: Callable[..., Path], how: str | None) -> Row:
        make(self.target)
        row = self._row(how)
        if row and not row.failures(self.limits):
            return row
        self.say(
            f"{self.precision}: {'; '.join(row.failures(self.limits)) if row else 'far from torch'}; "
            "looking for the layers that do it"
        )
        feeds = self.material.feeds()[:TRIED_ON]
        order = by_harm(
            source,
            lambda file, only: make(file, only=only),
            self.tested.output,
            feeds,
            self.scratch,
            self.progress,
        )
        for share in IN_FLOAT:
            left = order[: math.ceil(share * len(order))]
            make(self.target, left)
            made = f"{len(left)} of {len(order)} layers in float"
            row = self._row(f"{how}, {made}" if how else made, surely=share == IN_FLOAT[-1])
            if row and not row.failures(self.limits):
                return row
            self.say(f"{self.precision} with {made}: not enough")
        assert row is not None
        return row

    def _row(self, how: str | None, surely: bool = False) -> Row | None:
        """The gate's row; None where a look at a few inputs is enough to see that it fails."""
        if not surely and self.tested.look(self.target, self.precision)[1] < self.limits.overlap - NEAR:
            return None
        return self.tested.compare(self.precision, self.tested.ask(self.target, self.precision), how)

    def _best(self) -> tuple[Calibrated, str]:
        """Ranges of the tower as it is and smoothed: those whose graph is nearest to torch."""
        tried: list[tuple[float, float, int, Calibrated, str]] = []
        feeds = self.material.feeds()
        for graph, how in self._sources():
            calibrated = Calibrated.of(graph, feeds, self.scratch)
            cosine, overlap = self.tested.look(calibrated.quantize(self.scratch / "candidate.onnx"), "int8")
            self.say(f"int8 by {how}: cosine {cosine:.4f}, top-10 overlap {overlap:.3f}")
            tried.append((overlap, cosine, -len(tried), calibrated, how))
        *_, calibrated, how = max(tried)
        return calibrated, how

    def _sources(self) -> Iterator[tuple[Path, str]]:
        yield self.material.fp32, "MinMax"
        if smooth := self.material.smooth(self.scratch / "smooth.onnx"):
            yield smooth, "MinMax, smoothed"


def climb(
    tested: UnderTest,
    material: Material,
    precision: str,
    target: Path,
    limits: Limits,
    say: Say,
    progress: Progress = silent,
) -> Row:
    """Make one rung and compare it with torch; the row may fail.

    Errors: ParityFailed where the rung cannot be made of this tower.
    """
    if precision not in SEARCHED:
        _MAKE[precision](material.fp32, target)
        return tested.compare(precision, tested.ask(target, precision), None)
    with tempfile.TemporaryDirectory() as folder:
        return Climb(tested, material, precision, target, limits, say, Path(folder), progress).searched()
