"""Connections to a database: how a URL is read, who may connect how, and what an error says.

A password never stands in a command: libpq reads ``~/.pgpass``, a service file or PGPASSWORD. Off this
machine the server proves who it is (``sslmode=verify-full``) unless the URL says otherwise.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import (
    ArtefactIncompatible,
    ExtraMissing,
    LibraryUnreachable,
    MtclipError,
    Refused,
    WrongOption,
)
from ...folders import is_url
from ...installation import install_command

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

T = TypeVar("T")
OLDEST_SERVER, OLDEST_PGVECTOR = 15, (0, 8, 6)
TIMEOUT_S = 30  # of one statement of a query, unless the URL's ``options`` say otherwise
_CONNECT_S = 10
_WAIT_S = 5  # for a connection of the pool: longer, and the database is down or overrun
MOST_CONNECTIONS = 4


def driver() -> Any:
    """psycopg, of the extra ``library``. Errors: ExtraMissing."""
    try:
        import pgvector.psycopg  # noqa: F401
        import psycopg
        import psycopg_pool  # noqa: F401
    except ImportError as error:
        if "libpq" in str(error):
            hint = "pip install 'psycopg[binary]', or this system's libpq"
            raise ExtraMissing("a library needs libpq, which is not here", hint=hint) from None
        raise ExtraMissing("a library needs psycopg and pgvector", hint=install_command("library")) from None
    logger = logging.getLogger("psycopg")
    if not logger.handlers:  # else what the pool tries again would stand on stderr
        logger.addHandler(logging.NullHandler())
    return psycopg


def settings_of(url: str) -> dict[str, Any]:
    """What libpq is told. Errors: WrongOption for what is no URL, ExtraMissing."""
    psycopg = driver()
    if not is_url(url):
        expected = "expected postgresql://host/database, or service=name of a service file"
        raise WrongOption(f"library {without_password(url)!r}", expected)
    try:
        settings: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        expected = "expected postgresql://host/database, or service=name of a service file"
        raise WrongOption(f"library {without_password(url)!r} cannot be read", expected) from None
    if not _is_here(_host(settings)) and "service" not in settings:
        settings.setdefault("sslmode", os.environ.get("PGSSLMODE", "verify-full"))
    settings.setdefault("connect_timeout", _CONNECT_S)
    settings.setdefault("application_name", "mtclip")
    return settings


def _host(settings: Mapping[str, Any]) -> str:
    """Where a connection goes, as libpq decides it; empty for a socket of this machine."""
    address = settings.get("hostaddr") or os.environ.get("PGHOSTADDR")
    return str(address or settings.get("host") or os.environ.get("PGHOST", ""))


def _is_here(host: str) -> bool:
    return not host or host.startswith("/") or host in ("localhost", "127.0.0.1", "::1")


def check_encrypted(connection: "Connection[Any]", url: str) -> None:
    """Errors: Refused where words of reports would cross a network in plain sight, and nobody said so."""
    info = connection.info
    if connection.pgconn.ssl_in_use or _is_here(info.hostaddr or info.host):
        return
    if "sslmode" in settings_of(url) or "PGSSLMODE" in os.environ:
        return
    what = f"{without_password(url)}: this connection is not encrypted"
    raise Refused(what, hint="say sslmode=verify-full in the service file, or what it is to be")


def has_empty_password(url: str) -> bool:
    """Whether a URL says that there is none, which a server should not accept."""
    return re.match(r"\w+://[^/@?]*:@", url) is not None


def check_no_password(url: str) -> None:
    """Errors: Refused for a password in a command, which everybody on the machine can read."""
    if settings_of(url).get("password"):
        what = "a password in a command stands in the list of processes for all to read"
        raise Refused(what, "nothing was asked", "put it in ~/.pgpass, a service file or PGPASSWORD")


_SECRET = ("password", "sslpassword", "passfile", "sslkey")


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    with suppress(MtclipError, driver().Error):
        found = driver().conninfo.conninfo_to_dict(url)
        if any(name in found for name in _SECRET) and not _IN_LOGIN.match(url):
            return str(
                driver().conninfo.make_conninfo(**{n: v for n, v in found.items() if n not in _SECRET})
            )
    return _IN_LOGIN.sub(r"\1@", url)


_IN_LOGIN = re.compile(r"^(\w+://[^/@?:]*):[^/@?]*@(?!.*password)")


@contextmanager
def said(url: str) -> Iterator[None]:
    """What a database refuses as an error of ours, without a word of what was asked."""
    psycopg = driver()
    import psycopg_pool

    shown = without_password(url)
    try:
        yield
    except psycopg.errors.QueryCanceled:
        raise LibraryUnreachable(
            f"{shown}: took longer than the database allows",
            hint="options=-c%20statement_timeout=… in the URL",
        ) from None
    except psycopg.errors.InsufficientPrivilege:
        hint = "the library's owner may let you: mtclip library grant URL ROLE --site NAME"
        raise Refused(f"{shown}: this login may not do that", hint=hint) from None
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise no_library(url) from None
    except (psycopg.DataError, UnicodeEncodeError):
        raise Refused(f"{shown}: something here is no text that a database can hold") from None
    except (psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex):
        raise Refused(f"{shown}: something here is longer than the database takes") from None
    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
        what = f"{shown}: somebody else changed the same at the same time"
        raise LibraryUnreachable(what, hint="try again") from None
    except psycopg.errors.DiskFull as error:
        raise OSError(28, "No space left in the database", shown) from error
    except (psycopg.OperationalError, psycopg_pool.PoolTimeout, psycopg.InterfaceError) as error:
        raise LibraryUnreachable(f"{shown}: {_first_line(error)}", hint="is the database up?") from None
    except psycopg.Error as error:  # its words may quote a row
        raise Refused(f"{shown}: the database refused ({type(error).__name__}, {error.sqlstate})") from None


def no_library(url: str) -> MtclipError:
    """There is a database, and no library in it."""
    shown = without_password(url)
    return Refused(f"{shown}: no library in this database", hint=f"mtclip library create {shown}")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def connected(url: str) -> "Connection[Any]":
    """One connection in which each statement is its own transaction; for writers. Errors: as of ``said``."""
    psycopg = driver()
    with said(url):
        connection = psycopg.connect(autocommit=True, **settings_of(url))
    try:
        with said(url):
            check_encrypted(connection, url)
            check_server(connection, url)
            _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: "Connection[Any]") -> None:
    """Our tables without a schema's name; vectors as arrays, where the extension is there."""
    from pgvector.psycopg import register_vector

    connection.execute("SET search_path = mtclip, public")
    if connection.execute("SELECT to_regtype('vector')").fetchone() != (None,):
        register_vector(connection)


def check_server(connection: "Connection[Any]", url: str) -> None:
    """Errors: ArtefactIncompatible for a server or an extension of before."""
    shown, found = without_password(url), connection.info.server_version // 10_000
    if found < OLDEST_SERVER:
        what = f"{shown}: PostgreSQL {found}"
        raise ArtefactIncompatible(what, f"expected {OLDEST_SERVER} or newer")
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if row is not None:
        check_pgvector(row[0], shown)


def check_pgvector(version: str, shown: str) -> None:
    """Errors: ArtefactIncompatible: older ones lose rows of a filter, overflow a buffer, or damage an
    index.
    """
    if tuple(int(part) for part in version.split(".")[:3] if part.isdecimal()) < OLDEST_PGVECTOR:
        expected = ".".join(map(str, OLDEST_PGVECTOR))
        hint = "ALTER EXTENSION vector UPDATE, after the server has the newer one"
        raise ArtefactIncompatible(f"{shown}: pgvector {version}", f"expected {expected} or newer", hint)


class Readers:
    """Some connections of a process that only read. Any thread may ask; ``reading`` gives one thread one
    state of the database for all that it asks.
    """

    def __init__(self, url: str):
        self._url = url
        self._pinned = threading.local()
        self._pool = self._opened()

    def _opened(self) -> "ConnectionPool[Any]":
        driver()
        from psycopg_pool import ConnectionPool

        with said(self._url):
            pool: ConnectionPool[Any] = ConnectionPool(
                kwargs={"autocommit": True, **settings_of(self._url)},
                min_size=1,
                max_size=MOST_CONNECTIONS,
                open=False,
                timeout=_WAIT_S,
                configure=self._configured,
                reconnect_timeout=_CONNECT_S,
                name="mtclip",
            )
            pool.open()
        return pool

    def _configured(self, connection: "Connection[Any]") -> None:
        _prepare(connection)
        for name, value in (
            ("default_transaction_read_only", "on"),
            ("default_transaction_isolation", "'repeatable read'"),
            ("statement_timeout", f"'{TIMEOUT_S}s'"),
            ("hnsw.iterative_scan", "relaxed_order"),
            ("hnsw.max_scan_tuples", "20000"),
            ("jit", "off"),
        ):
            if name != "statement_timeout" or "statement_timeout" not in str(
                settings_of(self._url).get("options", "")
            ):
                connection.execute(f"SET {name} = {value}")

    def rows(self, query: str, values: Any = ()) -> list[Any]:
        """All rows of one question."""
        return self.reading(lambda: self._pinned.connection.execute(query, values, binary=True).fetchall())

    def reading(self, ask: Callable[[], T]) -> T:
        """What ``ask`` gives, all of one state of the database; where the connection breaks it is asked once
        more.
        """
        if self.inside:
            return ask()
        psycopg = driver()
        import psycopg_pool

        with said(self._url):
            try:
                return self._in_one(ask)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if isinstance(error, psycopg.errors.QueryCanceled | psycopg_pool.PoolTimeout):
                    raise
                self._pool.check()  # what is broken goes
                return self._in_one(ask)

    def _in_one(self, ask: Callable[[], T]) -> T:
        with self._pool.connection() as connection, connection.transaction():
            self._pinned.connection = connection
            try:
                return ask()
            finally:
                self._pinned.connection = None

    @property
    def inside(self) -> bool:
        """Whether this thread is within ``reading``."""
        return getattr(self._pinned, "connection", None) is not None

    def set_ef(self, ef: int) -> None:
        """How widely the graph is searched until this answer ends."""
        self._pinned.connection.execute(f"SET LOCAL hnsw.ef_search = {int(ef)}")

    def close(self) -> None:
        self._pool.close()
