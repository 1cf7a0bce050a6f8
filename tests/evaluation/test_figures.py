"""A film is never judged against its own patient; what has no basis is None."""

import numpy as np
import pytest
from drawn import flat
from judged_cases import by_name, embedded, many, study, unit

from mtclip_edge.evaluation.bootstrap import differences, with_control
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import Judged, evaluate, selection_score
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.studies import Film


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


def test_perfect_embeddings_get_everything(cases: Cases) -> None:
    report = np.eye(3, dtype=np.float32)
    film = np.stack(
        [report[np.argmax(row)] if row.any() else unit([[1, 1, 1]])[0] for row in cases.own_report]
    )
    result = evaluate(cases, film, np.array([-2.0, 1, 2, 3, 0]), report)
    assert result["auroc"] == 1.0
    for direction in ("film_to_report", "report_to_film"):
        assert result[direction]["recall@1"]["value"] == 1.0
        assert result[direction]["recall@1"]["ceiling"] == 1.0
    assert result["film_to_report"]["recall@1"]["chance"] == pytest.approx(1 / 3)


def test_what_cannot_be_computed_is_none(cases: Cases) -> None:
    result = evaluate(cases, np.ones((5, 2), np.float32), None, None)
    assert [result[name] for name in ("auroc", "precision@10", "film_to_report", "report_to_film")] == [
        None
    ] * 4
    assert selection_score(result) is None


def test_permuting_the_films_changes_nothing(cases: Cases, random: np.random.Generator) -> None:
    film, report, logit = (
        unit(random.normal(size=(5, 4)).tolist()),
        unit(random.normal(size=(3, 4)).tolist()),
        random.normal(size=5),
    )
    order = random.permutation(5)
    assert flat(evaluate(cases.only(order), film[order], logit[order], report)) == pytest.approx(
        flat(evaluate(cases, film, logit, report))
    )


def test_the_selection_score_is_the_mean_of_four_figures() -> None:
    result = {
        "auroc": 0.8,
        "precision@10": {"macro": 0.6},
        "film_to_report": {"recall@10": {"value": 0.2}},
        "report_to_film": {"recall@10": {"value": 0.4}},
    }
    assert selection_score(result) == pytest.approx(0.5)
    assert selection_score({**result, "auroc": None}) == pytest.approx(0.4)


def test_a_random_model_has_chance(random: np.random.Generator) -> None:
    """Every figure of a model that knows nothing lies where its chance line says, over 20 random models."""
    cases = many(random)
    models = [by_name(Judged(cases, embedded(cases, random, 0.0)).draw(draws=1)) for _ in range(20)]
    for key, tolerance in {
        ("auroc", "all"): 0.03,
        ("auprc", "all"): 0.05,
        ("precision@10.macro", "all"): 0.03,
        ("precision@10.normal", "all"): 0.05,
        ("recall@10.film_to_report", "all"): 0.05,
        ("recall@10.report_to_film", "all"): 0.09,
        ("recall@10.film_to_report", "abnormal"): 0.05,
        ("ndcg@10", "all"): 0.03,
        ("finding@10.Nodule", "all"): 0.05,
        ("balance_gap@10", "all"): 0.08,
    }.items():
        figures = [model[key].figure for model in models]
        gaps = [f.value - f.chance for f in figures]
        if key[0] == "balance_gap@10":  # queries of the two ways have different chances
            gaps = [
                g
                - (
                    m["recall@10.film_to_report", "all"].figure.chance
                    - m["recall@10.report_to_film", "all"].figure.chance
                )
                for g, m in zip(gaps, models, strict=True)
            ]
        assert np.mean(gaps) == pytest.approx(0, abs=tolerance), key


def test_intervals_hold_the_value_and_shrink_with_more_patients(random: np.random.Generator) -> None:
    widths = []
    for count in (60, 240):
        cases = many(random, count)
        figures = {
            k: d.figure for k, d in by_name(Judged(cases, embedded(cases, random, 1.0)).draw(300)).items()
        }
        for figure in figures.values():
            if not figure.anecdote and not figure.name.startswith(
                "ece"
            ):  # resampling adds to a calibration error
                assert figure.low - 1e-9 <= figure.value <= figure.high + 1e-9, figure
        widths.append(figures["auroc", "all"].high - figures["auroc", "all"].low)
    assert widths[1] < 0.75 * widths[0]


def test_the_bootstrap_draws_patients_not_films(random: np.random.Generator) -> None:
    """Copies of a patient's film add no knowledge: the interval must not shrink as if they did."""
    once = many(random, 80)
    films = tuple(Film(film.path, f"{film.name}, copy {i}") for film in once.films for i in range(6))
    copies = Cases(films, tuple(s for s in once.studies for _ in range(6)), once.reports)
    logit = 0.7 * (once.labels - 0.5) + random.normal(size=80)
    film = unit(random.normal(size=(80, 4)).tolist())
    a, b = (
        by_name(Judged(cases, ModelOutput(f, z, None)).draw(400))["auroc", "all"].figure
        for cases, f, z in ((once, film, logit), (copies, film.repeat(6, 0), logit.repeat(6)))
    )
    assert a.value == pytest.approx(b.value)
    assert (a.high - a.low) == pytest.approx(b.high - b.low, rel=0.05)


def test_a_model_does_not_differ_from_itself_and_a_better_one_does(random: np.random.Generator) -> None:
    cases = many(random)
    worse, better = (Judged(cases, embedded(cases, random, signal)).draw(300) for signal in (0.2, 2.0))
    for figure in differences(worse, worse):
        assert (figure.value, figure.low, figure.high) == (0, 0, 0)
    found = {(f.name, f.subset): f for f in differences(worse, better)}
    for name in ("auroc", "recall@10.film_to_report", "ndcg@10"):
        assert found[name, "all"].low > 0
    assert found["median_rank.film_to_report", "all"].high < 0


def test_paired_intervals_are_narrower_than_apart(random: np.random.Generator) -> None:
    """The same films are easy for both models: their difference is known better than either figure."""
    cases = many(random)
    shared = embedded(cases, random, 0.7)
    other = ModelOutput(
        shared.film, shared.logit + 0.1 * random.normal(size=len(shared.logit)), shared.report
    )
    a, b = (Judged(cases, e).draw(300) for e in (shared, other))
    paired = {(f.name, f.subset): f for f in differences(a, b)}["auroc", "all"]
    alone = by_name(a)["auroc", "all"].figure
    assert paired.high - paired.low < 0.3 * (alone.high - alone.low)


def test_abnormal_alone_and_fresh_are_corpora_of_their_own(random: np.random.Generator) -> None:
    cases = many(random)
    known = frozenset(r.report_id for r in cases.reports[:10])
    figures = {
        k: d.figure for k, d in by_name(Judged(cases, embedded(cases, random, 1.0), known).draw(10)).items()
    }
    everything, abnormal, fresh = (
        figures["recall@10.film_to_report", subset] for subset in ("all", "abnormal", "fresh")
    )
    assert everything.chance < abnormal.chance
    assert everything.chance < fresh.chance
    assert everything.studies == 200
    assert abnormal.studies == 100
    assert 0 < fresh.studies < 200
    without = by_name(Judged(cases, embedded(cases, random, 1.0)).draw(1))
    assert ("recall@10.film_to_report", "fresh") not in without  # nothing stands in train: the same as all


def test_gains_are_the_likeness_of_finding_sets() -> None:
    cases = Cases.of(
        [
            study("a", "one", "abnormal", findings=("Mass", "Nodule")),
            study("b", "two", "abnormal", findings=("Mass",)),
            study("c", "three", "normal", findings=("No Finding",)),
            study("d", "four", "normal"),
            study("e", "five", "unknown"),
        ]
    )
    column = {r.first.text: i for i, r in enumerate(cases.reports)}
    gain = cases.gains
    assert gain[0, column["two"]] == 0.5
    assert gain[0, column["three"]] == 0.0
    assert gain[2, column["four"]] == 1.0  # two normal studies are alike
    assert np.isnan(gain[4]).all()
    assert np.isnan(gain[:, column["five"]]).all()
    assert not cases.foreign[0, column["one"]]  # its own, and nobody else's


def test_a_shared_report_counts_without_the_querys_patient() -> None:
    cases = Cases.of(
        [
            study("a", "same", "abnormal", "p", findings=("Mass",)),
            study("b", "same", "abnormal", "q", findings=("Nodule",)),
        ]
    )
    assert cases.foreign.all()
    assert cases.gains.tolist() == [[0.0], [0.0]]
    assert cases.carriers("Mass").tolist() == [[False], [True]]


def test_prefixes_are_judged_as_vectors_of_their_own(random: np.random.Generator) -> None:
    cases = many(random)
    full = embedded(cases, random, 1.0)
    figures = by_name(Judged(cases, full).draw(1))
    cut = by_name(Judged(cases, full.first(16)).draw(1))
    for name in ("recall@10.film_to_report", "precision@10.macro"):
        assert figures[name, "first 16"].figure.value == cut[name, "all"].figure.value
    assert ("auroc", "first 16") not in figures


def test_views_are_told_apart_where_both_are_many(random: np.random.Generator) -> None:
    cases = many(random)
    figures = by_name(Judged(cases, embedded(cases, random, 1.0)).draw(1))
    assert figures["auroc", "view AP"].figure.studies == 67
    assert figures["auroc", "view PA"].figure.studies == 133
    few = by_name(
        Judged(cases.only(range(30)), ModelOutput(np.ones((30, 2), np.float32), np.zeros(30), None)).draw(1)
    )
    assert not any(subset.startswith("view") for _, subset in few)


def test_few_studies_are_an_anecdote(random: np.random.Generator) -> None:
    cases = many(random, 60)
    figures = by_name(Judged(cases, embedded(cases, random, 1.0)).draw(1))
    assert figures["finding@10.Mass", "all"].figure.anecdote
    assert figures["finding@10.Mass", "all"].figure.studies == 10
    assert not figures["auroc", "all"].figure.anecdote


def test_the_operating_point_comes_from_the_calibration(random: np.random.Generator) -> None:
    cases = many(random)
    one = embedded(cases, random, 1.0)
    figures = by_name(Judged(cases, one).draw(1))
    called = one.logit >= 0.4
    assert figures["sensitivity", "all"].figure.value == pytest.approx(called[cases.labels == 1].mean())
    assert figures["specificity", "all"].figure.value == pytest.approx((~called)[cases.labels == 0].mean())
    without = by_name(Judged(cases, ModelOutput(one.film, one.logit, one.report)).draw(1))
    assert not {("sensitivity", "all"), ("ece.calibrated", "all")} & without.keys()


def test_a_finding_that_no_report_names_has_no_figure_and_few_carriers_have_a_ceiling() -> None:
    asked = [
        study("a", "", "abnormal", findings=("Effusion",)),
        study("b", "", "abnormal", findings=("Mass",)),
    ]
    searched = [
        study(
            f"r{i}", f"text {i}", "abnormal", films=0, findings=("Mass",) if i < 3 else ("Pleural Effusion",)
        )
        for i in range(12)
    ]
    cases = Cases.of(asked, searched)
    report = unit(np.eye(12).tolist())
    film = unit([[1.0] * 12, [1.0] * 3 + [0.0] * 9])
    figures = by_name(Judged(cases, ModelOutput(film, None, report)).draw(1))
    assert ("finding@10.Effusion", "all") not in figures
    mass = figures["finding@10.Mass", "all"].figure
    assert (mass.value, mass.ceiling, mass.chance) == pytest.approx((0.3, 0.3, 0.25))


def test_the_control_lies_at_chance_however_good_the_model_is(random: np.random.Generator) -> None:
    """Twenty ways to deal the films: the mean of each figure is its chance, and a good model has far more.

    Each report has one film: of reports that several share, a good model prefers those, dealt or not.
    """
    kinds = ("Effusion", "Nodule", "Mass")
    cases = Cases.of(
        [
            study(
                f"s{i}",
                f"text {i}",
                "normal" if i % 2 else "abnormal",
                f"p{i // 2}",
                findings=() if i % 2 else (kinds[i % 3],),
            )
            for i in range(200)
        ]
    )
    judged = Judged(cases, embedded(cases, random, 3.0))
    own = by_name(judged.draw(1))
    dealt = [by_name(judged.control(draws=1, seed=seed)) for seed in range(20)]
    assert own.keys() == dealt[0].keys()
    for key, tolerance in {
        ("auroc", "all"): 0.03,
        ("auprc", "all"): 0.04,
        ("sensitivity", "all"): 0.03,
        ("specificity", "all"): 0.03,
        ("precision@10.macro", "all"): 0.02,
        ("recall@10.film_to_report", "all"): 0.02,
        ("recall@10.report_to_film", "all"): 0.02,
        ("median_rank.film_to_report", "all"): 5,
        ("ndcg@10", "all"): 0.02,
        ("finding@10.Nodule", "all"): 0.02,
    }.items():
        chance = dealt[0][key].figure.chance
        mean = np.mean([one[key].figure.value for one in dealt])
        assert mean == pytest.approx(chance, abs=tolerance), key
        if key[0] in ("auroc", "sensitivity", "recall@10.film_to_report", "median_rank.film_to_report"):
            assert abs(own[key].figure.value - chance) > 10 * tolerance, key
    again = by_name(judged.control(draws=1))
    assert again["auroc", "all"].figure == by_name(judged.control(draws=1))["auroc", "all"].figure


def test_each_figure_carries_its_control_and_sensitivity_its_prevalence(random: np.random.Generator) -> None:
    cases = many(random)
    judged = Judged(cases, embedded(cases, random, 1.0))
    control = by_name(judged.control(10))
    for one in with_control(judged.draw(10), judged.control(10)):
        told = one.figure.to_dict()
        beside = control[one.figure.name, one.figure.subset].figure
        assert told["control"] == {"value": beside.value, "low": beside.low, "high": beside.high}
        about = one.figure.name in ("sensitivity", "specificity")
        assert told["prevalence"] == (0.5 if about else None)
