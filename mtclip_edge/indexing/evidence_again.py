"""What a change of the reports means for percentiles and verdicts: they are measured again, with the films
that the bundle keeps of validation.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.generations import Change, file_record
from ..bundle.manifest import ValidationRecord
from ..bundle.records import EvidenceRecord, IndexRecord
from ..evidence.kept_films import KeptFilms
from ..evidence.measuring import measured, nearest_in_bundle
from ..index.report_store import ReportStore

Again = tuple[ValidationRecord | None, Mapping[str, EvidenceRecord]]


def measured_again(bundle: Bundle, change: Change, index: IndexRecord, kept: KeptFilms | None) -> Again:
    """What a generation keeps of validation films and what they get in it, whose files are written; ``kept``
    None: the films are those of before. A bundle that keeps none has what it had.
    """
    site = bundle.manifest.site
    films = kept or KeptFilms.of(bundle)
    if films is None or (kept is None and index.vectors == site.index.vectors):
        return site.validation, site.evidence
    record = site.validation if kept is None else kept.write(change.file("validation"))
    if record is None:
        change.written.remove(change.file("validation").name)
    file = change.path / index.vectors
    reports = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)[: index.reports])
    with ReportStore(change.path / index.store, bundle.model.model_id) as store:
        nearest = partial(nearest_in_bundle, store=store, reports=reports)
        return record, measured(films, bundle.model, nearest, file_record(file).sha256)
