"""Who may send, and what is taken: a film is on disk and in the journal before it is acknowledged.

Caller, host, called title, SOP class, size and room are judged here; nothing is decoded.
"""

import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from sqlite3 import OperationalError
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from ..errors import Refused
from ..films.read import dicom_syntaxes
from .journal import Journal
from .records import Received
from .settings import NodeSettings
from .spool import Spool, is_uid
from .tls import server_context
from .uids import is_ours

SUCCESS, NOT_AUTHORIZED, NO_RESOURCES = 0x0000, 0x0124, 0xA700
CLASS_NOT_SUPPORTED, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0122, 0xA900, 0xC000
ASSOCIATIONS = 10
IDLE, NEGOTIATION = 60.0, 15.0  # seconds that a silent peer keeps an association
DEFLATED = "1.2.840.10008.1.2.1.99"
CONNECTIONS, OF_ONE_HOST = 64, 16
_UNKNOWN = 64 << 10  # bytes of a message of whom nobody knows yet
_SLACK = 1 << 20  # bytes of a message beyond the film itself


def taken_syntaxes() -> list[str]:
    """What is read, but for deflated files: reading such a header inflates all of it, in this process."""
    return [uid for uid in dicom_syntaxes() if uid != DEFLATED]


class Intake:
    """Takes films from whatever door: keeps, journals, and only then says that it has them.

    ``woken`` is called when there is something to do. ``refused`` counts what was turned away, by reason.
    """

    def __init__(self, settings: NodeSettings, journal: Journal, spool: Spool, woken: Callable[[], object]):
        self._accept, self._journal, self._spool, self._woken = settings.accept, journal, spool, woken
        self.refused: Counter[str] = Counter()
        self._syntaxes = frozenset(taken_syntaxes())
        self._under_way: set[str] = set()
        self._lock = threading.Lock()

    def take(
        self, uid: str, sop_class: str, syntax: str, caller: str, parts: Iterable[bytes], size: int
    ) -> int:
        """The DICOM status of a film: of success it is on disk; a film that is known is not kept twice."""
        status, why = self._judged(uid, sop_class, syntax, size)
        if status is None:
            with self._lock:  # the same film from two senders at once: the second waits for the first's word
                twice = uid in self._under_way
                self._under_way.add(uid)
            if twice:
                return self.refuse(NO_RESOURCES, "sent twice at once")
            try:
                status, why = self._kept(Received(uid, sop_class, syntax, caller, size, time.time()), parts)
            finally:
                with self._lock:
                    self._under_way.discard(uid)
        return status if why is None else self.refuse(status, why)

    def _judged(self, uid: str, sop_class: str, syntax: str, size: int) -> tuple[int | None, str | None]:
        if not is_uid(uid):
            return CANNOT_UNDERSTAND, "no SOP Instance UID"
        if is_ours(uid):
            return NOT_AUTHORIZED, "our own result"
        if sop_class not in self._accept.classes:
            return CLASS_NOT_SUPPORTED, "SOP class"
        if syntax not in self._syntaxes:
            return CLASS_NOT_SUPPORTED, "transfer syntax"
        if size > self._accept.largest:
            return NO_RESOURCES, "too large"
        return None, None

    def _kept(self, film: Received, parts: Iterable[bytes]) -> tuple[int, str | None]:
        try:
            known = self._journal.state(film.uid)
            if known not in (None, "unreadable"):
                return SUCCESS, None
            path = self._spool.keep_film(film.uid, parts, film.bytes)
            try:
                (self._journal.receive if known is None else self._journal.renew)(film)
            except OperationalError:
                self._spool.drop([path])
                raise
        except (OSError, OperationalError):
            return NO_RESOURCES, "no room"
        self._woken()
        return SUCCESS, None

    def refuse(self, status: int, why: str) -> int:
        self.refused[why] += 1
        return status


class Door:
    """The DICOM server of a node. ``reported`` handles a peer's word on commitment."""

    def __init__(
        self,
        settings: NodeSettings,
        intake: Intake,
        reported: Callable[[Event], tuple[int, None]],
    ):
        self._settings, self._intake, self._reported = settings, intake, reported
        self._server: _Server | None = None
        self._bytes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()  # of the message at hand

    def open(self) -> None:
        """Listen, in threads of its own. Errors: Refused, WrongOption."""
        settings = self._settings
        ae = AE(ae_title=settings.aet)
        ae.require_called_aet = True
        ae.require_calling_aet = list(self.callers)
        ae.maximum_associations = ASSOCIATIONS
        ae.maximum_pdu_size = 0  # any: a film in few pieces costs less than in many
        ae.network_timeout, ae.acse_timeout, ae.dimse_timeout = IDLE, NEGOTIATION, IDLE
        for uid in settings.accept.classes:
            ae.add_supported_context(uid, taken_syntaxes())
        ae.add_supported_context(Verification)
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_EVENT_REPORT, self._reported),
            (evt.EVT_PDU_RECV, self._measure),
            (evt.EVT_CONN_OPEN, self._opened),
        ]
        context = server_context(settings.tls) if settings.tls else None
        try:
            server: Any = ae.make_server(
                (settings.bind.host, settings.bind.port),
                ssl_context=context,
                evt_handlers=handlers,  # type: ignore[arg-type]
                server_class=_Server,
            )
        except OSError as error:
            raise Refused(f"cannot listen on {settings.bind} ({error.strerror})") from None
        server.hosts, server.refused = settings.accept.hosts, self._intake.refused
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True, name="door").start()

    @property
    def callers(self) -> tuple[str, ...]:
        """The peer that results go to may call as well: it brings its word on commitment."""
        pacs = self._settings.pacs
        return tuple(dict.fromkeys((*self._settings.callers, *([pacs.aet] if pacs else []))))

    def shut(self) -> None:
        """Take no new association, and end those that are open; what was acknowledged is kept."""
        if self._server is not None:
            self._server.end()
            self._server = None

    def _store(self, event: Event) -> int:
        try:
            if event.assoc.requestor.ae_title not in self._settings.callers:
                return self._intake.refuse(NOT_AUTHORIZED, "caller")
            request: Any = event.request
            data = event.encoded_dataset()
            return self._intake.take(
                str(request.AffectedSOPInstanceUID),
                str(request.AffectedSOPClassUID),
                str(event.context.transfer_syntax),
                str(event.assoc.requestor.ae_title),
                (data,),
                len(data),
            )
        except Exception:  # of a message that makes no sense; its words may quote it
            return self._intake.refuse(CANNOT_UNDERSTAND, "message")
        finally:
            self._bytes[event.assoc] = 0

    def _measure(self, event: Event) -> None:
        """Cut off a peer whose message is far larger than any film may be, before it fills the memory."""
        size = self._bytes.get(event.assoc, 0) + len(event.pdu)
        self._bytes[event.assoc] = size
        largest = self._settings.accept.largest
        if size > 2 * largest + _SLACK or sum(self._bytes.values()) > 4 * largest + 8 * _SLACK:
            self._intake.refuse(NO_RESOURCES, "cut off: too large")
            if event.assoc.dul.socket:
                event.assoc.dul.socket.close()

    def _opened(self, event: Event) -> None:
        """Read this connection within limits of size and time, whoever it is."""
        there = event.assoc.dul.socket
        if there is not None:
            there.recv = _Reading(event.assoc, there, self._settings.accept.largest, self._intake)  # type: ignore[assignment]


class _Reading:
    """In place of a connection's ``recv``: so many bytes, or less where it is closed, too much, or too slow.

    A peer that has not said who it is may say little and has little time; the library itself reads whatever
    length is claimed, for as long as a byte comes in each minute.
    """

    def __init__(self, association: Any, there: Any, largest: int, intake: Intake):
        self._association, self._there, self._largest, self._intake = association, there, largest, intake

    def __call__(self, count: int) -> bytearray:
        """Errors: OSError."""
        known = self._association.is_established
        if count > (2 * self._largest + _SLACK if known else _UNKNOWN):
            self._intake.refuse(NO_RESOURCES, "cut off: too large")
            raise ConnectionError
        until, data = time.monotonic() + (IDLE if known else NEGOTIATION), bytearray()
        while len(data) < count:
            left = until - time.monotonic()
            if left <= 0 or self._there.socket is None:
                raise ConnectionError
            self._there.socket.settimeout(left)
            part = self._there.socket.recv(min(count - len(data), 256 << 10))
            if not part:
                break
            data += part
        return data


class _Server(ThreadedAssociationServer):
    """A peer that is slow at its handshake, or not on the list, holds up nobody else."""

    hosts: tuple[str, ...] | None
    refused: Counter[str]
    daemon_threads = True
    request_queue_size = 64

    def get_request(self) -> tuple[socket.socket, Any]:
        assert self.socket is not None
        client, address = self.socket.accept()
        client.settimeout(IDLE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context:
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - socketserver's
        """Whether somebody on the list connects, and has not done so too often; others are hung up on."""
        host = client_address[0].removeprefix("::ffff:")
        if self.hosts is not None and host not in self.hosts:
            self.refused["host"] += 1
            return False
        there = [one.requestor.address for one in self.active_associations]
        if len(there) >= CONNECTIONS or there.count(host) >= OF_ONE_HOST:
            self.refused["connections"] += 1
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's
        """Print nothing: the words of an error may quote what a peer sent."""
        self.refused["connection"] += 1

    def end(self) -> None:
        socketserver.BaseServer.shutdown(self)
        self.server_close()
        for association in self.active_associations:  # not their abort(): it waits for the peer
            there = association.dul.socket
            if there is not None and there.socket is not None:
                with suppress(OSError):
                    there.socket.shutdown(socket.SHUT_RDWR)
