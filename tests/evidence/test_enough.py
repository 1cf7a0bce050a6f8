"""What a set is too small for is what those who fit decide by."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.evidence import enough
from mtclip_edge.evidence.enough import SplitFilms, shortages
from mtclip_edge.evidence.validation_reference import LEAST, Similarities
from mtclip_edge.export.fitted import film_gate
from mtclip_edge.progress import silent
from mtclip_edge.studies import Film, Study
from mtclip_edge.train.calibration import fit_calibration

PLENTY = SplitFilms(500, 500)


def named(train: SplitFilms, validation: SplitFilms, head: bool = True) -> list[str]:
    return [shortage.what for shortage in shortages(train, validation, head)]


@pytest.mark.parametrize(("normal", "abnormal"), [*itertools.product((19, 20, 21), (0, 19, 20))])
def test_calibration(normal: int, abnormal: int, random: np.random.Generator) -> None:
    label = np.array([0] * normal + [1] * abnormal + [-1] * 30)
    fitted = fit_calibration(label, random.normal(size=len(label)).astype(np.float32))
    told = named(PLENTY, SplitFilms(normal, abnormal, 30))
    assert (fitted is None) == (enough.HEAD in told)
    assert enough.HEAD not in named(PLENTY, SplitFilms(normal, abnormal, 30), head=False)


@pytest.mark.parametrize("films", [0, 1, 19, 20])
def test_percentiles(films: int) -> None:
    told = named(PLENTY, SplitFilms(unknown=films))
    assert (Similarities.fit(np.linspace(0, 1, films)) is None) == ("percentiles of similarity" in told)
    assert ("a choice of the best epoch" in told) == (films == 0)


GATE = {
    "mirror_warn": "warning of mirrored films by the film gate",
    "layout_reject": "rejection by the film gate",
}


def gate_of(films: film_gate.Layouts, folder: Path) -> list[str]:
    """What of the film gate is missing where it is fitted on some films, by the names of shortages."""
    record = film_gate.write_gate(folder / "gate.npy", films, silent)
    if record is None:
        return ["the film gate"]
    assert record.thresholds["layout_warn"] is not None
    return [GATE[name] for name in GATE if record.thresholds[name] is None]


@pytest.mark.parametrize("train", [99, 100])
@pytest.mark.parametrize("validation", [32, 33, 98, 99, 198, 199])
def test_the_film_gate(train: int, validation: int, random: np.random.Generator, tmp_path: Path) -> None:
    layouts = [random.normal(size=(rows, film_gate.FIELDS)) for rows in (train, validation)]
    splits = SplitFilms(train, studies=1900), SplitFilms(validation, studies=100)
    told = [what for what in named(*splits) if "gate" in what]
    assert told == gate_of(film_gate.Layouts(*layouts), tmp_path)


@pytest.mark.parametrize(("train", "validation"), [(124, 0), (100, 25), (150, 48), (150, 49), (199, 0)])
def test_the_film_gate_of_a_small_set(
    train: int, validation: int, random: np.random.Generator, tmp_path: Path
) -> None:
    layouts = [random.normal(size=(rows, film_gate.FIELDS)) for rows in (train, validation)]
    films = film_gate.Layouts(*layouts, random.integers(0, 5, train + validation))
    splits = SplitFilms(train, studies=train), SplitFilms(validation, studies=validation)
    told = [what for what in named(*splits) if "gate" in what]
    assert told == gate_of(films, tmp_path)


def test_of_two_thousand_studies_validation_alone_gives_the_thresholds() -> None:
    assert enough.folded(1999) and not enough.folded(2000)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03, 0.01, 0.005])
def test_how_many_scores_a_threshold_needs(share: float) -> None:
    needed = enough.fewest(share)
    assert film_gate.threshold(np.arange(needed, dtype=float), share) is not None
    assert film_gate.threshold(np.arange(needed - 1, dtype=float), share) is None


def test_laterals() -> None:
    assert named(SplitFilms(500, 500, lateral=19), PLENTY) == ["laterals"]
    few = SplitFilms(500, 500, lateral=20)
    assert named(few, PLENTY) == [enough.LATERAL_VERDICTS, "the film gate of laterals"]
    some, many = (SplitFilms(500, 500, lateral=lateral, studies=1000) for lateral in (40, 500))
    assert named(many, some) == ["rejection by the film gate of laterals"]
    assert named(replace(many, studies=900), some) == []


def test_films_are_counted_by_label_and_view() -> None:
    def study(label: str, *views: str) -> Study:
        films = tuple(Film(Path(f"{view}.png"), view, view) for view in views)
        return Study("s", "p", films=films, label=label)

    studies = [study("normal", "PA", "lateral"), study("abnormal", "AP", "unknown"), study("unknown", "PA")]
    assert SplitFilms.of([*studies, study("normal")]) == SplitFilms(1, 2, 1, 1, studies=4)


def test_a_line_says_how_many_there_are_and_what_follows() -> None:
    (shortage,) = [s for s in shortages(PLENTY, SplitFilms(7, 300)) if s.what == enough.HEAD]
    assert str(shortage) == (
        "too small for calibration, operating point and verdicts: 7 normal validation films of 20 needed; "
        "no percentage is shown of any film, only the order of films"
    )
    assert (
        enough.too_small_for(
            {
                name: {"frontal_films": {}, "lateral_films": 0, "studies": 9}
                for name in ("train", "validation")
            }
        )
        == []
    )


def test_the_guide_has_these_numbers() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "training.md").read_text(encoding="utf-8")
    warn, mirror, reject = map(enough.fewest, (enough.LAYOUT_WARN, enough.MIRROR_WARN, enough.LAYOUT_REJECT))
    each, laterals, batch = enough.OF_EACH_LABEL, enough.OF_LATERALS, max(enough.BATCHES)
    for row in (
        f"| {each} normal and {each} abnormal frontal validation films |",
        f"| {LEAST} frontal validation films |",
        f"| {enough.GATE_FOLDED}, {enough.GATE_FOLDED}, {reject} frontal films of train and validation |",
        f"| {enough.GATE_FITTED} frontal training films and {warn}, {mirror}, {reject} validation films |",
        f"| {batch} validation films |",
        f"| {laterals} lateral training films; {LEAST} of validation; as many as that of frontal ones |",
    ):
        assert row in guide, row
