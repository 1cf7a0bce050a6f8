"""Folds share no patient, no film and no near twin of a report; their figures come together study by study."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.errors import WrongOption
from mtclip_edge.evaluation.bootstrap import Bootstrapped, Figure, over_trainings
from mtclip_edge.evaluation.folds import INNER, Fold, clusters, fold_studies, together
from mtclip_edge.studies import LABELS, Film, Study

WORDS = [f"word{i}" for i in range(400)]


def study(number: int, patient: str, words: list[str], label: str = "normal", source: str = "s") -> Study:
    path = Path(f"{number}.png")
    return Study(
        f"s{number}", patient, (Film(path, path.name),), report=" ".join(words), label=label, source=source
    )


@pytest.fixture
def studies(random: np.random.Generator) -> list[Study]:
    """200 studies of 180 patients; a fifth of the reports are another's with one word of thirty changed."""
    made: list[Study] = []
    for number in range(200):
        if made and random.random() < 0.2:
            words = made[int(random.integers(len(made)))].report.split()
            words[int(random.integers(30))] = "other"
        else:
            words = [WORDS[i] for i in random.integers(0, len(WORDS), 30)]
        label = LABELS[int(random.choice(3, p=[0.35, 0.55, 0.1]))]
        made.append(study(number, f"p{random.integers(180)}", words, label))
    return made


def pairs(text: str) -> set[tuple[str, str]]:
    return set(pairwise(text.lower().split()))


def near(a: Study, b: Study) -> bool:
    one, other = pairs(a.report), pairs(b.report)
    return len(one & other) / len(one | other) >= 0.8


def test_no_patient_film_or_near_twin_in_two_folds(studies: list[Study]) -> None:
    digests = {s.films[0].path: bytes([i % 190]) for i, s in enumerate(studies)}  # ten films are twins
    folds, _ = fold_studies(studies, digests, 4, 0)
    for fold in folds:
        for a, b in (
            (fold.held, fold.train),
            (fold.held, fold.validation),
            (fold.validation, fold.train),
        ):
            assert not {s.patient_id for s in a} & {s.patient_id for s in b}
            assert not {digests[s.films[0].path] for s in a} & {digests[s.films[0].path] for s in b}
            assert not [(x.study_id, y.study_id) for x in a for y in b if near(x, y)]


def test_the_near_twins_of_the_test_are_there(studies: list[Study]) -> None:
    twins = [(a, b) for i, a in enumerate(studies) for b in studies[:i] if near(a, b)]
    assert sum(a.patient_id != b.patient_id for a, b in twins) > 20


def test_every_study_is_held_out_once_and_used_in_all_other_folds(studies: list[Study]) -> None:
    folds, _ = fold_studies(studies, {}, 5, 0)
    assert sorted(s.study_id for fold in folds for s in fold.held) == sorted(s.study_id for s in studies)
    for fold in folds:
        everybody = [*fold.train, *fold.validation, *fold.held]
        assert len(everybody) == len({s.study_id for s in everybody}) == len(studies)


def test_an_eighth_of_the_other_folds_chooses() -> None:
    alone = [study(i, f"p{i}", [f"a{i}", f"b{i}"], LABELS[i % 3]) for i in range(100)]
    for fold in fold_studies(alone, {}, 5, 0)[0]:
        assert (len(fold.held), len(fold.validation), len(fold.train)) == (20, 10, 70) and INNER == 8


def test_folds_are_alike_in_size_and_labels(studies: list[Study]) -> None:
    folds, _ = fold_studies(studies, {}, 4, 0)
    for label in LABELS:
        counts = [sum(s.label == label for s in fold.held) for fold in folds]
        assert max(counts) - min(counts) <= 4, label


def held(folds: list[Fold]) -> list[list[str]]:
    return [[s.study_id for s in fold.held] for fold in folds]


def test_the_seed_alone_decides(studies: list[Study]) -> None:
    first, again, other = (held(fold_studies(studies, {}, 4, seed)[0]) for seed in (3, 3, 4))
    assert first == again != other


def test_a_number_in_another_hospital_is_another_patient() -> None:
    words = [WORDS[i : i + 10] for i in range(0, 30, 10)]
    here, elsewhere, again = (
        study(0, "7", words[0]),
        study(1, "7", words[1], source="t"),
        study(2, "7", words[2]),
    )
    assert clusters([here, elsewhere, again], {}).tolist() == [0, 1, 0]


def test_what_is_tied_through_a_third_is_one_group() -> None:
    a, b, c = study(0, "p", WORDS[:30]), study(1, "q", WORDS[:30]), study(2, "q", WORDS[100:130])
    assert clusters([a, b, c], {}).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("count", "message"), [(1, "expected 2 or more"), (3, "2 groups of patients")])
def test_too_few(count: int, message: str) -> None:
    two = [study(0, "p", WORDS[:30]), study(1, "q", WORDS[30:60])]
    with pytest.raises(WrongOption, match=message):
        fold_studies(two, {}, count, 0)


def drawn(value: float | None, studies: int, draws: list[float], chance: float | None = None) -> Bootstrapped:
    return Bootstrapped(Figure("auroc", "all", value, chance=chance, studies=studies), np.array(draws))


def test_folds_weigh_by_their_studies() -> None:
    (mean,) = together([[drawn(0.5, 100, [0.4, 0.6], 0.1)], [drawn(0.8, 300, [0.8, np.nan], 0.3)]])
    assert mean.figure.value == pytest.approx(0.725)
    assert (mean.figure.studies, mean.figure.chance) == (400, pytest.approx(0.25))
    np.testing.assert_allclose(mean.draws, [0.7, 0.6])


def test_a_fold_without_a_figure_takes_no_part() -> None:
    (mean,) = together([[drawn(None, 100, [np.nan])], [drawn(0.8, 300, [0.9])], []])
    assert (mean.figure.value, mean.draws.tolist()) == (0.8, [0.9])


def test_several_trainings_are_their_mean_and_are_drawn_too() -> None:
    (mean,) = over_trainings([[drawn(0.2, 5, [0.2] * 400)], [drawn(0.6, 5, [0.6] * 400)]], 0)
    assert mean.figure.value == pytest.approx(0.4)
    assert set(np.round(mean.draws, 3)) == {0.2, 0.4, 0.6}
