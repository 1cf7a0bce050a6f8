"""Fits a bundle's film gate: a distribution on training films, thresholds on validation films. Needs no torch
and no other pictures.

A threshold is the finite-sample quantile of split conformal prediction: of n validation films, the ceil((1 -
share) (n + 1))-th score. A new film of the same kind is above it with a probability of at most ``share``;
fewer than 1/share - 1 films give none.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ...bundle.bundle import Bundle
from ...bundle.generations import changing, commit
from ...bundle.manifest import ModelPart
from ...bundle.records import FilmGateRecord, GaussianRecord, LateralGateRecord
from ...errors import SourceUnusable
from ...evidence.enough import GATE_FITTED, LAYOUT_REJECT, LAYOUT_WARN, MIRROR_WARN, fewest
from ...files import replace_with
from ...films.gate import GRID, FilmGate, Gaussian, LateralGate, Thresholds, layout_of, mirrored
from ...inference.embed_films import film_batches
from ...inference.preprocessing import Preprocessing
from ...progress import Progress, Say, silent
from ...studies import FRONTAL, LATERAL, Study, view_code

SHRINKAGE = 0.1  # towards the mean variance: 64 numbers from a few hundred films are estimated poorly else
LAYOUT_AXES = 64
MOST_FITTED = 2000  # training films, spread evenly
BATCH = 16
FIELDS = GRID * GRID


def layouts_of(how: Preprocessing, paths: Sequence[Path], progress: Progress = silent) -> np.ndarray:
    """Layouts float64 [read, 64] of the films that can be read, each as the tower gets it."""
    rows = [
        layout_of(pixels) for batch in film_batches(paths, how, BATCH, progress) for pixels in batch.pixels
    ]
    return np.stack(rows) if rows else np.zeros((0, FIELDS))


def fit_gaussian(rows: np.ndarray, axes: int) -> Gaussian:
    """Mean and shrunk covariance of rows [n, dim], on its leading axes; the variance of the others is
    their mean.
    """
    rows = rows.astype(np.float64)
    covariance = np.cov(rows.T)
    mean_variance = np.trace(covariance) / len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * mean_variance * np.eye(len(covariance))
    variance, vectors = np.linalg.eigh(covariance)
    variance, vectors = variance[::-1], vectors[:, ::-1]
    axes = min(axes, len(variance) - 1)
    rest = float(variance[axes:].mean())
    scale = np.sqrt(np.maximum(0.0, 1 / rest - 1 / variance[:axes]))
    return Gaussian(
        rows.mean(axis=0).astype(np.float32), (vectors[:, :axes] * scale).T.astype(np.float32), rest
    )


def fit_gate(train: np.ndarray, validation: np.ndarray) -> FilmGate:
    """Distribution of the training films' layouts, thresholds from the validation films', float64 [films,
    64] each.
    """
    layout = fit_gaussian(train, LAYOUT_AXES)
    odd = layout.distance(validation)
    exchanged = np.array([mirrored(row) for row in validation]).reshape(-1, FIELDS)
    mirror = threshold(odd - layout.distance(exchanged), MIRROR_WARN)
    best = None if mirror is None else max(mirror, 0.0)  # below zero a film fits better as it is
    return FilmGate(layout, Thresholds(threshold(odd, LAYOUT_WARN), threshold(odd, LAYOUT_REJECT), best))


def threshold(scores: np.ndarray, share: float) -> float | None:
    """What at most a share of new films exceeds; None with fewer than 1/share - 1 scores."""
    rank = math.ceil((1 - share) * (len(scores) + 1) - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else None


def fit_lateral_gate(train: np.ndarray, validation: np.ndarray) -> LateralGate:
    """The same of lateral films, each as it fits best facing one way or the other."""
    unset = LateralGate(fit_gaussian(train, LAYOUT_AXES), Thresholds())
    odd = unset.odd(validation)
    return replace(unset, thresholds=Thresholds(threshold(odd, LAYOUT_WARN), threshold(odd, LAYOUT_REJECT)))


def write_gate(
    path: Path,
    train: np.ndarray,
    validation: np.ndarray,
    say: Say,
    laterals: tuple[np.ndarray, np.ndarray] | None = None,
) -> FilmGateRecord | None:
    """Fit a gate and write its numbers; gives the manifest's ``film_gate`` entry, None where the films
    are too few for any threshold. ``laterals``: layouts of the lateral films of train and validation, where
    the model was trained with them.
    """
    counts = f"fitted on {len(train)} training films, thresholds from {len(validation)} validation films"
    if len(train) < GATE_FITTED or len(validation) < fewest(LAYOUT_WARN):
        say(f"no film gate: {counts}; at least {GATE_FITTED} and {fewest(LAYOUT_WARN)} are needed")
        return None
    gate = fit_gate(train, validation)
    missing = [name.replace("_", " ") for name, value in asdict(gate.thresholds).items() if value is None]
    say(f"film gate: {counts}" + (f"; too few for {', '.join(missing)}" if missing else ""))
    if laterals:
        gate = replace(gate, lateral=_lateral_gate(*laterals, say))
    replace_with(path, lambda file: _save(file, gate.numbers()))
    record = _record(path.name, gate, len(train), len(validation))
    if not laterals or gate.lateral is None:
        return record
    films = {"train": len(laterals[0]), "validation": len(laterals[1])}
    named = asdict(gate.lateral.thresholds)
    return replace(record, lateral=LateralGateRecord(_shape(gate.lateral.layout), named, films))


def _lateral_gate(train: np.ndarray, validation: np.ndarray, say: Say) -> LateralGate | None:
    counts = f"{len(train)} lateral training films and {len(validation)} lateral validation films"
    if len(train) < GATE_FITTED or len(validation) < fewest(LAYOUT_WARN):
        say(f"film gate: a lateral is known by its header alone: {counts} are too few")
        return None
    say(f"film gate: laterals are known by {counts}")
    return fit_lateral_gate(train, validation)


def _save(file: Path, numbers: np.ndarray) -> None:
    with file.open("wb") as out:
        np.save(out, numbers, allow_pickle=False)


def _record(file: str, gate: FilmGate, train: int, validation: int) -> FilmGateRecord:
    """The manifest's ``film_gate`` entry."""
    layout = _shape(gate.layout)
    films = {"train": train, "validation": validation}
    shares = {"layout_warn": LAYOUT_WARN, "layout_reject": LAYOUT_REJECT, "mirror_warn": MIRROR_WARN}
    return FilmGateRecord(file, layout, asdict(gate.thresholds), shares, films)


def _shape(layout: Gaussian) -> GaussianRecord:
    return GaussianRecord(len(layout.mean), len(layout.axes), layout.rest)


def spread(paths: Sequence[Path], most: int = MOST_FITTED) -> list[Path]:
    """At most so many of the paths, at even distances."""
    return (
        [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).astype(int))]
        if paths
        else []
    )


def films_in(studies: Sequence[Study], view: int | None = None) -> list[Path]:
    """Films of some studies, or those of one view (``studies.view_code``)."""
    films = (film for study in studies for film in study.films)
    return [film.path for film in films if view is None or view_code(film.view) == view]


def gate_for(
    file: Path,
    model: ModelPart,
    train: Sequence[Study],
    validation: Sequence[Study],
    say: Say,
    progress: Progress = silent,
) -> FilmGateRecord | None:
    """``write_gate`` for a model: laterals by themselves where it was trained with them."""
    how = Preprocessing.of(model.preprocessing)

    def both(view: int | None) -> tuple[np.ndarray, np.ndarray]:
        fitted = layouts_of(how, spread(films_in(train, view)), progress)
        return fitted, layouts_of(how, films_in(validation, view), progress)

    if not model.takes_laterals:
        return write_gate(file, *both(None), say)
    return write_gate(file, *both(FRONTAL), say, both(LATERAL))


def refit(
    path: Path,
    train: Sequence[Study],
    validation: Sequence[Study],
    *,
    say: Say = silent,
    progress: Progress = silent,
) -> Bundle:
    """Give an existing bundle a film gate, or another, as a new generation, by the bundle's own
    preprocessing.

    Errors: NotABundle, ArtefactDamaged, SourceUnusable (too few training films), Refused (another writer).
    """
    with changing(path) as (bundle, change):
        entry = gate_for(change.file("film_gate"), bundle.manifest.model, train, validation, say, progress)
        if entry is None:
            raise SourceUnusable(f"{path}: no film gate can be fitted on so few films")
        before = bundle.manifest.model.film_gate
        kept = set(bundle.manifest.files) - ({before.file} if before else set())
        model = replace(bundle.manifest.model, film_gate=entry)
        manifest = replace(bundle.manifest, generation=change.generation, model=model)
        return commit(path, manifest, kept | {entry.file})
