"""A PACS for tests, a node as a process of its own, and films to send: each on loopback, each ended by its test."""

import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from dicoms import EXPLICIT, cr, written
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)
from pynetdicom.transport import AssociationSocket

from mtclip_edge.bundle.demo import FOLDER

NODE, PACS, SENDER = "MTCLIP", "PACS", "CR1"
_SHUT = AssociationSocket._shutdown_socket


def _shut(self: AssociationSocket) -> None:
    """Closed too where a handshake failed: the library leaves such a socket to the collector, with a warning."""
    there = self.socket
    _SHUT(self)
    if there is not None:
        there.close()


AssociationSocket._shutdown_socket = _shut


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


class FakePacs:
    """``objects`` holds what was stored, every copy; ``commit``: yes, never, lost (the first time it says that it
    has nothing), or none (it offers no commitment). ``status``: of C-STORE, while it is not 0; ``classes``: all that
    it takes; ``hang_up``: studies at which it aborts.
    """

    def __init__(
        self, node_port: int, tls: ssl.SSLContext | None = None, client: ssl.SSLContext | None = None
    ):
        self.port, self.objects, self.commit, self.status = free_port(), {}, "yes", 0
        self.asked = 0
        self.classes: tuple[str, ...] | None = None
        self.hang_up: set[str] = set()
        self._node, self._tls, self._client = node_port, tls, client
        self._server: Any = None

    def start(self) -> "FakePacs":
        ae = AE(ae_title=PACS)
        for context in AllStoragePresentationContexts:
            if self.classes is None or str(context.abstract_syntax) in self.classes:
                syntaxes = ["1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.5"]
                ae.add_supported_context(context.abstract_syntax, syntaxes)
        ae.add_supported_context(Verification)
        if self.commit != "none":
            ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._action)]
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=handlers, ssl_context=self._tls
        )
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def datasets(self) -> list[Dataset]:
        return [dataset for dataset, _ in self.told()]

    def told(self) -> list[tuple[Dataset, list[bytes]]]:
        """Each object with all its copies."""
        return [(dcmread(io.BytesIO(copies[0])), copies) for copies in self.objects.values()]

    def _store(self, event: Any) -> int:
        if self.status:
            return self.status
        if self.hang_up and str(event.dataset.StudyInstanceUID) in self.hang_up:
            event.assoc.abort()
            return 0
        uid = str(event.request.AffectedSOPInstanceUID)
        self.objects.setdefault(uid, []).append(event.encoded_dataset())
        return 0

    def _action(self, event: Any) -> tuple[int, None]:
        self.asked += 1
        if self.commit != "never":
            asked = event.action_information
            threading.Timer(0.05, self._report, (asked, self.commit == "lost")).start()
            if self.commit == "lost":
                self.commit = "yes"
        return 0, None

    def _report(self, asked: Dataset, lost: bool) -> None:
        said = Dataset()
        said.TransactionUID = asked.TransactionUID
        if lost:
            for item in asked.ReferencedSOPSequence:
                item.FailureReason = 0x0112
            said.FailedSOPSequence = asked.ReferencedSOPSequence
        else:
            said.ReferencedSOPSequence = asked.ReferencedSOPSequence
        ae = AE(ae_title=PACS)
        ae.add_requested_context(StorageCommitmentPushModel)
        role = [_scp_role()]
        there = ae.associate(
            "127.0.0.1",
            self._node,
            ae_title=NODE,
            ext_neg=role,
            tls_args=(self._client, "localhost") if self._client else None,
        )
        if there.is_established:
            there.send_n_event_report(
                said, 2 if lost else 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
            there.release()


def _scp_role() -> Any:
    from pynetdicom import build_role

    return build_role(StorageCommitmentPushModel, scp_role=True)


class RunningNode:
    """``mtclip node run``, with a log of its own beside the settings."""

    def __init__(self, settings: Path, *words: str):
        self.settings, self.log = settings, settings.with_suffix(".log")
        self._words = words
        self.process: subprocess.Popen[bytes] | None = None
        self.code = ""  # run in place of the module, for a test that changes something in it

    def start(self, **environment: str) -> "RunningNode":
        before = self._text().count(" ready ")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        wait_for(lambda: self._text().count(" ready ") > before or self.process.poll() is not None, 90)
        assert self.process.poll() is None, self._text()
        return self

    def command(self) -> list[str]:
        how = ["-c", self.code] if self.code else ["-m", "mtclip_edge"]
        return [sys.executable, *how, "node", "run", str(self.settings), *self._words]

    def kill(self) -> None:
        """As a power cut would, for this process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def memory(self) -> float:
        """Megabytes that the node itself holds; nothing on systems that do not tell."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return 0.0
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmRSS"].split()[0]) / 1000

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        self.process = None
        return code

    def _text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def films(self) -> dict[str, int]:
        """Films by state, those of none left out."""
        return {state: count for state, count in self.status()["films"].items() if count}

    def status(self) -> dict[str, Any]:
        from mtclip_edge.dicom_node.settings import read_settings
        from mtclip_edge.dicom_node.status import status_of

        return status_of(read_settings(self.settings)).document

    @property
    def files(self) -> list[str]:
        """What lies in its spool."""
        spool = self.settings.parent / "spool"
        return sorted(path.name for folder in ("in", "out") for path in (spool / folder).iterdir())


def write_settings(folder: Path, pacs_port: int | None, **changed: str) -> Path:
    """NODE.toml for the demo bundle; ``changed``: lines of tables by name, ``top`` for those before all."""
    tables = {
        "top": "",
        "pacs": f'aet = "{PACS}"\nhost = "localhost"\nport = {pacs_port}\ncommit = true\nretry = "0.2s..1s, 1 day"',
        "send": 'objects = ["page", "measurements"]',
        **changed,
    }
    top = {
        "aet": f'"{NODE}"',
        "bind": f'"127.0.0.1:{free_port()}"',
        "callers": f'["{SENDER}"]',
        "bundle": json.dumps(str(FOLDER)),
        "spool": '"spool"',
        "quiet": '"0.3s"',
        "force": "true",
    }
    for line in tables.pop("top").splitlines():
        name, _, value = line.partition(" = ")
        top[name] = value
    if pacs_port is None:
        tables.pop("pacs")
    lines = [f"{name} = {value}" for name, value in top.items() if value]
    lines += [line for name, text in tables.items() for line in (f"[{name}]", text)]
    file = folder / "node.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def port_of(settings: Path) -> int:
    from mtclip_edge.dicom_node.settings import read_settings

    return read_settings(settings).bind.port


def chest_film(number: int = 0, side: int = 96, **fields: Any) -> bytes:
    """A small CR film, each with pixels of its own; ``fields`` as of ``dicoms.cr``."""
    random = np.random.default_rng(number)
    rows = np.add.outer(np.arange(side) * 20, np.abs(np.arange(side) - side // 2) * 40)
    dataset = cr((rows + random.integers(0, 60, (side, side))).astype(np.uint16), bits=12, **fields)
    return written(dataset)


def uid_of(film: bytes) -> str:
    return str(dcmread(io.BytesIO(film), stop_before_pixels=True).SOPInstanceUID)


def send(
    films: Sequence[bytes],
    port: int,
    caller: str = SENDER,
    called: str = NODE,
    tls: ssl.SSLContext | None = None,
) -> list[int] | None:
    """The status of each film; None where the association was refused."""
    ae = AE(ae_title=caller)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
    ae.add_requested_context(ComputedRadiographyImageStorage, [EXPLICIT])
    for syntax in (EXPLICIT, "1.2.840.10008.1.2.5"):  # one context each: an acceptor chooses one of a context
        ae.add_requested_context(SecondaryCaptureImageStorage, [syntax])
    ae.add_requested_context(Verification)
    there = ae.associate("127.0.0.1", port, ae_title=called, tls_args=(tls, "localhost") if tls else None)
    if not there.is_established:
        return None
    found = []
    for film in films:
        try:
            status = there.send_c_store(dcmread(io.BytesIO(film)))
            found.append(int(status.Status) if status else -1)
        except ValueError:  # its class was not accepted
            found.append(-2)
    if there.is_established:
        there.release()
    return found


def wait_for(done: Any, seconds: float = 40.0) -> None:
    """Errors: AssertionError where it is not in time."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.05)


@contextmanager
def scene(folder: Path, **changed: str) -> Iterator[SimpleNamespace]:
    """A PACS and the settings of a node for it; the node is started by the test and ended with it."""
    pacs = FakePacs(0)
    settings = write_settings(folder, pacs.port, **changed)
    port = port_of(settings)
    pacs._node = port
    node = RunningNode(settings)
    try:
        yield SimpleNamespace(pacs=pacs.start(), node=node, port=port, folder=folder)
    finally:
        node.kill()
        pacs.stop()
