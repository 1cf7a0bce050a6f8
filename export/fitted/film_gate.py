"""Fits a bundle's film gate: a distribution on training films, thresholds on validation films. Needs no torch
and no other pictures.

A threshold is the finite-sample quantile of split conformal prediction: of n validation films, the ceil((1 -
share) (n + 1))-th score. A new film of the same kind is above it with a probability of at most ``share``;
fewer than 1/share - 1 films give none.

Of a small set, train and validation give both: five folds by patient, each scored by a distribution of the
others, so that every film gives a score (cross-conformal prediction, Vovk 2015). Its promise is held by
measurement (``benchmarks/retrieval/small_sets.py``).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ...bundle.bundle import Bundle
from ...bundle.generations import changing, commit
from ...bundle.manifest import ModelPart
from ...bundle.records import FilmGateRecord, GaussianRecord, LateralGateRecord
from ...errors import SourceUnusable
from ...evaluation.folds import patient_parts
from ...evidence.enough import (
    FOLDS,
    GATE_FITTED,
    GATE_FOLDED,
    LAYOUT_REJECT,
    LAYOUT_WARN,
    MIRROR_WARN,
    fewest,
    folded,
)
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
    return read_layouts(how, paths, progress)[0]


def read_layouts(
    how: Preprocessing, paths: Sequence[Path], progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """The same, and which of the paths they are of, int64 [read]."""
    rows: list[np.ndarray] = []
    read: list[int] = []
    for batch in film_batches(paths, how, BATCH, progress):
        rows += [layout_of(pixels) for pixels in batch.pixels]
        read += batch.read
    return np.stack(rows) if rows else np.zeros((0, FIELDS)), np.array(read, np.int64)


@dataclass(frozen=True)
class Layouts:
    """Layouts of films of train and validation, float64 [films, 64] each. ``part`` int64 [all of them]: the
    fold of each, train first, where thresholds come from folds; None where they come from validation alone.
    """

    train: np.ndarray
    validation: np.ndarray
    part: np.ndarray | None = None

    @property
    def films(self) -> dict[str, int]:
        return {"train": len(self.train), "validation": len(self.validation)}

    @property
    def both(self) -> np.ndarray:
        return np.concatenate([self.train, self.validation])

    @property
    def enough(self) -> bool:
        """Whether they give a distribution, and a threshold for a warning."""
        if self.part is not None:
            return len(self.part) >= max(GATE_FOLDED, fewest(LAYOUT_WARN))
        return len(self.train) >= GATE_FITTED and len(self.validation) >= fewest(LAYOUT_WARN)

    def few(self, kind: str = "") -> str:
        """How many films there are and are needed, ``kind`` "lateral " of laterals."""
        if self.part is not None:
            least = max(GATE_FOLDED, fewest(LAYOUT_WARN))
            return f"{len(self.part)} {kind}training and validation films, at least {least} are needed"
        counts = f"{len(self.train)} {kind}training and {len(self.validation)} {kind}validation films"
        return f"{counts}, at least {GATE_FITTED} and {fewest(LAYOUT_WARN)} are needed"

    def counts(self, kind: str = "") -> str:
        """What is fitted on how many films."""
        if self.part is not None:
            both = f"{len(self.part)} {kind}training and validation films"
            return f"fitted on {both}, thresholds by {FOLDS} folds of them"
        held = f"{len(self.validation)} {kind}validation films"
        return f"fitted on {len(self.train)} {kind}training films, thresholds from {held}"


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


def fit_gate(films: Layouts) -> FilmGate:
    """Distribution of the training films' layouts, thresholds from the validation films'; with folds both of
    all films, each scored by a distribution that its patient had no part in.
    """
    layout, scores = _fitted(films, _scores)
    mirror = threshold(scores[:, 1], MIRROR_WARN)
    best = None if mirror is None else max(mirror, 0.0)  # below zero a film fits better as it is
    warn, reject = (threshold(scores[:, 0], share) for share in (LAYOUT_WARN, LAYOUT_REJECT))
    return FilmGate(layout, Thresholds(warn, reject, best))


def fit_lateral_gate(films: Layouts) -> LateralGate:
    """The same of lateral films, each as it fits best facing one way or the other."""
    layout, scores = _fitted(films, _lateral_scores)
    return LateralGate(
        layout, Thresholds(threshold(scores[:, 0], LAYOUT_WARN), threshold(scores[:, 0], LAYOUT_REJECT))
    )


Scores = Callable[[Gaussian, np.ndarray], np.ndarray]


def _fitted(films: Layouts, scores: Scores) -> tuple[Gaussian, np.ndarray]:
    """The distribution, and scores [films, n] of films that it, or that of their fold, was not fitted on."""
    if films.part is None:
        layout = fit_gaussian(films.train, LAYOUT_AXES)
        return layout, scores(layout, films.validation)
    rows, found = films.both, []
    for part in np.unique(films.part):
        held = films.part == part
        found.append(scores(fit_gaussian(rows[~held], LAYOUT_AXES), rows[held]))
    return fit_gaussian(rows, LAYOUT_AXES), np.concatenate(found)


def _scores(layout: Gaussian, rows: np.ndarray) -> np.ndarray:
    """How odd layouts are, and how much better they fit with left and right exchanged, float64 [films, 2]."""
    odd = layout.distance(rows)
    exchanged = np.array([mirrored(row) for row in rows]).reshape(-1, FIELDS)
    return np.stack([odd, odd - layout.distance(exchanged)], axis=1)


def _lateral_scores(layout: Gaussian, rows: np.ndarray) -> np.ndarray:
    return LateralGate(layout, Thresholds()).odd(rows)[:, None]


def threshold(scores: np.ndarray, share: float) -> float | None:
    """What at most a share of new films exceeds; None with fewer than 1/share - 1 scores."""
    rank = math.ceil((1 - share) * (len(scores) + 1) - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else None


def write_gate(
    path: Path, films: Layouts, say: Say, laterals: Layouts | None = None
) -> FilmGateRecord | None:
    """Fit a gate and write its numbers; gives the manifest's ``film_gate`` entry, None where the films
    are too few for any threshold. ``laterals``: those of the lateral films, where the model was trained with
    them.
    """
    if not films.enough:
        say(f"no film gate: {films.few()}")
        return None
    gate = fit_gate(films)
    missing = [name.replace("_", " ") for name, value in asdict(gate.thresholds).items() if value is None]
    say(f"film gate: {films.counts()}" + (f"; too few for {', '.join(missing)}" if missing else ""))
    if laterals:
        gate = replace(gate, lateral=_lateral_gate(laterals, say))
    replace_with(path, lambda file: _save(file, gate.numbers()))
    record = _record(path.name, gate, films)
    if not laterals or gate.lateral is None:
        return record
    named = asdict(gate.lateral.thresholds)
    return replace(record, lateral=LateralGateRecord(_shape(gate.lateral.layout), named, laterals.films))


def _lateral_gate(films: Layouts, say: Say) -> LateralGate | None:
    if not films.enough:
        say(f"film gate: a lateral is known by its header alone: {films.few('lateral ')}")
        return None
    say(f"film gate, laterals: {films.counts('lateral ')}")
    return fit_lateral_gate(films)


def _save(file: Path, numbers: np.ndarray) -> None:
    with file.open("wb") as out:
        np.save(out, numbers, allow_pickle=False)


def _record(file: str, gate: FilmGate, films: Layouts) -> FilmGateRecord:
    """The manifest's ``film_gate`` entry."""
    layout, folds = _shape(gate.layout), None if films.part is None else FOLDS
    shares = {"layout_warn": LAYOUT_WARN, "layout_reject": LAYOUT_REJECT, "mirror_warn": MIRROR_WARN}
    return FilmGateRecord(file, layout, asdict(gate.thresholds), shares, films.films, folds=folds)


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
    how, part = Preprocessing.of(model.preprocessing), fold_of_films(train, validation)

    def of_view(view: int | None) -> Layouts:
        paths = spread(films_in(train, view)), films_in(validation, view)
        (fitted, first), (held, second) = (read_layouts(how, some, progress) for some in paths)
        read = [*(paths[0][place] for place in first), *(paths[1][place] for place in second)]
        folds = None if part is None else _balanced(np.array([part[path] for path in read], np.int64))
        return Layouts(fitted, held, folds)

    if not model.takes_laterals:
        return write_gate(file, of_view(None), say)
    return write_gate(file, of_view(FRONTAL), say, of_view(LATERAL))


def _balanced(part: np.ndarray) -> np.ndarray | None:
    """The folds of films, int64 [films]; None where one patient's films leave less than half to the other
    folds: too few to score them by.
    """
    return part if len(part) and 2 * np.bincount(part).max() <= len(part) else None


def fold_of_films(train: Sequence[Study], validation: Sequence[Study]) -> dict[Path, int] | None:
    """The fold of each film, by patient; None where validation films alone give the thresholds: they are
    enough of so many studies, or there are fewer patients than folds.
    """
    studies = [*train, *validation]
    if not folded(len(studies)) or len({study.patient_id for study in studies}) < FOLDS:
        return None
    parts = patient_parts(studies, FOLDS)
    return {film.path: int(part) for study, part in zip(studies, parts, strict=True) for film in study.films}


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
