"""What a layout gives, one entry at a time: studies with their place in the source, and what was left out
with the reason.

Rows of one study are joined here, for every table of films, in memory that does not grow with the table: a
first pass reads the ids only and keeps 8 bytes a row, so that the second one knows when a study is complete.
Only studies whose rows do not lie together are held meanwhile.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import SourceUnusable
from ..studies import LABELS, Study, has_words

MOST_PROBLEMS = 1000  # kept word for word; all are counted


@dataclass(frozen=True, slots=True)
class Problem:
    """One row that could not be used as it stands. ``lost`` is what was left out: the row, its film, its
    date, or its label.

    ``place`` is a line's number, or the name of a file or member. ``kind`` is the reason without the row's
    own values, to count by.
    """

    place: int | str
    reason: str
    lost: str = "row"
    kind: str = ""

    def __str__(self) -> str:
        where = f"line {self.place}" if isinstance(self.place, int) else self.place
        return f"{where}: {self.reason} ({self.lost} left out)"

    @property
    def why(self) -> str:
        return f"{self.kind or self.reason.split(':')[0]} ({self.lost} left out)"


class BadRow(Exception):
    """A row that cannot be used; ``kind`` as in Problem."""

    def __init__(self, reason: str, kind: str = ""):
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Entry:
    """A study, where it begins in the source, and its number in the source's order (a stream may give it
    later).
    """

    place: int | str
    number: int
    study: Study


@dataclass(frozen=True, slots=True)
class PassedOver:
    """What is of a kind that a source does not take, with the rule that says so: counted by rule, and no
    bad row.
    """

    place: str
    rule: str


Item = Entry | Problem | PassedOver


@dataclass(frozen=True)
class Layout:
    """A source that was recognised: what a bundle calls it, what is to be said of it, and its entries, as
    often as asked.
    """

    name: str
    entries: Callable[[], Iterator[Item]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table of films.

    ``build`` makes a study with at most one film and what was wrong beside it. Errors: BadRow.
    """

    place: int | str
    study_id: str
    build: Callable[[], tuple[Study, tuple[Problem, ...]]]


# What the rows of one study must agree on.
SHARED = ("patient_id", "report", "findings", "impression", "label", "finding_labels", "split")


def joined(rows: Callable[[], Iterator[Row | Problem | PassedOver]]) -> Iterator[Item]:
    """The studies of a table's rows: films add up, everything else must agree. Reads the table twice."""
    to_come = _scattered(row.study_id for row in rows() if isinstance(row, Row))
    begun: dict[str, Entry] = {}
    current = ""
    for number, row in enumerate(rows()):
        if isinstance(row, Problem | PassedOver):
            yield row
            continue
        if row.study_id != current:
            if hash(current) not in to_come and current in begun:
                yield begun.pop(current)
            current = row.study_id
        yield from _add(begun, row, number)
        key = hash(current)
        if key in to_come:
            to_come[key] -= 1
            if not to_come[key] and current in begun:
                yield begun.pop(current)
    yield from begun.values()


def _scattered(ids: Iterable[str]) -> dict[int, int]:
    """The hash of each id whose rows do not lie together, with how many rows it has."""
    keys = np.frombuffer(array("q", (hash(name) for name in ids)) or array("q", [0]), np.int64)
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    distinct, runs = np.unique(keys[begins], return_counts=True)
    again = distinct[runs > 1]
    if not len(again):
        return {}
    names, rows = np.unique(keys[np.isin(keys, again)], return_counts=True)
    return dict(zip(names.tolist(), rows.tolist(), strict=True))


def _add(begun: dict[str, Entry], row: Row, number: int) -> Iterator[Problem]:
    try:
        study, problems = row.build()
        earlier = begun.get(row.study_id)
        begun[row.study_id] = (
            Entry(row.place, number, study)
            if earlier is None
            else replace(earlier, study=_join(earlier.study, study, problems))
        )
    except BadRow as bad:
        yield Problem(row.place, str(bad), kind=bad.kind)
        return
    yield from problems


def _join(study: Study, new: Study, problems: tuple[Problem, ...]) -> Study:
    for name in SHARED:
        if getattr(study, name) != getattr(new, name):
            raise BadRow(
                f"study {new.study_id} again, with another {name}", f"study again, with another {name}"
            )
    if not new.films or new.films[0].path in {film.path for film in study.films}:
        film_problem = next((p for p in problems if p.lost == "film"), None)
        if film_problem:
            raise BadRow(film_problem.reason, film_problem.kind)
        raise BadRow(f"study {new.study_id} again, with no new film", "study again, with no new film")
    return replace(study, films=(*study.films, *new.films))


def usable(study: Study, problems: tuple[Problem, ...]) -> tuple[Study, tuple[Problem, ...]]:
    """A row's study if it has a film or a text. Errors: BadRow, with what was wrong with the film."""
    if study.films or has_words(study.text):
        return study, problems
    film = next((problem for problem in problems if problem.lost == "film"), None)
    raise BadRow(film.reason, film.kind) if film else BadRow("neither a film nor a text")


@dataclass
class Tally:
    """What a stream has given so far."""

    studies: int = 0
    films: int = 0
    reports: int = 0
    rows: int = 0  # that were used: one for each film, or for a study without one
    unusable: int = 0  # bad rows that lost more than their date
    labels: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(LABELS, 0)))
    skipped: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def add(self, item: Item) -> None:
        """Count one item of a stream; the first problems are kept."""
        if isinstance(item, PassedOver):
            self.passed_over[item.rule] += 1
            return
        if isinstance(item, Problem):
            self.skipped[item.why] += 1
            self.unusable += item.lost != "date"
            if len(self.problems) < MOST_PROBLEMS:
                self.problems.append(item)
            return
        self.studies += 1
        self.films += len(item.study.films)
        self.rows += max(1, len(item.study.films))
        self.reports += has_words(item.study.text)
        self.labels[item.study.label] += 1

    @property
    def bad_rows(self) -> int:
        return self.skipped.total()

    def refuse_empty(self, spec: str) -> None:
        """Errors: SourceUnusable, with the first problem, where no study came."""
        if not self.studies:
            passed = f"passed over: {counted(self.passed_over)}" if self.passed_over else "it has no rows"
            raise SourceUnusable(
                f"{spec}: no study can be used",
                f"first problem: {self.problems[0]}" if self.problems else passed,
            )

    def summary(self, spec: str) -> str:
        """One line: studies, films and reports, by label, and how many rows were left out."""
        return (
            f"{spec}: {self.studies} studies, {self.films} films, {self.reports} reports, "
            f"{self.bad_rows} bad rows"
        )

    def summary_lines(self, spec: str, notes: Iterable[str] = (), most: int = 20) -> list[str]:
        """The summary, labels, notes, the first bad rows by place, and every reason with its count."""
        shown = [f"  {problem}" for problem in self.problems[:most]]
        labels = "  labels: " + ", ".join(f"{count} {name}" for name, count in self.labels.items())
        lines = [self.summary(spec), labels, *(f"  {note}" for note in notes), *shown]
        if self.bad_rows > len(shown):
            lines.append(f"  and {self.bad_rows - len(shown)} more")
        if self.bad_rows:
            lines.append(f"  by reason: {counted(self.skipped)}")
        if self.passed_over:
            lines.append(f"  passed over: {counted(self.passed_over)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        reasons, passed_over = (dict(counts.most_common()) for counts in (self.skipped, self.passed_over))
        return {"bad_rows": self.bad_rows, "reasons": reasons, "passed_over": passed_over}


def counted(reasons: Counter[str]) -> str:
    """Every reason with its count, the most frequent first."""
    return "; ".join(f"{count} × {why}" for why, count in reasons.most_common())
