"""Percentiles and verdicts after the reports of a bundle changed: measured again with the validation films that it keeps."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from kept import with_kept, without_kept

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import ArtefactDamaged, Refused
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evidence.kept_films import KeptFilms, pseudonym
from mtclip_edge.evidence.measuring import measured, nearest_in_bundle
from mtclip_edge.evidence.validation_reference import ValidationReference
from mtclip_edge.evidence.verdict import VOTERS
from mtclip_edge.export.fitted.verdicts import measure
from mtclip_edge.index.report_store import ReportStore
from mtclip_edge.indexing.store_writer import stored_studies
from mtclip_edge.indexing.update import add, count_removal, merge, remove
from mtclip_edge.indexing.vectors import IndexFiles
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Film, Study

NEW = Study(
    "new-1", "new-patient", report="A zebrafish swims through the mediastinum.", label="abnormal", source="s"
)


def test_from_what_is_kept_the_same_is_measured_as_at_export(bundle: Path) -> None:
    """Own patients left out, shared reports counted without their studies: against the way of the export."""
    studies = with_kept(bundle, 80)
    opened = Bundle.open(bundle)
    parts, kept = IndexFiles.of(opened), KeptFilms.of(opened)
    assert kept
    held = {s.study_id: s for s in stored_studies(parts.store)}
    cases = Cases.of(studies, list(held.values()))
    with ReportStore(parts.store, opened.model.model_id) as store:
        order = [r.report_id for r in store.reports(range(parts.reports))]
        rows = [order.index(report.report_id) for report in cases.reports]
        at_export = measure(
            cases, kept.rows["vector"], None, np.asarray(parts.report_vectors[rows]), None, "x" * 64
        )
        model = replace(opened.model, abnormal_head=False)
        nearest = partial(nearest_in_bundle, store=store, reports=np.asarray(parts.report_vectors))
        again = measured(kept, model, nearest, "x" * 64)["frontal"]
        assert again.best_scores == pytest.approx(at_export.best_scores, abs=2e-4)
        assert (again.films, again.temperature) == (80, pytest.approx(at_export.temperature, abs=1e-4))
        near = nearest(kept)
    foreign, labels = np.zeros_like(cases.foreign), np.zeros_like(cases.report_labels)
    foreign[:, rows], labels[:, rows] = cases.foreign, cases.report_labels
    score = kept.rows["vector"] @ parts.report_vectors.T
    for film in range(80):
        allowed = np.flatnonzero(foreign[film])
        best = allowed[np.argsort(-score[film, allowed], kind="stable")[:VOTERS]]
        assert near.scores[film] == pytest.approx(score[film, best], abs=1e-6)
        assert near.labels[film].tolist() == labels[film, best].tolist()
    assert not foreign.all()  # own patients were there to be left out


def test_after_each_change_percentiles_are_there_again(bundle: Path, tmp_path: Path) -> None:
    other = without_kept(Path(shutil.copytree(bundle, tmp_path / "other")))
    studies = with_kept(bundle, 40)
    for change in (
        lambda: add(bundle, [NEW]),
        lambda: remove(bundle, studies=[NEW.study_id]),
        lambda: merge(bundle, _grown(other)),
    ):
        change()
        opened = Bundle.open(bundle)
        record = opened.manifest.evidence_of("frontal")
        assert record and record.searched == opened.manifest.searched
        assert ValidationReference.of(opened.manifest).similarities
        assert record.films == len(studies)
    plain = Bundle.open(other).manifest  # keeps none: as before
    assert "validation" not in plain.site.to_dict() and "evidence_now" not in plain.site.to_dict()
    assert ValidationReference.of(plain).similarities is None


def _grown(bundle: Path) -> Path:
    add(bundle, [replace(NEW, study_id="other-1", report="A whale rests behind the heart.")])
    return bundle


def test_a_removed_patients_films_are_in_no_byte(bundle: Path) -> None:
    studies = with_kept(bundle, 40)
    kept = KeptFilms.of(Bundle.open(bundle))
    assert kept
    gone = studies[-1]  # a patient of whom the index holds nothing
    row = kept.rows[-1]
    traces = [row["vector"].tobytes(), row["vector"].tobytes()[:32], pseudonym(kept.salt, gone.patient_id)]
    found = b"\n".join(p.read_bytes() for p in bundle.iterdir())
    assert all(trace in found for trace in traces)
    assert gone.patient_id.encode() not in found  # never in clear
    assert count_removal(bundle, patients=[gone.patient_id])["validation films"] == 1
    said: list[str] = []
    before = ValidationReference.of(Bundle.open(bundle).manifest)
    remove(bundle, patients=[gone.patient_id], say=said.append)
    assert said == ["1 validation films removed"]
    found = b"\n".join(p.read_bytes() for p in bundle.iterdir())
    assert not [trace for trace in traces if trace in found]
    opened = Bundle.open(bundle)
    assert opened.manifest.site.validation and opened.manifest.site.validation.films == 39
    now = opened.manifest.evidence_of("frontal")
    assert now and now.films == 39 and before is not None
    assert all(problem is None for _, problem in opened.verify())
    with pytest.raises(Refused, match="no patient"):
        remove(bundle, patients=[gone.patient_id])


def test_a_patient_of_both_goes_from_both(bundle: Path) -> None:
    studies = with_kept(bundle, 40)
    before = Bundle.open(bundle)
    patient = studies[0].patient_id
    count = sum(s.patient_id == patient for s in studies)
    remove(bundle, patients=[patient])
    now = Bundle.open(bundle)
    assert now.index.studies < before.index.studies
    assert now.manifest.site.validation and now.manifest.site.validation.films == 40 - count
    remove(bundle, sources=["v"])  # of the others there is no study
    assert Bundle.open(bundle).manifest.site.validation is None
    assert not Bundle.open(bundle).manifest.site.evidence
    assert ValidationReference.of(Bundle.open(bundle).manifest).similarities is None
    assert not list(bundle.glob("validation-*"))


def test_studies_of_two_views_are_one_row(bundle: Path) -> None:
    dim = 4
    films = [Film(Path("x"), "x", view) for view in ("PA", "lateral", "PA")]
    studies = [Study(f"s{n}", "p", label="normal", source="v") for n in (1, 1, 2)]
    vectors = np.eye(3, dim, dtype=np.float32)
    kept = KeptFilms.made(films, studies, vectors, np.array([1, 3, 9], np.float32))
    assert len(kept.of_view("frontal").rows) == 2 and len(kept.of_view("lateral").rows) == 1
    (both,) = kept.of_view("both").rows
    assert both["vector"][2] == 0 and both["vector"][0] > 0 < both["vector"][1]
    assert np.linalg.norm(both["vector"]) == pytest.approx(1, abs=1e-6) and 1 < both["logit"] < 3


def test_a_file_of_another_shape_is_damage(bundle: Path) -> None:
    with_kept(bundle, 20)
    opened = Bundle.open(bundle)
    record = opened.manifest.site.validation
    assert record
    site = replace(opened.manifest.site, validation=type(record)(record.file, 19, record.salt))
    wrong = replace(opened, manifest=replace(opened.manifest, site=site))
    with pytest.raises(ArtefactDamaged, match=record.file):
        KeptFilms.of(wrong)


@pytest.mark.usefixtures("known_graphs")
def test_an_export_keeps_them_and_says_how_many(tiny_run: Path, source: Path, tmp_path: Path, mtclip) -> None:
    made = tmp_path / "made"
    assert mtclip("export", tiny_run, "--out", made, "--precision", "fp32").code == 0
    kept = KeptFilms.of(Bundle.open(made))
    films = [film for s in open_source(str(source)).split("validation") for film in s.films]
    assert kept and len(kept.rows) == len(films)
    assert f"{len(films)} validation films" in " ".join(mtclip("info", made).out.split())
    assert mtclip("index", "remove", made, "--source", "manifest:drawn", "--dry-run").code == 0
