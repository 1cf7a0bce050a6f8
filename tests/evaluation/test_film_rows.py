"""One row a film: what is printed can be computed again from it, by other means."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judged_cases import by_name, embedded, many, study, unit

from mtclip_edge.evaluation.bundle_models import Model
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import Judged
from mtclip_edge.evaluation.film_rows import FILM_COLUMNS, REPORT_COLUMNS, write_rows
from mtclip_edge.evaluation.model_on_cases import ModelOutput


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def recomputed(rows: list[dict[str, str]]) -> dict[str, float]:
    """AUROC by counting pairs, P@10 and Recall@10 by hand, from the cells alone."""
    sick, well = (
        [float(r["logit"]) for r in rows if r["label"] == label] for label in ("abnormal", "normal")
    )
    pairs = [(a > b) + (a == b) / 2 for a in sick for b in well]
    by_class = {}
    for label in ("normal", "abnormal"):
        shares = []
        for row in (r for r in rows if r["label"] == label):
            told = [row[f"label_{k}"] for k in range(1, 11) if row[f"report_{k}"]]
            shares.append(sum(one == label for one in told) / len(told))
        by_class[label] = float(np.mean(shares))
    own = [int(r["own_rank"]) <= 10 for r in rows if r["own_rank"]]
    return {
        "auroc": float(np.mean(pairs)),
        **{f"precision@10.{label}": value for label, value in by_class.items()},
        "precision@10.macro": sum(by_class.values()) / 2,
        "recall@10.film_to_report": float(np.mean(own)),
    }


def test_the_figures_can_be_computed_from_the_rows(tmp_path: Path, random: np.random.Generator) -> None:
    cases = many(random)
    unlabelled = replace(
        cases, studies=tuple(replace(s, label="unknown") if i < 5 else s for i, s in enumerate(cases.studies))
    )
    models = [
        Model(name, "run", some, embedded(some, random, signal))
        for name, some, signal in (("a", cases, 1.0), ("b", unlabelled, 0.5))
    ]
    assert write_rows(tmp_path, models) == ("films.csv", "reports.csv")
    rows = read(tmp_path / "films.csv")
    assert tuple(rows[0]) == FILM_COLUMNS
    for model in models:
        figures = by_name(Judged(model.cases, model.embedded).draw(1))
        mine = [row for row in rows if row["model"] == model.name]
        assert len(mine) == len(model.cases.films)
        for name, value in recomputed(mine).items():
            assert value == pytest.approx(figures[name, "all"].figure.value, abs=1e-9), name
        probability = model.embedded.calibration.probability(model.embedded.logit)
        assert [float(r["probability"]) for r in mine] == pytest.approx(probability.tolist(), abs=1e-8)


def test_the_reports_of_a_row_are_those_of_other_patients(
    tmp_path: Path, random: np.random.Generator
) -> None:
    cases = many(random, 60)
    write_rows(tmp_path, [Model("a", "run", cases, embedded(cases, random, 2.0))])
    whose: dict[str, set[str]] = {}
    for line in read(tmp_path / "reports.csv"):
        whose.setdefault(line["report_id"], set()).add(line["patient_id"])
    for row in read(tmp_path / "films.csv"):
        told = [row[f"report_{k}"] for k in range(1, 11)]
        scores = [float(row[f"score_{k}"]) for k in range(1, 11)]
        assert all(whose[report] - {row["patient_id"]} for report in told)
        assert scores == sorted(scores, reverse=True) and len(set(told)) == 10


def test_ids_stand_as_the_source_spells_them(tmp_path: Path) -> None:
    odd = ['a,"b"', "two\nlines", "0012", "-7", "naïve ü"]
    cases = Cases.of([study(name, f"text {i}", "normal", f"p{i}") for i, name in enumerate(odd)])
    vectors = unit(np.eye(5).tolist())
    write_rows(tmp_path, [Model("m", "bundle", cases, ModelOutput(vectors, None, vectors), "fp32")])
    rows = read(tmp_path / "films.csv")
    assert [row["study_id"] for row in rows] == odd
    assert {row["logit"] for row in rows} == {""} and {row["precision"] for row in rows} == {"fp32"}
    assert (tmp_path / "films.csv").stat().st_mode & 0o777 == 0o600
    assert tuple(read(tmp_path / "reports.csv")[0]) == REPORT_COLUMNS


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    names = ["=1+1", "@x", "-2+3", "+cmd", "-7.5", "\tx"]
    cases = Cases.of([study(name, "", "normal", "p") for name in names])
    vectors = -np.ones((6, 1), np.float32) * 1e-7
    assert write_rows(tmp_path, [Model("m", "run", cases, ModelOutput(vectors, vectors[:, 0], None))]) == (
        "films.csv",
    )
    rows = read(tmp_path / "films.csv")
    assert [row["study_id"] for row in rows] == ["'=1+1", "'@x", "'-2+3", "'+cmd", "-7.5", "'\tx"]
    assert {row["logit"] for row in rows} == {"-1.00000001e-07"}
    assert {row["report_1"] for row in rows} == {""}


def test_reports_without_any_label_are_ranked_all_the_same(tmp_path: Path) -> None:
    cases = Cases.of([study(f"s{i}", f"text {i}", "unknown", f"p{i}") for i in range(4)])
    vectors = unit(np.eye(4).tolist())
    write_rows(
        tmp_path,
        [Model("m", "run", cases, ModelOutput(vectors[cases.own_report.argmax(axis=1)], None, vectors))],
    )
    first = read(tmp_path / "films.csv")[0]
    assert [first[f"label_{k}"] for k in range(1, 5)] == ["unknown"] * 3 + [""]
    assert first["own_rank"] == "1" and first["own_report"] not in {first[f"report_{k}"] for k in (1, 2, 3)}
