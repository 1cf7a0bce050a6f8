"""Whatever is ended in the middle, a study is there whole or not at all, and what is run again goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from any_library import made_library
from library_studies import DIM, MODEL, loaded, some_studies, vector_of
from postgres import PostgresServer, own_server

from mtclip_edge.errors import LibraryUnreachable
from mtclip_edge.index.filters import Filters
from mtclip_edge.index.library import Scope
from mtclip_edge.index.postgres.administration import library_statistics, verified
from mtclip_edge.index.postgres.opening import open_library

__all__ = ["own_server"]

STUDIES, BATCH = 600, 60
CLIENT = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[2] / "support")]!r}
from library_studies import DIM, MODEL, batch_of, some_studies
from mtclip_edge.index.postgres.loading import load
from mtclip_edge.index.postgres.writing import Writer
url, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
studies = some_studies(last)
print("begun", flush=True)
with Writer(url, "main") as writer:
    stem = writer.model(MODEL, DIM)
    for start in range(first, last, {BATCH}):
        load(writer, batch_of(studies[start:start + {BATCH}], films=True), MODEL, stem)
    writer.with_graph(stem, DIM)
print("done", flush=True)
"""


def client(url: str, last: int = STUDIES, first: int = 0) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", CLIENT, url, str(first), str(last)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def state(url: str) -> int:
    """How many studies are there; all of them whole."""
    assert [what for what, problem in verified(url) if problem and "HNSW" not in what] == []
    (main,) = library_statistics(url)["sites"]
    return main["studies"]


def test_a_killed_client_leaves_whole_batches(own_server: PostgresServer, soak: bool) -> None:
    chosen, seen = random.Random(1), set()  # noqa: S311
    for _ in range(20 if soak else 5):
        url = made_library(own_server)
        loaded(url, some_studies(1))
        process = client(url)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chosen.uniform(0.0, 0.6))
        process.kill()
        process.communicate()
        wait_for_nobody(url)
        there = state(url)
        assert there in {1, *range(BATCH, STUDIES + 1, BATCH)}
        seen.add(there)
        again = client(url)
        out, err = again.communicate(timeout=60)
        assert "done" in out, err
        assert state(url) == STUDIES and not [p for _, p in verified(url) if p]
    assert len(seen) > 1


def test_a_killed_server_comes_back_whole(own_server: PostgresServer, soak: bool) -> None:
    chosen = random.Random(2)  # noqa: S311
    url = made_library(own_server)
    loaded(url, some_studies(1))
    before = 1
    for moment in range(8 if soak else 3):
        process = client(url, STUDIES * (moment + 1))
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chosen.uniform(0.05, 0.5))
        kill_server(own_server)
        _, err = process.communicate(timeout=60)
        assert "LibraryUnreachable" in err
        started_again(own_server)
        there = state(url)
        assert there >= before and (there == 1 or there % BATCH == 0)
        before = there
    out, err = client(url, STUDIES).communicate(timeout=60)
    assert "done" in out, err
    assert not [problem for _, problem in verified(url) if problem]


def test_a_dump_is_restored_with_roles_and_policies(own_server: PostgresServer) -> None:
    import psycopg

    url = made_library(own_server)
    loaded(url, some_studies(100), films=True)
    dumped = own_server.folder / "dump"
    programs = own_server._programs
    how = {"check": True, "capture_output": True}
    subprocess.run([str(programs / "pg_dump"), "-Fc", "-f", str(dumped), url], **how)
    with psycopg.connect(own_server.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE restored TEMPLATE template0")
    other = own_server.url("restored")
    subprocess.run([str(programs / "pg_restore"), "-d", other, str(dumped)], **how)
    assert state(other) == 100 and not [problem for _, problem in verified(other) if problem]
    with closing(open_library(url, MODEL, DIM)) as mine, closing(open_library(other, MODEL, DIM)) as theirs:
        for filters in (Filters(), Filters(match="effusion"), Filters(finding="effusion")):
            asked = (vector_of("x"), 20, Scope(filters))
            first, second = mine.nearest(*asked), theirs.nearest(*asked)
            assert first.scores == second.scores
            assert mine.report_ids(first.rows) == theirs.report_ids(second.rows)


def test_a_connection_that_breaks_is_asked_again(own_server: PostgresServer) -> None:
    url = made_library(own_server)
    loaded(url, some_studies(50))
    with closing(open_library(url, MODEL, DIM)) as library:
        expected = library.nearest(vector_of("x"), 5, Scope())
        cut_off(url)
        assert library.nearest(vector_of("x"), 5, Scope()) == expected
        times = []

        def broken() -> int:
            times.append(1)
            if len(times) == 1:
                cut_off(url)
            return library.nearest(vector_of("x"), 5, Scope()).rows[0]

        assert library.reading(broken) == expected.rows[0] and len(times) == 2
        kill_server(own_server)
        with pytest.raises(LibraryUnreachable):
            library.nearest(vector_of("x"), 5, Scope())
        started_again(own_server)
        assert library.nearest(vector_of("x"), 5, Scope()) == expected


def cut_off(url: str) -> None:
    """End all other connections, as an administrator or a firewall does."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <>"
            " pg_backend_pid()"
        )


def wait_for_nobody(url: str) -> None:
    """Until the server has seen that a client is gone."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(100):
            ((others,),) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
            if not others:
                return
            time.sleep(0.05)
    raise AssertionError("a killed client is still connected")


def kill_server(server: PostgresServer) -> None:
    """kill -9 of the server and all its children, which this test started."""
    pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, children)):
        os.kill(one, signal.SIGKILL)
    deadline = time.time() + 20
    while any(alive(one) for one in (pid, *map(int, children))) and time.time() < deadline:
        time.sleep(0.05)


def started_again(server: PostgresServer) -> None:
    """A start is refused while a process of before still ends."""
    for last in (False,) * 40 + (True,):
        try:
            server.start()
            return
        except subprocess.CalledProcessError:
            if last:
                print((server.folder / "log").read_text()[-2000:])
                raise
            time.sleep(0.25)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
