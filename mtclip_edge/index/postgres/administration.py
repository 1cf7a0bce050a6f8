"""What the owner of a library does: look at it, check it, let logins read or write, change its model."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from ...errors import Refused, WrongOption
from ...progress import Say, silent
from . import graph
from .connect import connected, driver, said, without_password
from .schema import add_site, alone, check_schema, create, migrate, version_of

if TYPE_CHECKING:
    from psycopg import Connection

SCHEMA = "mtclip.library/1"
_FAR = 1e-3  # that a vector's length may be from one


@contextmanager
def opened(url: str) -> Iterator["Connection[Any]"]:
    """A library of this version. Errors: LibraryUnreachable, Refused, ArtefactIncompatible, WrongOption."""
    with closing(connected(url)) as connection, said(url):
        check_schema(connection, url)
        yield connection


def create_library(url: str) -> str:
    """Make a library, or bring an older one up to date; one line on what was done. Errors: as of
    ``create``.
    """
    with closing(connected(url)) as connection, said(url):
        if version_of(connection) is None:
            create(connection, url)
            return "a library with the site main"
        before = migrate(connection, url)
        now = version_of(connection)
        if before == now:
            raise Refused(f"{without_password(url)}: there is a library already", "nothing was changed")
        return f"version {before} brought up to {now}"


def library_statistics(url: str) -> dict[str, Any]:
    """JSON of schema mtclip.library/1: what this login may read, by site and model."""
    with opened(url) as connection:
        sites = connection.execute(
            "SELECT site, studies, reports, films, normal, abnormal, generation FROM counts ORDER BY site"
        ).fetchall()
        names = ("name", "studies", "reports", "films", "normal", "abnormal", "generation")
        (pgvector,) = connection.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        ).fetchone() or ("",)
        return {
            "schema": SCHEMA,
            "url": without_password(url),
            "version": version_of(connection),
            "server": connection.info.server_version,
            "pgvector": pgvector,
            "sites": [dict(zip(names, site, strict=True)) for site in sites],
            "models": [_model(connection, *row) for row in connection.execute(_MODELS).fetchall()],
        }


_MODELS = "SELECT id, vectors, dim, current, ef, recall FROM model ORDER BY at"


def _model(
    connection: "Connection[Any]", id: str, stem: str, dim: int, current: bool, ef: int, recall: float | None
) -> dict[str, Any]:
    (reports, films) = connection.execute(
        "SELECT coalesce(sum(reports), 0)::bigint, coalesce(sum(films), 0)::bigint FROM held WHERE model"
        " = %s",
        (id,),
    ).fetchone() or (0, 0)
    (size,) = connection.execute(
        "SELECT pg_total_relation_size(to_regclass(%s))", (f"mtclip.report_vector_{stem}",)
    ).fetchone() or (0,)
    index = "hnsw" if graph.is_valid(connection, graph.index_name(stem)) else None
    return {
        "id": id,
        "current": current,
        "dim": dim,
        "reports": reports,
        "films": films,
        "index": index,
        "ef": ef,
        "recall": recall,
        "bytes": size,
    }


def verified(url: str, say: Say = silent) -> Iterator[tuple[str, str | None]]:
    """What was looked at, and what is wrong with it, None where nothing is: counts against rows, vectors of
    every report and film, their lengths, the index and its recall.

    Damage of pages is for the database's own checksums. Errors: as of ``opened``.
    """
    with opened(url) as connection:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            found_of = [_counted(connection, *row) for row in connection.execute(_TOLD).fetchall()]
        yield from found_of
        for id, stem, dim, current, *_ in connection.execute(_MODELS).fetchall():
            yield from _verified_model(connection, id, stem, dim, current, say)


def _counted(connection: "Connection[Any]", site: str, *told: int) -> tuple[str, str | None]:
    found = list(connection.execute(_COUNTED, {"site": site}).fetchone() or ())
    wrong = None if list(told) == found else f"counted {_pairs(found)}, expected {_pairs(list(told))}"
    return f"site {site}: {_pairs(list(told[:3]))}", wrong


_TOLD = "SELECT site, studies, reports, films, normal, abnormal, words FROM counts ORDER BY site"
_COUNTED = """
SELECT (SELECT count(*) FROM study WHERE site = %(site)s), count(*),
    (SELECT count(*) FROM film WHERE site = %(site)s), count(*) FILTER (WHERE label = 'normal'),
    count(*) FILTER (WHERE label = 'abnormal'), coalesce(sum(length), 0)::bigint
FROM report WHERE site = %(site)s
"""


def _pairs(counts: list[int]) -> str:
    names = ("studies", "reports", "films", "normal", "abnormal", "words")
    return ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=False))


def _verified_model(
    connection: "Connection[Any]", id: str, stem: str, dim: int, current: bool, say: Say
) -> Iterator[tuple[str, str | None]]:
    for kind in ("report", "film"):
        sql = (
            f"SELECT count(*), count(v.row), count(*) FILTER (WHERE abs((v.vec <#> v.vec) + 1) > {_FAR}),"
            f" count(*) FILTER (WHERE v.site <> t.site) FROM {kind} t LEFT JOIN {kind}_vector_{stem} v ON"
            " v.row = t.row WHERE t.site IN (SELECT site FROM held WHERE model = %s AND reports > 0)"
        )
        ((rows, there, odd, strange),) = connection.execute(sql, (id,)).fetchall()
        wrong = [
            what
            for what, count in (
                (f"{rows - there} have none", (rows - there) if current else 0),
                (f"{odd} are no unit vectors", odd),
                (f"{strange} are of another site", strange),
            )
            if count
        ]
        yield f"model {id[:23]}…: {there} vectors of {kind}s", "; ".join(wrong) or None
    if not graph.is_valid(connection, graph.index_name(stem)):
        yield f"model {id[:23]}…: HNSW index", "missing or unfinished: mtclip index push builds it"
        return
    try:
        graph.measure(connection, id, stem, dim, say)
    except driver().errors.InsufficientPrivilege:
        say("the recall is measured by the library's owner alone")
    yield f"model {id[:23]}…: HNSW index", None


def grant(url: str, role: str, site: str, write: bool) -> list[str]:
    """Let a login read a site, or write it too; the site is made where it is not there. Gives the lines to
    say.

    Errors: Refused where the server has no such role; WrongOption for a name that no site may have.
    """
    if not site.replace("-", "").replace("_", "").isalnum() or not site.isascii():
        raise WrongOption(f"--site {site!r}", "expected letters, digits, - and _")
    from psycopg.sql import SQL, Identifier

    lines = []
    with opened(url) as connection, connection.transaction():
        alone(connection)
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
            what = f"{without_password(url)}: no role {role!r} on this server"
            raise Refused(what, "nothing was changed", f'as its administrator: CREATE ROLE "{role}" LOGIN')
        if not connection.execute("SELECT 1 FROM site WHERE name = %s", (site,)).fetchone():
            add_site(connection, site)
            lines.append(f"site {site} made")
        which = "writer" if write else "reader"  # who may write may read
        ((granted,),) = connection.execute(f"SELECT {which} FROM site WHERE name = %s", (site,)).fetchall()
        connection.execute(SQL("GRANT {} TO {}").format(Identifier(granted), Identifier(role)))
        what = f"grant to {role}{' to write' if write else ''}"
        connection.execute("INSERT INTO audit (what, site) VALUES (%s, %s)", (what, site))
        lines.append(f'to take it back: REVOKE "{granted}" FROM "{role}"')
    return [f"{role} may {'read and write' if write else 'read'} site {site}", *lines]


def switch(url: str, model_id: str) -> None:
    """Make a model the library's current one. Errors: Refused where it lacks vectors of some reports."""
    with opened(url) as connection, connection.transaction():
        stem = _stem(connection, url, model_id)
        ((lacking,),) = connection.execute(
            f"SELECT count(*) FROM report r WHERE NOT EXISTS (SELECT 1 FROM report_vector_{stem} v WHERE"
            f" v.row ="
            " r.row)"
        ).fetchall()
        if lacking:
            what = f"{without_password(url)}: {lacking} reports have no vector of this model"
            raise Refused(
                what, "nothing was changed", "mtclip index push or index add with its bundle adds them"
            )
        connection.execute("UPDATE model SET current = false WHERE current")
        connection.execute("UPDATE model SET current = true WHERE id = %s", (model_id,))
        connection.execute("INSERT INTO audit (what) VALUES ('switch')")


def drop_model(url: str, model_id: str) -> None:
    """Delete the vectors of a model that is not the current one. Errors: Refused."""
    with opened(url) as connection, connection.transaction():
        stem = _stem(connection, url, model_id)
        if connection.execute("SELECT current FROM model WHERE id = %s", (model_id,)).fetchone() == (True,):
            what = f"{without_password(url)}: this is the library's current model"
            raise Refused(
                what, "nothing was changed", "mtclip library switch URL BUNDLE makes another one current"
            )
        connection.execute(f"DROP TABLE report_vector_{stem}, film_vector_{stem}")
        for table in ("held", "evidence"):
            connection.execute(f"DELETE FROM {table} WHERE model = %s", (model_id,))
        connection.execute("DELETE FROM model WHERE id = %s", (model_id,))
        connection.execute("INSERT INTO audit (what) VALUES ('drop-model')")


def model_named(url: str, beginning: str) -> str:
    """The id of the one model whose id begins so, with or without ``sha256:``. Errors: Refused."""
    with opened(url) as connection:
        known = [str(id) for (id,) in connection.execute("SELECT id FROM model ORDER BY id").fetchall()]
    found = [id for id in known if beginning and (id.startswith(beginning) or id[7:].startswith(beginning))]
    if len(found) != 1:
        here = ", ".join(f"{id[:23]}…" for id in known) or "none"
        what = f"{without_password(url)}: {len(found) or 'no'} models begin with {beginning!r}"
        raise Refused(what, f"here are {here}")
    return found[0]


def _stem(connection: "Connection[Any]", url: str, model_id: str) -> str:
    row = connection.execute("SELECT vectors FROM model WHERE id = %s", (model_id,)).fetchone()
    if row is None:
        shown = without_password(url)
        raise Refused(f"{shown}: no vectors of this model", hint=f"mtclip index push BUNDLE {shown}")
    return str(row[0])
