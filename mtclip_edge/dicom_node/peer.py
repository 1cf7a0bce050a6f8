"""The PACS that results go to: echo, C-STORE of files, storage commitment."""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from .objects.origin import reference
from .records import Made
from .settings import Pacs

TIMEOUT, CONNECTING = 30.0, 10.0
_KEPT = (0x0000, 0xB000, 0xB006, 0xB007)  # success and its warnings (PS3.4 B.2.3)


class PeerUnreached(Exception):
    """Nobody there, association refused, or a message without an answer: tried again later. ``str`` is a word
    of ours, without a peer's.
    """


class PeerRefused(Exception):
    """The peer has answered that it does not take an object, by a status."""


class Peer:
    """``context``: TLS to it. Every method: PeerUnreached."""

    def __init__(self, aet: str, pacs: Pacs, context: ssl.SSLContext | None):
        self._aet, self._pacs, self._context = aet, pacs, context

    def echo(self) -> None:
        """Ask whether it is there. Errors: PeerRefused."""
        association = self._associated([(Verification, None)])
        try:
            status = association.send_c_echo()
            if not status or status.Status != 0:
                raise PeerRefused(_status_words(status))
        finally:
            association.release()

    def accepted(self, classes: Sequence[tuple[str, str]]) -> set[str]:
        """Of SOP classes with a transfer syntax each, those that it takes."""
        association = self._associated(classes)
        try:
            return {str(context.abstract_syntax) for context in association.accepted_contexts}
        finally:
            association.release()

    def store(
        self, files: Sequence[tuple[Made, Path]], syntaxes: Sequence[str], sent: Callable[[str], object]
    ) -> None:
        """Send objects, telling ``sent`` the UID of each that it has. Errors: PeerRefused, OSError."""
        wanted = [(made.sop_class, syntax) for (made, _), syntax in zip(files, syntaxes, strict=True)]
        association = self._associated(list(dict.fromkeys(wanted)))
        refused: str | None = None  # the first of them, when all were tried
        try:
            for made, path in files:
                try:
                    status = association.send_c_store(path)
                except ValueError:  # its context was not accepted
                    refused = refused or f"does not take {made.kind} objects"
                    continue
                if not status or "Status" not in status:
                    raise PeerUnreached("no answer to C-STORE")
                if status.Status in _KEPT:
                    sent(made.uid)
                else:
                    refused = refused or _status_words(status)
        finally:
            association.release()
        if refused is not None:
            raise PeerRefused(refused)

    def commit(
        self, objects: Sequence[Made], asked: Callable[[str], object], said: Callable[[Event], Any]
    ) -> None:
        """Ask it to promise that it keeps objects; ``asked`` is told the transaction before it is sent.

        ``said`` handles its word, which may come on this association or on one of its own.
        Errors: PeerRefused.
        """
        handlers = [(evt.EVT_N_EVENT_REPORT, said)]
        association = self._associated([(StorageCommitmentPushModel, None)], handlers)
        transaction = str(generate_uid())
        asked(transaction)
        request = Dataset()
        request.TransactionUID = transaction
        request.ReferencedSOPSequence = [reference(made.sop_class, made.uid) for made in objects]
        try:
            status, _ = association.send_n_action(
                request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
            if not status or "Status" not in status:
                raise PeerUnreached("no answer to N-ACTION")
            if status.Status != 0:
                raise PeerRefused(_status_words(status))
        except ValueError:
            raise PeerRefused("does not do storage commitment") from None
        finally:
            association.release()

    def _associated(self, contexts: Sequence[tuple[str, str | None]], handlers: Sequence[Any] = ()) -> Any:
        ae = AE(ae_title=self._aet)
        ae.network_timeout, ae.dimse_timeout, ae.acse_timeout = TIMEOUT, TIMEOUT, TIMEOUT
        ae.connection_timeout = CONNECTING
        ae.maximum_pdu_size = 0
        for sop_class, syntax in contexts:
            if syntax is None:
                ae.add_requested_context(sop_class)
            else:
                ae.add_requested_context(sop_class, [syntax])
        pacs = self._pacs
        association = ae.associate(
            pacs.host,
            pacs.port,
            ae_title=pacs.aet,
            tls_args=(self._context, pacs.host) if self._context else None,
            evt_handlers=list(handlers),
        )
        if not association.is_established and association.rejected_contexts:
            raise PeerRefused("accepts none of what is asked of it")
        if not association.is_established:
            raise PeerUnreached("refuses the association" if association.is_rejected else "does not answer")
        return association


def syntax_of(path: Path) -> str:
    """The transfer syntax that a file of ours is in."""
    return str(dcmread(path, specific_tags=[], stop_before_pixels=True).file_meta.TransferSyntaxUID)


def _status_words(status: Any) -> str:
    return f"status 0x{status.Status:04X}" if status and "Status" in status else "no status"
