"""Counts how much of some texts a tokenizer reads: words that its list does not hold, and what is longer than
a tower reads.

A word all of whose letters are unknown is one token, whatever it says: in a language that the list does not
hold, an effusion and a normal film are the same text. Kept on the ground floor because training, indexing,
queries and the inspection of a source all ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import Refused

MOST_UNKNOWN = 0.5  # of the words: above, texts differ by their length alone
UNKNOWN = ("[UNK]", "<unk>", "[unk]")  # WordPiece, SentencePiece; byte pairs know every word
_BATCH = 512


@dataclass(frozen=True)
class TextCoverage:
    """Counts of texts, words and tokens; ``limit`` is the tower's number of tokens."""

    texts: int = 0
    words: int = 0
    unknown: int = 0
    tokens: int = 0
    cut_texts: int = 0
    cut_tokens: int = 0
    limit: int = 0

    @property
    def unknown_share(self) -> float:
        return self.unknown / self.words if self.words else 0.0

    def lines(self) -> list[str]:
        """What is to be told: nothing where every word is known and every text is read to its end."""
        told = []
        if self.unknown:
            told.append(
                f"{self.unknown} of {self.words} words ({self.unknown_share:.1%}) are unknown to the text "
                "tower's word list"
            )
        if self.cut_texts:
            cut, whole = (
                f"{self.cut_texts} of {self.texts} texts",
                f"{self.cut_tokens / self.tokens:.1%} of all tokens are cut",
            )
            told.append(f"{cut} are longer than the {self.limit} tokens that the text tower reads: {whole}")
        return told

    def refuse_unknown(self, what: str) -> None:
        """Errors: Refused where more than half of the words are unknown."""
        if self.unknown_share > MOST_UNKNOWN:
            raise Refused(
                f"{what}: {self.unknown} of {self.words} words are unknown to the text tower's word list",
                "texts in another language or script are all alike to it",
                "give texts in its language, or take a backbone that knows theirs",
            )


def coverage(model: Any, texts: Sequence[str], limit: int) -> TextCoverage:
    """Of texts, by a ``tokenizers.Tokenizer``, whether it cuts them itself or not."""
    counts = np.zeros(5, np.int64)
    for start in range(0, len(texts), _BATCH):
        part = texts[start : start + _BATCH]
        encodings = model.encode_batch(list(part))
        tokens = [
            len(e.ids) + sum(piece.special_tokens_mask.count(0) for piece in e.overflowing) for e in encodings
        ]
        cut = [count - limit for count in tokens if count > limit]
        counts += (*words_of(model, part, encodings), sum(tokens), len(cut), sum(cut))
    words, unknown, all_tokens, cut_texts, cut_tokens = counts.tolist()
    return TextCoverage(len(texts), words, unknown, all_tokens, cut_texts, cut_tokens, limit)


def words_of(model: Any, texts: Sequence[str], encodings: Sequence[Any]) -> tuple[int, int]:
    """How many words texts have, and how many of them hold an unknown token; signs are no words."""
    unknown_id = next((number for word in UNKNOWN if (number := model.token_to_id(word)) is not None), None)
    words, unknown = 0, 0
    for text, encoding in zip(texts, encodings, strict=True):
        held: dict[int, bool] = {}
        for piece in (encoding, *encoding.overflowing):
            for token, word, (start, end) in zip(piece.ids, piece.word_ids, piece.offsets, strict=True):
                if word is not None and any(map(str.isalnum, text[start:end])):
                    held[word] = held.get(word, False) or token == unknown_id
        words, unknown = words + len(held), unknown + sum(held.values())
    return words, unknown
