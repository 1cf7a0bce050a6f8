"""Which of a bundle's precisions runs on a device, and why.

A bundle lists the precisions of a tower that passed the export's gate, the fastest on a CPU first
(docs/guide/export.md has the table).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DeviceUnavailable, not_among

GPU_ONLY = frozenset({"fp16"})
# One scale serves the whole batch in dynamic quantization, so an embedding would depend on its neighbours.
ROW_BY_ROW = frozenset({"int8-dynamic"})
CUDA_ORDER = ("fp16", "fp32", "fp16w")
ASKED = "asked for"
MOST_EXACT = ("fp32", "fp16w", "w8")


@dataclass(frozen=True)
class Precision:
    """The precision that runs, and the reason for the choice."""

    name: str
    why: str


def choose_precision(packed: Sequence[str], requested: str, device: str) -> Precision:
    """Pick among a tower's precisions for ``cpu`` or ``cuda``.

    Errors: WrongOption for one that the bundle does not hold; DeviceUnavailable for one that this device
    cannot run well.
    """
    if requested != "auto":
        if requested not in packed:
            raise not_among("precision", requested, ("auto", *packed))
        if requested in GPU_ONLY and device == "cpu":
            raise DeviceUnavailable(
                f"precision {requested} is not for a CPU",
                "onnxruntime would cast around every operator and be slower than fp32",
                f"use --precision auto, or --device cuda; this bundle has {', '.join(packed)}",
            )
        return Precision(requested, ASKED)
    usable = [name for name in packed if device != "cpu" or name not in GPU_ONLY]
    if not usable:
        raise DeviceUnavailable(
            f"this bundle holds {', '.join(packed)} only, which needs a GPU",
            hint="export it with --precision fp32,fp16, or use --device cuda",
        )
    if device == "cuda":
        usable.sort(key=lambda name: CUDA_ORDER.index(name) if name in CUDA_ORDER else len(CUDA_ORDER))
    if len(usable) == 1:
        return Precision(
            usable[0],
            "the only one in this bundle"
            if len(packed) == 1
            else f"the only one in this bundle for {device}",
        )
    return Precision(usable[0], f"the fastest on {device} of those that passed the export's gate")


def most_exact(packed: Sequence[str]) -> str:
    """The precision nearest to the trained model: what an index is built with."""
    return next((name for name in MOST_EXACT if name in packed), packed[0])
