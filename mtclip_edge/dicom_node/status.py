"""How a node is: what waits, what failed, and whether what it sees has changed; from the journal alone.

It can be asked while the node works, and when it does not.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ..bundle.bundle import Bundle
from ..bundle.manifest import ModelPart
from ..errors import MtclipError, Refused
from ..evidence.calibration import Abnormal
from ..evidence.kept_films import KeptFilms
from ..notice import NOTICE
from ..studies import FRONTAL, LATERAL
from .journal import Journal
from .settings import NodeSettings
from .spool import Spool

SCHEMA = "mtclip.node/1"
WEEK = 7 * 86400.0
FEW = 20  # answers: of fewer no share is told
_QUARTILES = (25, 50, 75)
_SEEN = {FRONTAL: "frontal", LATERAL: "lateral"}


@dataclass(frozen=True)
class Status:
    document: dict[str, Any]
    oldest: float | None  # seconds that the film waits that waits longest

    def late(self, older_than: float) -> bool:
        return self.oldest is not None and self.oldest > older_than


def status_of(settings: NodeSettings) -> Status:
    """Errors: Refused where no node has worked here."""
    journal, now = opened_journal(settings), time.time()
    try:
        since = journal.oldest_waiting()
        oldest = None if since is None else max(0.0, now - since)
        counts = journal.counts()
        refused = {"passed over", "rejected", "unreadable", "failed"}
        document = {
            "schema": SCHEMA,
            "notice": NOTICE,
            "running": is_running(settings.spool),
            "films": counts,
            "waiting": counts["received"] + counts["answered"],
            "oldest_s": None if oldest is None else round(oldest, 1),
            "uncommitted": journal.uncommitted(),
            "failed": counts["failed"],
            "reasons": journal.reasons() if any(counts[state] for state in refused) else {},
            "held_bytes": journal.held_bytes(),
            "spool_limit": settings.spool_limit,
            "free_bytes": shutil.disk_usage(settings.spool).free,
            "drift": _drift(journal, settings, now),
        }
    finally:
        journal.close()
    return Status(document, oldest)


def _drift(journal: Journal, settings: NodeSettings, now: float) -> dict[str, Any]:
    """The last seven days beside the time before and beside the validation films of the bundle."""
    states, ever = journal.films_since(now - WEEK), journal.films_since(0.0)
    before = {state: ever[state] - states.get(state, 0) for state in ever}
    week, earlier = (journal.answers_between(*when) for when in ((now - WEEK, now), (0.0, now - WEEK)))
    return {
        "week": _told(states, week),
        "before": _told(before, earlier),
        "validation": _validation(settings),
    }


def _told(states: dict[str, int], answers: list[tuple[str | None, float | None]]) -> dict[str, Any]:
    """Shares, None of too few."""
    judged = sum(states.get(state, 0) for state in ("answered", "sent", "committed", "rejected"))
    called = [call for call, _ in answers if call is not None]
    percentiles = [percentile for _, percentile in answers if percentile is not None]
    return {
        "films": sum(states.values()),
        "answers": len(answers),
        "rejected": _share(states.get("rejected", 0), judged),
        "called_abnormal": _share(called.count("abnormal"), len(called)),
        "similarity_percentiles": (
            [round(float(p), 1) for p in np.percentile(percentiles, _QUARTILES)]
            if len(percentiles) >= FEW
            else None
        ),
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole >= FEW else None


def _validation(settings: NodeSettings) -> dict[str, Any] | None:
    """What the bundle's maker saw; percentiles are those of its own films, so their quartiles are known."""
    try:
        bundle = Bundle.open(settings.bundle)
        kept = KeptFilms.of(bundle)
    except MtclipError:
        return None
    model = bundle.model
    gate, evidence = model.film_gate, model.evidence
    rejected = gate.shares.get("layout_reject") if gate and gate.shares else None
    return {
        "rejected": rejected,
        "called_abnormal": _called(kept, model),
        "similarity_percentiles": list(_QUARTILES) if evidence and evidence.best_scores else None,
    }


def _called(kept: KeptFilms | None, model: ModelPart) -> float | None:
    """The share of the validation films that the operating point in force calls abnormal, where the bundle
    keeps them.
    """
    if kept is None or not len(kept.rows):
        return None
    said = [Abnormal.of(float(row["logit"]), model, _SEEN[int(row["view"])]) for row in kept.rows]
    calls = [one.call for one in said if one is not None and one.call is not None]
    return _share(calls.count("abnormal"), len(calls))


def is_running(spool: Path) -> bool:
    """Whether a node works in a spool."""
    lock = FileLock(spool / "node.lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def opened_journal(settings: NodeSettings) -> Journal:
    """Errors: Refused where there is none."""
    from .node import JOURNAL

    path = settings.spool / JOURNAL
    if not path.is_file():
        raise Refused(f"{settings.spool}: no node has worked here yet", hint="mtclip node run NODE.toml")
    return Journal(path)


def retry(settings: NodeSettings, uid: str | None) -> int:
    """Let failed and unreadable films be tried again; returns how many. Errors: Refused."""
    journal = opened_journal(settings)
    try:
        return journal.again(uid, time.time())
    finally:
        journal.close()


def forget(settings: NodeSettings, uid: str | None) -> int:
    """Remove failed and unreadable films with all that is known of them; returns how many.

    Errors: Refused.
    """
    journal = opened_journal(settings)
    spool = Spool(settings.spool, settings.spool_limit)
    try:
        films = journal.failed_films(uid)
        spool.drop(spool.film(film) for film in films)
        spool.drop(spool.result(made) for made in journal.forget(films))
        return len(films)
    finally:
        journal.close()
