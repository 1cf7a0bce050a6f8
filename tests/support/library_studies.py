"""Studies for libraries, with vectors that stand for them, and what a library holds of a site."""

from collections.abc import Sequence

import numpy as np

from mtclip_edge.index.postgres.loading import Loaded, load
from mtclip_edge.index.postgres.rows import Batch, FilmVector, Words
from mtclip_edge.index.postgres.writing import Writer
from mtclip_edge.studies import Film, Study

MODEL, DIM = "sha256:" + "ab" * 32, 16
OTHER_MODEL = "sha256:" + "cd" * 32
TEXTS = (
    "Small left pleural effusion. Heart size is normal.",
    "No pleural effusion or pneumothorax.",
    "The lungs are clear.",
    "Old healed fracture of a left rib; zwischenrippe.",
    "Cardiomegaly with interstitial edema.",
)


def some_studies(count: int, prefix: str = "s", texts: Sequence[str] = TEXTS) -> list[Study]:
    """With twins: study n has text n modulo their number, and a number of its own from the second round on."""
    return [
        Study(
            f"{prefix}{n:05d}",
            f"{prefix}p{n // 2}",
            films=(),
            report=texts[n % len(texts)] if n < 2 * len(texts) else f"{texts[n % len(texts)]} Item {n}.",
            label=("normal", "abnormal", "unknown")[n % 3],
            finding_labels=("Effusion",) if n % 5 == 0 else (),
            source=f"manifest:{prefix}",
            date=f"20{n % 20:02d}-03-01",
        )
        for n in range(count)
    ]


def vector_of(words: str) -> np.ndarray:
    """A unit vector of its own for each text, float32 [DIM]."""
    seed = np.frombuffer(words.encode(errors="replace").ljust(8, b"\0"), np.uint8).astype(np.uint32)
    vector = np.random.default_rng(seed).normal(size=DIM)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def batch_of(studies: Sequence[Study], films: bool = False) -> Batch:
    shown: dict[str, Words] = {}
    for study in studies:
        shown.setdefault(study.report_id or "", Words.of(study))
    vectors = {name: vector_of(words.text) for name, words in shown.items()}
    told = [FilmVector(s.study_id, f"{s.study_id}.png", "PA", vector_of(s.study_id)) for s in studies]
    return Batch(studies, shown, vectors, told if films else ())


def loaded(
    url: str, studies: Sequence[Study], site: str = "main", model: str = MODEL, films: bool = False
) -> Loaded:
    """Put studies into a site, with a graph."""
    with Writer(url, site) as writer:
        stem = writer.model(model, DIM)
        done = load(writer, batch_of(studies, films), model, stem)
        writer.with_graph(stem, DIM)
    return done


def with_film(study: Study) -> Study:
    from dataclasses import replace
    from pathlib import Path

    return replace(study, films=(Film(Path(f"{study.study_id}.png"), f"{study.study_id}.png", "PA"),))
