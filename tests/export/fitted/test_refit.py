"""A site's own films fit what a bundle's queries are measured by, without torch, and are taken back."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import Refused, SourceUnusable
from mtclip_edge.evidence.kept_films import KeptFilms
from mtclip_edge.evidence.promise import beta_quantile, binomial_tail, share_interval, specificity_interval
from mtclip_edge.evidence.validation_reference import ValidationReference
from mtclip_edge.export.fitted import refit as fitting
from mtclip_edge.export.fitted.film_gate import threshold
from mtclip_edge.indexing.update import add, remove
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study


@pytest.fixture(scope="module")
def labelled(source: Path) -> list[Study]:
    """Studies with films, every second of which is said to be abnormal: enough of both."""
    studies = [s for s in open_source(str(source)).studies if s.films][:60]
    return [replace(s, label=("normal", "abnormal")[n % 2]) for n, s in enumerate(studies)]


def test_the_sites_values_hold_and_the_makers_come_back(
    bundle: Path, labelled: list[Study], film: Path
) -> None:
    before = Bundle.open(bundle)
    first = KeptFilms.of(before)
    with Retriever.open(bundle) as retriever:
        asked = retriever.query(film)
    said: list[str] = []
    fitting.refit(bundle, labelled, say=said.append)
    now = Bundle.open(bundle)
    record = now.manifest.site.refit
    assert record and record.calibration and (record.normal, record.abnormal) != (0, 0)
    assert now.model.calibration and now.model.calibration.threshold == record.calibration.threshold
    assert now.manifest.model.to_dict() == before.manifest.model.to_dict()  # the maker's values are kept
    found = [line for line in said if "exact" in line or line.startswith("sensitivity there")]
    assert len(found) == 2
    evidence = now.manifest.evidence_of("frontal")
    assert evidence and evidence.films == record.films
    with Retriever.open(bundle) as retriever:
        answer = retriever.query(film)
    assert [h.report_id for h in answer.reports] == [h.report_id for h in asked.reports] or now.model.rerank
    assert answer.evidence and answer.evidence.similarity.films == record.films
    fitting.undo(bundle)
    after = Bundle.open(bundle)
    assert after.manifest.site.refit is None and after.model.to_dict() == before.manifest.model.to_dict()
    with Retriever.open(bundle) as retriever:
        again = retriever.query(film)
    assert again.abnormal == asked.abnormal
    assert again.evidence and asked.evidence and again.evidence.judgement == asked.evidence.judgement
    kept = KeptFilms.of(after)
    assert kept and first and np.array_equal(kept.rows, first.rows)
    with pytest.raises(Refused, match="nothing was refitted"):
        fitting.undo(bundle)


def test_without_labels_percentiles_only(bundle: Path, labelled: list[Study]) -> None:
    before = Bundle.open(bundle)
    said: list[str] = []
    fitting.refit(bundle, [replace(s, label="unknown") for s in labelled], say=said.append)
    now = Bundle.open(bundle)
    assert now.manifest.site.refit and now.manifest.site.refit.calibration is None
    assert now.model.calibration == before.model.calibration or (
        now.model.calibration
        and before.model.calibration
        and now.model.calibration.to_dict() == before.model.calibration.to_dict()
    )
    assert any(line.startswith("calibration and operating point stay") for line in said)
    assert ValidationReference.of(now.manifest).similarities
    old, new = before.manifest.evidence_of("frontal"), now.manifest.evidence_of("frontal")
    assert old and new and (new.trust is None) == (old.trust is None)  # the verdict does not vanish


def test_it_stays_through_changes_and_a_patient_can_be_taken_out(bundle: Path, labelled: list[Study]) -> None:
    fitting.refit(bundle, labelled)
    films = Bundle.open(bundle).manifest.evidence_of("frontal")
    new = Study("n-1", "n-1", report="A zebrafish swims.", label="abnormal", source="s")
    add(bundle, [new])
    now = Bundle.open(bundle).manifest
    evidence = now.evidence_of("frontal")
    assert films and evidence and now.site.refit and evidence.films == films.films
    patient = labelled[0].patient_id
    remove(bundle, patients=[patient])
    kept = KeptFilms.of(Bundle.open(bundle))
    assert kept and not kept.held("patient", [patient])
    fitting.refit(bundle, labelled[1:])  # an earlier refit is replaced
    kept = KeptFilms.of(Bundle.open(bundle))
    again = Bundle.open(bundle).manifest.site.refit
    assert kept and again and len(kept.of_site(True).rows) == again.films


def test_too_few_films_are_refused(bundle: Path, labelled: list[Study]) -> None:
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    with pytest.raises(SourceUnusable, match="too few to refit"):
        fitting.refit(bundle, labelled[:5])
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before


def test_exact_intervals() -> None:
    from scipy.stats import beta, binom

    assert binomial_tail(30, 0.3, 12) == pytest.approx(binom.sf(11, 30, 0.3))
    assert beta_quantile(0.025, 45, 6) == pytest.approx(beta.ppf(0.025, 45, 6), abs=1e-6)
    assert specificity_interval(50, 45) == pytest.approx(tuple(beta.ppf((0.025, 0.975), 45, 6)), abs=1e-6)
    assert share_interval(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    assert share_interval(10, 10) == pytest.approx((0.6915, 1), abs=1e-4)


def test_a_specificity_lies_where_the_interval_says(random: np.random.Generator) -> None:
    """Over draws of 50 normal films the true specificity of the 45th score is inside 95 times of 100."""
    low, high = specificity_interval(50, 45)
    inside = [low <= np.sort(random.random(50))[44] <= high for _ in range(4000)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)
    assert threshold(np.arange(20.0), 0.03) is None


def test_on_the_line(bundle: Path, source: Path, mtclip) -> None:
    assert mtclip("refit", bundle).code == 2 and mtclip("refit", bundle, source, "--undo").code == 2
    done = mtclip("refit", bundle, source)
    assert done.code == 0, done.err
    assert "refitted" in mtclip("info", bundle).out and f"--bundle {bundle}" in done.err
    assert mtclip("refit", bundle, "--undo").code == 0
    assert mtclip("refit", bundle, "--undo").code == 1


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nfrom mtclip_edge.export.fitted import refit\nfrom mtclip_edge.commands import refit\n"
        "assert not {'torch', 'onnx', 'sklearn', 'scipy', 'open_clip'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
