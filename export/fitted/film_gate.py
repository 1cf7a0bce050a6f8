"""Fit a bundle's film gate: distributions on training films, thresholds on validation films. Needs no torch and no other pictures.

A threshold is the finite-sample quantile of split conformal prediction: of n validation films, the ceil((1 - share) (n + 1))-th score.
A new film of the same kind is above it with a probability of at most ``share``; fewer than 1/share - 1 films give none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ...bundle.bundle import Bundle
from ...bundle.generations import changing, commit
from ...bundle.records import FilmGateRecord, GaussianRecord
from ...errors import FilmUnreadable, SourceUnusable
from ...files import replace_with
from ...films.gate import GRID, FilmGate, Gaussian, Thresholds, layout_of, mirrored
from ...films.read import read_film
from ...inference.device import choose
from ...inference.embed_films import embed_films
from ...inference.encoders import FilmEncoder, open_film_encoder
from ...inference.precision import most_exact
from ...progress import Progress, Say, silent
from ...studies import Study
from ...workers import batches

# Shares of ordinary films that each score may warn of: 5 % together. What rejects is half a percent.
LAYOUT_WARN, EMBEDDING_WARN, MIRROR_WARN, LAYOUT_REJECT = 0.03, 0.01, 0.01, 0.005
SHRINKAGE = 0.1  # towards the mean variance: 64 and 256 numbers from a few hundred films are estimated poorly else
LAYOUT_AXES, EMBEDDING_AXES = 64, 32  # more axes of the embedding would measure quantization: 18 % alarms at a cosine of 0.98, 32 give 9 %
MOST_FITTED = 2000  # training films, spread evenly
LEAST_FITTED = 100
FEWEST_HELD = math.ceil(1 / LAYOUT_WARN) - 1
BATCH = 16
FIELDS = GRID * GRID


@dataclass(frozen=True)
class GateInputs:
    """Films as the gate sees them: layouts float64 [films, 64], unit vectors float32 [films, dim]."""

    layouts: np.ndarray
    vectors: np.ndarray


def layouts_of(encoder: FilmEncoder, paths: Sequence[Path], progress: Progress = silent) -> tuple[np.ndarray, np.ndarray]:
    """Layouts float64 [read, 64] of the films that can be read, and which of the paths those are, int64 [read]."""
    found: list[np.ndarray | None] = []
    for batch in batches(paths, lambda path: _layout(encoder, path), BATCH):
        found += batch
        progress("layouts", len(found), len(paths))
    read = [i for i, layout in enumerate(found) if layout is not None]
    rows = [layout for layout in found if layout is not None]
    return np.stack(rows) if rows else np.zeros((0, FIELDS)), np.array(read, np.int64)


def _layout(encoder: FilmEncoder, path: Path) -> np.ndarray | None:
    try:
        return layout_of(encoder.prepare(read_film(path).grey))
    except FilmUnreadable:
        return None


def look(
    encoder: FilmEncoder, paths: Sequence[Path], dim: int, known: Mapping[Path, np.ndarray] | None = None, progress: Progress = silent
) -> GateInputs:
    """Layouts and vectors of films; what cannot be read is left out. ``known`` are vectors that have been computed already."""
    layouts, read = layouts_of(encoder, paths, progress)
    vectors = dict(known or {})
    todo = [paths[i] for i in read if paths[i] not in vectors]
    found = embed_films(encoder, todo, dim, progress)
    vectors |= {todo[i]: vector for i, vector in zip(found.read, found.vectors, strict=True)}
    return GateInputs(layouts, np.stack([vectors[paths[i]] for i in read]) if len(read) else np.zeros((0, dim), np.float32))


def fit_gaussian(rows: np.ndarray, axes: int) -> Gaussian:
    """Mean and shrunk covariance of rows [n, dim], on its leading axes; the variance of the others is their mean."""
    rows = rows.astype(np.float64)
    covariance = np.cov(rows.T)
    mean_variance = np.trace(covariance) / len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * mean_variance * np.eye(len(covariance))
    variance, vectors = np.linalg.eigh(covariance)
    variance, vectors = variance[::-1], vectors[:, ::-1]
    axes = min(axes, len(variance) - 1)
    rest = float(variance[axes:].mean())
    scale = np.sqrt(np.maximum(0.0, 1 / rest - 1 / variance[:axes]))
    return Gaussian(rows.mean(axis=0).astype(np.float32), (vectors[:, :axes] * scale).T.astype(np.float32), rest)


def fit_gate(train: GateInputs, validation: GateInputs) -> FilmGate:
    """Distributions of the training films, thresholds from the validation films."""
    layout, embedding = fit_gaussian(train.layouts, LAYOUT_AXES), fit_gaussian(train.vectors, EMBEDDING_AXES)
    odd = layout.distance(validation.layouts)
    exchanged = np.array([mirrored(row) for row in validation.layouts]).reshape(-1, FIELDS)
    mirror = threshold(odd - layout.distance(exchanged), MIRROR_WARN)
    thresholds = Thresholds(
        threshold(odd, LAYOUT_WARN),
        threshold(odd, LAYOUT_REJECT),
        threshold(embedding.distance(validation.vectors), EMBEDDING_WARN),
        None if mirror is None else max(mirror, 0.0),  # below zero a film fits better as it is
    )
    return FilmGate(layout, embedding, thresholds)


def threshold(scores: np.ndarray, share: float) -> float | None:
    """What at most a share of new films exceeds; None with fewer than 1/share - 1 scores."""
    rank = math.ceil((1 - share) * (len(scores) + 1) - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else None


def write_gate(path: Path, train: GateInputs, validation: GateInputs, say: Say) -> FilmGateRecord | None:
    """Fit a gate and write its numbers; gives the manifest's ``film_gate`` entry, None where the films are too few for any threshold."""
    counts = f"fitted on {len(train.vectors)} training films, thresholds from {len(validation.vectors)} validation films"
    if len(train.vectors) < LEAST_FITTED or len(validation.vectors) < FEWEST_HELD:
        say(f"no film gate: {counts}; at least {LEAST_FITTED} and {FEWEST_HELD} are needed")
        return None
    gate = fit_gate(train, validation)
    missing = [name.replace("_", " ") for name, value in asdict(gate.thresholds).items() if value is None]
    say(f"film gate: {counts}" + (f"; too few for {', '.join(missing)}" if missing else ""))
    replace_with(path, lambda file: _save(file, gate.numbers()))
    return _record(path.name, gate, len(train.vectors), len(validation.vectors))


def _save(file: Path, numbers: np.ndarray) -> None:
    with file.open("wb") as out:
        np.save(out, numbers, allow_pickle=False)


def _record(file: str, gate: FilmGate, train: int, validation: int) -> FilmGateRecord:
    """The manifest's ``film_gate`` entry."""
    layout, embedding = (GaussianRecord(len(p.mean), len(p.axes), p.rest) for p in (gate.layout, gate.embedding))
    films = {"train": train, "validation": validation}
    shares = {"layout_warn": LAYOUT_WARN, "layout_reject": LAYOUT_REJECT, "embedding_warn": EMBEDDING_WARN, "mirror_warn": MIRROR_WARN}
    return FilmGateRecord(file, layout, asdict(gate.thresholds), shares, films, embedding)


def spread(paths: Sequence[Path], most: int = MOST_FITTED) -> list[Path]:
    """At most so many of the paths, at even distances."""
    return [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(int))] if paths else []


def films_in(studies: Sequence[Study]) -> list[Path]:
    return [film.path for study in studies for film in study.films]


def refit(path: Path, train: Sequence[Study], validation: Sequence[Study], *, say: Say = silent, progress: Progress = silent) -> Bundle:
    """Give an existing bundle a film gate, or another, as a new generation, with the bundle's own film tower.

    Errors: NotABundle, ArtefactDamaged, DeviceUnavailable, SourceUnusable (too few training films), Refused (another writer).
    """
    with changing(path) as (bundle, change):
        encoder, _ = open_film_encoder(bundle, choose("cpu"), most_exact(bundle.precisions("image")))
        dim = bundle.model.dim
        seen = look(encoder, spread(films_in(train)), dim, progress=progress)
        held = look(encoder, films_in(validation), dim, progress=progress)
        entry = write_gate(change.file("film_gate"), seen, held, say)
        if entry is None:
            raise SourceUnusable(f"{path}: no film gate can be fitted on so few films")
        before = bundle.model.film_gate
        kept = set(bundle.manifest.files) - ({before.file} if before else set())
        model = replace(bundle.model, film_gate=entry)
        manifest = replace(bundle.manifest, generation=change.generation, model=model)
        return commit(path, manifest, kept | {entry.file})
