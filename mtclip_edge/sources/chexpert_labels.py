"""The fourteen observations of the CheXpert and NegBio labellers, and what they say of a study as a whole.

1 is positive, 0 negative, -1 uncertain, blank not mentioned. ``No Finding`` positive is normal; a positive
pathology is abnormal; anything else, uncertain ones and support devices alone among them, is unknown. A study
with both is contradictory: unknown.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

NAMES = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
NORMAL, DEVICES = "No Finding", "Support Devices"


def label_of(positive: Iterable[str]) -> str:
    """The label of a study by the names of its positive observations."""
    observations = set(positive)
    normal, abnormal = NORMAL in observations, bool(observations - {NORMAL, DEVICES})
    return "unknown" if normal == abnormal else "normal" if normal else "abnormal"


def findings_of(positive: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in positive if name != NORMAL)


def positives(row: Mapping[str, object]) -> list[str]:
    """The positive observations of a table's row or a JSON object."""
    return [name for name in NAMES if str(row.get(name)).strip() in ("1", "1.0")]


class Positives:
    """Positive observations by key, 12 bytes each: hundreds of thousands of them stay small."""

    def __init__(self, rows: Iterable[tuple[str, Mapping[str, object]]]):
        keys, bits = array("q"), array("i")
        for key, row in rows:
            keys.append(hash(key))
            bits.append(sum(1 << NAMES.index(name) for name in positives(row)))
        order = np.argsort(np.frombuffer(keys, np.int64), kind="stable") if keys else np.zeros(0, np.int64)
        self._keys = np.frombuffer(keys, np.int64)[order] if keys else order
        self._bits = np.frombuffer(bits, np.int32)[order] if keys else order

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, key: str) -> tuple[str, ...] | None:
        """The names that are positive; None where the table has no such key."""
        at = int(np.searchsorted(self._keys, hash(key)))
        if at == len(self._keys) or self._keys[at] != hash(key):
            return None
        return tuple(self._names(int(self._bits[at])))

    @staticmethod
    def _names(bits: int) -> Iterator[str]:
        return (name for place, name in enumerate(NAMES) if bits >> place & 1)
