"""``mtclip index export`` of a library: one site's reports, studies and films with the embeddings of its
current model, the tables and columns of a bundle's.
"""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Refused
from ..index.postgres.connect import connected, said, without_password
from ..index.postgres.schema import check_schema
from ..index.postgres.search import as_array
from .parquet_export import ROWS, Rows, write_tables

if TYPE_CHECKING:
    from psycopg import Connection

_REPORTS = ("row", "report_id", "text", "findings", "impression", "label", "normal", "abnormal", "unknown")
_STUDIES = (
    "study_id", "patient_id", "report_id", "report", "label", "source", "split", "date", "finding_labels",
)  # fmt: skip
_FILMS = ("row", "study_id", "image_path", "view")
_OF_STUDIES = """
SELECT s.study_id, s.patient_id, r.report_id, coalesce(w.text, r.text), s.label, s.source, s.split, s.date,
    (SELECT string_agg(n.name, '|' ORDER BY n.key) FROM finding n WHERE n.study = s.key)
FROM study s JOIN report r ON r.row = s.report_row LEFT JOIN wording w ON w.study = s.key
WHERE s.site = %s ORDER BY s.study_id
"""

# The current one, unless the site has none of its vectors.
_MODEL = """
SELECT m.vectors, m.dim FROM model m JOIN held h ON h.model = m.id WHERE h.site = %s AND h.reports > 0
ORDER BY m.current DESC, h.reports DESC LIMIT 1
"""


def export_library(url: str, to: Path, site: str) -> list[str]:
    """Write a new folder, all of it or none, of one state of the library; returns a line for each file.

    Errors: LibraryUnreachable, Refused (no model; the folder is there), ExtraMissing (psycopg, pyarrow).
    """
    with closing(connected(url)) as connection, said(url):
        check_schema(connection, url)
        model = connection.execute(_MODEL, (site,)).fetchone()
        if model is None:
            raise Refused(f"{without_password(url)}: no reports in site {site}", "nothing was written")
        stem, dim = model
        reports = (
            f"SELECT {', '.join(f'r.{name}' for name in _REPORTS)}, v.vec FROM report r JOIN"
            f" report_vector_{stem} v ON v.row = r.row WHERE r.site = %s ORDER BY r.row"
        )
        films = (
            f"SELECT f.row, s.study_id, f.name, f.view, v.vec FROM film f JOIN study s ON s.key = f.study"
            f" JOIN"
            f" film_vector_{stem} v ON v.row = f.row WHERE f.site = %s ORDER BY f.row"
        )
        connection.execute("SET default_transaction_isolation = 'repeatable read'")
        with connection.transaction():
            rows = partial(_rows, connection, site)
            return write_tables(
                to,
                {
                    "reports": (_REPORTS, partial(rows, reports, dim)),
                    "studies": (_STUDIES, partial(rows, _OF_STUDIES, None)),
                    "films": (_FILMS, partial(rows, films, dim)),
                },
            )


def _rows(connection: "Connection[Any]", site: str, sql: str, dim: int | None) -> Iterator[Rows]:
    """In pieces, from a cursor of the server; the last column is the vector where there is a ``dim``."""
    with connection.cursor(name="mtclip_export", binary=True) as cursor:
        cursor.execute(sql, (site,))
        first = True
        while (part := cursor.fetchmany(ROWS)) or first:
            first = False
            if dim is None:
                yield part, None
                continue
            vectors = np.array([as_array(row[-1]) for row in part], np.float32).reshape(-1, dim)
            yield [row[:-1] for row in part], vectors
