"""What is handed to the journal and what it gives: UIDs, states and times."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Received:
    """A film as it came in; ``received`` is seconds of the clock."""

    uid: str
    sop_class: str
    syntax: str
    caller: str
    bytes: int
    received: float


@dataclass(frozen=True)
class Task:
    """An answer to work on: its films by UID, and how often it was tried since when."""

    id: str
    state: str
    received: float
    tries: int
    since: float
    films: tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """A result object in the outbox."""

    uid: str
    kind: str
    sop_class: str
    state: str = "made"


@dataclass(frozen=True)
class Found:
    """A result object as it is looked for."""

    uid: str
    kind: str
    sop_class: str
    study: str


@dataclass(frozen=True)
class Said:
    """What is remembered of an answer for the monitor."""

    called: str | None = None
    percentile: float | None = None
