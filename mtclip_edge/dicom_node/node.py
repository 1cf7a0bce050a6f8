"""A node at work: spool, journal, door, worker, peer and DICOMweb put together, until it is told to end."""

import signal
import sys
import threading
import time
from contextlib import ExitStack

from ..errors import Refused
from .answering import Answering
from .door import Door, Intake
from .journal import Journal
from .peer import Peer
from .settings import NodeSettings
from .spool import Spool
from .telling import begin, notify, tell
from .tls import client_context
from .worker import Worker

JOURNAL = "journal.sqlite"
AT_MOST = 20.0  # seconds that the film in hand has at the end


def run(settings: NodeSettings, show_ids: bool = False) -> bool:
    """Work until SIGTERM or SIGINT; whether the film in hand was finished in time (it is begun anew by the
    next start where it was not). The caller is the main thread.

    Errors: Refused, WrongOption, those of ``Retriever.open``.
    """
    begin(settings.log, show_ids)
    sys.setswitchinterval(0.001)  # the door answers while the worker makes objects
    ending = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda _number, _frame: ending.set())
    with ExitStack() as stack:
        try:
            spool = Spool(settings.spool, settings.spool_limit)
        except OSError as error:
            raise Refused(f"{settings.spool}: cannot be used ({error.strerror})") from None
        spool.claim()
        stack.callback(spool.release)
        journal = Journal(settings.spool / JOURNAL)
        answering = Answering(settings)
        answering.open()
        context = client_context(settings.tls) if settings.tls else None
        peer = Peer(settings.aet, settings.pacs, context) if settings.pacs else None
        doors = stack.enter_context(ExitStack())
        worker = Worker(settings, journal, spool, answering, peer)
        thread = threading.Thread(target=worker.run, name="worker", daemon=True)
        worker.begin()  # before a door opens: what nobody was told is here, and what is done with, goes
        intake = Intake(settings, journal, spool, worker.wake)
        door = Door(settings, intake, worker.reported)
        door.open()
        doors.callback(door.shut)
        if settings.web:
            from .dicomweb.serving import Serving

            web = Serving(settings, settings.web, intake, journal, spool)
            doors.callback(web.shut)
            web.open()
        thread.start()
        tell("ready", aet=settings.aet, bind=settings.bind, bundle=answering.bundle[7:23])
        notify("READY=1")
        _wait(ending, thread)
        notify("STOPPING=1")
        until = time.monotonic() + AT_MOST
        worker.stop()
        doors.close()  # nothing new comes in
        thread.join(max(0.0, until - time.monotonic()))
        whole = not thread.is_alive()
        if whole:
            answering.close()
            journal.close()
        else:
            worker.leave()
        tell("ended", whole=whole, refused=sum(intake.refused.values()))
        return whole


def _wait(ending: threading.Event, worker: threading.Thread) -> None:
    """Until it is told to end, or the worker died of something that nobody foresaw."""
    while not ending.wait(1.0):
        if not worker.is_alive():
            raise Refused("the worker ended by itself", hint="what was received is kept; start it again")
