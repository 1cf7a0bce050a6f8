"""A bundle that 0.1.0 made (commit 750c3ca, 120 phantoms, a small backbone with random weights) opens, says what it lacks,
and gets what can be added."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from bundle_evidence import commit_evidence
from manifests import rewrite
from PIL import Image

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.indexing.statistics import statistics
from mtclip_edge.indexing.update import add, rebuild_index, remove
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.studies import Film, Study

BY_COSINE = "no weight of the abnormal head, so reports come by cosine alone (export again)"
NOT_KEPT = "no kept validation films: {} percentiles (mtclip refit, or export again)"

PACKED = Path(__file__).parents[1] / "support" / "bundle-0.1.0.zip"
MARKS = "marks of what reports deny: mtclip index rebuild"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(PACKED) as packed:
        packed.extractall(tmp_path / "old")
    return tmp_path / "old"


def test_it_opens_and_answers(old: Path, film: Path, mtclip) -> None:
    assert all(problem is None for _, problem in Bundle.open(old).verify())
    with Retriever.open(old) as retriever:
        answer = retriever.query(film, k=3)
        assert len(answer.reports) == 3 and answer.reports[0].text
        assert retriever.preview(answer.reports[0].report_id) is None
    assert mtclip("query", film, "--bundle", old, "--json", "--force").code == 0
    assert mtclip("info", old).code == 0 and mtclip("verify", old).code == 0


def test_it_says_what_it_lacks_and_rebuild_adds_what_it_can(old: Path, mtclip) -> None:
    lacks = statistics(old)["lacks"]
    assert MARKS in lacks and len(lacks) == 5
    assert "marks of what reports deny" in mtclip("index", "stats", old).out
    before = Bundle.open(old)
    assert mtclip("index", "rebuild", old).code == 0
    now = Bundle.open(old)
    assert statistics(old)["lacks"] == [what for what in lacks if what != MARKS]
    assert now.manifest.model.to_dict() == before.manifest.model.to_dict()
    assert (now.index.reports, now.index.studies) == (before.index.reports, before.index.studies)


def test_it_grows_and_shrinks_and_takes_previews(old: Path, film: Path, tmp_path: Path) -> None:
    before = Bundle.open(old).index
    new = Study(
        "n1",
        "np",
        films=(Film(film, "n.png", "PA"),),
        report="No effusion. Lungs are clear.",
        label="normal",
        source="s",
    )
    add(old, [new], previews=True)
    with Retriever.open(old) as retriever:
        webp = retriever.preview(str(new.report_id))
        assert webp and Image.open(io.BytesIO(webp)).format == "WEBP"
        assert retriever.query(film, k=2).reports
    remove(old, studies=["n1"])
    rebuild_index(old)
    now = Bundle.open(old)
    assert (now.index.reports, now.index.studies) == (before.reports, before.studies)
    assert now.manifest.site.previews is None


def test_a_query_says_once_what_an_old_bundle_lacks_for_films(old: Path, film: Path, mtclip) -> None:
    said = f"a bundle of an earlier version: {BY_COSINE}"
    found = mtclip("query", film, film, "--bundle", old, "--force")
    assert found.code == 0 and found.err.splitlines() == [said, "2 films answered, 0 could not be read"]
    # A text has no film for the head to judge, and who wants no re-ranking lacks none.
    assert "earlier version" not in mtclip("query", "--text", "effusion", "--bundle", old).err
    assert mtclip("query", film, "--bundle", old, "--force", "--no-rerank").err == ""


def test_a_bundle_without_validation_films_says_what_a_change_ends(bundle: Path, film: Path, mtclip) -> None:
    words = ["query", film, "--bundle", commit_evidence(bundle), "--json"]
    assert mtclip(*words).err == ""
    kept = Bundle.open(bundle).manifest.site.validation
    assert kept is not None
    rewrite(bundle, lambda manifest: manifest.pop("validation"), without=[kept.file])
    before = mtclip(*words)
    ends = NOT_KEPT.format("a change of its reports ends")
    assert (
        before.err == f"a bundle of an earlier version: {ends}\n" and '"percentile": null' not in before.out
    )
    gone = [word for study in json.loads(before.out)["hits"][0]["study_ids"] for word in ("--study", study)]
    assert mtclip("index", "remove", bundle, *gone).code == 0
    after = mtclip(*words)
    ended = NOT_KEPT.format("its reports changed, which ended")
    assert after.err == f"a bundle of an earlier version: {ended}\n" and '"percentile": null' in after.out
    rewrite(bundle, lambda manifest: manifest.pop("rerank"))
    assert mtclip(*words).err == f"a bundle of an earlier version: {ended}; {BY_COSINE}\n"
    rewrite(bundle, lambda manifest: manifest.pop("evidence"))
    ended = "no percentiles and verdicts (export again)"
    assert mtclip(*words).err == f"a bundle of an earlier version: {ended}; {BY_COSINE}\n"


def test_a_bundle_that_never_had_validation_films_is_no_old_one(bundle: Path, film: Path, mtclip) -> None:
    none = {"films": 0, "best_scores": None, "best_scores_why": "fewer than 20 validation films"}
    commit_evidence(bundle, **none, trust=None, trust_why="none")
    rewrite(bundle, rerank=None, validation=None, without=["validation-1.npy"])
    assert mtclip("query", film, "--bundle", bundle, "--json").err == ""


def test_the_demo_bundle_lacks_nothing(film: Path, mtclip) -> None:
    with Retriever.open("demo") as retriever:
        assert retriever.bundle.manifest.site.validation is None and retriever.notes.lacks is None
