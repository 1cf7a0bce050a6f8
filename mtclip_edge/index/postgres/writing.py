"""Studies into a library, site by site: in batches, each of which is there whole or not at all.

A row of vectors is written once and never updated: each new version would be inserted into the graph again. A
site has one writer at a time; a second one waits for its turn.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import Refused
from ...progress import Say, silent
from . import graph
from .connect import connected, driver, said, without_password
from .rows import storable
from .schema import add_model, add_site, check_schema

if TYPE_CHECKING:
    from psycopg import Connection

_BULK = 1_000  # reports: fewer are inserted into the graph one by one


class Writer:
    """Changes one site of a library. Use as a context manager."""

    def __init__(self, url: str, site: str):
        self.url, self.site, self.shown = url, site, without_password(url)
        self.connection: Connection[Any] = connected(url)
        try:
            with said(url):
                check_schema(self.connection, url)
                self._direct = self.connection.execute(
                    "SELECT row_security_active('mtclip.report')"
                ).fetchone() == (False,)
                self._check_site()
        except BaseException:
            self.connection.close()
            raise

    def _check_site(self) -> None:
        sql = "SELECT unnest(my_sites(current_user, true)) ORDER BY 1"
        here = [name for (name,) in self.connection.execute(sql)]
        if self.site not in here:
            known = f"this login may change {', '.join(here)}" if here else "this login may change none"
            raise Refused(
                f"{self.shown}: no site {self.site!r}",
                known,
                "mtclip library grant URL ROLE --site NAME --write",
            )

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """One transaction; other writers of this site wait."""
        with said(self.url), self.connection.transaction():
            self.connection.execute("SELECT 1 FROM counts WHERE site = %s FOR UPDATE", (self.site,))
            yield

    def model(self, model_id: str, dim: int) -> str:
        """The stem of the names of a model's tables, made where this login may. Errors: Refused."""
        with self.change():
            stem = add_model(self.connection, model_id, dim)
            self.connection.execute(
                "INSERT INTO held VALUES (%s, %s, 0, 0) ON CONFLICT DO NOTHING", (self.site, model_id)
            )
        return stem

    def held(self, study_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Of some studies those that are here: the report id and the patient of each."""
        query = (
            "SELECT s.study_id, r.report_id, s.patient_id FROM study s JOIN report r ON r.row = s.report_row"
            " WHERE s.site = %s AND s.study_id = ANY(%s)"
        )
        with said(self.url):
            rows = self.connection.execute(query, (self.site, list(study_ids)))
            return {study: (report, patient) for study, report, patient in rows}

    def bulk(self, model_id: str, most: int) -> bool:
        """Whether so many reports come, of ``most`` those that are not there, that the graph is better built
        after them.
        """
        coming = most - self.held_vectors(model_id)
        return coming > max(_BULK, self._vectors(model_id) // 2)

    def many(self, model_id: str, added: int) -> bool:
        """Whether so many were added that the recall is to be measured again."""
        return added > self._vectors(model_id) // 10

    def _vectors(self, model_id: str) -> int:
        sql = "SELECT coalesce(sum(reports), 0)::bigint FROM held WHERE model = %s"
        with said(self.url):
            ((held,),) = self.connection.execute(sql, (model_id,)).fetchall()
        return int(held)

    def without_graph(self, stem: str) -> None:
        """Errors: Refused where this login may not; the graph is then there, and grows row by row."""
        with said(self.url), suppress(driver().errors.InsufficientPrivilege):
            graph.drop(self.connection, stem)

    def with_graph(self, stem: str, dim: int) -> bool:
        """Build the graph where there is none, or where an earlier build was killed; whether it was built."""
        with said(self.url):
            if graph.is_valid(self.connection, graph.index_name(stem)):
                return False
            graph.build(self.connection, stem, dim)
            return True

    def measure(self, model_id: str, stem: str, dim: int, say: Say = silent) -> None:
        """The recall of the graph, stored where this login may."""
        with said(self.url), suppress(driver().errors.InsufficientPrivilege):
            graph.measure(self.connection, model_id, stem, dim, say)

    @property
    def generation(self) -> int:
        """How often the site was changed."""
        with said(self.url):
            sql = "SELECT generation FROM counts WHERE site = %s"
            ((generation,),) = self.connection.execute(sql, (self.site,)).fetchall()
        return int(generation)

    def store_evidence(self, model_id: str, records: Mapping[str, Any], generation: int) -> None:
        """What validation films got among the reports of the site as they were in a generation."""
        with self.change():
            self.connection.execute(
                "INSERT INTO evidence VALUES (%s, %s, %s, %s::jsonb) ON CONFLICT (site, model) DO UPDATE SET"
                " generation = excluded.generation, records = excluded.records",
                (self.site, model_id, generation, json.dumps(records)),
            )

    def unmeasured(self, model_id: str) -> tuple[bool, bool]:
        """Whether the recall, and whether the evidence of the site as it is now, were never measured."""
        sql = (
            "SELECT m.recall IS NULL, NOT EXISTS (SELECT 1 FROM evidence e JOIN counts c USING (site,"
            " generation)"
            " WHERE e.site = %s AND e.model = m.id) FROM model m WHERE m.id = %s"
        )
        with said(self.url):
            ((recall, evidence),) = self.connection.execute(sql, (self.site, model_id)).fetchall()
        return bool(recall), bool(evidence)

    def held_vectors(self, model_id: str) -> int:
        """How many reports of the site have a vector of a model."""
        sql = "SELECT coalesce(sum(reports), 0)::bigint FROM held WHERE model = %s AND site = %s"
        with said(self.url):
            ((held,),) = self.connection.execute(sql, (model_id, self.site)).fetchall()
        return int(held)

    def with_vector(self, report_ids: Sequence[str], stem: str) -> set[str]:
        """Of some reports those that are here with a vector of a model."""
        sql = (
            f"SELECT r.report_id FROM report r JOIN report_vector_{stem} v ON v.row = r.row WHERE r.site"
            f" = %s AND"
            " r.report_id = ANY(%s)"
        )
        with said(self.url):
            return {name for (name,) in self.connection.execute(sql, (self.site, list(report_ids)))}

    def note(self, what: str, how_many: int) -> None:
        """A line of the audit: who did what, and to how much; of whom or of what it says nothing."""
        self.connection.execute(
            "INSERT INTO audit (what, site, how_many) VALUES (%s, %s, %s)", (what, self.site, how_many)
        )

    def copy(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        """Rows by COPY: at once where no policy stands in between, else by a table of this session. NUL,
        which no text of a database may have, becomes the replacement character.
        """
        rows = ([storable(v) if isinstance(v, str) else v for v in row] for row in rows)
        if self._direct:
            with self.connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as out:
                for row in rows:
                    out.write_row(row)
            return
        with (
            self._staged(table, columns) as staging,
            self.connection.cursor().copy(f"COPY {staging} ({columns}) FROM STDIN") as out,
        ):
            for row in rows:
                out.write_row(row)

    def copy_vectors(self, table: str, rows: np.ndarray, vectors: np.ndarray) -> None:
        """``rows`` int64 [n] with ``vectors`` float32 [n, dim] as one binary stream."""
        if self._direct:
            self._stream(table, rows, vectors)
            return
        with self._staged(table, "row, site, vec") as staging:
            self._stream(staging, rows, vectors)

    @contextmanager
    def _staged(self, table: str, columns: str) -> Iterator[str]:
        staging = f"pg_temp.staged_{table}"
        self.connection.execute(
            f"CREATE TEMP TABLE staged_{table} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA"
        )
        yield staging
        self.connection.execute(
            f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {staging}"
        )
        self.connection.execute(f"DROP TABLE {staging}")

    def _stream(self, table: str, rows: np.ndarray, vectors: np.ndarray) -> None:
        site, dim = self.site.encode(), vectors.shape[1]
        record = np.dtype(
            [
                ("fields", ">i2"), ("of_row", ">i4"), ("row", ">i8"), ("of_site", ">i4"),
                ("site", f"S{len(site)}"), ("of_vec", ">i4"), ("dim", ">u2"), ("unused", ">u2"),
                ("vec", ">f4", (dim,)),
            ]
        )  # fmt: skip
        with self.connection.cursor().copy(
            f"COPY {table} (row, site, vec) FROM STDIN (FORMAT binary)"
        ) as out:
            out.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for start in range(0, len(rows), 4096):
                block = np.zeros(len(rows[start : start + 4096]), record)
                block["fields"], block["of_row"], block["of_site"] = 3, 8, len(site)
                block["of_vec"], block["dim"], block["site"] = 4 + 4 * dim, dim, site
                block["row"], block["vec"] = rows[start : start + 4096], vectors[start : start + 4096]
                out.write(block.tobytes())
            out.write(b"\xff\xff")

    def numbers(self, table: str, column: str, count: int) -> list[int]:
        """New numbers for the rows of a table."""
        query = "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)"
        return [n for (n,) in self.connection.execute(query, (f"mtclip.{table}", column, count))]


def add_site_of(url: str, site: str) -> None:
    """Make a site that is not there. Errors: Refused where this login may not."""
    connection = connected(url)
    try:
        with said(url), connection.transaction():
            check_schema(connection, url)
            if not connection.execute("SELECT 1 FROM site WHERE name = %s", (site,)).fetchone():
                add_site(connection, site)
    finally:
        connection.close()
