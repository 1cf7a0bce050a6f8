"""Bundles that keep validation films, and such as are from before."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mtclip_edge.bundle.generations import changing, commit
from mtclip_edge.evidence.kept_films import KeptFilms
from mtclip_edge.indexing.store_writer import stored_studies
from mtclip_edge.indexing.vectors import IndexFiles
from mtclip_edge.studies import Film, Study


def with_kept(bundle: Path, films: int, seed: int = 3) -> list[Study]:
    """Give a bundle validation films of the index's own patients and of others, as an export does; gives their studies."""
    random = np.random.default_rng(seed)
    without_kept(bundle)
    with changing(bundle) as (opened, change):
        held = list(stored_studies(IndexFiles.of(opened).store))
        patients = [s.patient_id for s in held[: films // 2]] + [f"new{n}" for n in range(films - films // 2)]
        studies = [
            Study(
                f"val{n}",
                patient,
                films=(Film(Path("x"), "x", "PA"),),
                label=("normal", "abnormal")[n % 2],
                source="v",
            )
            for n, patient in enumerate(patients)
        ]
        vectors = random.normal(size=(films, opened.model.dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        kept = KeptFilms.made(
            [s.films[0] for s in studies], studies, vectors, random.normal(size=films).astype(np.float32)
        )
        record = kept.write(change.file("validation"))
        assert record is not None
        site = replace(opened.manifest.site, validation=record)
        manifest = replace(opened.manifest, generation=change.generation, site=site)
        commit(bundle, manifest, {*opened.manifest.files, record.file})
    return studies


def without_kept(bundle: Path) -> Path:
    """As a bundle of before."""
    with changing(bundle) as (opened, change):
        site = replace(opened.manifest.site, validation=None, evidence={})
        manifest = replace(opened.manifest, generation=change.generation, site=site)
        commit(bundle, manifest, manifest.named | {"MODEL_CARD.md"})
    return bundle
