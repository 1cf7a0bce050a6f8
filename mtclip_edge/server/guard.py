"""Who may ask a server of ours: the page that it served itself, with the token that was printed.

Pure ASGI, before anything of a request is read. A page of another site cannot ask (Origin, Sec-Fetch-Site,
and no cookie that a browser would send along), a name that was bound to this machine's address cannot (Host),
and nobody without the token gets a word of a report.
"""

import hmac
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

CLOSED = "/api/"  # what needs the token: the page itself holds nothing
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


class Guard:
    """``hosts``: names with their port, exactly as a browser sends them; ``scheme`` of their origin;
    ``closed``: the beginning of what needs the token.
    """

    def __init__(
        self, app: App, token: str, hosts: Iterable[str], scheme: str = "http", closed: str = CLOSED
    ):
        self._app, self._token = app, b"Bearer " + token.encode()
        self._hosts = frozenset(host.encode() for host in hosts)
        self._scheme, self._closed = scheme.encode(), closed

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web socket is served
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in HEADERS} | {b"server"}
                kept = [pair for pair in message["headers"] if pair[0].lower() not in ours]
                message = {**message, "headers": [*kept, *HEADERS]}
            await send(message)

        refused = self._refused(scope)
        if refused is None:
            await self._app(scope, receive, with_headers)
            return
        status, why = refused
        body = json.dumps({"error": why}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 401:
            head.append((b"www-authenticate", b"Bearer"))
        await with_headers({"type": "http.response.start", "status": status, "headers": head})
        await with_headers({"type": "http.response.body", "body": body})

    def _refused(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        """Status and reason; None where the request may pass."""
        given: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            given.setdefault(name.lower(), []).append(value)
        hosts = given.get(b"host", [])
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return 421, "asked under another name than its own"
        for origin in given.get(b"origin", []):
            if origin != self._scheme + b"://" + hosts[0]:
                return 403, "asked by a page of another origin"
        for site in given.get(b"sec-fetch-site", []):
            if site not in (b"same-origin", b"none"):
                return 403, "asked by a page of another site"
        if not scope["path"].startswith(self._closed):
            return None
        tokens = given.get(b"authorization", [])
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0], self._token):
            return 401, "the token is missing or wrong: open the address that mtclip view printed"
        return None
