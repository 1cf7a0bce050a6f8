"""The one worker of a node: looks at what came in, answers quiet studies, sends, asks for commitment.

Each step is journalled when it is done, so that a kill at any moment repeats at most one step, which makes
the same bytes again.
"""

import threading
import time
from collections.abc import Callable
from sqlite3 import OperationalError
from typing import Any

from ..errors import FilmUnreadable, LibraryTooSlow, LibraryUnreachable
from .answering import Answered, Answering
from .journal import Journal
from .objects.making import made_objects
from .objects.origin import MANUFACTURER, FilmHead, Origin, read_head
from .peer import Peer, PeerRefused, PeerUnreached, syntax_of
from .records import Made, Said, Task
from .settings import NodeSettings, Retry
from .spool import Spool
from .telling import notify, short, tell
from .uids import made_uid

CRASHES = 5  # of the whole process over one study
TRIES = 3  # of a study whose answer fails for a reason that waiting does not mend
HOUSEKEEPING = 60.0  # seconds between two sweeps
_IDLE = 0.5


class Worker:
    """``peer`` None: results are fetched, and sent to nobody."""

    def __init__(
        self,
        settings: NodeSettings,
        journal: Journal,
        spool: Spool,
        answering: Answering,
        peer: Peer | None,
    ):
        self._settings, self._journal, self._spool = settings, journal, spool
        self._answering, self._peer = answering, peer
        self._retry = settings.pacs.retry if settings.pacs else Retry()
        self._woken, self._stop = threading.Event(), threading.Event()
        self._paused: dict[str, tuple[int, float]] = {}  # by what is asked of the peer: tries, until when
        self._swept = 0.0
        self._at: Task | None = None  # the answer at hand

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        """End when the step at hand is done."""
        self._stop.set()
        self._woken.set()

    def begin(self) -> None:
        """Before films come in: finish what the settings now ask no more for, and clear up."""
        try:
            for state in self._asked_no_more():
                for id in self._journal.unfinished(state):
                    self._finish(id, time.time())
            self.sweep()
            self._sweep_films()
        except (OSError, OperationalError) as error:  # a full disk is waited out
            tell("not swept", why=type(error).__name__)

    def _asked_no_more(self) -> tuple[str, ...]:
        """States that wait for a peer's word, where none is asked."""
        if self._settings.pacs is None:
            return ("answered", "sent")
        return () if self._settings.pacs.commit else ("sent",)

    def leave(self) -> None:
        """The step at hand is left as it is, and is not held against its films."""
        if (task := self._at) is not None:
            self._journal.wait(task.id, task.tries, "left at the end")

    def run(self) -> None:
        """Work until stopped. A full disk is waited out; nothing that a film does ends it."""
        while not self._stop.is_set():
            notify("WATCHDOG=1")
            try:
                done = self._one_step()
            except (OSError, OperationalError, MemoryError, LibraryUnreachable) as error:
                tell("waiting", why=type(error).__name__)
                self._stop.wait(min(30.0, self._retry.first))
                continue
            if not done:
                self._woken.wait(_IDLE)
                self._woken.clear()

    def _one_step(self) -> bool:
        """Do what is due; whether there was anything. What is answered goes out before more is answered."""
        now = time.time()
        if now - self._swept > HOUSEKEEPING:
            self.sweep()
        steps: tuple[Callable[[float], bool], ...] = (
            self._sort_new,
            self._send_next,
            self._commit_next,
            self._answer_next,
        )
        return sum(step(now) for step in steps if not self._stop.is_set()) > 0

    # What came in

    def _sort_new(self, now: float) -> bool:
        """Look at the headers of new films: of which study, and whether the site wants them."""
        new = self._journal.unsorted()
        for film in new:
            if self._stop.is_set():
                break
            path = self._spool.film(film.uid)
            try:
                head = read_head(path)
            except FilmUnreadable as error:
                self._journal.end([film.uid], "unreadable", now, error.what)
                tell("unreadable", film=short(film.uid), why=error.what)
                continue
            if why := self._unwanted(head, film.uid):
                self._journal.end([film.uid], "passed over", now, why)
                self._spool.drop([path])
                tell("passed over", film=short(film.uid), why=why)
                continue
            self._journal.sort(film.uid, head.study)
        return bool(new)

    def _unwanted(self, head: FilmHead, uid: str) -> str | None:
        accept = self._settings.accept
        if head.uid != uid:
            return "its UID is another than its sender said"
        if head.manufacturer == MANUFACTURER:
            return "made by a node like this one"
        if accept.modality is not None and head.modality not in accept.modality:
            return "modality"
        if accept.body_part is not None and head.body_part not in accept.body_part:
            return "body part"
        return None

    # Answers

    def _answer_next(self, now: float) -> bool:
        task = self._journal.next_task("begun", now)
        if task is None:
            films = self._journal.quiet_study(now, self._settings.quiet)
            if films is None:
                return False
            self._journal.begin(made_uid(*films, "answer"), films, now)
            return True
        if task.tries >= CRASHES:  # each time the process ended in the midst of it
            self._journal.fail(task.id, now, "the node ended while it was answered")
            return True
        self._answering.refresh()
        started = time.monotonic()
        # Counted before it is tried: a film that brings this process down may do so only so often.
        self._journal.put_off(task.id, now + self._retry.after(task.tries + 1), "begun")
        self._at = task
        try:
            self._answer(task, now)
        except LibraryTooSlow as error:  # which it may be for this study alone
            self._answer_failed(task, now, type(error).__name__)
            return True
        except (OSError, OperationalError, LibraryUnreachable) as error:  # the film is not to blame
            away = isinstance(error, LibraryUnreachable)
            self._journal.wait(task.id, task.tries, "no library" if away else "no room")
            raise
        except Exception as error:  # whatever a film does to a library: its words may quote it
            self._answer_failed(task, now, type(error).__name__)
            return True
        finally:
            self._at = None
        ms = round(1000 * (time.monotonic() - started))
        tell("answered", answer=short(task.id), films=len(task.films), ms=ms)
        return True

    def _answer_failed(self, task: Task, now: float, why: str) -> None:
        if task.tries + 1 >= TRIES:
            self._journal.fail(task.id, now, why)
        tell("failed" if task.tries + 1 >= TRIES else "tried", answer=short(task.id), why=why)

    def _answer(self, task: Task, now: float) -> None:
        films = [(read_head(path), path) for uid in task.films if (path := self._spool.film(uid)).exists()]
        if not films:
            self._journal.fail(task.id, now, "its films are gone")
            return
        answered = self._answering.answer(films, self._unreadable)
        if answered.result is None:
            self._drop(task, "rejected" if answered.heads else "unreadable", now, answered.why)
            return
        if (
            answered.result.rejected
            and not answered.result.hits
            and self._settings.send.rejected == "nothing"
        ):
            reasons = answered.result.input.reasons if answered.result.input else ()
            self._drop(task, "rejected", now, reasons[0] if reasons else "rejected")
            return
        made = self._keep(answered, task)
        self._journal.answered(task.id, self._answering.bundle, made, _said(answered), now)
        if self._peer is None:
            self._finish(task.id, now)

    def _unreadable(self, uid: str, why: str) -> None:
        """Told as soon as it is known: the films of a study may take a minute each."""
        self._journal.end([uid], "unreadable", time.time(), why)
        tell("unreadable", film=short(uid), why=why)

    def _keep(self, answered: Answered, task: Task) -> list[Made]:
        assert answered.result is not None
        assert answered.grey is not None
        origin = Origin(answered.heads, task.received, self._answering.bundle)
        how, made = self._settings.send, []
        for one, data in made_objects(how, origin, answered.result, answered.grey, answered.previews):
            self._spool.keep_result(one.uid, [data])
            made.append(one)
        return made

    def _drop(self, task: Task, state: str, now: float, why: str) -> None:
        self._journal.drop(task.id, state, now, why)
        if state == "rejected":
            self._spool.drop(self._spool.film(uid) for uid in self._journal.films_of(task.id))
        tell(state, answer=short(task.id), why=why)

    # The peer

    def _send_next(self, now: float) -> bool:
        return self._with_peer("answered", now, self._send)

    def _commit_next(self, now: float) -> bool:
        if self._settings.pacs is None or not self._settings.pacs.commit:
            return False
        return self._with_peer("sent", now, self._commit)

    def _with_peer(self, state: str, now: float, do: Callable[[Task, Peer, float], None]) -> bool:
        """A task with the peer. One that cannot be reached is left alone for a while, whatever waits; one
        that refuses an object does so for that alone.
        """
        tries, until = self._paused.get(state, (0, 0.0))
        if self._peer is None or now < until:
            return False
        task = self._journal.next_task(state, now)
        if task is None:
            return False
        again = now + self._retry.after(task.tries + 1)
        try:
            do(task, self._peer, now)
        except PeerUnreached as error:
            self._paused[state] = tries + 1, time.time() + self._retry.after(tries + 1)
            self._give_up_or(
                task, now, again, str(error)
            )  # another is tried next: it may be this one's fault
            tell("peer not reached", why=str(error), tries=tries + 1)
        except PeerRefused as error:
            self._paused.pop(state, None)
            self._give_up_or(task, now, again, str(error))
            tell("peer refuses", answer=short(task.id), why=str(error))
        except (OSError, OperationalError):
            raise
        except Exception as error:  # of a message that makes no sense to the library
            self._give_up_or(task, now, again, type(error).__name__)
            tell("not sent", answer=short(task.id), why=type(error).__name__)
        else:
            self._paused.pop(state, None)
        return True

    def _give_up_or(self, task: Task, now: float, due: float, why: str) -> None:
        if now - task.since > self._retry.until:
            self._journal.fail(task.id, now, f"given up: {why}")
            tell("failed", answer=short(task.id), why=why)
        else:
            self._journal.put_off(task.id, due, why)

    def _send(self, task: Task, peer: Peer, now: float) -> None:
        waiting = [made for made in self._journal.objects_of(task.id) if made.state == "made"]
        files = [(made, self._spool.result(made.uid)) for made in waiting]
        if any(not path.exists() for _, path in files):
            self._journal.fail(task.id, now, "its results are gone")
            return
        if files:
            peer.store(files, [syntax_of(path) for _, path in files], self._journal.object_sent)
        assert self._settings.pacs
        if self._settings.pacs.commit:
            self._journal.sent(task.id, now, last=False)
        else:
            self._finish(task.id, now)
        tell("sent", answer=short(task.id), objects=len(files))

    def _finish(self, id: str, now: float) -> None:
        """Nothing more is asked of anybody: what lies on disk goes."""
        self._journal.sent(id, now, last=True)
        self._clear(id)

    def _commit(self, task: Task, peer: Peer, now: float) -> None:
        again = now + min(self._retry.longest, 30 * self._retry.first * 2.0 ** min(task.tries, 20))
        objects = [made for made in self._journal.objects_of(task.id) if made.state == "sent"]
        if now - task.since > self._retry.until:
            raise PeerRefused("has not committed")
        peer.commit(objects, lambda tx: self._journal.asked(task.id, tx, again), self.reported)

    def reported(self, event: Any) -> tuple[int, None]:
        """The peer's word (N-EVENT-REPORT), on the association that it was asked on or on one of its own."""
        said = event.event_information
        kept, lost = (
            [str(item.ReferencedSOPInstanceUID) for item in said.get(name, [])]
            for name in ("ReferencedSOPSequence", "FailedSOPSequence")
        )
        self._committed(str(said.TransactionUID), kept, lost)
        return 0x0000, None

    def _committed(self, tx: str, kept: list[str], lost: list[str]) -> None:
        for id in self._journal.committed(tx, kept, lost, time.time(), self._retry.after):
            self._clear(id)
            tell("committed", answer=short(id), objects=len(kept))
        if lost:
            tell("not committed", objects=len(lost))
        self.wake()

    # Housekeeping

    def _clear(self, id: str) -> None:
        """Remove the films of an answer that is done with, and its results unless they are still fetched."""
        self._spool.drop(self._spool.film(uid) for uid in self._journal.films_of(id))
        if self._settings.web is None:
            self._spool.drop(self._spool.result(made.uid) for made in self._journal.objects_of(id))

    def sweep(self) -> None:
        """Remove what is older than it is kept."""
        now = self._swept = time.time()
        self._spool.measure()
        old = self._journal.old_films(now - self._settings.keep)
        if old:
            self._spool.drop(self._spool.film(uid) for uid in old)
            self._spool.drop(self._spool.result(uid) for uid in self._journal.forget(old))
            tell("forgotten", films=len(old))
        web = self._settings.web
        made = self._spool.uids(self._spool.outgoing)
        gone = self._journal.finished(made, now - web.keep if web else now)
        self._spool.drop(self._spool.result(uid) for uid in gone)

    def _sweep_films(self) -> None:
        """Films that nobody was told are here, and those that are done with."""
        uids = self._spool.uids(self._spool.incoming)
        held = self._journal.held(uids)
        self._spool.drop(self._spool.film(uid) for uid in uids if uid not in held)


def _said(answered: Answered) -> Said:
    result = answered.result
    assert result is not None
    similarity = result.evidence.similarity if result.evidence else None
    called = result.abnormal.call if result.abnormal and result.hits else None
    return Said(called, similarity.percentile if similarity else None)
