"""The gate: an exported graph must give what training gave, on real films and reports, through the runtime's own code.

The reference is the training path (its preprocessing, tower, projector), not the module that was traced: a projector left out of the
traced module, another resize in the encoder or a wrong mean in the bundle all show.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtclip_edge.encoder import FilmEncoder, TextEncoder
from mtclip_edge.errors import FilmUnreadable, ParityFailed
from mtclip_edge.images import read_film
from mtclip_edge.preprocess import Preprocessing, model_input
from mtclip_edge.studies import Study, distinct_reports
from mtclip_edge.train.backbone import Backbone, text_features
from mtclip_edge.train.projector import SharedSpace, prefix

BATCHES = (1, 2, 7)
INPUTS = 21


@dataclass(frozen=True)
class Budget:
    """What a precision may lose against torch fp32."""

    max_abs: float
    min_cosine: float
    max_logit: float
    min_overlap: float | None  # of the first ten reports with those of the fp32 graph; None: not asked


BUDGETS = {"fp32": Budget(1e-4, 0.99999, 1e-3, None), "fp16w": Budget(0.02, 0.999, 0.1, 0.95)}
OVERLAP_FILMS = 200
PROBES = (
    "Normal chest.",
    "No acute cardiopulmonary abnormality.",
    "Right pleural effusion with adjacent atelectasis. The heart is enlarged.",
    "There is a nodule in the left upper lobe. CT is recommended.",
    "Lungs are clear. " * 20,
    "Left apical pneumothorax.",
    "Cardiomegaly, pulmonary venous congestion and interstitial edema, increased since the prior examination.",
)


@dataclass(frozen=True)
class Parity:
    """Worst differences over all inputs and batch sizes; ``inputs`` says what was fed."""

    tower: str
    precision: str
    inputs: str
    batches: tuple[int, ...]
    max_abs: float
    min_cosine: float
    max_logit: float | None
    overlap: float | None = None  # top-10 overlap with the fp32 graph's answers; None where it was not measured

    @property
    def failures(self) -> list[str]:
        budget, found = BUDGETS[self.precision], []
        if not self.max_abs <= budget.max_abs:
            found.append(f"max abs difference {self.max_abs:.1e} > {budget.max_abs:.0e}")
        if not self.min_cosine >= budget.min_cosine:
            found.append(f"cosine {self.min_cosine:.6f} < {budget.min_cosine}")
        if self.max_logit is not None and not self.max_logit <= budget.max_logit:
            found.append(f"abnormal logit difference {self.max_logit:.1e} > {budget.max_logit:.0e}")
        if self.overlap is not None and budget.min_overlap is not None and not self.overlap >= budget.min_overlap:
            found.append(f"top-10 overlap {self.overlap:.3f} < {budget.min_overlap}")
        return found

    def require(self) -> "Parity":
        """Errors: ParityFailed."""
        if self.failures:
            raise ParityFailed(f"{self.tower} tower, {self.precision}: the graph differs from torch", "; ".join(self.failures))
        return self

    def __str__(self) -> str:
        overlap = "" if self.overlap is None else f", top-10 overlap {self.overlap:.3f}"
        return f"{self.tower} {self.precision}: max abs {self.max_abs:.1e}, cosine {self.min_cosine:.7f}{overlap} ({self.inputs})"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "batches": list(self.batches)}


@dataclass(frozen=True)
class Probes:
    """Grey films and texts to compare on, and where they come from."""

    films: tuple[np.ndarray, ...]
    texts: tuple[str, ...]
    origin: str

    @classmethod
    def of(cls, studies: Sequence[Study]) -> "Probes":
        """The first readable films and reports of some studies; drawn pictures and our own sentences where there are none."""
        films = readable([film.path for study in studies for film in study.films], INPUTS)
        texts = [report.first.tower_text for report in distinct_reports(studies)][:INPUTS]
        if len(films) < max(BATCHES):
            return cls(_drawn(), PROBES, "drawn pictures: the run's validation films cannot be read")
        return cls(tuple(films), (*texts, *PROBES), f"{len(films)} validation films")


@torch.inference_mode()
def film_parity(
    backbone: Backbone, space: SharedSpace, dim: int, how: Preprocessing, encoder: FilmEncoder, probes: Probes, precision: str
) -> Parity:
    """Compare the film graph with the training path, cut to ``dim``. ``how`` is the preprocessing the run was trained with."""
    features = backbone.film_tower(torch.from_numpy(np.stack([model_input(grey, how) for grey in probes.films])))
    embedding = space.embed_films(features)
    logit = space.abnormal_logit(embedding).numpy()
    found = [encoder.encode_films(probes.films, batch) for batch in BATCHES]
    expected = prefix(embedding, dim).numpy()
    return _compare("film", precision, probes.origin, expected, [v for v, _ in found], max(_worst(logit, ours) for _, ours in found))


@torch.inference_mode()
def text_parity(backbone: Backbone, space: SharedSpace, dim: int, encoder: TextEncoder, probes: Probes, precision: str) -> Parity:
    """Compare the text graph and the packed tokenizer with the training path."""
    features = text_features(backbone.text_tower, backbone.tokenizer, list(probes.texts))
    expected = prefix(space.embed_texts(features), dim).numpy()
    found = [encoder.encode(probes.texts, batch) for batch in BATCHES]
    return _compare("text", precision, f"{len(probes.texts)} texts", expected, found, None)


def overlap_at_10(a: np.ndarray, b: np.ndarray, reports: np.ndarray) -> float | None:
    """Mean share of the first ten of ``reports`` [n, dim] that queries ``a`` and ``b`` [films, dim] have in common."""
    k = min(10, len(reports))
    if not len(a) or not k:
        return None
    first, second = (np.argsort(-(queries @ reports.T), axis=1, kind="stable")[:, :k] for queries in (a, b))
    return float(np.mean([len(set(x) & set(y)) / k for x, y in zip(first, second, strict=True)]))


def _compare(tower: str, precision: str, origin: str, expected: np.ndarray, found: Sequence[np.ndarray], max_logit: float | None) -> Parity:
    cosine = min(float((expected.astype(np.float64) * vectors).sum(axis=1).min()) for vectors in found)
    max_abs = max(_worst(expected, vectors) for vectors in found)
    return Parity(tower, precision, origin, BATCHES, max_abs, cosine, max_logit)


def _worst(a: np.ndarray, b: np.ndarray) -> float:
    """Largest absolute difference; infinite where either is not finite, so that a NaN never passes."""
    difference = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
    return difference if np.isfinite(difference) else float("inf")


def readable(paths: Sequence[Path], most: int) -> list[np.ndarray]:
    """The first films that can be read, uint8 [height, width] each."""
    films: list[np.ndarray] = []
    for path in paths:
        if len(films) == most:
            break
        try:
            films.append(read_film(path).grey)
        except FilmUnreadable:
            continue
    return films


def _drawn() -> tuple[np.ndarray, ...]:
    """Smooth random pictures of film-like sizes, from a fixed seed."""
    from PIL import Image

    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (INPUTS, 12, 10), dtype=np.uint8)
    return tuple(np.asarray(Image.fromarray(c).resize((400, 480), Image.Resampling.BICUBIC)) for c in coarse)
