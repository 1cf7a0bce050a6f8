"""A library in PostgreSQL opened for queries by a bundle's model."""

from typing import TYPE_CHECKING, Any

from ...errors import ArtefactIncompatible
from ..index import SearchChoice
from .connect import Readers, connected, has_empty_password, said, without_password
from .graph import index_name
from .library import PostgresLibrary
from .schema import check_schema
from .search import Ask, Search

if TYPE_CHECKING:
    from psycopg import Connection


def open_library(
    url: str, model_id: str, dim: int, exact: bool | None = None, only: tuple[str, ...] = ()
) -> PostgresLibrary:
    """What a bundle with this model searches in place of its own reports. ``exact`` as of ``Retriever.open``;
    ``only``: of the sites that may be read these alone, empty for all.

    Errors: LibraryUnreachable, Refused (no library; a login without rights), ArtefactIncompatible (an older
    server, another schema, no vectors of this model), WrongOption, ExtraMissing.
    """
    connection = connected(url)
    try:
        with said(url):
            check_schema(connection, url)
            stem, current = _model(connection, url, model_id)
            warnings = tuple(_warnings(connection, url, model_id, current))
    finally:
        connection.close()
    readers = Readers(url)

    def asked(rows: Ask) -> tuple[int, SearchChoice]:
        ((ef, recall, ready),) = rows(_GRAPH, (f"mtclip.{index_name(stem)}", model_id))
        return int(ef), _choice(bool(ready), recall, exact)

    search = Search(readers, stem, dim, asked)
    return PostgresLibrary(url, readers, search, model_id, dim, warnings, only)


_GRAPH = """
SELECT m.ef, m.recall, coalesce((SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass(%s)),
false) FROM model m WHERE m.id = %s
"""


def _choice(ready: bool, recall: float | None, exact: bool | None) -> SearchChoice:
    if exact:
        return SearchChoice("exact", "asked for")
    if not ready:
        return SearchChoice("exact", "the library has no HNSW index of this model", fallback=True)
    if recall is None:
        return SearchChoice("hnsw", "its recall was not measured")
    return SearchChoice("hnsw", f"recall@10 against exact search was {recall:.4f} when it was last measured")


def _model(connection: "Connection[Any]", url: str, model_id: str) -> tuple[str, bool]:
    """The stem of the names of a model's tables, and whether it is the library's current one.

    Errors: ArtefactIncompatible where the library has no vectors of it.
    """
    models = connection.execute("SELECT id, vectors, current FROM model ORDER BY at").fetchall()
    for known, stem, current in models:
        if known == model_id:
            return str(stem), bool(current)
    found = ", ".join(f"{known[:23]}…" for known, *_ in models) or "none yet"
    shown = without_password(url)
    expected = f"expected {model_id[:23]}…, found {found}"
    hint = f"mtclip index push BUNDLE {shown}"
    raise ArtefactIncompatible(f"{shown}: no vectors of this bundle's model", expected, hint)


def _warnings(connection: "Connection[Any]", url: str, model_id: str, current: bool) -> list[str]:
    shown, lines = without_password(url), list[str]()
    if has_empty_password(url):
        lines.append(f"{shown}: the URL has an empty password")
    row = connection.execute(
        "SELECT rolsuper OR rolbypassrls, row_security_active('mtclip.report') FROM pg_roles WHERE rolname ="
        " current_user"
    ).fetchone()
    if row is not None and not row[1]:
        who = "is a superuser" if row[0] else "owns the library"
        lines.append(f"{shown}: this login {who}: it reads all sites, whatever their policies say")
    lacking = connection.execute(
        "SELECT (SELECT coalesce(sum(reports), 0) FROM counts) - (SELECT coalesce(sum(reports), 0) FROM held"
        " WHERE model = %s)",
        (model_id,),
    ).fetchone()
    if lacking is not None and lacking[0] > 0:
        lines.append(
            f"{shown}: {lacking[0]} reports have no vector of this model and are not found: mtclip index push"
        )
    if not current:
        lines.append(f"{shown}: this bundle's model is no longer, or not yet, the library's current one")
    return lines
