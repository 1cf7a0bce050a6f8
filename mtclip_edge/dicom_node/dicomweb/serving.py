"""DICOMweb at its address: guard, token and TLS around the routes, in a thread of its own."""

import ssl
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...errors import Refused, WrongOption
from ...server.app import address_of, listen, token_from
from ...server.guard import Guard
from ..door import Intake
from ..journal import Journal
from ..settings import NodeSettings, Web
from ..spool import Spool
from .app import application
from .results import Results

FIRST = 15.0  # seconds in which a connection asks something


class _Impatient(H11Protocol):
    """Hangs up on who connects and asks nothing, so that nobody holds connections for ever."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.loop.call_later(FIRST, self._unasked)

    def _unasked(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class Serving:
    def __init__(self, settings: NodeSettings, web: Web, intake: Intake, journal: Journal, spool: Spool):
        self._settings, self._web = settings, web
        self._app = application(intake, Results(journal, spool), settings.accept.largest)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Errors: Refused where nobody can listen there, WrongOption of the token's file."""
        place, tls = self._web.bind, self._settings.tls
        token = token_from(self._web.token_file, "dicomweb.token_file")
        try:
            bound = listen(place.host, place.port)
        except OSError as error:
            raise Refused(f"cannot listen on {place} ({error.strerror})") from None
        address = address_of(place.host, place.port, "https" if tls else "http")
        config = uvicorn.Config(
            Guard(self._app, token, address.hosts, address.scheme, closed="/"),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            http=_Impatient,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=3,
            ssl_certfile=str(tls.certificate) if tls else None,
            ssl_keyfile=str(tls.key) if tls else None,
            ssl_ca_certs=str(tls.peers) if tls else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if tls else ssl.CERT_NONE,
        )
        try:
            config.load()
        except (OSError, ValueError):
            raise WrongOption("[tls]", "certificate, key or peers cannot be used") from None
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [bound]}, daemon=True, name="dicomweb"
        )
        self._thread.start()

    def shut(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(5)
