"""Who is let in, and what every answer carries."""

import pytest
from starlette.testclient import TestClient

from mtclip_edge.server.app import Address, new_token

TOKEN, ORIGIN = "t" * 43, "http://127.0.0.1:9000"
EVERY = {
    "content-security-policy": "default-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
ADDRESSES = ("/", "/app.css", "/app.js", "/api/about", "/api/film/gone", "/nothing", "/api/nothing")


@pytest.mark.parametrize("path", ADDRESSES)
@pytest.mark.parametrize("head", [{}, {"host": "evil.example"}, {"authorization": "Bearer wrong"}])
def test_every_answer_has_every_header(client: TestClient, path: str, head: dict[str, str]) -> None:
    answer = client.get(path, headers=head)
    for name, begins in EVERY.items():
        assert answer.headers[name].startswith(begins), (path, answer.status_code)
        assert len(answer.headers.get_list(name)) == 1
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "set-cookie" not in answer.headers and "server" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9000", "127.0.0.1", "127.0.0.1:9001", "127.0.0.1:9000.evil", ""]
)
def test_another_host_is_misdirected(client: TestClient, host: str) -> None:
    for path in ("/", "/api/about"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 421
        assert "another name" in answer.json()["error"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:9001", "null", "https://127.0.0.1:9000"]
)
def test_another_origin_is_refused(client: TestClient, origin: str) -> None:
    assert client.get("/api/about", headers={"origin": origin}).status_code == 403
    assert client.post("/api/search", headers={"origin": origin}, json={"text": "x"}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "other"])
def test_another_site_is_refused(client: TestClient, site: str) -> None:
    assert client.get("/api/about", headers={"sec-fetch-site": site}).status_code == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_own_page_is_let_in(client: TestClient, site: str) -> None:
    answer = client.get("/api/about", headers={"sec-fetch-site": site, "origin": ORIGIN})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "word", ["", "Bearer", "Bearer wrong", TOKEN, f"bearer {TOKEN}", f"Bearer {TOKEN}x", f"Basic {TOKEN}"]
)
def test_without_the_token_nothing_is_told(client: TestClient, word: str) -> None:
    for path in ("/api/about", "/api/report/own-normal", "/api/nothing"):
        answer = client.get(path, headers={"authorization": word})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert (
        client.get("/", headers={"authorization": word}).status_code == 200
    )  # the page itself holds nothing


def test_the_token_may_not_stand_in_the_address(client: TestClient) -> None:
    assert client.get(f"/api/about?token={TOKEN}", headers={"authorization": ""}).status_code == 401


def test_hosts_are_those_that_browsers_send() -> None:
    assert Address("127.0.0.1", 80, ("localhost",)).hosts == ("localhost",)
    assert Address("127.0.0.1", 443, ("a.example",), "https").hosts == ("a.example",)
    assert Address("127.0.0.1", 8443, ("a.example",), "https").hosts == ("a.example:8443",)


def test_tokens_are_long_and_of_plain_letters() -> None:
    tokens = {new_token() for _ in range(50)}
    assert len(tokens) == 50
    assert all(len(token) >= 43 and token.replace("-", "").replace("_", "").isalnum() for token in tokens)


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/%2e%2e/pyproject.toml", "/static/app.js", "/app.js/..", "/api/../app.js"]
)
def test_nothing_but_the_page_is_served(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 200)
    assert "[project]" not in answer.text
