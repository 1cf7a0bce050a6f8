"""How many films each thing that is fitted needs, and what a set of studies is too small for.

Who fits asks these numbers too, so that what is told before a training is what decides after it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..studies import LATERAL, Study, view_code
from .validation_reference import LEAST

OF_EACH_LABEL = 20  # for calibration and operating point: fewer say nothing about a frequency
NOT_CALIBRATED = (
    f"the abnormal head is not calibrated: fewer than {OF_EACH_LABEL} normal or abnormal validation films"
)
# Shares of ordinary films that each score of the film gate may warn of: 4 % together. What rejects is half a
# percent.
LAYOUT_WARN, MIRROR_WARN, LAYOUT_REJECT = 0.03, 0.01, 0.005
GATE_FITTED = 100  # films that the film gate's distribution needs
# Of fewer studies in train and validation, the film gate's thresholds come from both, by so many folds.
FOLDED_BELOW, FOLDS = 2000, 5
GATE_FOLDED = GATE_FITTED * FOLDS // (FOLDS - 1)  # films, so that all folds but one hold enough
OF_LATERALS = 20  # in train; fewer teach no view
BATCHES = (1, 2, 7)  # that the parity gate asks a graph in

HEAD, LATERAL_VERDICTS = "calibration, operating point and verdicts", "percentiles and verdicts of laterals"
NO_PERCENTAGE = "no percentage is shown of any film, only the order of films"


def fewest(share: float) -> int:
    """Scores that a threshold needs that at most a share of new ones exceeds (conformal prediction)."""
    return math.ceil(1 / share - 1e-9) - 1


def folded(studies: int) -> bool:
    """Whether the film gate's thresholds come from folds over so many studies of train and validation."""
    return studies < FOLDED_BELOW


@dataclass(frozen=True)
class SplitFilms:
    """Films of one split: frontal ones by label, and lateral ones; of how many studies."""

    normal: int = 0
    abnormal: int = 0
    unknown: int = 0
    lateral: int = 0
    studies: int = 0

    @property
    def frontal(self) -> int:
        return self.normal + self.abnormal + self.unknown

    @classmethod
    def of(cls, studies: Sequence[Study]) -> "SplitFilms":
        """Those of some studies."""
        counts = cls()
        for study in studies:
            counts = counts.with_study(study)
        return counts

    def with_study(self, study: Study) -> "SplitFilms":
        """The same and the films of one more study."""
        lateral = sum(view_code(film.view) == LATERAL for film in study.films)
        frontal = len(study.films) - lateral
        told = {study.label: getattr(self, study.label) + frontal}
        return replace(self, lateral=self.lateral + lateral, studies=self.studies + 1, **told)


@dataclass(frozen=True)
class Lacking:
    """``there`` of the ``needed`` films of a kind."""

    films: str
    needed: int
    there: int


@dataclass(frozen=True)
class Shortage:
    """What a set is too small for, by which films; ``so``: what that means for who asks the bundle."""

    what: str
    lacking: tuple[Lacking, ...]
    so: str

    @property
    def counts(self) -> str:
        """How many films there are, and how many are needed."""
        return ", ".join(f"{one.there} {one.films} of {one.needed} needed" for one in self.lacking)

    def __str__(self) -> str:
        return f"too small for {self.what}: {self.counts}; {self.so}"

    def to_dict(self) -> dict[str, Any]:
        lacking = [asdict(one) for one in self.lacking]
        return {"what": self.what, "lacking": lacking, "counts": self.counts, "so": self.so}


def shortages(train: SplitFilms, validation: SplitFilms, head: bool = True) -> list[Shortage]:
    """What two splits are too small for; ``head``: whether the abnormal head is trained."""
    laterals = train.lateral >= OF_LATERALS
    found = [
        *_of_validation(validation, head),
        *_of_gate(_gate_films(train, validation), ""),
        *(_of_laterals(train, validation) if laterals else ()),
    ]
    if train.lateral and not laterals:
        few = Lacking("lateral training films", OF_LATERALS, train.lateral)
        found.append(Shortage("laterals", (few,), "frontal films alone are trained"))
    return found


def too_small_for(splits: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same as JSON, of the splits as ``mtclip data inspect`` counts them; nothing of a source that has no
    film to train on.
    """
    train, validation = (
        SplitFilms(
            **splits[name]["frontal_films"],
            lateral=splits[name]["lateral_films"],
            studies=splits[name]["studies"],
        )
        for name in ("train", "validation")
    )
    told = shortages(train, validation) if train.frontal + train.lateral else []
    return [shortage.to_dict() for shortage in told]


def _of_validation(validation: SplitFilms, head: bool) -> Iterator[Shortage]:
    labels = {"normal": validation.normal, "abnormal": validation.abnormal}
    if head:
        needed = {f"{name} validation films": (OF_EACH_LABEL, there) for name, there in labels.items()}
        yield from _shortage(HEAD, needed, NO_PERCENTAGE)
    films = "validation films"
    yield from _shortage(
        "percentiles of similarity", {films: (LEAST, validation.frontal)}, "no report is told as near or far"
    )
    yield from _shortage(
        "precisions below fp32 and colours of heat maps",
        {films: (max(BATCHES), validation.frontal + validation.lateral)},
        "fp32 alone is exported, maps have no scale",
    )
    yield from _shortage(
        "a choice of the best epoch", {films: (1, validation.frontal)}, "the last epoch is kept"
    )


@dataclass(frozen=True)
class _GateFilms:
    """Films that a distribution is fitted on, and those that its thresholds are from, with what each is
    called and how many films the first take.
    """

    fitted: int
    held: int
    fitted_on: str
    held_as: str
    least: int


def _gate_films(train: SplitFilms, validation: SplitFilms, kind: str = "") -> _GateFilms:
    """Frontal ones, or with ``kind`` "lateral " those."""
    fitted, held = (split.lateral if kind else split.frontal for split in (train, validation))
    if folded(train.studies + validation.studies):
        both = f"{kind}training and validation films"
        return _GateFilms(fitted + held, fitted + held, both, both, GATE_FOLDED)
    return _GateFilms(fitted, held, f"{kind}training films", f"{kind}validation films", GATE_FITTED)


def _of_gate(films: _GateFilms, kind: str) -> list[Shortage]:
    """The film gate of frontal films, or with ``kind`` "lateral " that of laterals, which asks no mirror."""
    named = "the film gate of laterals" if kind else "the film gate"
    so = "a lateral is known by its header alone" if kind else "films are judged by header and picture alone"
    needed = {films.held_as: (fewest(LAYOUT_WARN), films.held), films.fitted_on: (films.least, films.fitted)}
    if none := list(_shortage(named, needed, so)):
        return none
    parts = [(f"warning of mirrored films by {named}", MIRROR_WARN, "none is told")] if not kind else []
    parts += [(f"rejection by {named}", LAYOUT_REJECT, "what is odd is warned of, never rejected")]
    return [
        one
        for what, share, so in parts
        for one in _shortage(what, {films.held_as: (fewest(share), films.held)}, so)
    ]


def _of_laterals(train: SplitFilms, validation: SplitFilms) -> Iterator[Shortage]:
    needed = {"lateral validation films": (LEAST, validation.lateral)}
    yield from _shortage(LATERAL_VERDICTS, needed, "a lateral gets none")
    yield from _of_gate(_gate_films(train, validation, "lateral "), "lateral ")


def _shortage(what: str, needed: Mapping[str, tuple[int, int]], so: str) -> Iterator[Shortage]:
    """The shortage, where there is one: films by kind, how many are needed and how many there are."""
    lacking = tuple(Lacking(films, *counts) for films, counts in needed.items() if counts[1] < counts[0])
    if lacking:
        yield Shortage(what, lacking, so)
