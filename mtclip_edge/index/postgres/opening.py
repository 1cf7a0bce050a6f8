"""A library in PostgreSQL opened for queries by a bundle's model."""

from typing import TYPE_CHECKING, Any

from ...errors import ArtefactIncompatible
from ..index import SearchChoice
from .connect import Readers, connected, has_empty_password, said, without_password
from .graph import index_name, is_valid
from .library import PostgresLibrary
from .schema import check_schema
from .search import Search

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
            stem, ef, recall, current = _model(connection, url, model_id)
            warnings = tuple(_warnings(connection, url, current))
            ready = is_valid(connection, index_name(stem))
    finally:
        connection.close()
    readers = Readers(url)
    search = Search(readers, stem, dim, ef, _choice(ready, recall, exact))
    return PostgresLibrary(url, readers, search, model_id, dim, warnings, only)


def _choice(ready: bool, recall: float | None, exact: bool | None) -> SearchChoice:
    if exact:
        return SearchChoice("exact", "asked for")
    if not ready:
        return SearchChoice("exact", "the library has no HNSW index of this model", fallback=True)
    if recall is None:
        return SearchChoice("hnsw", "its recall was not measured")
    return SearchChoice("hnsw", f"recall@10 against exact search was {recall:.4f} when it was last measured")


def _model(connection: "Connection[Any]", url: str, model_id: str) -> tuple[str, int, float | None, bool]:
    """The stem of the names of a model's tables, how widely its graph is searched, its recall, and whether it
    is the library's current one.

    Errors: ArtefactIncompatible where the library has no vectors of it.
    """
    models = connection.execute("SELECT id, vectors, ef, recall, current FROM model ORDER BY at").fetchall()
    for known, stem, ef, recall, current in models:
        if known == model_id:
            return str(stem), int(ef), recall, bool(current)
    found = ", ".join(f"{known[:23]}…" for known, *_ in models) or "none yet"
    shown = without_password(url)
    expected = f"expected {model_id[:23]}…, found {found}"
    hint = f"mtclip index push BUNDLE {shown}"
    raise ArtefactIncompatible(f"{shown}: no vectors of this bundle's model", expected, hint)


def _warnings(connection: "Connection[Any]", url: str, current: bool) -> list[str]:
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
    if not current:
        lines.append(f"{shown}: this bundle's model is no longer, or not yet, the library's current one")
    return lines
