"""What can be seen on a phantom: kinds, sides, zones and sizes, and how often each is drawn."""

from dataclasses import dataclass

import numpy as np

KINDS = ("effusion", "pneumothorax", "nodule", "mass", "consolidation", "cardiomegaly")
SIDES = ("right", "left")  # of the patient: right is the viewer's left
ZONES = ("upper", "middle", "lower")
SIZES = {
    "effusion": ("small", "moderate", "large"),
    "pneumothorax": ("small", "moderate", "large"),
    "nodule": ("small", "moderate"),
    "mass": ("large",),
    "consolidation": ("small", "moderate", "large"),
    "cardiomegaly": ("mild", "moderate", "marked"),
}
_ABNORMAL = 0.55  # share of films with a finding
_SECOND = 0.2  # of those, share with a second finding of another kind


@dataclass(frozen=True)
class Finding:
    """One finding as it is to be drawn. ``side`` is empty for the heart, ``zone`` for what has none."""

    kind: str
    side: str
    zone: str
    size: str

    @property
    def label(self) -> str:
        return self.kind.capitalize()


def choose(random: np.random.Generator) -> tuple[Finding, ...]:
    """The findings of one film: none, one, or two of different kinds."""
    if random.random() > _ABNORMAL:
        return ()
    first = _one(random, str(random.choice(KINDS)))
    if random.random() > _SECOND:
        return (first,)
    # Two pleural findings on one side would hide each other.
    others = [
        kind
        for kind in KINDS
        if kind != first.kind and {kind, first.kind} not in ({"effusion", "pneumothorax"}, {"nodule", "mass"})
    ]
    return (first, _one(random, str(random.choice(others))))


def _one(random: np.random.Generator, kind: str) -> Finding:
    side = "" if kind == "cardiomegaly" else str(random.choice(SIDES))
    zone = str(random.choice(ZONES)) if kind in ("nodule", "mass", "consolidation") else ""
    return Finding(kind, side, zone, str(random.choice(SIZES[kind])))
