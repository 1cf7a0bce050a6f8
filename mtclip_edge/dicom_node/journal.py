"""What was received and what became of it, in SQLite: the node's memory over kill, power cut and restart.

It holds UIDs, states, times and classes of errors; no name, no id of a patient, no word of a report.

A **film** is received → answered → sent → committed, or passed over (a rule of the site), rejected (no chest
film), unreadable, or failed. An **answer** is that of one study's films: begun (its films are fixed) →
answered (its objects lie in the outbox) → sent → committed, or failed, or dropped (nothing is sent).
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ArtefactIncompatible
from .journal_schema import SCHEMA, VERSION
from .records import Found, Made, Received, Said, Task

FILM_STATES = (
    *("received", "answered", "sent", "committed"),
    *("passed over", "rejected", "unreadable", "failed"),
)


class Journal:
    """Safe from several threads; every change is on disk when its method returns.

    Errors of every method: sqlite3.OperationalError where the disk is full.
    """

    def __init__(self, path: Path):
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        try:
            self._prepare(path)
        except BaseException:
            self._db.close()
            raise
        path.chmod(0o600)

    def _prepare(self, path: Path) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise ArtefactIncompatible(f"{path}: a journal of version {version}, this reads up to {VERSION}")
        if version == 0:
            self._db.executescript("BEGIN IMMEDIATE;" + SCHEMA + "COMMIT;")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # Films

    def receive(self, film: Received) -> None:
        """A film that was known stays as it is."""
        self._run(
            "INSERT OR IGNORE INTO film(uid, class, syntax, caller, bytes, state, received) "
            "VALUES(?, ?, ?, ?, ?, 'received', ?)",
            *(film.uid, film.sop_class, film.syntax, film.caller, film.bytes, film.received),
        )

    def state(self, uid: str) -> str | None:
        """Of a film; None of one that is not known."""
        rows = self._rows("SELECT state FROM film WHERE uid = ?", uid)
        return rows[0][0] if rows else None

    def renew(self, film: Received) -> None:
        """A film that could not be read came again: begin anew with it."""
        with self._together():
            self._run("DELETE FROM film WHERE uid = ?", film.uid)
            self.receive(film)

    def unsorted(self, most: int = 200) -> list[Received]:
        """Films whose headers nobody has looked at yet, the oldest first."""
        rows = self._rows(
            "SELECT uid, class, syntax, caller, bytes, received FROM film "
            "WHERE state = 'received' AND study IS NULL ORDER BY received LIMIT ?",
            most,
        )
        return [Received(*row) for row in rows]

    def sort(self, uid: str, study: str) -> None:
        self._run("UPDATE film SET study = ? WHERE uid = ?", study, uid)

    def end(self, uids: Iterable[str], state: str, now: float, why: str | None = None) -> None:
        """Films that nothing more is done for."""
        with self._together():
            for uid in uids:
                self._run("UPDATE film SET state = ?, done = ?, why = ? WHERE uid = ?", state, now, why, uid)

    def held(self, uids: Iterable[str]) -> set[str]:
        """Of some films those whose files are still needed."""
        sql = (
            "SELECT 1 FROM film WHERE uid = ? AND (state IN ('received', 'answered', 'failed', 'unreadable') "
            "OR state = 'sent' AND done IS NULL)"
        )
        return {uid for uid in uids if self._rows(sql, uid)}

    # Answers

    def quiet_study(self, now: float, quiet: float) -> list[str] | None:
        """The films of the study that has waited longest of those that no film came for in ``quiet``
        seconds.
        """
        rows = self._rows(
            "SELECT study FROM film WHERE state = 'received' AND study IS NOT NULL AND answer IS NULL "
            "GROUP BY study HAVING max(received) <= ? ORDER BY min(received) LIMIT 1",
            now - quiet,
        )
        if not rows:
            return None
        films = self._rows(
            "SELECT uid FROM film WHERE study = ? AND state = 'received' AND answer IS NULL ORDER BY uid",
            rows[0][0],
        )
        return [uid for (uid,) in films]

    def begin(self, id: str, films: Iterable[str], now: float) -> None:
        """Fix which films an answer is of: one that comes later gets an answer of its own."""
        with self._together():
            films = list(films)
            latest = max(self._rows("SELECT received FROM film WHERE uid = ?", uid)[0][0] for uid in films)
            self._run(
                "INSERT OR REPLACE INTO answer(id, state, received, due, since) VALUES(?, 'begun', ?, ?, ?)",
                *(id, latest, now, now),
            )
            for uid in films:
                self._run("UPDATE film SET answer = ? WHERE uid = ?", id, uid)

    def next_task(self, state: str, now: float) -> Task | None:
        """What is due, the least tried first, so that nothing blocks what stands behind it."""
        rows = self._rows(
            "SELECT id, state, received, tries, since FROM answer "
            "WHERE state = ? AND due <= ? AND done IS NULL ORDER BY tries, received LIMIT 1",
            *(state, now),
        )
        if not rows:
            return None
        id, found, received, tries, since = rows[0]
        return Task(id, found, received, tries, since, self.films_of(id))

    def films_of(self, id: str) -> tuple[str, ...]:
        rows = self._rows("SELECT uid FROM film WHERE answer = ? AND state != 'unreadable' ORDER BY uid", id)
        return tuple(uid for (uid,) in rows)

    def answered(self, id: str, bundle: str, objects: Iterable[Made], said: Said, now: float) -> None:
        """The objects lie in the outbox: what is left is to send them."""
        with self._together():
            for made in objects:
                self._run(
                    "INSERT OR IGNORE INTO object(uid, answer, kind, class, state) "
                    "VALUES(?, ?, ?, ?, 'made')",
                    *(made.uid, id, made.kind, made.sop_class),
                )
            self._run(
                "UPDATE answer SET state = 'answered', bundle = ?, called = ?, percentile = ?, tries = 0, "
                "due = ?, since = ?, why = NULL WHERE id = ?",
                *(bundle, said.called, said.percentile, now, now, id),
            )
            self._films_to("answered", id, None)

    def drop(self, id: str, state: str, now: float, why: str | None = None) -> None:
        """An answer of which nothing is sent; its films are done with as ``state``."""
        with self._together():
            self._run("UPDATE answer SET state = 'dropped', done = ?, why = ? WHERE id = ?", now, why, id)
            self._films_to(state, id, now, why)

    def objects_of(self, id: str) -> list[Made]:
        rows = self._rows("SELECT uid, kind, class, state FROM object WHERE answer = ? ORDER BY kind", id)
        return [Made(*row) for row in rows]

    def object_sent(self, uid: str) -> None:
        self._run("UPDATE object SET state = 'sent' WHERE uid = ? AND state = 'made'", uid)

    def sent(self, id: str, now: float, last: bool) -> None:
        """All objects are with the peer; ``last``: nothing more is asked of it."""
        with self._together():
            self._run(
                "UPDATE answer SET state = 'sent', tries = lost, due = ?, done = ?, why = NULL, "
                "since = CASE lost WHEN 0 THEN ? ELSE since END WHERE id = ?",
                *(now, now if last else None, now, id),
            )
            self._films_to("sent", id, now if last else None)

    def asked(self, id: str, tx: str, again: float) -> None:
        """The peer was asked to commit; without its word until ``again`` it is asked once more."""
        with self._together():
            self._run("UPDATE object SET tx = ? WHERE answer = ? AND state = 'sent'", tx, id)
            self._run("UPDATE answer SET due = ?, tries = tries + 1 WHERE id = ?", again, id)

    def committed(
        self,
        tx: str,
        kept: Iterable[str],
        lost: Iterable[str],
        now: float,
        after: Callable[[int], float] = lambda tries: 0.0,  # noqa: ARG005
    ) -> list[str]:
        """The peer's word on a transaction; returns the answers that are committed whole by it. What it has
        not is sent again, after ``after(times)`` seconds. A word on what was not asked, or not in this
        transaction, changes nothing.
        """
        with self._together():
            touched = {
                id
                for uid in kept
                for (id,) in self._rows("SELECT answer FROM object WHERE uid = ? AND tx = ?", uid, tx)
            }
            for uid in kept:
                self._run("UPDATE object SET state = 'committed' WHERE uid = ? AND tx = ?", uid, tx)
            for uid in lost:
                for (id,) in self._rows("SELECT answer FROM object WHERE uid = ? AND tx = ?", uid, tx):
                    self._run("UPDATE object SET state = 'made', tx = NULL WHERE uid = ?", uid)
                    times = self._rows("SELECT lost FROM answer WHERE id = ?", id)[0][0] + 1
                    self._run(
                        "UPDATE answer SET state = 'answered', lost = ?, tries = ?, due = ?, "
                        "why = 'not committed' WHERE id = ? AND state = 'sent'",
                        *(times, times, now + after(times), id),
                    )
            return [id for id in sorted(touched) if self._whole(id, now)]

    def _whole(self, id: str, now: float) -> bool:
        if self._rows("SELECT 1 FROM object WHERE answer = ? AND state != 'committed'", id):
            return False
        self._run("UPDATE answer SET state = 'committed', done = ?, why = NULL WHERE id = ?", now, id)
        self._films_to("committed", id, now)
        return True

    def put_off(self, id: str, due: float, why: str) -> None:
        self._run("UPDATE answer SET tries = tries + 1, due = ?, why = ? WHERE id = ?", due, why, id)

    def unfinished(self, state: str) -> list[str]:
        """Answers in a state that are not done with."""
        return [id for (id,) in self._rows("SELECT id FROM answer WHERE state = ? AND done IS NULL", state)]

    def wait(self, id: str, tries: int, why: str) -> None:
        """Due at once, as often tried as before: something else was to blame."""
        self._run("UPDATE answer SET tries = ?, due = since, why = ? WHERE id = ?", tries, why, id)

    def fail(self, id: str, now: float, why: str) -> None:
        with self._together():
            self._run("UPDATE answer SET state = 'failed', done = ?, why = ? WHERE id = ?", now, why, id)
            self._films_to("failed", id, now, why)

    def _films_to(self, state: str, id: str, done: float | None, why: str | None = None) -> None:
        self._run(
            "UPDATE film SET state = ?, done = ?, why = ? WHERE answer = ? AND state != 'unreadable'",
            *(state, done, why, id),
        )

    # A person's word

    def again(self, uid: str | None, now: float) -> int:
        """Let failed and unreadable films be tried again, one or all; returns how many."""
        with self._together():
            films = self._failed(uid)
            for film, answer, state in films:
                if (
                    state == "failed" and answer and self.objects_of(answer)
                ):  # made: what failed is to send them
                    self._run(
                        "UPDATE answer SET state = 'answered', tries = 0, lost = 0, due = ?, since = ?, "
                        "why = NULL, done = NULL WHERE id = ?",
                        *(now, now, answer),
                    )
                    self._films_to("answered", answer, None)
                    continue
                self._run("DELETE FROM answer WHERE id = ? AND state IN ('failed', 'dropped')", answer)
                self._run(
                    "UPDATE film SET state = 'received', answer = NULL, study = NULL, why = NULL, "
                    "done = NULL WHERE uid = ?",
                    film,
                )
            return len(films)

    def failed_films(self, uid: str | None) -> list[str]:
        return [film for film, _, _ in self._failed(uid)]

    def _failed(self, uid: str | None) -> list[Any]:
        return self._rows(
            "SELECT uid, answer, state FROM film WHERE state IN ('failed', 'unreadable') "
            "AND (? IS NULL OR uid = ?)",
            *(uid, uid),
        )

    def forget(self, uids: Iterable[str]) -> list[str]:
        """Rows of films, with their answers where no other film is theirs; returns the objects that go."""
        with self._together():
            gone: list[str] = []
            for uid in uids:
                rows = self._rows("SELECT answer FROM film WHERE uid = ?", uid)
                self._run("DELETE FROM film WHERE uid = ?", uid)
                for (id,) in rows:
                    if id and not self._rows("SELECT 1 FROM film WHERE answer = ?", id):
                        gone += [made.uid for made in self.objects_of(id)]
                        self._run("DELETE FROM object WHERE answer = ?", id)
                        self._run("DELETE FROM answer WHERE id = ?", id)
            return gone

    def old_films(self, before: float, most: int = 500) -> list[str]:
        """Films that were done with before."""
        rows = self._rows("SELECT uid FROM film WHERE done < ? LIMIT ?", before, most)
        return [uid for (uid,) in rows]

    # What is looked at

    def counts(self) -> dict[str, int]:
        """Films by state, those without any too."""
        found = dict(self._rows("SELECT state, count(*) FROM film GROUP BY state"))
        return {state: found.get(state, 0) for state in FILM_STATES}

    def oldest_waiting(self) -> float | None:
        """When the film was received that waits longest for its answer, or its answer to be sent."""
        rows = self._rows("SELECT min(received) FROM film WHERE state IN ('received', 'answered')")
        return rows[0][0]

    def reasons(self) -> dict[str, int]:
        """How many of the films that were not answered say why, by what they say."""
        return dict(
            self._rows("SELECT why, count(*) FROM film WHERE why IS NOT NULL GROUP BY why ORDER BY 2 DESC")
        )

    def uncommitted(self) -> int:
        return int(self._rows("SELECT count(*) FROM answer WHERE state = 'sent' AND done IS NULL")[0][0])

    def held_bytes(self) -> int:
        """Of films whose files are kept."""
        rows = self._rows(
            "SELECT total(bytes) FROM film WHERE state IN ('received', 'answered', 'failed', 'unreadable') "
            "OR state = 'sent' AND done IS NULL"
        )
        return int(rows[0][0])

    def answers_between(self, low: float, high: float) -> list[tuple[str | None, float | None]]:
        """What answers said: the call, and the percentile of the best report."""
        sql = "SELECT called, percentile FROM answer WHERE since >= ? AND since < ? AND bundle NOTNULL"
        return self._rows(sql, low, high)

    def films_since(self, when: float) -> dict[str, int]:
        return dict(self._rows("SELECT state, count(*) FROM film WHERE received >= ? GROUP BY state", when))

    def finished(self, uids: Iterable[str], before: float) -> list[str]:
        """Of some objects those whose answers were done with before, and those that nobody knows."""
        sql = "SELECT done, answer.state FROM object JOIN answer ON answer.id = answer WHERE uid = ?"
        found = {uid: self._rows(sql, uid) for uid in uids}
        return [
            uid
            for uid, rows in found.items()
            if not rows or (rows[0][0] is not None and rows[0][0] <= before and rows[0][1] != "failed")
        ]

    def found(self, study: str | None = None, uid: str | None = None) -> list[Found]:
        """Results of a study, or by UID; None: any. Newest first."""
        rows = self._rows(
            "SELECT DISTINCT object.uid, object.kind, object.class, film.study FROM object "
            "JOIN answer ON answer.id = object.answer JOIN film ON film.answer = answer.id "
            "WHERE (? IS NULL OR film.study = ?) AND (? IS NULL OR object.uid = ?) "
            "ORDER BY answer.received DESC, object.kind",
            *(study, study, uid, uid),
        )
        return [Found(*row) for row in rows]

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def _run(self, sql: str, *values: Any) -> None:
        with self._lock:
            self._db.execute(sql, values)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """All of it or nothing."""
        with self._lock:
            if self._db.in_transaction:  # inside another
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:  # a full disk ends it by itself
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
