"""A film is never judged against its own patient; what has no basis is None."""

from pathlib import Path

import numpy as np
import pytest
from drawn import flat

from mtclip_edge.cases import Cases
from mtclip_edge.evaluation import evaluate, selection_score
from mtclip_edge.studies import Film, Study


def study(name: str, text: str, label: str, patient: str = "", films: int = 1) -> Study:
    shown = tuple(Film(Path(f"{name}{i}.png"), f"{name}{i}.png") for i in range(films))
    return Study(name, patient or name, shown, report=text, label=label)


@pytest.fixture
def cases() -> Cases:
    return Cases.of(
        [
            study("a", "Clear.", "normal", "p1"),
            study("b", "Clear.", "abnormal", "p2"),
            study("c", "Effusion.", "abnormal", "p1", films=2),
            study("d", "", "unknown"),
            study("e", "Mass.", "abnormal", films=0),
        ]
    )


def test_cases_have_a_row_for_each_film(cases: Cases) -> None:
    assert [s.study_id for s in cases.studies] == ["a", "b", "c", "c", "d"]
    assert cases.labels.tolist() == [0, 1, 1, 1, -1]
    assert sorted(cases.texts) == ["Clear.", "Effusion.", "Mass."]


def test_own_report_is_the_distinct_one(cases: Cases) -> None:
    column = {report.first.text: i for i, report in enumerate(cases.reports)}
    own = cases.own_report
    assert [np.flatnonzero(row).tolist() for row in own] == [
        [column["Clear."]],
        [column["Clear."]],
        [column["Effusion."]],
        [column["Effusion."]],
        [],
    ]


def test_a_query_sees_no_label_of_its_own_patient(cases: Cases) -> None:
    column = {report.first.text: i for i, report in enumerate(cases.reports)}
    labels = cases.report_labels
    assert labels[0, column["Clear."]] == 1  # without p1's normal study, b's abnormal one is left
    assert labels[1, column["Clear."]] == 0
    assert labels[0, column["Effusion."]] == -1  # only p1 has it: left out for both of p1's studies
    assert labels[1, column["Effusion."]] == 1
    assert labels[4, column["Clear."]] == -1  # a tie between a and b


def unit(rows: list[list[float]]) -> np.ndarray:
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_perfect_embeddings_get_everything(cases: Cases) -> None:
    report = np.eye(3, dtype=np.float32)
    film = np.stack([report[np.argmax(row)] if row.any() else unit([[1, 1, 1]])[0] for row in cases.own_report])
    result = evaluate(cases, film, np.array([-2.0, 1, 2, 3, 0]), report)
    assert result["auroc"] == 1.0
    for direction in ("film_to_report", "report_to_film"):
        assert result[direction]["recall@1"]["value"] == 1.0
        assert result[direction]["recall@1"]["ceiling"] == 1.0
    assert result["film_to_report"]["recall@1"]["chance"] == pytest.approx(1 / 3)


def test_what_cannot_be_computed_is_none(cases: Cases) -> None:
    result = evaluate(cases, np.ones((5, 2), np.float32), None, None)
    assert [result[name] for name in ("auroc", "precision@10", "film_to_report", "report_to_film")] == [None] * 4
    assert selection_score(result) is None


def test_permuting_the_films_changes_nothing(cases: Cases, random: np.random.Generator) -> None:
    film, report, logit = unit(random.normal(size=(5, 4)).tolist()), unit(random.normal(size=(3, 4)).tolist()), random.normal(size=5)
    order = random.permutation(5)
    assert flat(evaluate(cases.only(order), film[order], logit[order], report)) == pytest.approx(flat(evaluate(cases, film, logit, report)))


def test_the_selection_score_is_the_mean_of_four_figures() -> None:
    result = {
        "auroc": 0.8,
        "precision@10": {"macro": 0.6},
        "film_to_report": {"recall@10": {"value": 0.2}},
        "report_to_film": {"recall@10": {"value": 0.4}},
    }
    assert selection_score(result) == pytest.approx(0.5)
    assert selection_score({**result, "auroc": None}) == pytest.approx(0.4)
