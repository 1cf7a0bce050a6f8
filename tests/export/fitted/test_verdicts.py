"""What an export fits for verdicts: by validation films and their labels alone, own patients left out."""

from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.evidence.measuring import fit_rule, thresholds
from mtclip_edge.export.fitted.verdicts import index_share, measure
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Film, Study, split_of


def studies(count: int, seed: int = 0) -> list[Study]:
    """Two studies of each patient, every fourth text a twin, a third normal, a tenth unknown."""
    found = []
    for i in range(count):
        label = "unknown" if i % 10 == 9 else "normal" if i % 3 == 0 else "abnormal"
        film = Film(Path(f"{seed}-{i}.png"), f"{seed}-{i}.png", "PA")
        found.append(
            Study(
                f"s{seed}-{i}",
                f"p{i // 2}",
                (film,),
                report=f"report {i - i % 4 if i % 4 == 1 else i}",
                label=label,
            )
        )
    return found


def test_a_known_risk_gives_known_thresholds() -> None:
    """Of a hundred films each: wrong never, in three of ten, and in one of two."""
    trust = np.repeat([0.9, 0.7, 0.55], 100) + np.tile(np.arange(100) / 1e4, 3)
    wrong = np.concatenate([np.zeros(100), np.tile([0, 0, 0, 1, 0, 0, 1, 0, 0, 1], 10), np.tile([1, 0], 50)])
    confident, abstain = thresholds(trust, wrong.astype(float))
    assert confident == 0.9
    assert abstain is not None and 0.55 < abstain < 0.56 and round(abstain, 4) == abstain
    assert thresholds(trust[:110], np.ones(110)) == (None, 0.9099)
    assert thresholds(trust[:19], np.zeros(19)) == (None, None)  # too few for a promise


def test_what_verdicts_are_worth_counts_every_labelled_film_once(random: np.random.Generator) -> None:
    cases = Cases.of(studies(400))
    label, known = (cases.labels == 1).astype(float), cases.labels >= 0
    head = np.where(random.random(400) < 0.7, label, 1 - label) * 0.4 + 0.3
    rule = fit_rule(cases.labels, head, random.random(400), np.zeros(400, bool), index_share(cases))
    assert sum(worth.films for worth in rule.validation.values()) == known.sum()
    assert sum(worth.coverage for worth in rule.validation.values()) == pytest.approx(1, abs=1e-3)


def test_what_is_measured_leaves_own_patients_out_and_knows_validation_only(
    random: np.random.Generator,
) -> None:
    """Against a loop that compares film by film; labels of films that were not asked change nothing."""
    asked, others = studies(60), studies(60)
    cases = Cases.of(asked, others)
    films, reports = (
        v / np.linalg.norm(v, axis=1, keepdims=True)
        for v in (random.normal(size=(n, 8)) for n in (60, len(cases.reports)))
    )
    best = []
    for film, study in zip(films, asked, strict=True):
        foreign = [any(s.patient_id != study.patient_id for s in report.studies) for report in cases.reports]
        best.append((reports @ film)[foreign].max())
    found = measure(cases, films, None, reports, None, "hash")
    assert found.best_scores == pytest.approx(np.quantile(best, np.linspace(0, 1, 101)), abs=6e-5)
    assert (found.films, found.searched, found.trust) == (60, "hash", None)
    assert found.trust_why == "the abnormal head was not trained"
    few = measure(cases, films, random.normal(size=60), reports, None, "hash")
    assert (
        few.trust_why
        == "the abnormal head is not calibrated: fewer than 20 normal or abnormal validation films"
    )


def test_test_labels_have_no_part_in_what_is_fitted(tmp_path: Path) -> None:
    """Every label of the test split turned round: the same record, to the last digit; one of validation turned round: another."""
    film, turn = (
        Path(__file__).parents[3] / "examples" / "normal.png",
        {"normal": "abnormal", "abnormal": "normal"},
    )

    def record(turned: str | None, most: int) -> dict:
        rows, left = ["study_id,patient_id,image_path,report,label"], most
        for study in studies(700):
            label = study.label
            if split_of(study.patient_id) == turned and left and label in turn:
                label, left = turn[label], left - 1
            rows.append(f"{study.study_id},{study.patient_id},{film},{study.report},{label}")
        (tmp_path / "made.csv").write_text("\n".join(rows) + "\n")
        reading = open_source(str(tmp_path / "made.csv"))
        assert left < most or turned is None
        cases, made = Cases.of(reading.split("validation"), reading.split("train")), np.random.default_rng(1)
        films, reports = made.normal(size=(len(cases.films), 8)), made.normal(size=(len(cases.reports), 8))
        return measure(cases, films, films[:, 0], reports, Calibration(1.0, 0.0, 0.9, 40), "hash").to_dict()

    first = record(None, 0)
    assert first["trust"] and first["films"] > 40
    assert record("test", 1000) == first
    assert record("validation", 1) != first
