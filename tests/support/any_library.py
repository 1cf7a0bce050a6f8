"""All query tests against a database: with MTCLIP_TEST_LIBRARY=postgres every bundle that is opened has its reports pushed into a
database of its own, and these are searched in its place. What a test then sees is held to what it sees of the bundle's own files.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from postgres import PostgresServer, postgres_server

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.index.library import Library

WANTED = os.environ.get("MTCLIP_TEST_LIBRARY") == "postgres"
__all__ = ["WANTED", "postgres_server", "searched_in_postgres"]
_NUMBERS = count(1)


def made_library(server: PostgresServer) -> str:
    """The URL of a new, empty library."""
    import psycopg

    from mtclip_edge.index.postgres.connect import connected
    from mtclip_edge.index.postgres.schema import create

    name = f"library_{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
    url = server.url(name)
    connection = connected(url)
    try:
        create(connection, url)
    finally:
        connection.close()
    return url


@pytest.fixture(autouse=True, scope="session")
def searched_in_postgres(postgres_server: PostgresServer) -> Iterator[None]:
    """Opening a bundle opens a library with its reports."""
    from mtclip_edge.index.postgres.opening import open_library
    from mtclip_edge.indexing.push import push_bundle
    from mtclip_edge.retrieval import opening

    urls: dict[str, str] = {}

    def library(
        pool: ThreadPoolExecutor, bundle: Bundle, options: opening.OpenOptions
    ) -> Callable[[], Library]:
        if options.library is not None:
            return given(pool, bundle, options)
        if bundle.identity not in urls:
            url = made_library(postgres_server)
            push_bundle(Path(bundle.path), url, "main")
            urls[bundle.identity] = url
        model = bundle.model
        found = open_library(urls[bundle.identity], model.model_id, model.dim, options.exact)
        found.warnings = ()
        return lambda: found

    given = opening._library
    patch = pytest.MonkeyPatch()
    patch.setattr(opening, "_library", library)
    yield
    patch.undo()
