"""``mtclip node check``: each thing that a node needs, tried before it is needed."""

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]

from ..bundle.bundle import Bundle
from ..errors import MtclipError
from ..films.read import dicom_syntaxes
from .objects import page, pdf, text
from .peer import Peer, PeerRefused, PeerUnreached
from .settings import NodeSettings, Pacs, TlsFiles
from .spool import RESERVE
from .status import is_running
from .tls import client_context, server_context

SOON = 30 * 86400  # seconds: a certificate that ends sooner is worth a word
_MEASUREMENTS = "1.2.840.10008.5.1.4.1.1.88.34"
_CLASSES = {
    "page": (page.SOP_CLASS, str(RLELossless)),
    "measurements": (_MEASUREMENTS, str(ExplicitVRLittleEndian)),
    "text": (text.SOP_CLASS, str(ExplicitVRLittleEndian)),
    "pdf": (pdf.SOP_CLASS, str(ExplicitVRLittleEndian)),
}


@dataclass(frozen=True)
class Checked:
    """``said``: what was found; ``good`` None where it works, with a word of care."""

    name: str
    good: bool | None
    said: str

    def to_dict(self) -> dict[str, object]:
        return {"name": self.name, "good": self.good, "said": self.said}


def checks(settings: NodeSettings) -> Iterator[Checked]:
    """Nothing is changed, but that the spool is made."""
    yield _tried("bundle", lambda: _bundle(settings))
    if settings.library is not None:
        yield _tried("library", lambda: _library(settings))
    yield _tried("spool", lambda: _spool(settings))
    yield _tried("door", lambda: _door(settings))
    if settings.tls is not None:
        files = settings.tls
        yield _tried("certificate", lambda: _certificate(files))
        yield _tried("tls", lambda: _tls(files))
    if settings.pacs is None:
        return
    pacs = settings.pacs
    try:
        peer = Peer(settings.aet, pacs, client_context(settings.tls) if settings.tls else None)
    except MtclipError as error:
        yield Checked("pacs", False, str(error).replace("\n", "; "))
        return
    reached = _tried("pacs", lambda: _echo(peer, pacs))
    yield reached
    if reached.good is not False:
        for kind in settings.send.objects:
            yield _tried(f"pacs takes {kind}", lambda kind=kind: _takes(peer, *_CLASSES[kind]))  # type: ignore[misc]
        if pacs.commit:
            yield _tried(
                "pacs commits",
                lambda: _takes(peer, str(StorageCommitmentPushModel), str(ExplicitVRLittleEndian)),
            )


Found = tuple[bool | None, str]


def _tried(name: str, look: Callable[[], Found]) -> Checked:
    try:
        return Checked(name, *look())
    except MtclipError as error:
        return Checked(name, False, str(error).replace("\n", "; "))
    except (PeerUnreached, PeerRefused) as error:
        return Checked(name, False, str(error))
    except OSError as error:
        return Checked(name, False, error.strerror or type(error).__name__)


def _bundle(settings: NodeSettings) -> Found:
    bundle = Bundle.open(settings.bundle)
    for name, damage in bundle.verify():
        if damage is not None:
            return False, f"{name} is damaged"
    said = f"{bundle.identity[7:23]}, {bundle.index.reports} reports"
    return (None, f"{said}; it is the DEMO bundle") if bundle.demo else (True, said)


def _library(settings: NodeSettings) -> Found:
    from ..index.postgres.opening import open_library

    assert settings.library is not None
    model = Bundle.open(settings.bundle).model
    with closing(open_library(settings.library, model.model_id, model.dim)) as library:
        _, reports, _ = library.counts
        said = "; ".join((f"{reports} reports", *library.warnings))
        return (None if library.warnings or not reports else True), said


def _spool(settings: NodeSettings) -> Found:
    from ..files import private_dir

    private_dir(settings.spool)
    free = shutil.disk_usage(settings.spool).free
    running = ", a node works here" if is_running(settings.spool) else ""
    said = f"{free / 1e9:.1f} GB free, at most {settings.spool_limit / 1e9:.1f} GB used{running}"
    if free < RESERVE:
        return False, said
    return (True if free > settings.spool_limit else None), said


def _door(settings: NodeSettings) -> Found:
    if is_running(settings.spool):
        return _own_echo(settings)
    family = socket.AF_INET6 if ":" in settings.bind.host else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind((settings.bind.host, settings.bind.port))
    open_door = settings.tls is None and not settings.bind.local
    said = f"{settings.bind} is free, {settings.aet} for {', '.join(settings.callers)}"
    return (None, f"{said}; WITHOUT TLS beyond this machine") if open_door else (True, said)


def _own_echo(settings: NodeSettings) -> Found:
    """Whether the node that works here answers one of its callers."""
    context = client_context(settings.tls) if settings.tls else None
    if context is not None:
        context.check_hostname = False  # it is asked by its address, which its certificate need not name
    bound = settings.bind
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound.host, bound.host)  # noqa: S104 - to ask there
    Peer(settings.callers[0], Pacs(settings.aet, host, bound.port), context).echo()
    takes = f"takes {len(dicom_syntaxes())} transfer syntaxes"
    return True, f"{settings.aet} at {bound} answers {settings.callers[0]}, {takes}"


def _certificate(files: TlsFiles) -> Found:
    decode = ssl._ssl._test_decode_cert  # type: ignore[attr-defined]
    ends = ssl.cert_time_to_seconds(decode(str(files.certificate))["notAfter"])
    days = (ends - time.time()) / 86400
    if days < 0:
        return False, f"ended {-days:.0f} days ago"
    return (None if ends - time.time() < SOON else True), f"good for {days:.0f} days"


def _tls(files: TlsFiles) -> Found:
    server_context(files)
    client_context(files)
    return True, "certificate, key and peers fit together"


def _echo(peer: Peer, pacs: Pacs) -> Found:
    peer.echo()
    return True, f"{pacs.aet} at {pacs.host}:{pacs.port} answers"


def _takes(peer: Peer, sop_class: str, syntax: str) -> Found:
    taken = sop_class in peer.accepted([(sop_class, syntax)])
    return taken, "yes" if taken else "its SOP class or transfer syntax is not accepted"
