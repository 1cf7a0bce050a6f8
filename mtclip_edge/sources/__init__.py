"""Where studies come from: ``manifest:FILE``, ``phantom:N@SEED``, a plain path to a manifest, or a folder with a ``manifest.csv``.

Each kind of source is one module with ``read(rest, spec) -> Reading``. Nothing is copied: films are read in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import SourceUnusable
from ..studies import Study

KINDS = ("manifest", "phantom")


@dataclass(frozen=True)
class Problem:
    """One row that could not be used as it stands. ``lost`` is what was left out: the row, or only its film."""

    line: int
    reason: str
    lost: str = "row"

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason} ({self.lost} left out)"


@dataclass(frozen=True)
class Reading:
    """What a source gave: its studies in the source's order, and every row that was left out with its line."""

    spec: str
    studies: tuple[Study, ...]
    problems: tuple[Problem, ...] = ()

    def split(self, name: str) -> list[Study]:
        return [study for study in self.studies if study.split == name]

    def summary(self) -> str:
        films = sum(len(study.films) for study in self.studies)
        reports = sum(study.report_id is not None for study in self.studies)
        return f"{self.spec}: {len(self.studies)} studies, {films} films, {reports} reports, {len(self.problems)} bad rows"

    def lines(self, most: int = 20) -> list[str]:
        """The summary, and the first bad rows by line."""
        shown = [f"  {problem}" for problem in self.problems[:most]]
        more = len(self.problems) - most
        return [self.summary(), *shown, *([f"  and {more} more"] if more > 0 else [])]


def open_source(spec: str) -> Reading:
    """Read one source. Errors: SourceUnusable when nothing in it can be used."""
    kind, _, rest = spec.partition(":")
    if kind not in KINDS or not rest:
        kind, rest = "manifest", spec
    from . import manifest, phantom

    reading = phantom.read(rest, spec) if kind == "phantom" else manifest.read(rest, spec)
    if not reading.studies:
        first = f"first problem: {reading.problems[0]}" if reading.problems else "it has no rows"
        raise SourceUnusable(f"{spec}: no study can be used", first)
    return reading


def open_sources(specs: Sequence[str]) -> Reading:
    """Several sources as one. A study id that two sources share is an error: it would be two patients under one name."""
    readings = [open_source(spec) for spec in specs]
    if len(readings) == 1:
        return readings[0]
    _refuse_shared_ids(readings)
    return Reading(
        " + ".join(specs),
        tuple(study for reading in readings for study in reading.studies),
        tuple(problem for reading in readings for problem in reading.problems),
    )


def _refuse_shared_ids(readings: Sequence[Reading]) -> None:
    seen: dict[str, int] = {}
    for position, reading in enumerate(readings):
        for study in reading.studies:
            if seen.setdefault(study.study_id, position) != position:
                raise SourceUnusable(
                    f"{reading.spec}: study {study.study_id} is in {readings[seen[study.study_id]].spec} too",
                    hint="give each source once, and study ids of its own",
                )
