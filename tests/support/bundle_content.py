"""What a bundle holds, to be compared with another."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.index.report_store import ReportStore
from mtclip_edge.indexing.store_writer import stored_studies
from mtclip_edge.indexing.vectors import IndexFiles


def content(path: Path) -> dict:
    """What a bundle holds, whatever the order of its rows: each study, each report with its vector, each film with its vector."""
    bundle = Bundle.open(path)
    parts = IndexFiles.of(bundle)
    with ReportStore(parts.store, bundle.model.model_id) as store:
        films = {key: parts.film_vectors[row] for key, row in store.film_rows().items()}
        stored = store.reports(range(parts.reports))
    held = {
        s.study_id: replace(s, films=tuple(sorted(s.films, key=lambda f: f.name)))
        for s in stored_studies(parts.store)
    }
    return {
        "studies": held,
        "reports": {r.report_id: (r.label, r.studies, parts.vectors[r.row]) for r in stored},
        "films": films,
        "counts": (bundle.index.reports, bundle.index.films, bundle.index.studies),
    }


def assert_same(a: dict, b: dict) -> None:
    assert a["studies"].keys() == b["studies"].keys()
    for one, other in ((a["studies"][key], b["studies"][key]) for key in a["studies"]):
        assert (one.text, one.label, one.patient_id, one.finding_labels, one.films, one.date) == (
            other.text,
            other.label,
            other.patient_id,
            other.finding_labels,
            other.films,
            other.date,
        )
    assert a["reports"].keys() == b["reports"].keys() and a["films"].keys() == b["films"].keys()
    assert a["counts"] == b["counts"]
    for key, (label, count, vector) in a["reports"].items():
        assert (label, count) == b["reports"][key][:2]
        np.testing.assert_allclose(vector, b["reports"][key][2], atol=2e-6)
    for key, vector in a["films"].items():
        np.testing.assert_allclose(vector, b["films"][key], atol=2e-6)
