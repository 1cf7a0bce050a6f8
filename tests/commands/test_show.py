"""``mtclip show``: from a hit back to its report, studies and films."""

import json
from pathlib import Path

import pytest

from mtclip_edge import Retriever
from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.index.report_store import ReportStore
from mtclip_edge.sources.source import open_source


@pytest.fixture
def store(tiny_bundle: Path):
    bundle = Bundle.open(tiny_bundle)
    with ReportStore(bundle.file(bundle.index.store), bundle.model.model_id) as opened:
        yield opened


def test_every_hit_leads_back_to_its_studies(mtclip, tiny_bundle: Path, source: Path, film: Path) -> None:
    known = {study.study_id: study for study in open_source(str(source)).studies}
    with Retriever.open(tiny_bundle) as retriever:
        hits = retriever.query(film, k=5).reports
    assert any(hit.studies > 1 for hit in hits) and any(hit.finding_labels for hit in hits)
    for hit in hits:
        shown = json.loads(mtclip("show", tiny_bundle, hit.report_id, "--json").out)
        assert (shown["schema"], shown["kind"], shown["report_id"]) == (
            "mtclip.show/1",
            "report",
            hit.report_id,
        )
        assert (shown["text"], shown["label"], len(shown["studies"])) == (hit.text, hit.label, hit.studies)
        assert set(hit.study_ids) <= {study["study_id"] for study in shown["studies"]}
        for study in shown["studies"]:
            theirs = known[study["study_id"]]
            assert [film["film"] for film in study["films"]] == [
                str(one.path.relative_to(source.parent)) for one in theirs.films
            ]
            assert set(study["finding_labels"]) <= set(theirs.finding_labels)
        abnormal = {n for i in hit.study_ids if known[i].label != "normal" for n in known[i].finding_labels}
        assert set(hit.finding_labels) <= abnormal


def test_a_study_names_its_report_and_stands_first(mtclip, tiny_bundle: Path, film: Path) -> None:
    with Retriever.open(tiny_bundle) as retriever:
        hit = next(hit for hit in retriever.query(film, k=20).reports if hit.studies > 1)
    last = hit.study_ids[-1]
    shown = json.loads(mtclip("show", tiny_bundle, last, "--json").out)
    assert (shown["kind"], shown["id"], shown["report_id"]) == ("study", last, hit.report_id)
    assert shown["studies"][0]["study_id"] == last and len(shown["studies"]) == hit.studies
    plain = mtclip("show", tiny_bundle, last)
    assert plain.code == 0 and last in plain.out and hit.report_id in plain.out
    for told in (
        hit.text.split()[0],
        *[film["film"] for study in shown["studies"] for film in study["films"]],
        "Research use only",
    ):
        assert told in plain.out


def test_an_unknown_id_is_one_line_with_what_is_near(mtclip, tiny_bundle: Path, store: ReportStore) -> None:
    known = next(iter(store.film_rows()))[0]
    assert store.details(known).studies[0].study_id == known
    wrong = mtclip("show", tiny_bundle, f"{known}x")
    assert (wrong.code, wrong.out) == (1, "") and len(wrong.err.splitlines()) == 1
    assert f"no report or study '{known}x' in this bundle; did you mean " in wrong.err and known in wrong.err
    far = mtclip("show", tiny_bundle, "?!", "--json")
    assert (far.code, far.err) == (1, f"{tiny_bundle}: no report or study '?!' in this bundle\n")


def test_dates_of_the_studies_of_a_hit(mtclip, bundle: Path, film: Path, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text(
        "study_id,patient_id,report,label,date\nn1,q1,A zebra.,abnormal,2019-05-01\n"
        "n2,q2,A zebra.,abnormal,2021-02-03\nn3,q3,A zebra.,abnormal,\n"
    )
    assert mtclip("index", "add", bundle, tmp_path / "more.csv").code == 0
    found = json.loads(mtclip("query", film, "--bundle", bundle, "--match-any", "zebra", "--json").out)
    (hit,) = found["hits"]
    assert (hit["study_ids"], hit["date"]) == (["n1", "n2", "n3"], "2021-02-03")
    assert hit["study_dates"] == ["2019-05-01", "2021-02-03", None]
    table = mtclip("query", film, "--bundle", bundle, "--match-any", "zebra", "--format", "table").out
    assert "n1 ×3" in table and "2021-02-03" in table
