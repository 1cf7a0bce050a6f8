"""Studies, cases and made-up models of a known skill, for tests of figures."""

from pathlib import Path

import numpy as np

from mtclip_edge.evaluation.bootstrap import Bootstrapped
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.studies import Film, Study


def study(
    name: str,
    text: str,
    label: str,
    patient: str = "",
    films: int = 1,
    findings: tuple[str, ...] = (),
    view: str = "PA",
) -> Study:
    shown = tuple(Film(Path(f"{name}{i}.png"), f"{name}{i}.png", view) for i in range(films))
    return Study(name, patient or name, shown, report=text, label=label, finding_labels=findings)


def unit(rows: list[list[float]]) -> np.ndarray:
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def many(random: np.random.Generator, count: int = 200) -> Cases:
    """Patients of two studies each, half of them abnormal with one of three findings, AP and PA."""
    kinds = ("Effusion", "Nodule", "Mass")
    return Cases.of(
        [
            study(
                f"s{i}",
                f"normal {i % 7}" if i % 2 else f"{kinds[i % 3]} {i % 11}",
                "normal" if i % 2 else "abnormal",
                f"p{i // 2}",
                findings=() if i % 2 else (kinds[i % 3],),
                view="PA" if i % 3 else "AP",
            )
            for i in range(count)
        ]
    )


def embedded(cases: Cases, random: np.random.Generator, signal: float, dim: int = 48) -> ModelOutput:
    """Unit vectors in which a film is drawn to its own report by ``signal``; a logit drawn to its label."""
    report = unit(random.normal(size=(len(cases.reports), dim)).tolist())
    film = (
        signal * report[cases.own_report.argmax(axis=1)]
        + random.normal(size=(len(cases.films), dim)) / dim**0.5
    )
    logit = signal * (cases.labels - 0.5) + random.normal(size=len(cases.films))
    return ModelOutput(unit(film.tolist()), logit, report, Calibration(1.2, 0.4, 0.9, 50), prefixes=(16,))


def by_name(drawn: list[Bootstrapped]) -> dict[tuple[str, str], Bootstrapped]:
    return {(d.figure.name, d.figure.subset): d for d in drawn}
