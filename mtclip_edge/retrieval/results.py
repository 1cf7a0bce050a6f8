"""What a query gives: frozen dataclasses, each with the exact JSON of docs/reference/json.md as ``to_dict``.

None means not computed.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import printable
from ..evidence.calibration import Abnormal
from ..films.film import Ids
from ..index.hits import FilmHit, Hit, ReportHit
from ..index.index import SearchChoice
from ..index.rerank import Weights
from ..inference.device import Device
from ..inference.precision import Precision
from ..notice import NOTICE

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..evidence.evidence import Evidence
    from ..evidence.heat_map import Explained
    from ..index.own_priors import OwnPriors

SCHEMA = "mtclip.query/2"


@dataclass(frozen=True)
class Input:
    """What the film is: ``verdict`` ok, warn, reject, or None where the bundle cannot judge and nothing
    speaks against the film.

    ``ids`` (whose it is) only where they were asked for. ``view`` (frontal, lateral; of a study also both)
    and what says so (``view_from``: header, picture, assumed) only where the bundle was trained with
    laterals.
    """

    kind: str
    verdict: str | None = None
    reasons: tuple[str, ...] = ()
    ids: Ids | None = None
    view: str | None = None
    view_from: str | None = None

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "kind": self.kind,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
        }
        if self.view is not None:
            values |= {"view": self.view, "view_from": self.view_from}
        return values if self.ids is None else {**values, "ids": asdict(self.ids)}


@dataclass(frozen=True)
class BundleFacts:
    """Which bundle answered, how it searched, and ``library``: what other reports than its own."""

    identity: str
    demo: bool
    backbone: str
    precision: Precision
    studies: int
    reports: int
    search: SearchChoice
    weights: Weights
    library: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class StudyFilm:
    """A film of a study that was answered as one; ``reason`` says why it does not count in the mean; ``view``
    and ``view_from`` as of ``Input``.
    """

    image: str
    counted: bool
    reason: str | None = None
    view: str | None = None
    view_from: str | None = None

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"image": self.image, "counted": self.counted, "reason": self.reason}
        return values if self.view is None else {**values, "view": self.view, "view_from": self.view_from}


# How a notebook shows an answer. The room that draws it stands above this one, so the package's door hands it
# in (``mtclip_edge.__getattr__``); without it a notebook shows the line of ``repr``.
drawn: "Callable[[QueryResult], str] | None" = None


@dataclass(frozen=True, repr=False)
class QueryResult:
    """The answer to one film, study or text. ``image`` is the film's path as given, of a study its first that
    counts, None for a text.

    ``filters`` are what was asked for, maybe empty; ``ranking``: the weights that the hits were put in order
    by; ``study`` holds a study's films, None where films are answered one by one. ``grey`` is the pixels of
    that film, uint8 [height, width], where they were to be kept. ``text``: what was asked together with a
    film. ``own_priors``: the patient's own reports, which are none of ``hits``; None where nobody asked for
    them, and of a rejected film.
    """

    kind: str
    value: str
    filters: Mapping[str, Any]
    image: str | None
    device: Device
    bundle: BundleFacts
    abnormal: Abnormal | None
    input: Input | None
    hits: tuple[Hit, ...]
    timings_ms: Mapping[str, float]
    ranking: Mapping[str, Any] | None = None
    study: tuple[StudyFilm, ...] | None = None
    evidence: "Evidence | None" = None
    explain: "Explained | None" = None
    grey: np.ndarray | None = field(default=None, repr=False, compare=False)
    text: str | None = None
    own_priors: "OwnPriors | None" = None

    @property
    def ok(self) -> bool:
        """Whether there is an answer: False where the film was rejected and nothing was searched for it."""
        return not self.rejected or bool(self.hits)

    @property
    def best(self) -> ReportHit | None:
        """The first report; None where none was found, or the film was rejected."""
        return self.reports[0] if self.reports else None

    @property
    def rejected(self) -> bool:
        """Whether the film was rejected; with ``force`` there are hits all the same."""
        return self.input is not None and self.input.verdict == "reject"

    @property
    def reports(self) -> list[ReportHit]:
        """The hits that are reports."""
        return [hit for hit in self.hits if isinstance(hit, ReportHit)]

    @property
    def films(self) -> list[FilmHit]:
        """The hits that are films; only a text finds any."""
        return [hit for hit in self.hits if isinstance(hit, FilmHit)]

    def to_dict(self) -> dict[str, Any]:
        """JSON of schema mtclip.query/2."""
        return {
            "schema": SCHEMA,
            "query": {
                "type": self.kind,
                "value": self.value,
                "filter": dict(self.filters) or None,
                **({} if self.text is None else {"text": self.text}),
            },
            "image": self.image,
            "notice": NOTICE,
            "device": asdict(self.device),
            "bundle": _bundle(self.bundle),
            "abnormal": self.abnormal and asdict(self.abnormal),
            "input": self.input and self.input.to_dict(),
            **({} if self.study is None else {"films": [film.to_dict() for film in self.study]}),
            "evidence": self.evidence and self.evidence.to_dict(),
            "ranking": self.ranking and dict(self.ranking),
            "hits": [hit.to_dict() for hit in self.hits],
            **({} if self.own_priors is None else {"own_priors": self.own_priors.to_dict()}),
            "explain": self.explain and self.explain.to_dict(),
            "timings_ms": dict(self.timings_ms),
        }

    def to_frame(self) -> "DataFrame":
        """The hits as a pandas table, a row each; a rejected film gives none (``frame.COLUMNS``).

        Errors: ExtraMissing where pandas is not installed.
        """
        from .frame import frame_of

        verdict = self.input.verdict if self.input else None
        abnormal = self.abnormal.probability if self.abnormal else None
        return frame_of(self.hits, query=self.value, verdict=verdict, abnormal=abnormal)

    def __repr__(self) -> str:
        """One line, without a word of any report: it may end in a log."""
        head = f"QueryResult of {printable(self.value)}"
        if not self.ok:
            reasons = "; ".join(self.input.reasons) if self.input else ""
            return f"<{head}: rejected ({printable(reasons)})>"
        found = f"{len(self.reports)} reports" + (f", {len(self.films)} films" if self.films else "")
        found += f", {len(self.own_priors.hits)} of the patient" if self.own_priors else ""
        first = f", first {self.best.label} {self.best.report_id}" if self.best else ""
        probability = self.abnormal.probability if self.abnormal else None
        abnormal = "" if probability is None else f", abnormal {probability}"
        return f"<{head}: {found}{first}{abnormal}>"

    def _repr_html_(self) -> str | None:
        return drawn(self) if drawn is not None else None


def _bundle(facts: BundleFacts) -> dict[str, Any]:
    return {
        "id": facts.identity,
        "demo": facts.demo,
        "backbone": facts.backbone,
        "precision": facts.precision.name,
        "precision_why": facts.precision.why,
        "studies": facts.studies,
        "reports": facts.reports,
        "search": {"used": facts.search.used, "why": facts.search.why},
        "fuse": facts.weights.films.to_dict(),
        **({} if facts.library is None else {"library": dict(facts.library)}),
    }


class Clock:
    """Milliseconds of each stage of one answer."""

    def __init__(self, laps: dict[str, float] | None = None) -> None:
        self.laps: dict[str, float] = laps or {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        self.note(stage, 1000 * (time.perf_counter() - self._last))

    def note(self, stage: str, milliseconds: float) -> None:
        self.laps[stage] = milliseconds
        self._last = time.perf_counter()

    def timings(self, load_ms: float) -> dict[str, float]:
        """``load`` happened once for the process; ``total`` is this answer with it."""
        laps = {"load": load_ms, **self.laps}
        return {stage: round(ms, 2) for stage, ms in {**laps, "total": sum(laps.values())}.items()}
