"""``--own-priors``: the patient's own reports in a list of their own, and nowhere else."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from balanced_html import EVIL, Balanced
from bundle_evidence import commit_evidence
from dicoms import cr, written
from manifests import rewrite
from PIL import Image

from mtclip_edge import Filters, OwnPriors, Retriever
from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.display.answer_page import Answer, answer_page
from mtclip_edge.display.answer_words import own_short_words, own_words
from mtclip_edge.errors import Closed, Refused, WrongOption
from mtclip_edge.films.read import read_film
from mtclip_edge.index.bundle_library import BundleLibrary
from mtclip_edge.index.report_store import ReportStore
from mtclip_edge.indexing.update import add
from mtclip_edge.retrieval.own_priors import OwnPriorsAnswerer
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Film, Study

# Of patient q1 by date, the newest first; n2's text is that of q2 too, in other letters.
OWN = [
    ("n2", "2021-02-03", "normal", "Lungs are clear. No acute finding today."),
    ("n1", "2019-05-01", "abnormal", "A small zebra in the left lung."),
    ("n4", "2019-05-01", "abnormal", "Another zebra on the right."),
    ("n3", None, "abnormal", "The zebra is larger."),
]
OTHERS = [
    ("m1", "q2", "2020-01-01", "normal", "LUNGS are clear. No acute finding today!"),
    ("m2", "q3", None, "abnormal", "A lion in the left lung."),
    ("q1-like", "n9", None, "normal", "No animal at all."),
]


@pytest.fixture(scope="module")
def kept(tiny_bundle: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with four reports of q1, and previews of two of them. Not to be changed."""
    path = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("own") / "bundle"))
    pictures = [study.films[0].path for study in open_source(str(source)).studies if study.films]
    studies = [
        Study(study, "q1", report=report, label=label, date=date or "", finding_labels=("Zebra", "zebra"))
        for study, date, label, report in OWN
    ]
    # The film of the text that two patients have is q1's: its study comes first.
    films = {"n2": pictures[0], "n1": pictures[1]}
    studies = [
        replace(one, films=(Film(films[one.study_id], f"{one.study_id}.png", "PA"),))
        if one.study_id in films
        else one
        for one in studies
    ]
    add(path, studies, previews=True)
    add(path, [Study(s, p, report=r, label=la, date=d or "") for s, p, d, la, r in OTHERS])
    return path


@pytest.fixture(scope="module")
def retriever(kept: Path):
    with Retriever.open(kept) as opened:
        yield opened


def own_of(answer: SimpleNamespace) -> list[tuple[str, str | None, str, str]]:
    return [(hit.study_ids[0], hit.date, hit.label, hit.text) for hit in answer.own_priors.hits]


def studies_of(answer: SimpleNamespace) -> set[str]:
    return {study for hit in answer.reports for study in hit.study_ids}


def test_own_reports_come_by_date_each_in_its_own_words_and_are_no_hits(
    retriever: Retriever, film: Path
) -> None:
    whole = retriever.query(film, k=1000)
    assert {study for study, *_ in OWN} <= studies_of(whole) and whole.own_priors is None
    answer = retriever.query(film, k=1000, own_priors="q1")
    assert own_of(answer) == OWN and [hit.rank for hit in answer.own_priors.hits] == [1, 2, 3, 4]
    assert not studies_of(answer) & {study for study, *_ in OWN}
    # What another patient has word for word stays, as theirs.
    (shared,) = [hit for hit in answer.reports if "m1" in hit.study_ids]
    assert (shared.study_ids, shared.studies, shared.date) == (("m1",), 1, "2020-01-01")
    assert (answer.own_priors.left_out, answer.own_priors.shared) == (3, 1)
    assert len(answer.reports) == len(whole.reports) - 3
    # A normal study names nothing; a name in two spellings is one.
    assert [hit.finding_labels for hit in answer.own_priors.hits] == [(), ("Zebra",), ("Zebra",), ("Zebra",)]


def test_their_cosines_are_those_of_the_search(retriever: Retriever, film: Path) -> None:
    scores = {study: hit.score for hit in retriever.query(film, k=1000).reports for study in hit.study_ids}
    answer = retriever.query(film, own_priors="q1")
    assert {hit.study_ids[0]: hit.score for hit in answer.own_priors.hits} == {n: scores[n] for n, *_ in OWN}
    assert all(hit.percentile is None and hit.rank_by is None for hit in answer.own_priors.hits)
    (vector,) = retriever.embed([film])
    assert retriever.own_priors(2 * vector, "n3").to_dict() == answer.own_priors.to_dict()
    left = {hit.report_id for hit in retriever.search(vector, 1000, own_priors="q1")}
    assert left == {hit.report_id for hit in retriever.query(film, k=1000, own_priors="q1").reports}
    typed = retriever.query(film, text="zebra", own_priors="q1")
    assert own_of(typed) == OWN and typed.own_priors != answer.own_priors


@pytest.mark.own_files
def test_each_report_has_its_own_cosine(retriever: Retriever, random: np.random.Generator) -> None:
    """By vectors that differ: those of a small tower with random weights hardly do."""
    library = retriever._library
    vectors = random.normal(size=library.index.vectors.shape)
    vectors = np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
    other = BundleLibrary(library.bundle, library.store, replace(library.index, vectors=vectors))
    opened = replace(retriever._opened, library=other)
    found = OwnPriorsAnswerer(opened, True, "q1", Filters()).own(vectors[0])
    row_of = retriever._library.store.row_of([hit.report_id for hit in found.hits])
    expected = [float(vectors[row_of[hit.report_id]] @ vectors[0]) for hit in found.hits]
    assert [hit.score for hit in found.hits] == pytest.approx(expected, abs=6e-5) and len(set(expected)) == 4
    assert [hit.study_ids[0] for hit in found.hits] == [study for study, *_ in OWN]


def test_all_else_is_as_with_the_patient_excluded(kept: Path, film: Path, tmp_path: Path) -> None:
    """Voters, contrast and shares too: nothing of the answer rests on the patient's own reports."""
    copy = Path(shutil.copytree(kept, tmp_path / "copy"))
    rewrite(copy, lambda manifest: manifest.pop("evidence_now"))
    with Retriever.open(commit_evidence(copy)) as retriever:
        excluded = retriever.query(film, filters=Filters(exclude_patient="q1")).to_dict()
        apart = retriever.query(film, own_priors="n1").to_dict()
    own = apart.pop("own_priors")
    assert apart.pop("query")["filter"] is None and excluded.pop("query")["filter"]
    assert len(own["hits"]) == 4 and "q1" not in json.dumps(own)
    for document in (excluded, apart):
        del document["timings_ms"]
    assert apart == excluded and apart["evidence"]["similarity"]["percentile"] is not None


def test_a_least_percentile_leaves_the_list_whole(mtclip, kept: Path, film: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(kept, tmp_path / "copy"))
    rewrite(copy, lambda manifest: manifest.pop("evidence_now"))
    words = ["query", film, "--bundle", commit_evidence(copy), "--own-priors", "q1", "--json"]
    document = json.loads(mtclip(*words, "--min-percentile", "100").out)
    assert document["hits"] == [] and len(document["own_priors"]["hits"]) == 4


def test_filters_hold_for_the_others_alone(retriever: Retriever, film: Path) -> None:
    answer = retriever.query(
        film, k=3, own_priors="q1", filters=Filters(label="normal", exclude_patient="q2")
    )
    assert own_of(answer) == OWN and {hit.label for hit in answer.reports} == {"normal"}
    assert answer.to_dict()["query"]["filter"] == {"label": "normal", "exclude_patient": ["q2"]}
    assert "m1" not in studies_of(answer)
    again = retriever.query(film, k=3, own_priors="q1", filters=Filters(exclude_patient=("q1", "nobody")))
    assert again.filters == {"exclude_patient": ["q1", "nobody"], "unknown_patients": 1}


def test_an_id_is_the_patients_or_of_a_study_of_theirs_or_an_error(
    retriever: Retriever, kept: Path, film: Path, bundle: Path
) -> None:
    by_patient, by_study = (retriever.query(film, own_priors=name).own_priors for name in ("q1", "n3"))
    assert by_patient == by_study
    report = by_patient.hits[0].report_id
    for name, said in (
        ("q9", "no patient or study 'q9' in this (bundle|library)"),
        ("", "no patient or study '' in this (bundle|library)"),
        (report, f"'{report}' is a report, which many patients may have"),
    ):
        with pytest.raises(Refused, match=said):
            retriever.query_many([film], own_priors=name)
    with pytest.raises(WrongOption, match="own_priors of type list"):
        retriever.query(film, own_priors=["q1"])
    add(bundle, [Study("x", "y", report="One."), Study("z", "x", report="Two.")])
    with (
        Retriever.open(bundle) as other,
        pytest.raises(Refused, match="'x' is the id of one patient, and of a study of another"),
    ):
        other.query(film, own_priors="x")
    with pytest.raises(Closed):
        other.query(film, own_priors="y")
    with pytest.raises(Closed):
        other.own_priors(np.ones(32), "y")


def test_a_rejected_film_is_compared_with_nothing(retriever: Retriever, deep: np.ndarray) -> None:
    lateral = written(cr(deep, 12, ViewPosition="LATERAL"))
    answer = retriever.query(lateral, own_priors="q1")
    assert answer.rejected and answer.own_priors is None and "own_priors" not in answer.to_dict()
    (study,) = retriever.query_studies([lateral], own_priors="q1")
    assert study.rejected and study.own_priors is None


def test_a_study_and_many_films_have_them_too(mtclip, kept: Path, source: Path, tmp_path: Path) -> None:
    pictures = [study.films[0].path for study in open_source(str(source)).split("test") if study.films][:2]
    for number, path in enumerate(pictures):
        film = cr(np.asarray(Image.open(path)), StudyInstanceUID="1.2", ViewPosition="PA")
        (tmp_path / f"{number}.dcm").write_bytes(written(film))
    words = ["query", tmp_path, "--bundle", kept, "--own-priors", "n1"]
    (study,) = map(json.loads, mtclip(*words, "--by", "study").out.splitlines())
    films = [json.loads(line) for line in mtclip(*words).out.splitlines()]
    assert len(films) == 2 and study["query"]["type"] == "study"
    for answer in (study, *films):
        assert [hit["study_ids"] for hit in answer["own_priors"]["hits"]] == [[name] for name, *_ in OWN]
        assert "n1" not in {study for hit in answer["hits"] for study in hit["study_ids"]}
    with Retriever.open(kept) as retriever:
        vectors = retriever.embed([read_film(path.read_bytes()) for path in sorted(tmp_path.iterdir())])
        expected = retriever.own_priors(vectors.sum(axis=0), "q1").to_dict()
    found = [hit["score"] for hit in study["own_priors"]["hits"]]
    np.testing.assert_allclose(found, [hit["score"] for hit in expected["hits"]], atol=2e-4)


def test_through_the_command_in_every_format(mtclip, kept: Path, film: Path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    words = ["query", film, "--bundle", kept, "-k", "2", "--own-priors", "q1"]
    document = json.loads(mtclip(*words, "--json").out)
    assert document["schema"] == "mtclip.query/2" and document["query"]["filter"] is None
    own = document["own_priors"]
    assert list(own) == ["left_out", "shared", "hits"] and (own["left_out"], own["shared"]) == (3, 1)
    assert [list(hit) for hit in own["hits"]] == [list(document["hits"][0])] * 4
    assert "own_priors" not in json.loads(mtclip(*words[:-2], "--json").out)

    table = list(csv.DictReader(io.StringIO(mtclip(*words, "--format", "csv").out)))
    assert [row["list"] for row in table] == ["similar"] * 2 + ["own"] * 4
    assert [(row["study_id"], row["date"]) for row in table[2:]] == [(n, date or "") for n, date, *_ in OWN]
    plain = csv.DictReader(io.StringIO(mtclip(*words[:-2], "--format", "csv").out))
    assert [row["list"] for row in plain] == ["similar"] * 2

    lines = mtclip(*words, "--format", "ids").out.splitlines()
    assert [line.split("\t")[1:] for line in lines[2:]] == [
        [str(hit["rank"]), f"own:{hit['report_id']}"] for hit in own["hits"]
    ]
    for more in ([], ["--full"]):
        shown = mtclip(*words, "--format", "table", *more).out
        similar, _, apart = shown.partition("The patient's own reports: ")
        assert "left out of the similar reports" in apart and "zebra" not in similar
        assert [apart.index(f" {study}") for study, *_ in OWN] == sorted(
            apart.index(f" {study}") for study, *_ in OWN
        )
    many = mtclip("query", film, film, *words[2:], "--format", "table").out
    assert many.count("  own reports: 4, the newest of 2021-02-03 normal, similarity ") == 2
    mapped = mtclip(*words, "--json", "--explain", film.parent.parent / "map.png")
    assert mapped.code == 0 and json.loads(mapped.out)["own_priors"] == own


def test_the_page_has_them_in_a_frame_with_their_own_films(
    mtclip, kept: Path, film: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    words = ["query", film, "--bundle", kept, "--save", page, "--format", "ids", "-k", "1000"]
    pictures = Bundle.open(kept).manifest.site.previews
    assert pictures is not None and pictures.reports == 2
    assert mtclip(*words).code == 0
    assert len(Balanced(page.read_text()).links) == 1 + 2 and 'class="hits own"' not in page.read_text()
    assert mtclip(*words, "--own-priors", "q1").code == 0
    similar, heading, apart = page.read_text().partition('<section class="hits own">')
    # The film that the bundle has of the shared text is the patient's: beside the others' report it is not shown.
    assert heading and (similar.count("data:image/png"), similar.count("data:image/webp")) == (1, 0)
    assert apart.count("data:image/webp") == 2 and "zebra" not in similar and apart.count("zebra") == 3
    said = [text for tag, text in Balanced(page.read_text()).said if tag == "h3"]
    assert said[-1] == "The patient's own reports"
    assert mtclip(*words, "--own-priors", "q1", "--no-film").code == 0
    assert "<img" not in page.read_text()


def test_a_notebook_shows_them_and_a_repr_counts_them(retriever: Retriever, film: Path) -> None:
    answer = retriever.query(film, k=2, own_priors="q1")
    drawn = answer._repr_html_() or ""
    assert "The patient&#x27;s own reports" in drawn and drawn.count("zebra") == 3
    assert ": 2 reports, 4 of the patient, first " in repr(answer) and "zebra" not in repr(answer)


def test_whatever_comes_from_data_is_text(retriever: Retriever, film: Path) -> None:
    answer = retriever.query(film, k=1, own_priors="q1")
    hit = replace(answer.own_priors.hits[0], text=EVIL, impression=EVIL, report_id=EVIL, study_ids=(EVIL,))
    page = answer_page([Answer(replace(answer, own_priors=OwnPriors((hit,), 1, 0)))], {})
    assert (
        "script" not in Balanced(page).tags and Balanced(page).text.count("<script>alert('x')</script>") >= 3
    )


def test_a_patient_without_a_report_has_none(retriever: Retriever, film: Path) -> None:
    answer = retriever.query(film, k=1, own_priors="q1")
    none = OwnPriors((), 0, 0)
    assert own_words(none) == "none in this bundle"
    assert own_short_words(none) == "own reports: none in this bundle"
    undated = OwnPriors(answer.own_priors.hits[-1:], 1, 0)
    assert own_short_words(undated).startswith("own reports: 1, the newest abnormal, similarity ")
    assert "The patient&#x27;s own reports" in answer_page([Answer(replace(answer, own_priors=none))], {})


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--text", "zebra"], 2, "--own-priors\nit is of one patient, whose films are given by name\n"),
        (["--watch", "."], 2, "--own-priors\nit is of one patient, whose films are given by name\n"),
        (["{film}"], 1, "{kept}: no patient or study 'q9' in this bundle\n"),
        (["{film}", "--by", "study"], 1, "{kept}: no patient or study 'q9' in this bundle\n"),
    ],
)
@pytest.mark.own_files
def test_wrong_uses_are_said_before_anything_is_answered(
    mtclip, kept: Path, film: Path, words: list[str], code: int, said: str
) -> None:
    given = [word.format(film=film) for word in words]
    found = mtclip("query", *given, "--bundle", kept, "--own-priors", "q9")
    assert (found.code, found.out) == (code, "") and found.err.startswith(said.format(kept=kept))


def test_an_unknown_id_or_text_is_refused_before_a_film_is_read(retriever: Retriever) -> None:
    def unread() -> bytes:
        raise AssertionError("the film was read")

    with pytest.raises(Refused, match="nobody"):
        retriever.query(unread, own_priors="nobody")
    with pytest.raises(WrongOption, match="filters of type str"):
        retriever.query(unread, filters="label=normal")  # type: ignore[arg-type]


def test_the_store_counts_what_others_have_word_for_word(kept: Path) -> None:
    opened = Bundle.open(kept)
    with ReportStore(opened.file(opened.index.store), opened.model.model_id) as store:
        mine, other = store.reports_of("n2"), store.reports_of("m1")
    assert (len(mine.reports), mine.shared, len(other.reports), other.shared) == (4, 1, 1, 1)
    # In each study's own words, though the two are one distinct report.
    assert (mine.reports[0].text, other.reports[0].text) == (OWN[0][3], OTHERS[0][4])
    assert mine.reports[0].row == other.reports[0].row and "q1" not in repr(mine)
