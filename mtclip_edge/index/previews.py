"""Reading previews: a small film of each report, in one SQLite file that no query opens which does not show
them.
"""

import sqlite3
from pathlib import Path
from typing import Any

from ..errors import ArtefactDamaged

SCHEMA = """
CREATE TABLE preview (report_id TEXT PRIMARY KEY, study_id TEXT NOT NULL, webp BLOB NOT NULL);
"""


class Previews:
    """Read access to a bundle's previews. Any thread may use it."""

    def __init__(self, path: Path):
        self._path = path
        self._db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )

    def of(self, report_id: str) -> tuple[bytes, str] | None:
        """A report's film, the bytes of a grey WebP, and the study that it is of; None where it has none.

        Errors: ArtefactDamaged.
        """
        rows = self._rows("SELECT webp, study_id FROM preview WHERE report_id = ?", (report_id,))
        return rows[0] if rows else None

    def report_ids(self) -> set[str]:
        """The reports that have one. Errors: ArtefactDamaged."""
        return {report_id for (report_id,) in self._rows("SELECT report_id FROM preview")}

    def close(self) -> None:
        self._db.close()

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise ArtefactDamaged(f"{self._path}: {error}") from None
