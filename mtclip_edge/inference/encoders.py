"""The film tower and the text tower as ONNX graphs: pixels or texts in, unit vectors in the shared space
out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import TextTowerMissing
from ..progress import Progress, silent
from ..studies import FRONTAL
from .device import Device, open_session
from .precision import ROW_BY_ROW, Precision, choose_precision, most_exact
from .preprocessing import Preprocessing, model_input

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

# Names apart from the towers' inner ones: `embedding` collides in BERT.
PIXELS, FILM_EMBEDDING, ABNORMAL_LOGIT = "pixels", "film_embedding", "abnormal_logit"
VIEW = "view"  # second input of a tower trained with lateral films: int64 [films], 0 frontal, 1 lateral
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
    def load(
        cls, graph: Path, preprocessing: Preprocessing, device: Device, precision: str = "fp32"
    ) -> "FilmEncoder":
        session, device = open_session(graph, device)
        return cls(session, preprocessing, device, precision in ROW_BY_ROW)

    def encode(self, pixels: np.ndarray, views: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """float32 [films, 3, size, size] to unit vectors float32 [films, dim] and abnormal logits float32
        [films].

        ``views``: the code of each film (``studies.view_code``), None: all frontal; a tower that was trained
        without laterals asks for none.
        """
        told = np.zeros(len(pixels), np.int64) if views is None else np.asarray(views, np.int64)
        parts = [slice(i, i + 1) for i in range(len(pixels))] if self.row_by_row else [slice(None)]
        outputs = [
            self.session.run([FILM_EMBEDDING, ABNORMAL_LOGIT], self._feed(pixels[part], told[part]))
            for part in parts
        ]
        return np.concatenate([vectors for vectors, _ in outputs]), np.concatenate(
            [logits for _, logits in outputs]
        )

    @cached_property
    def takes_views(self) -> bool:
        """Whether the tower was trained with lateral films and is told which are."""
        return any(node.name == VIEW for node in self.session.get_inputs())

    def _feed(self, pixels: np.ndarray, views: np.ndarray) -> dict[str, np.ndarray]:
        return {PIXELS: pixels, VIEW: views} if self.takes_views else {PIXELS: pixels}

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """One film, float32 [3, size, size], to the tower's features by place, float32 in the layout of
        ``places.Places``.
        """
        feed = self._feed(pixels[None], np.zeros(1, np.int64))  # which they do not depend on
        return np.asarray(self.session.run([FEATURE_MAP], feed)[0][0])

    def prepare(self, grey: np.ndarray) -> np.ndarray:
        """One film, uint8 [height, width], as the tower's input float32 [3, size, size]."""
        return model_input(grey, self.preprocessing)

    def encode_films(
        self, films: Sequence[np.ndarray], batch: int = 16, views: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Grey films, uint8 [height, width] each, through preprocessing and tower in batches; ``views`` as
        for ``encode``.
        """
        inputs, told = [self.prepare(grey) for grey in films], views or [FRONTAL] * len(films)
        parts = [
            self.encode(np.stack(inputs[start : start + batch]), told[start : start + batch])
            for start in range(0, len(films), batch)
        ]
        return np.concatenate([vectors for vectors, _ in parts]), np.concatenate(
            [logits for _, logits in parts]
        )


@dataclass(frozen=True)
class TextEncoder:
    """Text tower + projector + L2 norm."""

    session: Any
    tokenizer: "Tokenizer"
    row_by_row: bool = False

    @classmethod
    def load(
        cls, graph: Path, tokenizer: "Tokenizer", device: Device, precision: str = "fp32"
    ) -> "TextEncoder":
        session, _ = open_session(graph, device)
        return cls(session, tokenizer, precision in ROW_BY_ROW)

    def encode(self, texts: Sequence[str], batch: int = 32, progress: Progress = silent) -> np.ndarray:
        """Texts to unit vectors float32 [texts, dim]; texts of like length share a batch, so little
        padding is computed.
        """
        batch = 1 if self.row_by_row else batch
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors: list[np.ndarray | None] = [None] * len(texts)
        if texts:
            progress("reports", 0, len(texts))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            ids = self.tokenizer([texts[i] for i in rows])
            for i, vector in zip(rows, self.session.run([TEXT_EMBEDDING], {TOKEN_IDS: ids})[0], strict=True):
                vectors[i] = vector
            progress("reports", start + len(rows), len(texts))
        return np.stack([vector for vector in vectors if vector is not None])


def likely_precision(bundle: Bundle, requested: str, device: str) -> str:
    """What will probably run, known before onnxruntime is imported, so that its file can be hashed meanwhile.

    Errors: WrongOption for a precision that the bundle does not hold; DeviceUnavailable.
    """
    return choose_precision(
        bundle.precisions("image"), requested, "cpu" if device in ("auto", "cpu") else device
    ).name


def open_film_encoder(
    bundle: Bundle, device: Device, requested: str = "auto"
) -> tuple[FilmEncoder, Precision]:
    """The bundle's film tower on a device, in the precision asked for or the fastest.

    Errors: ArtefactDamaged, DeviceUnavailable, WrongOption.
    """
    precision = choose_precision(bundle.precisions("image"), requested, device.used)
    encoder = FilmEncoder.load(
        bundle.graph("image", precision.name),
        Preprocessing.of(bundle.model.preprocessing),
        device,
        precision.name,
    )
    if encoder.device.used == device.used:
        return encoder, precision
    # The device could not be had after all: what is fastest elsewhere need not be what suits this one.
    fallback = choose_precision(bundle.precisions("image"), requested, encoder.device.used)
    if fallback.name == precision.name:
        return encoder, fallback
    return FilmEncoder.load(
        bundle.graph("image", fallback.name),
        Preprocessing.of(bundle.model.preprocessing),
        encoder.device,
        fallback.name,
    ), fallback


def open_text_encoder(
    bundle: Bundle, device: Device, requested: str = "auto"
) -> tuple[TextEncoder, Precision]:
    """The bundle's own text tower and its precision; one that only the film tower has gives way to ``auto``.

    Errors: TextTowerMissing, ArtefactDamaged, DeviceUnavailable.
    """
    from .tokenizer import Tokenizer  # a film needs none

    packed = bundle.precisions("text")
    if not packed:
        raise TextTowerMissing(
            f"{bundle.path}: this bundle has no text tower, so it cannot embed text",
            hint="export the run without --no-text",
        )
    precision = choose_precision(packed, requested if requested in packed else "auto", device.used)
    record = bundle.model.tokenizer
    tokenizer = Tokenizer.of(bundle.file(record.file), record)
    return TextEncoder.load(
        bundle.graph("text", precision.name), tokenizer, device, precision.name
    ), precision


def open_exact_encoders(bundle: Bundle, device: Device) -> tuple[FilmEncoder, TextEncoder]:
    """Both towers as near to the trained model as the bundle has them: what an index is built with."""
    texts, _ = open_text_encoder(bundle, device, most_exact(bundle.precisions("text") or ["fp32"]))
    return open_film_encoder(bundle, device, most_exact(bundle.precisions("image")))[0], texts
