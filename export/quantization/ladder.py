"""The ladder of precisions: which a bundle gets by itself, in which order ``auto`` takes them, and how each is made to pass the gate.

| rung | how |
|---|---|
| fp32 | the exported graph |
| fp16w | weights stored in half precision, computed in fp32 |
| fp16 | half precision throughout, for CUDA and TensorRT |
| int8 | static: ranges measured on train films; the worst layers stay in float until the gate passes |
| int8-dynamic | ranges taken as they come; the runtime feeds rows one by one |
| w8, w4 | weights in 8 or 4 bits, computed in fp32 |
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mtclip_edge.progress import Say

from ..parity.gate import Answers
from ..parity.limits import Limits, Row
from .quantize import Feed, by_harm, convert_to_fp16, quantize_dynamically, quantize_weights, store_weights_in_fp16
from .static import METHODS, Calibrated

PRECISIONS = ("fp32", "fp16w", "fp16", "int8", "int8-dynamic", "w8", "w4")
# docs/export.md has the measurements behind both.
CPU_DEFAULT = {"cnn": "fp16w", "transformer": "int8-dynamic"}
CPU_ORDER = {
    "cnn": ("int8", "fp32", "fp16w", "w8", "w4", "int8-dynamic", "fp16"),
    "transformer": ("int8-dynamic", "int8", "fp32", "fp16w", "w8", "w4", "fp16"),
}
IN_FLOAT = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # shares of the layers that stay in float, tried in turn; beyond half nothing is won
SEARCHED = ("int8", "int8-dynamic")  # made again with layers in float until the gate passes
TRIED_ON = 16  # inputs that tell how much harm one layer does
NEAR = 0.05  # a first look may miss the limit on the overlap by as much and the gate is asked all the same
_MAKE: dict[str, Callable[[Path, Path], Path]] = {
    "fp16w": store_weights_in_fp16,
    "fp16": convert_to_fp16,
    "w8": lambda source, target: quantize_weights(source, target, 8),
    "w4": lambda source, target: quantize_weights(source, target, 4),
}


@dataclass(frozen=True)
class Tower:
    """One tower's fp32 graph, and how to ask and compare what is made of it.

    ``ask`` gives a graph's answers; ``compare`` their row of the table; ``look`` the cosine of the worst 1 % and the top-10 overlap
    over the first inputs only, to choose by. ``smooth`` writes the same tower with even ranges, or gives None. ``feeds`` calibrate,
    one input each; ``output`` names the embedding.
    """

    fp32: Path
    kind: str
    output: str
    feeds: Callable[[], Sequence[Feed]]
    ask: Callable[[Path, str], Answers]
    compare: Callable[[str, Answers, str | None], Row]
    look: Callable[[Path, str], tuple[float, float]]
    smooth: Callable[[Path], Path | None]


def climb(tower: Tower, precision: str, target: Path, limits: Limits, say: Say) -> Row:
    """Make one rung and compare it with torch; the row may fail. Errors: ParityFailed where the rung cannot be made of this tower."""
    if precision not in SEARCHED:
        _MAKE[precision](tower.fp32, target)
        return tower.compare(precision, tower.ask(target, precision), None)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if precision == "int8":
            best, how = _best(tower, scratch, say)
            return _in_float(tower, precision, best.source, best.quantize, target, limits, how, scratch, say)
        make = partial(quantize_dynamically, tower.fp32)
        return _in_float(tower, precision, tower.fp32, make, target, limits, None, scratch, say)


def _in_float(
    tower: Tower,
    precision: str,
    source: Path,
    make: Callable[..., Path],
    target: Path,
    limits: Limits,
    how: str | None,
    scratch: Path,
    say: Say,
) -> Row:
    """Quantize all layers, then ever fewer, leaving the worst in float, until the gate passes; the row of the last try."""
    make(target)
    row = _asked(tower, precision, target, limits, how)
    if row and not row.failures(limits):
        return row
    say(f"{precision}: {'; '.join(row.failures(limits)) if row else 'far from torch'}; looking for the layers that do it")
    order = by_harm(source, lambda file, only: make(file, only=only), tower.output, tower.feeds()[:TRIED_ON], scratch)
    for share in IN_FLOAT:
        left = order[: math.ceil(share * len(order))]
        make(target, left)
        said = f"{len(left)} of {len(order)} layers in float"
        row = _asked(tower, precision, target, limits, f"{how}, {said}" if how else said, surely=share == IN_FLOAT[-1])
        if row and not row.failures(limits):
            return row
        say(f"{precision} with {said}: not enough")
    assert row is not None
    return row


def _asked(tower: Tower, precision: str, graph: Path, limits: Limits, how: str | None, surely: bool = False) -> Row | None:
    """The gate's row; None where a look at a few inputs is enough to see that it fails."""
    if not surely and tower.look(graph, precision)[1] < limits.overlap - NEAR:
        return None
    return tower.compare(precision, tower.ask(graph, precision), how)


def _best(tower: Tower, scratch: Path, say: Say) -> tuple[Calibrated, str]:
    """Ranges by each method, of the tower as it is and smoothed: those whose graph is nearest to torch."""
    found: list[tuple[float, float, int, Calibrated, str]] = []
    feeds = tower.feeds()
    for graph, smoothed in _sources(tower, scratch):
        for method in METHODS:
            calibrated = Calibrated.of(graph, method, feeds, scratch)
            cosine, overlap = tower.look(calibrated.quantize(scratch / "candidate.onnx"), "int8")
            how = f"{method}{smoothed}"
            say(f"int8 by {how}: cosine {cosine:.4f}, top-10 overlap {overlap:.3f}")
            found.append((overlap, cosine, -len(found), calibrated, how))
    *_, calibrated, how = max(found)
    return calibrated, how


def _sources(tower: Tower, scratch: Path) -> Iterator[tuple[Path, str]]:
    yield tower.fp32, ""
    if smooth := tower.smooth(scratch / "smooth.onnx"):
        yield smooth, ", smoothed"
