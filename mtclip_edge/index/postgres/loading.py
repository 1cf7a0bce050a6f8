"""One batch of studies on its way into the tables of a library."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import Refused
from ...studies import Study, majority
from .rows import Batch, FilmVector, ReadWords, findings_of, folded, read_words, votes
from .writing import Writer

_COLUMNS = {
    "report": "row, site, report_id, text, findings, impression, label, normal, abnormal, unknown, words,"
    " affirmed, denied, length, english",
    "study": "key, site, study_id, patient_id, report_row, label, source, split, date",
    "wording": "study, site, text, findings, impression",
    "film": "row, site, study, name, view",
    "finding": "site, study, report_row, name, folded, denied",
}


@dataclass(frozen=True)
class Loaded:
    """What one batch brought: studies and reports that were not there, and vectors."""

    studies: int = 0
    reports: int = 0
    films: int = 0
    vectors: int = 0

    def __add__(self, other: "Loaded") -> "Loaded":
        mine, theirs = vars(self), vars(other)
        return Loaded(*(mine[name] + theirs[name] for name in mine))


def load(writer: Writer, batch: Batch, model_id: str, stem: str) -> Loaded:
    """Add what is not there: studies, their reports, films, and vectors of this model. Errors: Refused
    where a study is there with another report or patient; nothing of the batch is written then.
    """
    with writer.change():
        return _Load(writer, batch, model_id, stem).done()


class _Load:
    """One batch on its way."""

    def __init__(self, writer: Writer, batch: Batch, model_id: str, stem: str):
        self._writer, self._batch, self._model, self._stem = writer, batch, model_id, stem
        self._connection, self._site = writer.connection, writer.site

    def done(self) -> Loaded:
        held = self._writer.held([study.study_id for study in self._batch.studies])
        self._check(held)
        new = [study for study in self._batch.studies if study.study_id not in held]
        rows, made = self._reports(new)
        keys = self._studies(new, rows)
        films = self._films(keys)
        vectors = self._vectors(rows)
        if not new and vectors:  # whoever keeps what was asked before asks again
            sql = "UPDATE counts SET generation = generation + 1 WHERE site = %s"
            self._connection.execute(sql, (self._site,))
            self._writer.note("add vectors", vectors)
        if new:
            touched = {study.report_id or "" for study in new}
            labels = self._labelled({name: rows[name] for name in touched}) - self._before
            self._count(new, made, films, labels)
        return Loaded(len(new), len(made), films, vectors)

    def _check(self, held: Mapping[str, tuple[str, str]]) -> None:
        other = [
            s.study_id
            for s in self._batch.studies
            if s.study_id in held and held[s.study_id] != (s.report_id, s.patient_id)
        ]
        if other:
            what = (
                f"{self._writer.shown}: {len(other)} of these studies are there with another report or"
                f" patient: {', '.join(other[:3])}"
            )
            hint = f"mtclip index remove {self._writer.shown} --site {self._site} --study {other[0]}"
            raise Refused(what, "nothing of this batch was added", hint)

    def _rows_of(self, report_ids: Iterable[str]) -> dict[str, int]:
        query = "SELECT report_id, row FROM report WHERE site = %s AND report_id = ANY(%s)"
        return dict(self._connection.execute(query, (self._site, list(report_ids))).fetchall())

    def _reports(self, new: Sequence[Study]) -> tuple[dict[str, int], list[str]]:
        """The row of every report of the batch, and the ids of those that are written now."""
        wanted = dict.fromkeys(study.report_id or "" for study in self._batch.studies)
        rows, voted = self._rows_of(wanted), votes(new)
        made = [report for report in wanted if report not in rows]
        self._before = self._labelled(there := {name: rows[name] for name in voted if name in rows})
        if there:
            self._vote({name: voted[name] for name in there}, rows)
        read = read_words([self._batch.shown[report].text for report in made])
        numbers = self._writer.numbers("report", "row", len(made))
        rows |= dict(zip(made, numbers, strict=True))
        self._read = dict(zip(made, read, strict=True))
        self._writer.copy(
            "report", _COLUMNS["report"], (self._report(rows[name], name, voted[name]) for name in made)
        )
        self._spell(read)
        return rows, made

    def _report(self, row: int, name: str, voted: Sequence[int]) -> Sequence[Any]:
        shown, read = self._batch.shown[name], self._read[name]
        said_of = (shown.text, shown.findings, shown.impression, majority(voted[0], voted[1]), *voted)
        vectors = (read.words, read.affirmed, read.denied, read.length, read.english)
        return (row, self._site, name, *said_of, *vectors)

    def _vote(self, there: Mapping[str, Sequence[int]], rows: Mapping[str, int]) -> None:
        """More studies of reports that are there."""
        columns = zip(*((rows[name], *counts) for name, counts in there.items()), strict=True)
        self._connection.execute(
            "UPDATE report r SET normal = r.normal + v.n, abnormal = r.abnormal + v.a, unknown = r.unknown +"
            " v.u, label = CASE WHEN r.normal + v.n = r.abnormal + v.a THEN 'unknown' WHEN r.normal + v.n >"
            " r.abnormal + v.a THEN 'normal' ELSE 'abnormal' END FROM unnest(%s::bigint[], %s::int[],"
            " %s::int[], %s::int[]) AS v(row, n, a, u) WHERE r.row = v.row",
            [list(column) for column in columns],
        )

    def _labelled(self, rows: Mapping[str, int]) -> np.ndarray:
        """How many of some reports are normal and abnormal."""
        query = (
            "SELECT count(*) FILTER (WHERE label = 'normal'), count(*) FILTER (WHERE label = 'abnormal')"
            " FROM report WHERE row = ANY(%s)"
        )
        return np.array(self._connection.execute(query, (list(rows.values()),)).fetchone())

    def _spell(self, read: Sequence[ReadWords]) -> None:
        words = sorted(frozenset[str]().union(*(one.spelt for one in read)))
        self._connection.execute(
            "INSERT INTO spelt SELECT %s, word FROM unnest(%s::text[]) AS word ON CONFLICT DO NOTHING",
            (self._site, words),
        )

    def _studies(self, new: Sequence[Study], rows: Mapping[str, int]) -> dict[str, int]:
        """The key of each new study."""
        keys = dict(
            zip((s.study_id for s in new), self._writer.numbers("study", "key", len(new)), strict=True)
        )
        site, told = self._site, self._told(rows)
        self._writer.copy(
            "study",
            _COLUMNS["study"],
            (
                (keys[s.study_id], site, s.study_id, s.patient_id, rows[s.report_id or ""], s.label, s.source,
                 s.split, s.date)
                for s in new
            ),
        )  # fmt: skip
        own = [s for s in new if s.text != told[s.report_id or ""]]
        self._writer.copy(
            "wording",
            _COLUMNS["wording"],
            ((keys[s.study_id], site, s.text, s.findings, s.impression) for s in own),
        )
        self._writer.copy(
            "finding",
            _COLUMNS["finding"],
            (
                (site, keys[s.study_id], rows[s.report_id or ""], name, folded(name), denied)
                for s in new
                for name, denied in findings_of(s, told[s.report_id or ""])
            ),
        )
        return keys

    def _told(self, rows: Mapping[str, int]) -> dict[str, str]:
        """The words that each report of the batch shows: of those that were there, theirs."""
        told = {name: self._batch.shown[name].text for name in self._read}
        there = [name for name in rows if name not in told]
        query = "SELECT report_id, text FROM report WHERE site = %s AND report_id = ANY(%s)"
        return told | dict(self._connection.execute(query, (self._site, there)).fetchall())

    def _films(self, keys: Mapping[str, int]) -> int:
        """Write the films of new studies; give those of others the vectors of this model that they lack."""
        films = [film for film in self._batch.films if film.study_id in keys]
        numbers = self._writer.numbers("film", "row", len(films))
        self._writer.copy(
            "film",
            _COLUMNS["film"],
            (
                (row, self._site, keys[film.study_id], film.name, film.view)
                for row, film in zip(numbers, films, strict=True)
            ),
        )
        pairs = list(zip(numbers, films, strict=True)) + self._lacking_films(keys)
        self._put("film", [row for row, _ in pairs], [film.vector for _, film in pairs])
        return len(films)

    def _lacking_films(self, new: Mapping[str, int]) -> list[tuple[int, FilmVector]]:
        films = {(f.study_id, f.name): f for f in self._batch.films if f.study_id not in new}
        query = (
            "SELECT s.study_id, f.name, f.row FROM study s JOIN film f ON f.study = s.key WHERE s.site ="
            " %s AND"
            f" s.study_id = ANY(%s) AND NOT EXISTS (SELECT 1 FROM film_vector_{self._stem} v WHERE v.row ="
            " f.row)"
        )
        rows = self._connection.execute(query, (self._site, sorted({study for study, _ in films})))
        return [(row, films[study, name]) for study, name, row in rows if (study, name) in films]

    def _vectors(self, rows: Mapping[str, int]) -> int:
        """Write the vectors of reports that have none of this model."""
        query = f"SELECT row FROM report_vector_{self._stem} WHERE row = ANY(%s)"
        there = {row for (row,) in self._connection.execute(query, (list(rows.values()),))}
        lacking = [name for name, row in rows.items() if row not in there]
        self._put("report", [rows[name] for name in lacking], [self._batch.vectors[n] for n in lacking])
        return len(lacking)

    def _put(self, kind: str, rows: Sequence[int], vectors: Sequence[np.ndarray]) -> None:
        if not rows:
            return
        table = np.stack(vectors).astype(np.float32)
        self._writer.copy_vectors(f"{kind}_vector_{self._stem}", np.array(rows, np.int64), table)
        self._connection.execute(
            f"UPDATE held SET {kind}s = {kind}s + %s WHERE site = %s AND model = %s",
            (len(rows), self._site, self._model),
        )

    def _count(self, new: Sequence[Study], made: Sequence[str], films: int, labels: np.ndarray) -> None:
        read = self._read.values()
        self._connection.execute(
            "UPDATE counts SET studies = studies + %s, reports = reports + %s, films = films + %s, words ="
            " words + %s, other_language = other_language + %s, normal = normal + %s, abnormal ="
            " abnormal + %s,"
            " generation = generation + 1 WHERE site = %s",
            (
                len(new), len(made), films, sum(one.length for one in read),
                sum(not one.english for one in read), *labels.tolist(), self._site,
            ),
        )  # fmt: skip
        self._writer.note("add", len(new))
