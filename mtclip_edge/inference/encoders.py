"""The film tower and the text tower as ONNX graphs: pixels or texts in, unit vectors in the shared space out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..progress import Progress, silent
from .device import Device, open_session
from .precision import ROW_BY_ROW
from .preprocessing import Preprocessing, model_input
from .tokenizer import Tokenizer

# Names apart from the towers' inner ones: `embedding` collides in BERT.
PIXELS, FILM_EMBEDDING, ABNORMAL_LOGIT = "pixels", "film_embedding", "abnormal_logit"
FEATURE_MAP = "feature_map"  # what the tower knows of each place; fetched only for a map
TOKEN_IDS, TEXT_EMBEDDING = "token_ids", "text_embedding"


@dataclass(frozen=True)
class FilmEncoder:
    """Film tower + projector + L2 norm + abnormal logit."""

    session: Any
    preprocessing: Preprocessing
    device: Device
    row_by_row: bool = False

    @classmethod
    def load(cls, graph: Path, preprocessing: Preprocessing, device: Device, precision: str = "fp32") -> "FilmEncoder":
        session, device = open_session(graph, device)
        return cls(session, preprocessing, device, precision in ROW_BY_ROW)

    def encode(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float32 [films, 3, size, size] to unit vectors float32 [films, dim] and abnormal logits float32 [films]."""
        parts = np.split(pixels, len(pixels)) if self.row_by_row else [pixels]
        found = [self.session.run([FILM_EMBEDDING, ABNORMAL_LOGIT], {PIXELS: part}) for part in parts]
        return np.concatenate([vectors for vectors, _ in found]), np.concatenate([logits for _, logits in found])

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """One film, float32 [3, size, size], to the tower's features by place, float32 in the layout of ``places.Places``."""
        return np.asarray(self.session.run([FEATURE_MAP], {PIXELS: pixels[None]})[0][0])

    def prepare(self, grey: np.ndarray) -> np.ndarray:
        """One film, uint8 [height, width], as the tower's input float32 [3, size, size]."""
        return model_input(grey, self.preprocessing)

    def encode_films(self, films: Sequence[np.ndarray], batch: int = 16) -> tuple[np.ndarray, np.ndarray]:
        """Grey films, uint8 [height, width] each, through preprocessing and tower in batches."""
        inputs = [self.prepare(grey) for grey in films]
        parts = [self.encode(np.stack(inputs[start : start + batch])) for start in range(0, len(films), batch)]
        return np.concatenate([vectors for vectors, _ in parts]), np.concatenate([logits for _, logits in parts])


@dataclass(frozen=True)
class TextEncoder:
    """Text tower + projector + L2 norm."""

    session: Any
    tokenizer: Tokenizer
    row_by_row: bool = False

    @classmethod
    def load(cls, graph: Path, tokenizer: Tokenizer, device: Device, precision: str = "fp32") -> "TextEncoder":
        session, _ = open_session(graph, device)
        return cls(session, tokenizer, precision in ROW_BY_ROW)

    def encode(self, texts: Sequence[str], batch: int = 32, progress: Progress = silent) -> np.ndarray:
        """Texts to unit vectors float32 [texts, dim]; texts of like length share a batch, so little padding is computed."""
        batch = 1 if self.row_by_row else batch
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors: list[np.ndarray | None] = [None] * len(texts)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            ids = self.tokenizer([texts[i] for i in rows])
            for i, vector in zip(rows, self.session.run([TEXT_EMBEDDING], {TOKEN_IDS: ids})[0], strict=True):
                vectors[i] = vector
            progress("reports", start + len(rows), len(texts))
        return np.stack([vector for vector in vectors if vector is not None])
