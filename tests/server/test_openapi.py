"""The REST interface asked at random, by its own document: no failure inside, no answer that it does not
promise.
"""

import pytest
from starlette.testclient import TestClient

pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from mtclip_edge.server.desk import Desk
from mtclip_edge.server.openapi import document

from .conftest import HOST, TOKEN, client_of

HEAD = {"host": HOST, "authorization": f"Bearer {TOKEN}"}
ASKED = [(method.upper(), path) for path, methods in document(1)["paths"].items() for method in methods]
QUICK = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# A filter that nothing passes is refused though it is well formed, and bytes at random are no film.
LEFT_OUT = ("positive_data_acceptance", "ignored_auth")


@pytest.mark.parametrize(("method", "path"), ASKED)
def test_every_promise_is_kept(open_server: Desk, method: str, path: str) -> None:
    app = client_of(open_server).app
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=HEAD)
    schemathesis.checks.load_all_checks()
    without = [schemathesis.checks.CHECKS.get_one(name) for name in LEFT_OUT]

    @QUICK
    @given(case=schema[path][method].as_strategy())
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=HEAD, excluded_checks=without)

    check()


def test_the_document_needs_the_token_too(client: TestClient) -> None:
    assert client.get("/api/openapi.json", headers={"authorization": ""}).status_code == 401
