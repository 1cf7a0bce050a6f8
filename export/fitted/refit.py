"""Fits what depends on a site's films with the site's own: calibration, operating point, percentiles,
verdicts and thresholds of the film gate. Needs no torch.

The maker's values stay in the bundle, and hold again after ``undo``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ...bundle.bundle import Bundle
from ...bundle.generations import Change, changing
from ...bundle.manifest import RefitRecord
from ...bundle.records import CalibrationRecord
from ...errors import Refused, SourceUnusable
from ...evidence.enough import LAYOUT_REJECT, LAYOUT_WARN, MIRROR_WARN, OF_EACH_LABEL
from ...evidence.kept_films import KeptFilms
from ...evidence.promise import share_interval, specificity_interval
from ...evidence.validation_reference import LEAST
from ...films.gate import FilmGate, mirrored
from ...indexing.build import publish
from ...inference.device import choose
from ...inference.embed_films import FilmVectors, embed_films
from ...inference.encoders import open_film_encoder
from ...inference.preprocessing import Preprocessing
from ...progress import Progress, Say, silent
from ...studies import FRONTAL, LABEL_CODES, Film, Study, view_code
from ...train.calibration import SPECIFICITY, fit_calibration
from .film_gate import FIELDS, layouts_of, threshold


@dataclass(frozen=True)
class SiteFilms:
    """A site's frontal films that could be read, with their studies and what the film tower makes of them."""

    films: tuple[Film, ...]
    studies: tuple[Study, ...]
    found: FilmVectors

    @property
    def labels(self) -> np.ndarray:
        """As of ``LABEL_CODES``, int64 [films]."""
        return np.array([LABEL_CODES[study.label] for study in self.studies], np.int64)


def refit(
    path: Path,
    studies: Sequence[Study],
    *,
    device: str = "auto",
    progress: Progress = silent,
    say: Say = silent,
) -> Bundle:
    """A new generation of a bundle whose queries are measured by these studies' films. Those of an earlier
    refit are replaced.

    Errors: NotABundle, ArtefactDamaged, SourceUnusable (fewer than ``LEAST`` films), DeviceUnavailable,
    Refused (another writer).
    """
    with changing(path, progress) as (bundle, change):
        site = _embedded(bundle, studies, device, progress, say)
        calibration = _calibration(bundle, site, say)
        gate = _gate_thresholds(bundle, site, progress, say)
        labels = site.labels
        record = RefitRecord(
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            films=len(labels),
            normal=int((labels == 0).sum()),
            abnormal=int((labels == 1).sum()),
            calibration=calibration,
            film_gate=gate,
        )
        before, found = KeptFilms.of(bundle), site.found
        salt = before.salt if before else None
        new = KeptFilms.made(site.films, site.studies, found.vectors, found.logits, salt=salt, site=True)
        kept = before.with_site(new) if before else new
        say(f"percentiles and verdicts: by {len(labels)} films of this site")
        return _published(bundle, change, record, kept)


def undo(path: Path) -> Bundle:
    """A new generation with the maker's values.

    Errors: as of ``refit``; Refused where nothing was refitted.
    """
    with changing(path) as (bundle, change):
        if bundle.manifest.site.refit is None:
            raise Refused(f"{path}: nothing was refitted here", hint=f"mtclip refit {path} SOURCE")
        before = KeptFilms.of(bundle)
        return _published(bundle, change, None, before and before.with_site(None))


def _published(bundle: Bundle, change: Change, record: RefitRecord | None, kept: KeptFilms | None) -> Bundle:
    site = replace(bundle.manifest.site, refit=record)
    changed = replace(bundle, manifest=replace(bundle.manifest, site=site))
    return publish(changed, change, bundle.index, previews=site.previews, validation=kept, strictly=True)


def _embedded(
    bundle: Bundle, studies: Sequence[Study], device: str, progress: Progress, say: Say
) -> SiteFilms:
    pairs = [(f, s) for s in studies for f in s.films]
    frontal = [(f, s) for f, s in pairs if view_code(f.view) == FRONTAL]
    if len(frontal) < len(pairs):
        say(f"{len(pairs) - len(frontal)} lateral films are left out: frontal ones are refitted")
    precision = "fp32" if "fp32" in bundle.precisions("image") else "auto"
    encoder, _ = open_film_encoder(bundle, choose(device), precision)
    found = embed_films(encoder, [f.path for f, _ in frontal], bundle.model.dim, progress)
    for problem in found.problems:
        say(f"left out: {problem}")
    if len(found.read) < LEAST:
        raise SourceUnusable(
            f"{len(found.read)} frontal films: too few to refit anything", f"at least {LEAST} are needed"
        )
    chosen = [frontal[row] for row in found.read]
    return SiteFilms(tuple(f for f, _ in chosen), tuple(s for _, s in chosen), found)


def _calibration(bundle: Bundle, site: SiteFilms, say: Say) -> CalibrationRecord | None:
    """Temperature and operating point; None, and those of before hold, where labels are too few."""
    if not bundle.model.abnormal_head:
        return None
    labels, logits = site.labels, site.found.logits
    fitted = fit_calibration(labels, logits)
    if fitted is None:
        counts = f"{(labels == 0).sum()} normal and {(labels == 1).sum()} abnormal"
        needed = f"{OF_EACH_LABEL} of each are needed"
        say(f"calibration and operating point stay: {counts} films are labelled, {needed}")
        return None
    for line in promise_lines(labels, logits, fitted.threshold):
        say(line)
    return fitted.record()


def promise_lines(labels: np.ndarray, logits: np.ndarray, operating_point: float) -> list[str]:
    """What an operating point promises by the films that it was fitted on: labels int [films], 0 normal, 1
    abnormal, -1 unknown; logits float32 [films].
    """
    normal, abnormal = int((labels == 0).sum()), logits[labels == 1]
    below = int(np.ceil(SPECIFICITY * normal - 1e-9))
    low, high = specificity_interval(normal, below)
    hits = int((abnormal >= operating_point).sum())
    least, most = share_interval(hits, len(abnormal))
    return [
        f"operating point by {normal} normal films: specificity {low:.2f} to {high:.2f} on further films of "
        "this kind (95 %, exact)",
        f"sensitivity there: {hits} of {len(abnormal)} abnormal films, {least:.2f} to {most:.2f}",
    ]


def _gate_thresholds(
    bundle: Bundle, site: SiteFilms, progress: Progress, say: Say
) -> dict[str, float | None] | None:
    """The film gate's thresholds by this site's films; the shape of a chest film stays the maker's. One that
    so few films give none for stays as it was.
    """
    record = bundle.manifest.model.film_gate
    if record is None:
        say("the bundle has no film gate, so none is refitted")
        return None
    shape = (record.layout.dim, record.layout.axes, record.layout.rest)
    gate = FilmGate.load(bundle.file(record.file), shape, record.thresholds)
    layouts = layouts_of(Preprocessing.of(bundle.model.preprocessing), [f.path for f in site.films], progress)
    odd = gate.layout.distance(layouts)
    exchanged = np.array([mirrored(row) for row in layouts]).reshape(-1, FIELDS)
    mirror = threshold(odd - gate.layout.distance(exchanged), MIRROR_WARN)
    fitted = {
        "layout_warn": threshold(odd, LAYOUT_WARN),
        "layout_reject": threshold(odd, LAYOUT_REJECT),
        "mirror_warn": None if mirror is None else max(mirror, 0.0),
    }
    stay = [name.replace("_", " ") for name, value in fitted.items() if value is None]
    now = {name: record.thresholds.get(name) if value is None else value for name, value in fitted.items()}
    warn, reject = now["layout_warn"], now["layout_reject"]
    if warn is not None and reject is not None and reject < warn:
        now["layout_reject"] = warn
    kept = f"; too few for {', '.join(stay)}: as before" if stay else ""
    say(f"film gate: thresholds by {len(layouts)} films of this site{kept}")
    return now
