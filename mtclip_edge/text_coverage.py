"""Counts how much of some texts a tokenizer reads: words that its list does not hold, letters that it splits
into bytes, and what is longer than a tower reads.

A word all of whose letters are unknown is one token, whatever it says: in a language that the list does not
hold, an effusion and a normal film are the same text. Byte pairs (CLIP's) know every word, but a script that
they were not made for falls to pieces smaller than a letter, which the tower has hardly met. Kept on the
ground floor because training, indexing, queries and the inspection of a source all ask.
"""

from collections.abc import Sequence, Set
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from .errors import Refused

MOST_UNKNOWN = 0.5  # of the words: above, texts differ by their length alone
MOST_SPLIT = 0.5  # of the letters: with CLIP's byte pairs 0 to 0.2 in Latin and Cyrillic, 0.9 to 1 in Chinese
UNKNOWN = ("[UNK]", "<unk>", "[unk]")  # WordPiece, SentencePiece
_BATCH = 512


@dataclass(frozen=True)
class Words:
    """How many words some texts have and how many hold an unknown token; how many letters, and how many of
    them byte pairs hold only in pieces (0 for other tokenizers).
    """

    words: int = 0
    unknown: int = 0
    letters: int = 0
    split: int = 0

    def __add__(self, other: "Words") -> "Words":
        return Words(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def unknown_share(self) -> float:
        return self.unknown / self.words if self.words else 0.0

    @property
    def split_share(self) -> float:
        return self.split / self.letters if self.letters else 0.0


@dataclass(frozen=True)
class TextCoverage:
    """Counts of texts, words and tokens; ``limit`` is the tower's number of tokens."""

    texts: int = 0
    words: Words = Words()
    tokens: int = 0
    cut_texts: int = 0
    cut_tokens: int = 0
    limit: int = 0

    def lines(self) -> list[str]:
        """What is to be told: nothing where every word is known and every text is read to its end."""
        told, words = [], self.words
        if words.unknown:
            told.append(
                f"{words.unknown} of {words.words} words ({words.unknown_share:.1%}) are unknown to the text "
                "tower's word list"
            )
        if words.split:
            told.append(
                f"{words.split} of {words.letters} letters ({words.split_share:.1%}) are split into bytes by "
                f"the text tower's byte pairs: {self.tokens / words.letters:.1f} tokens a letter"
            )
        if self.cut_texts:
            cut, whole = (
                f"{self.cut_texts} of {self.texts} texts",
                f"{self.cut_tokens / self.tokens:.1%} of all tokens are cut",
            )
            told.append(f"{cut} are longer than the {self.limit} tokens that the text tower reads: {whole}")
        return told

    def refuse_unknown(self, what: str) -> None:
        """Errors: Refused where more than half of the words are unknown, or of the letters split."""
        hint, words = "give texts in its language, or take a backbone that knows theirs", self.words
        if words.unknown_share > MOST_UNKNOWN:
            raise Refused(
                f"{what}: {words.unknown} of {words.words} words are unknown to the text tower's word list",
                "texts in another language or script are all alike to it",
                hint,
            )
        if words.split_share > MOST_SPLIT:
            raise Refused(
                f"{what}: {words.split} of {words.letters} letters are split into bytes by the text tower's "
                "byte pairs",
                "texts in a script that they were not made for say hardly anything to it",
                hint,
            )


def coverage(model: Any, texts: Sequence[str], limit: int, known_ids: Set[int] | None = None) -> TextCoverage:
    """Of texts, by a ``tokenizers.Tokenizer``, whether it cuts them itself or not.

    ``known_ids``: the tokens that the tower has met; None: all but the unknown one.
    """
    words, counts = Words(), np.zeros(3, np.int64)
    for start in range(0, len(texts), _BATCH):
        part = texts[start : start + _BATCH]
        encodings = model.encode_batch(list(part))
        tokens = [
            len(e.ids) + sum(piece.special_tokens_mask.count(0) for piece in e.overflowing) for e in encodings
        ]
        cut = [count - limit for count in tokens if count > limit]
        words += words_of(model, part, encodings, known_ids)
        counts += (sum(tokens), len(cut), sum(cut))
    all_tokens, cut_texts, cut_tokens = counts.tolist()
    return TextCoverage(len(texts), words, all_tokens, cut_texts, cut_tokens, limit)


def words_of(
    model: Any, texts: Sequence[str], encodings: Sequence[Any], known_ids: Set[int] | None = None
) -> Words:
    """Counts words and letters of texts; signs and numbers are no letters, signs alone no words.

    A word is unknown where one of its tokens is.
    """
    names = (getattr(model.model, "unk_token", None), *UNKNOWN)
    unknown_id = next(
        (number for word in names if word and (number := model.token_to_id(word)) is not None), None
    )
    in_bytes = type(model.model).__name__ == "BPE"
    words, unknown, letters, split = 0, 0, 0, 0
    for text, encoding in zip(texts, encodings, strict=True):
        unknown_words: dict[int, bool] = {}
        reached, pieces = 0, set[int]()
        for piece in (encoding, *encoding.overflowing):
            for token, word, (start, end) in zip(piece.ids, piece.word_ids, piece.offsets, strict=True):
                if word is not None and any(map(str.isalnum, text[start:end])):
                    unknown_words[word] = (
                        unknown_words.get(word, False)
                        or token == unknown_id
                        or (known_ids is not None and token not in known_ids)
                    )
                    pieces.update(range(start, reached))  # the token before holds a part of these too
                    reached = max(reached, end)
        words, unknown = words + len(unknown_words), unknown + sum(unknown_words.values())
        if in_bytes:
            letters += sum(map(str.isalpha, text))
            split += sum(text[place].isalpha() for place in pieces)
    return Words(words, unknown, letters, split)
