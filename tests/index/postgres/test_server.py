"""The server of these tests: a fresh database a test, on a socket, with the extension for vectors."""

from collections.abc import Callable

import pytest


def test_each_database_is_fresh(new_database: Callable[[], str]) -> None:
    psycopg = pytest.importorskip("psycopg")
    for url in (new_database(), new_database()):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE one (a int)")
            connection.execute("CREATE EXTENSION vector")
            assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
