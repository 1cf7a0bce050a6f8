"""Picks a page of example queries, right and wrong: what a figure means in films and reports."""

from pathlib import Path

import numpy as np

from mtclip_edge.display.evaluation_page import Example, ExampleHit
from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.evaluation.bundle_models import Model
from mtclip_edge.evaluation.metrics import top_k
from mtclip_edge.films.read import read_film
from mtclip_edge.films.thumbnail import thumbnail

EACH, HITS, SIDE = 4, 3, 160  # examples of each kind, reports shown, pixels


def examples_of(model: Model) -> list[Example]:
    """Four queries whose first report has their label and a finding of theirs, and four whose first report
    has another label.

    Drawn by seed 0 from all that there are, so that nobody picked them.
    """
    cases, report = model.cases, model.embedded.report
    if report is None or not len(report):
        return []
    best = top_k(model.embedded.film @ report.T, HITS, cases.foreign | cases.own_report)
    order = np.random.default_rng(0).permutation(len(cases.films))
    picked: dict[str, list[Example]] = {"right": [], "wrong": []}
    for row in order:
        verdict, why = _verdict(model, int(row), int(best[row, 0]))
        if verdict and len(picked[verdict]) < EACH:
            picked[verdict].append(_example(model, int(row), best[row], verdict, why))
    return [*picked["right"], *picked["wrong"]]


def _verdict(model: Model, row: int, first: int) -> tuple[str | None, str]:
    study, answer = model.cases.studies[row], model.cases.reports[first]
    if first < 0 or study.label == "unknown" or answer.label == "unknown":
        return None, ""
    if model.cases.own_report[row, first]:
        return "right", "its own report, or a twin of it, comes first"
    if study.label != answer.label:
        return "wrong", f"the film is {study.label}, the first report {answer.label}"
    shared = set(study.finding_labels) & {name for s in answer.studies for name in s.finding_labels}
    if study.label == "normal":
        return "right", "both are normal"
    return ("right", f"shared: {', '.join(sorted(shared))}") if shared else (None, "")


def _example(model: Model, row: int, best: np.ndarray, verdict: str, why: str) -> Example:
    cases, report = model.cases, model.embedded.report
    assert report is not None
    study = cases.studies[row]
    hits = tuple(
        ExampleHit(
            rank,
            float(model.embedded.film[row] @ report[column]),
            cases.reports[column].label,
            cases.reports[column].first.text,
            bool(cases.own_report[row, column]),
        )
        for rank, column in enumerate((int(c) for c in best if c >= 0), 1)
    )
    return Example(
        cases.films[row].name, _thumbnail(cases.films[row].path), study.label, study.text, verdict, why, hits
    )


def _thumbnail(path: Path) -> bytes | None:
    """The film as a small PNG; None where it has gone meanwhile."""
    try:
        return thumbnail(read_film(path).grey, SIDE)
    except FilmUnreadable:
        return None
