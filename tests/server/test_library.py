"""The page over a library: it answers as from a bundle, stays up while the database is down, and answers again when it is back."""

from contextlib import closing

from any_library import made_library
from postgres import PostgresServer, own_server

from mtclip_edge import Retriever
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.indexing.push import push_bundle
from mtclip_edge.server.desk import Desk

from .conftest import EXAMPLES, client_of

__all__ = ["own_server"]

FILM = (EXAMPLES / "effusion.png").read_bytes()


def test_a_database_that_goes_and_comes_back(own_server: PostgresServer) -> None:
    url = made_library(own_server)
    push_bundle(FOLDER, url, "main")
    with closing(Desk(Retriever.open(FOLDER, library=url))) as desk:
        client = client_of(desk)

        def ask() -> tuple[int, dict]:
            answer = client.post("/api/query", content=FILM)
            return answer.status_code, answer.json()

        status, first = ask()
        assert status == 200 and first["bundle"]["library"]["sites"] == ["main"]
        assert any("superuser" in line for line in client.get("/api/about").json()["notes"])
        own_server.stop("immediate")
        for _ in range(2):
            status, told = ask()
            assert status == 503 and "postgresql://postgres@/" in told["error"], told
        assert client.get("/").status_code == 200 and client.get("/api/about").status_code == 200
        own_server.start()
        status, again = ask()
        assert status == 200 and again["hits"] == first["hits"] and again["evidence"] == first["evidence"]
