"""``eval`` of a bundle: its own graphs, its own tokenizer, no torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle
from .device import choose
from .encoder import FilmEncoder
from .errors import FilmUnreadable, SourceUnusable, TextTowerMissing, not_among
from .evaluation import Cases, evaluate
from .images import read_film
from .retriever import open_text_encoder
from .sources import Reading
from .studies import SPLITS, Study

SCHEMA = "mtclip.eval/1"
Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


def document(artefact: Path, kind: str, data: str, split: str, result: dict[str, Any]) -> dict[str, Any]:
    """One evaluation as JSON, schema mtclip.eval/1."""
    return {"schema": SCHEMA, "artefact": str(artefact), "kind": kind, "data": data, "split": split, "result": result}


def evaluate_bundle(
    path: Path, studies: Sequence[Study], *, device: str = "auto", say: Say = lambda _: None, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """All figures of a bundle on some studies. Without a text tower, what needs report embeddings is None.

    Errors: NotABundle, ArtefactDamaged, SourceUnusable (no film can be read).
    """
    bundle = Bundle.open(path)
    chosen = choose(device)
    precision = next(iter(bundle.manifest["graphs"]["image"]))
    encoder = FilmEncoder.load(bundle.graph("image", precision), bundle.preprocessing, chosen)
    cases = Cases.of(studies)
    read, vectors, logits = _embed(encoder, cases, say, progress)
    cases = cases.only(read)
    try:
        reports = open_text_encoder(bundle, chosen).encode(cases.texts) if cases.reports else None
    except TextTowerMissing as missing:
        say(str(missing))
        reports = None
    return evaluate(cases, vectors, logits if bundle.manifest["abnormal_head"] else None, reports)


def of_split(reading: Reading, split: str) -> list[Study]:
    """The studies of a split that have a film. Errors: WrongOption, SourceUnusable."""
    if split not in (*SPLITS, "all"):
        raise not_among("split", split, (*SPLITS, "all"))
    studies = [s for s in reading.studies if s.films and split in (s.split, "all")]
    if not studies:
        raise SourceUnusable(f"{reading.spec}: no film in the split {split}", "use --split all for a source of its own")
    return studies


def _embed(encoder: FilmEncoder, cases: Cases, say: Say, progress: Progress) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the films that could be read, their unit vectors and logits."""
    read: list[int] = []
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    pending: list[np.ndarray] = []
    for i, film in enumerate(cases.films):
        try:
            pending.append(read_film(film.path).grey)
            read.append(i)
        except FilmUnreadable as error:
            say(f"left out: {error}")
        if len(pending) == 16:
            parts.append(encoder.encode_films(pending))
            pending = []
            progress("films", i + 1, len(cases.films))
    if pending:
        parts.append(encoder.encode_films(pending))
    if not parts:
        raise SourceUnusable("no film can be read")
    return np.array(read), np.concatenate([v for v, _ in parts]), np.concatenate([logit for _, logit in parts])
