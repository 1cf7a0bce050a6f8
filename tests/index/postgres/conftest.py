"""A server for these tests alone: the others do not need one."""

from collections.abc import Callable

import pytest
from any_library import made_library
from postgres import PostgresServer, database, new_database, postgres, postgres_server

__all__ = ["database", "new_database", "postgres", "postgres_server"]


@pytest.fixture
def new_library(postgres_server: PostgresServer) -> Callable[[], str]:
    """Makes an empty library and gives its URL, as its owner (a superuser) has it."""
    return lambda: made_library(postgres_server)


@pytest.fixture
def as_role(postgres_server: PostgresServer) -> Callable[[str, str], str]:
    """The URL of a library for another login, which is made on the server if it is not there."""
    import psycopg

    def url_of(url: str, role: str) -> str:
        with psycopg.connect(url, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                connection.execute(f'CREATE ROLE "{role}" LOGIN')
        return url.replace("postgresql://postgres@", f"postgresql://{role}@")

    return url_of
