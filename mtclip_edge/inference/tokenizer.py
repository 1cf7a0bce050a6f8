"""Report text to token ids, the only copy: training, export and query tokenise with the file that the
bundle carries.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.records import TokenizerRecord
from ..errors import ArtefactDamaged
from ..text_coverage import UNKNOWN, TextCoverage, coverage


@dataclass(frozen=True)
class Tokenizer:
    """A ``tokenizer.json`` with the tower's token limit and padding id.

    ``fixed_length``: the tower takes rows of its limit only (CLIP's own have a mask of that size), so shorter
    ones are padded to it.
    """

    model: Any
    context_length: int
    pad_id: int
    fixed_length: bool = False
    pieces: str | None = None  # what ``pack_pieces`` made of those that the tower knows; None: all

    def settings(self) -> dict[str, Any]:
        """What a backbone's identity rests on beside the file."""
        return {
            "context_length": self.context_length,
            "pad_id": self.pad_id,
            "fixed_length": self.fixed_length,
        }

    def record(self, file: str) -> TokenizerRecord:
        """What a bundle's manifest holds of a tokenizer in a file."""
        return TokenizerRecord(file, self.context_length, self.pad_id, self.fixed_length, self.pieces)

    @classmethod
    def of(cls, path: Path, record: TokenizerRecord) -> "Tokenizer":
        """A bundle's tokenizer, by the manifest's entry."""
        tokenizer = cls.load(path, record.context_length, record.pad_id, record.fixed_length)
        return replace(tokenizer, pieces=record.pieces)

    @classmethod
    def load(cls, path: Path, context_length: int, pad_id: int, fixed_length: bool = False) -> "Tokenizer":
        from tokenizers import Tokenizer as Model

        model = Model.from_str(_without_fixed_lengths(path.read_text(encoding="utf-8")))
        model.enable_truncation(context_length)
        return cls(model, context_length, pad_id, fixed_length)

    def coverage(self, texts: Sequence[str]) -> TextCoverage:
        """How much of some texts the tower will read."""
        return coverage(self.model, texts, self.context_length, self._known_ids)

    @property
    def vocabulary(self) -> int:
        """How many ids there are, signs of the tokenizer's own included."""
        return 1 + max(self.model.get_vocab().values())

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids that are no part of a text: padding, begin, end, unknown."""
        signs = self.model.get_added_tokens_decoder().items()
        named = (self.model.token_to_id(word) for word in UNKNOWN)
        special = {number for number, sign in signs if sign.special}
        special |= {self.pad_id, *self.model.encode("").ids}  # begin and end, whether listed as signs or not
        return frozenset(special | {number for number in named if number is not None})

    @cached_property
    def _known_ids(self) -> frozenset[int] | None:
        if self.pieces is None:
            return None
        try:
            bits = np.frombuffer(zlib.decompress(b64decode(self.pieces, validate=True)), np.uint8)
        except (ValueError, zlib.error):
            raise ArtefactDamaged("the bundle's list of word pieces cannot be read") from None
        return frozenset(np.flatnonzero(np.unpackbits(bits)).tolist())

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Texts as int64 [texts, length], truncated to the token limit and padded to the longest of them
        (or to the limit).
        """
        rows = [encoding.ids for encoding in self.model.encode_batch(list(texts))]
        length = self.context_length if self.fixed_length else max(map(len, rows), default=0)
        ids = np.full((len(rows), length), self.pad_id, np.int64)
        for row, values in zip(ids, rows, strict=True):
            row[: len(values)] = values
        return ids


def pack_pieces(known: np.ndarray) -> str:
    """Which ids a lexical text side knows, bool [vocabulary], as a few letters of JSON."""
    return b64encode(zlib.compress(np.packbits(known).tobytes(), 9)).decode()


def _without_fixed_lengths(tokenizer_json: str) -> str:
    """Published files often carry the lengths of their own training; ours come from the tower's
    configuration.
    """
    content = json.loads(tokenizer_json)
    content["truncation"] = content["padding"] = None
    return json.dumps(content, ensure_ascii=False)
