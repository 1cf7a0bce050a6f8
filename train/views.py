"""Which films are trained by their view: frontal ones alone, or laterals beside them, told apart by a learned
vector.
"""

from collections.abc import Sequence
from dataclasses import replace

from mtclip_edge.evidence.enough import OF_LATERALS
from mtclip_edge.progress import Say
from mtclip_edge.studies import Study
from mtclip_edge.train.settings import TrainConfig

from .run import Run

NOT_FRONTAL = ("lateral", "other")


def of_views(
    config: TrainConfig, splits: Sequence[Sequence[Study]], say: Say
) -> tuple[list[list[Study]], bool]:
    """The studies of train, validation and others with the films that ``views`` asks for, and whether lateral
    films are among them, which a vector is learned for; fewer than ``OF_LATERALS`` of train are left out.
    """
    laterals = sum(film.view == "lateral" for study in splits[0] for film in study.films)
    if config.views == "all" and laterals >= OF_LATERALS:
        say(f"{laterals} lateral films of the train split are trained too")
        return [list(studies) for studies in splits], True
    kept = [[without(study, _left_out(config.views)) for study in studies] for studies in splits]
    before, after = (sum(len(s.films) for part in parts for s in part) for parts in (splits, kept))
    if before > after:
        few = f": of laterals at least {OF_LATERALS} are needed" if config.views == "all" else ""
        say(f"{before - after} films that are not frontal are left out{few}")
    return kept, False


def as_trained(run: Run, studies: Sequence[Study]) -> list[Study]:
    """Studies with the films that a run of its settings trains on; runs of before there was a choice took
    all, unknown to each other.
    """
    views = run.record.config.settings.get("views")
    if views is None or run.space.shape.views:
        return list(studies)
    return [without(study, _left_out(str(views))) for study in studies]


def without(study: Study, views: Sequence[str]) -> Study:
    """The study without its films of some views."""
    if not any(film.view in views for film in study.films):
        return study
    return replace(study, films=tuple(film for film in study.films if film.view not in views))


def _left_out(views: str) -> tuple[str, ...]:
    return NOT_FRONTAL if views == "frontal" else ("lateral",)
