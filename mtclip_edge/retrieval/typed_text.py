"""A typed text read for a search: its vector by the bundle's text tower, or why words alone must do.

A bundle without a text tower, or one whose tower does not know the text's words, still finds the reports that
name what is typed.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import Refused, TextTowerMissing, WrongOption
from ..inference.device import choose
from ..inference.encoders import TextEncoder, open_text_encoder
from ..inference.precision import ASKED, Precision
from ..studies import tower_text

if TYPE_CHECKING:
    from .naming import Naming


class TextReader:
    """Reads texts for one open bundle; the text tower is opened with the first. ``device`` and ``precision``
    are those of the film tower; ``naming`` says what a text names.
    """

    def __init__(
        self, bundle: Bundle, device: str, precision: Precision, naming: Callable[[str], "Naming | None"]
    ):
        self._bundle, self._device, self._precision, self._naming = bundle, device, precision, naming
        self._encoder: tuple[TextEncoder, Precision] | None = None

    def embedded(self, text: str) -> tuple[np.ndarray, Precision]:
        """The text's unit vector float32 [dim], and in which precision.

        Errors: TextTowerMissing, WrongOption, Refused (words unknown to it).
        """
        encoder, precision = self._opened(text)
        _read(encoder, text)
        return encoder.encode([text])[0], precision

    def embedded_many(self, texts: Iterable[str]) -> np.ndarray:
        """Unit vectors float32 [texts, dim] of reports, each as an index reads it: without marks.

        Errors: TextTowerMissing, WrongOption, Refused (less than half of their words are known).
        """
        words, vectors = list(texts), np.zeros((0, self._bundle.model.dim), np.float32)
        encoders = [self._opened(text)[0] for text in words]  # refuses what is no text
        if encoders:
            read = [tower_text(text) for text in words]
            encoders[0].tokenizer.coverage(read).refuse_unknown("the texts")
            vectors = encoders[0].encode(read)
        return vectors

    def searched(self, text: str) -> tuple[np.ndarray | None, Precision]:
        """The same; without a vector where none can be had and a report says something of what is named.

        Errors: as of ``embedded``, where words cannot answer either.
        """
        try:
            return self.embedded(text)
        except (TextTowerMissing, Refused):
            if not self._words_answer(text):
                raise
            return None, self._precision

    def note(self, text: str) -> str | None:
        """One line where a text has words that the text tower does not know, is longer than it reads, is
        answered by words alone, or names what no report names.

        Errors: as of ``embedded``, where words cannot answer either.
        """
        naming = self._naming(text)
        try:
            lines = _read(self._opened(text)[0], text)
        except (TextTowerMissing, Refused) as lacking:
            if naming is None or not naming.found:
                raise
            lines = [f"{lacking.what}: reports are found by their words alone"]
        return "; ".join((*lines, *(naming.lines() if naming is not None else ()))) or None

    def open(self) -> None:
        """Open the text tower, if there is one: so that the time of it is not the text's."""
        with suppress(TextTowerMissing):
            self._opened("-")

    def _words_answer(self, text: str) -> bool:
        naming = self._naming(text)
        return naming is not None and naming.found

    def _opened(self, text: str) -> tuple[TextEncoder, Precision]:
        if not isinstance(text, str):
            raise WrongOption(
                f"a text of type {type(text).__name__}", "expected words, e.g. 'right pleural effusion'"
            )
        if not text.strip():
            raise WrongOption("--text is empty", "expected some words, e.g. 'right pleural effusion'")
        if self._encoder is None:
            precision = self._precision.name if self._precision.why == ASKED else "auto"
            self._encoder = open_text_encoder(self._bundle, choose(self._device), precision)
        return self._encoder


def _read(encoder: TextEncoder, text: str) -> list[str]:
    """What is to be told of a text's words. Errors: Refused where too few are known."""
    read = encoder.tokenizer.coverage([text])
    read.refuse_unknown("--text")
    if encoder.tokenizer.pieces is not None and not read.words.words:
        raise Refused("--text: no word in it", "this bundle's text side reads words alone")
    return read.lines()
