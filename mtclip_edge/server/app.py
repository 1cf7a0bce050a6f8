"""A server ready to run: bundle, guard, token and address put together, and uvicorn around them."""

import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from ..errors import Refused, WrongOption
from ..retrieval.retriever import Retriever
from .desk import Desk
from .guard import App, Guard
from .marks import Marks
from .routes import Limits, application

LOOPBACK = "127.0.0.1"
CLIENTS = 32  # connections at once


@dataclass(frozen=True)
class Address:
    """Where the server listens, under which names it is asked, and by which scheme."""

    host: str
    port: int
    names: tuple[str, ...]
    scheme: str = "http"

    @property
    def hosts(self) -> tuple[str, ...]:
        """As browsers send them: with the port, but for the scheme's own."""
        own = {"http": 80, "https": 443}[self.scheme]
        return tuple(name if self.port == own else f"{name}:{self.port}" for name in self.names)


@dataclass(frozen=True)
class Tls:
    """A certificate and its key, PEM files."""

    certificate: Path
    key: Path


def guarded(desk: Desk, token: str, address: Address, limits: Limits) -> App:
    """The whole server as ASGI."""
    return Guard(application(desk, limits), token, address.hosts, address.scheme)


def new_token() -> str:
    """256 bits, of letters that an address may hold."""
    return secrets.token_urlsafe(32).rstrip("=")


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that its port is known and connections wait. Errors: OSError."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(CLIENTS)
    except OSError:
        bound.close()
        raise
    return bound


def serve(app: App, bound: socket.socket, tls: Tls | None, ready: Callable[[], None]) -> None:
    """Serve until interrupted; ``ready`` is called once when questions are answered."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        lifespan="off",
        limit_concurrency=CLIENTS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        ssl_certfile=str(tls.certificate) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
    )
    server = _Server(config, ready)
    server.run(sockets=[bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


@dataclass(frozen=True)
class Served:
    """Where and to whom: ``token`` None for one of this start alone."""

    host: str = LOOPBACK
    port: int = 0
    tls: Tls | None = None
    token: str | None = None


def run(
    bundle: Path,
    how: Mapping[str, Any],
    served: Served,
    limits: Limits,
    marks: Path | None,
    no_dicom: str | None,
    ready: Callable[[str], None],
) -> None:
    """Open a bundle and serve it until interrupted; ``ready`` gets the address with the token,
    ``no_dicom`` as of ``Desk``.

    Errors: those of ``Retriever.open``; Refused where nobody can listen there, or marks cannot be kept.
    """
    kept = Marks(marks) if marks else None
    desk = Desk(Retriever.open(bundle, **how), kept, no_dicom)
    try:
        try:
            bound = listen(served.host, served.port)
        except OSError as error:
            what = f"cannot listen on {served.host} port {served.port} ({error.strerror})"
            raise Refused(what, hint="give another --port, or none for a free one") from None
        address = address_of(served.host, bound.getsockname()[1], "https" if served.tls else "http")
        token = served.token or new_token()
        with bound:
            serve(
                guarded(desk, token, address, limits),
                bound,
                served.tls,
                lambda: ready(f"{address.scheme}://{address.hosts[0]}/#token={token}"),
            )
    finally:
        desk.close()


def address_of(host: str, port: int, scheme: str) -> Address:
    """A loopback server has all names of loopback; another the one that it was given."""
    if host in ("127.0.0.1", "localhost", "::1"):
        first = "[::1]" if host == "::1" else host
        return Address(host, port, tuple(dict.fromkeys((first, "127.0.0.1", "localhost", "[::1]"))), scheme)
    name = f"[{host}]" if ":" in host else host
    return Address(host, port, tuple(dict.fromkeys((name, socket.getfqdn(), socket.gethostname()))), scheme)


def token_from(file: Path, what: str) -> str:
    """A token that the site keeps; ``what`` names the option or key that gave the file.

    Errors: WrongOption where it cannot be read, others can read it, or it is no token.
    """
    try:
        token, mode = file.read_text(encoding="ascii").strip(), file.stat().st_mode
    except (OSError, ValueError):
        raise WrongOption(f"{what} {file}", "cannot be read as plain letters") from None
    if os.name == "posix" and mode & 0o077:
        raise WrongOption(f"{what} {file}", "others can read it", f"chmod 600 {file}")
    if not re.fullmatch(r"[A-Za-z0-9_-]{32,}", token):
        raise WrongOption(f"{what} {file}", "expected 32 or more letters, digits, - and _")
    return token
