"""The studies of a bundle read back, some at a time, with their vectors: for another store."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from ..bundle.bundle import Bundle
from ..index.postgres.rows import Batch, FilmVector, Words
from ..index.store_schema import open_store
from ..studies import Study
from .vectors import IndexFiles


class StoredStudies:
    """Every study with a report, in the order of their films' rows: so that equally near films keep their
    order. Close it after use.
    """

    def __init__(self, bundle: Bundle):
        self._files = IndexFiles.of(bundle)
        self._db: sqlite3.Connection = open_store(self._files.store)
        query = (
            "SELECT s.study_id FROM study s LEFT JOIN film f USING (study_id) WHERE report_row IS NOT NULL"
            " GROUP BY s.study_id ORDER BY min(f.row) IS NULL, min(f.row), s.study_id"
        )
        self.ids: list[str] = [study for (study,) in self._db.execute(query)]

    def close(self) -> None:
        self._db.close()

    def batches(self, size: int) -> Iterator[Batch]:
        for start in range(0, len(self.ids), size):
            yield self._batch(self.ids[start : start + size])

    def _rows(self, query: str, values: Sequence[object]) -> Iterator[tuple[Any, ...]]:
        yield from self._db.execute(query, (json.dumps(list(values)),))

    def _batch(self, ids: Sequence[str]) -> Batch:
        reports = {row: (name, Words(*words)) for row, name, *words in self._rows(_REPORTS, ids)}
        findings: dict[str, list[str]] = {}
        for study, finding in self._rows(_FINDINGS, ids):
            findings.setdefault(study, []).append(finding)
        made = {
            study: Study(
                study_id=study,
                patient_id=patient,
                films=(),
                findings=words[1],
                impression=words[2],
                report=words[0],
                label=label,
                finding_labels=tuple(findings.get(study, ())),
                split=split,
                source=source,
                date=date,
            )
            for study, patient, label, source, split, date, *words in self._rows(_STUDIES, ids)
        }
        vectors = self._files.report_vectors
        return Batch(
            [made[study] for study in ids],
            dict(reports.values()),
            {name: vectors[row] for row, (name, _) in reports.items()},
            [
                FilmVector(study, name, view, self._files.film_vectors[row])
                for row, study, name, view in self._rows(_FILMS, ids)
            ],
        )


_AMONG = "IN (SELECT value FROM json_each(?))"
_REPORTS = (
    "SELECT row, report_id, text, findings, impression FROM report WHERE row IN (SELECT report_row FROM study"
    f" WHERE study_id {_AMONG})"
)
_FINDINGS = f"SELECT study_id, name FROM finding WHERE study_id {_AMONG} ORDER BY rowid"
_FILMS = f"SELECT row, study_id, name, view FROM film WHERE study_id {_AMONG} ORDER BY row"
_STUDIES = (
    "SELECT s.study_id, patient_id, s.label, source, split, date, coalesce(w.text, r.text),"
    " coalesce(w.findings, r.findings), coalesce(w.impression, r.impression) FROM study s JOIN report r ON"
    f" r.row = report_row LEFT JOIN wording w USING (study_id) WHERE s.study_id {_AMONG}"
)
