"""A typed finding gives reports that affirm it first, then those that do not name it, then those that deny it."""

import json
import shutil
import sqlite3
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.bundle.generations import commit
from mtclip_edge.index.bundle_library import BundleLibrary
from mtclip_edge.index.filters import Filters
from mtclip_edge.index.finding_words import any_word, denies, findings_named
from mtclip_edge.index.index import Index, SearchChoice
from mtclip_edge.index.library import Scope
from mtclip_edge.index.rerank import RANKS, places
from mtclip_edge.indexing.build import rebuild
from mtclip_edge.indexing.update import rebuild_index, remove
from mtclip_edge.retrieval.naming import Naming, TypedSearch, naming_of
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.studies import Film, Study

REPORTS = {
    "affirms": "Small left pleural effusion. Heart size is normal.",
    "affirms too": "Bilateral effusions, larger on the right. No pneumothorax.",
    "denies": "No pleural effusion or pneumothorax. The heart is normal.",
    "denies too": "The lungs are clear without effusion. Cardiomegaly.",
    "silent": "The lungs are clear. The heart is normal in size.",
    "silent too": "Old healed fracture of a left rib.",
    "both": "Resolution of the right effusion. Stable small left effusion.",
    "pericardial": "Pericardial effusion is likely, as before.",
    "spanish": "Derrame pleural izquierdo sin neumotorax en la base.",
}
AFFIRMING, SILENT, DENYING = (
    {"affirms", "affirms too", "both"},
    {"silent", "silent too", "spanish", "pericardial"},
    {"denies", "denies too"},
)


@pytest.fixture(scope="module")
def named(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    film = sorted((source.parent / "images").glob("*.png"))[0]
    path = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("named") / "bundle"))
    rebuild(
        path,
        [
            Study(
                study_id=name,
                patient_id=name,
                films=(Film(film, f"{place}.png", "PA"),),
                findings="",
                impression="",
                report=text,
                label="abnormal",
                finding_labels=("Pleural Effusion",) if "effusion" in text and name != "pericardial" else (),
                split="train",
                source="test",
            )
            for place, (name, text) in enumerate(REPORTS.items())
        ],
    )
    return path


def studies_of(hits: tuple) -> list[str]:
    return [hit.study_ids[0] for hit in hits]


def groups(order: list[str], *sizes: int) -> list[set[str]]:
    starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    return [set(order[a:b]) for a, b in pairwise(starts)]


@pytest.mark.parametrize("text", ["effusion", "pleural effusion", "Large left-sided pleural effusion"])
def test_a_typed_finding_is_affirmed_first_and_denied_last(named: Path, text: str) -> None:
    with Retriever.open(named) as retriever:
        answer = retriever.query_text(text, k=9)
        first = retriever.query_text(text, k=2)
    order = studies_of(answer.reports)
    assert groups(order, 3, 4, 2) == [AFFIRMING, SILENT, DENYING]
    said = {hit.study_ids[0]: hit.named["effusion"] for hit in answer.reports}
    assert said == dict.fromkeys(AFFIRMING, "affirmed") | dict.fromkeys(SILENT) | dict.fromkeys(
        DENYING, "denied"
    )
    assert studies_of(first.reports) == order[:2]
    for group in (order[:3], order[3:7], order[7:]):
        scores = [hit.rank_by["score"] for hit in answer.reports if hit.study_ids[0] in group]
        assert scores == sorted(scores, reverse=True)
    assert groups([hit.study_id for hit in answer.films], 3, 4, 2) == [AFFIRMING, SILENT, DENYING]


@pytest.mark.own_files
def test_each_hit_tells_what_it_owes_its_place_to(named: Path) -> None:
    with Retriever.open(named) as retriever:
        answer = retriever.query_text("left pleural effusion", k=9)
        naming = retriever._answers.search.naming("left pleural effusion")
    assert answer.ranking == {"by": ["vector", "names", "words", "marks"], "constant": RANKS}
    for marks, group in ((1, answer.reports[:3]), (0, answer.reports[3:7]), (-1, answer.reports[7:])):
        told = [hit.rank_by for hit in group]
        assert {one["marks"] for one in told} == {marks}
        by_vector = places(range(len(group)), np.array([hit.score for hit in group]))
        assert [hit.rank_by["vector"] for hit in group] == [by_vector[i] for i in range(len(group))]
        for one in told:
            counted = [one[name] for name in ("vector", "names", "words") if one[name] is not None]
            assert one["score"] == pytest.approx(sum(1 / (RANKS + place) for place in counted), abs=1e-6)
        assert [one["score"] for one in told] == sorted((one["score"] for one in told), reverse=True)
    # The names of a finding stand in reports that affirm it alone, the typed words elsewhere too.
    assert {hit.rank_by["names"] for hit in answer.reports[3:]} == {None}
    assert any(hit.rank_by["words"] for hit in answer.reports[3:7])
    assert np.isnan(naming.reports.names).sum() == 6


def test_few_exact_names_come_first_and_neighbours_after_them(named: Path) -> None:
    """One report alone has the words; the others follow by their vectors."""
    with Retriever.open(named) as retriever:
        answer = retriever.query_text("healed fracture", k=4)
    first, *others = answer.reports
    assert first.study_ids == ("silent too",) and first.rank_by["names"] == 1
    assert [hit.rank_by["names"] for hit in others] == [None] * 3
    assert [hit.rank_by["marks"] for hit in answer.reports] == [1, 0, 0, 0]


@pytest.mark.own_files
def test_words_move_a_report_past_a_nearer_one(named: Path, random: np.random.Generator) -> None:
    """Within a group the places count together, so that the nearest by vector need not be the first."""
    vectors = random.normal(size=(9, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index, vector = Index(vectors, 9, None, 0, SearchChoice("exact", "x")), vectors[0]
    with Retriever.open(named) as retriever:
        held = retriever._library
        library = BundleLibrary(held.bundle, held.store, index)
        naming, nothing = naming_of("effusion", library), np.full(9, np.nan)
        search = TypedSearch(library, Scope())

        def with_words(values: np.ndarray) -> Naming:
            typed = replace(naming.reports, names=values, words=values)
            library._typed = naming.text, typed
            return replace(naming, reports=typed)

        by_vector, _ = search.reports(vector, 9, with_words(nothing))
        last = by_vector.rows[2]
        names = np.where(np.arange(9) == last, 2.0, np.nan)
        typed = with_words(names)
        hits, owed = search.reports(vector, 9, typed)
        few, _ = search.reports(vector, 1, typed)
        alone, _ = search.reports(None, 9, typed)
    for group in (by_vector.scores[:3], by_vector.scores[3:7], by_vector.scores[7:]):
        assert list(group) == sorted(group, reverse=True)
    assert hits.rows[0] == last and few.rows == (last,) and set(hits.rows) == set(by_vector.rows)
    assert (owed[0].vector, owed[0].names, owed[0].words) == (3, 1, 1)
    scores = dict(zip(by_vector.rows, by_vector.scores, strict=True))
    assert dict(zip(hits.rows, hits.scores, strict=True)) == scores
    assert alone.rows == (last,)  # without a vector what has no word is not found
    assert np.isnan(alone.scores[0])


def test_places_by_hand() -> None:
    assert places([4, 2, 9, 7], np.array([0.5, 0.7, np.nan, 0.5])) == {2: 1, 4: 2, 7: 2}


def test_a_typed_denial_finds_reports_that_deny(named: Path) -> None:
    with Retriever.open(named) as retriever:
        order = studies_of(retriever.query_text("no effusion", k=9).reports)
    assert groups(order, 2, 4, 3) == [DENYING, SILENT, AFFIRMING]


def test_several_findings_are_weighed_together(named: Path) -> None:
    with Retriever.open(named) as retriever:
        hits = retriever.query_text("cardiomegaly without effusion", k=9).reports
    assert hits[0].study_ids == ("denies too",)
    assert hits[0].named == {"cardiomegaly": "affirmed", "effusion": "denied"}
    assert set(studies_of(hits)[-3:]) == AFFIRMING


def test_a_description_is_searched_by_its_vector_alone(named: Path) -> None:
    text = "Healed, displaced, comminuted and otherwise remarkable appearance throughout every visible bone"
    with Retriever.open(named) as retriever:
        hits = retriever.query_text(text, k=9).reports
    assert [hit.named for hit in hits] == [None] * 9
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_words_of_no_list_are_taken_as_they_stand(named: Path) -> None:
    with Retriever.open(named) as retriever:
        hits = retriever.query_text("derrame pleural", k=3).reports
        unknown = retriever.text_note("zebrafish")
    assert hits[0].study_ids == ("spanish",) and hits[0].named == {"derrame pleural": "affirmed"}
    assert unknown.endswith("no report here names 'zebrafish': the nearest by vectors and words are shown")


def test_filters_hold_for_what_is_named(named: Path) -> None:
    only = Filters(match="heart")
    with Retriever.open(named, filters=only) as retriever:
        order = studies_of(retriever.query_text("effusion", k=9).reports)
        note = retriever.notes.words
    assert order[0] == "affirms" and order[-1] == "denies" and set(order[1:-1]) == {"silent"}
    assert note == "1 of 9 reports are not read as English: there words alone count, denied or not"


def test_a_label_whose_report_denies_it_is_no_finding(named: Path, film: Path) -> None:
    """Labels come from elsewhere; the report's own words are what a reader sees."""
    with Retriever.open(named, filters=Filters(finding="pleural effusion")) as retriever:
        assert set(studies_of(retriever.query(film, k=9).reports)) == AFFIRMING
    with Retriever.open(named) as retriever:
        answer = retriever.query(film, k=9)
    if answer.evidence and answer.evidence.agreement:
        (vote,) = answer.evidence.agreement.findings
        assert (vote.reports, vote.share_in_index) == (3, round(3 / 9, 6))


def without_marks(path: Path) -> None:
    """The bundle as 0.1.0 wrote it: words in one column, findings without what denies them."""
    opened = Bundle.open(path)
    index = opened.index
    number = opened.generation + 1
    store, terms = f"reports-{number}.sqlite", f"terms-{number}.sqlite"
    shutil.copyfile(path / index.store, path / store)
    with sqlite3.connect(path / store) as db:
        db.execute("ALTER TABLE finding DROP COLUMN denied")
        db.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
        texts = db.execute("SELECT row, text FROM report").fetchall()
    db.close()
    with sqlite3.connect(path / terms) as db:
        db.execute(
            "CREATE VIRTUAL TABLE terms USING fts5(text, content='', tokenize='porter unicode61 remove_diacritics 2')"
        )
        db.executemany("INSERT INTO terms(rowid, text) VALUES (?, ?)", texts)
    db.close()
    site = replace(opened.manifest.site, index=replace(index, terms=terms, store=store))
    kept = (set(opened.manifest.files) - {index.store, index.terms}) | {store, terms}
    commit(path, replace(opened.manifest, generation=number, site=site), kept)


@pytest.mark.own_files
def test_a_bundle_without_marks_is_read_when_it_is_searched(named: Path, film: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(named, tmp_path / "bundle"))

    def answers() -> list:
        with Retriever.open(path, filters=Filters(finding="Pleural Effusion", match="effusion")) as retriever:
            text = retriever.query_text("effusion", k=9)
            return [text.hits, retriever.query(film, k=9).hits, retriever.notes.words]

    before = answers()
    without_marks(path)
    *old, note = answers()
    assert old == before[:2] and before[2] != note
    assert note.startswith("what 9 reports deny was read just now") and "mtclip index rebuild BUNDLE" in note
    rebuild_index(path)
    assert answers() == before
    without_marks(path)
    remove(path, studies=["both"])
    texts, _, note = answers()
    assert set(studies_of([hit for hit in texts if hit.to_dict()["kind"] == "report"])) == AFFIRMING - {
        "both"
    }
    assert not note.startswith("what")


def test_what_a_report_says_is_shown(mtclip, named: Path) -> None:
    shown = mtclip("query", "--text", "effusion", "--bundle", named, "-k", "9", "--format", "table")
    assert shown.code == 0, shown.err
    words = " ".join(shown.out.split())
    assert (
        "[affirms effusion]" in words and "[denies effusion]" in words and "[does not name effusion]" in words
    )
    document = json.loads(mtclip("query", "--text", "effusion", "--bundle", named, "--json").out)
    assert document["hits"][0]["named"] == {"effusion": "affirmed"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("pericardial effusion", {"pericardial effusion": False}),
        ("subcutaneous emphysema", {"subcutaneous emphysema": False}),
        ("The heart is mildly enlarged", {"cardiomegaly": False}),
        ("no masses", {"mass": True}),
        ("sternotomy wires", {"sternotomy wires": False}),
        ("no sternotomy wires", {"sternotomy wires": True}),
        ("effusion, edema, pneumonia, nodule and fracture", {}),
        ("", {}),
        ("!!", {}),
    ],
)
def test_what_a_text_names(text: str, names: dict[str, bool]) -> None:
    assert {finding.name: finding.denied for finding in findings_named(text)} == names


def test_which_words_of_a_text_tell_something() -> None:
    assert any_word("A large effusion, large as seen on the left; no effusion") == '"effusion"'
    assert any_word("the lungs are") is None


@pytest.mark.parametrize(
    ("text", "label", "denied"),
    [
        ("No pleural effusion.", "Pleural Effusion", True),
        ("No pleural effusion.", "effusion", True),
        ("No right effusion. Small left effusion.", "Pleural Effusion", False),
        ("The lungs are clear.", "Pleural Effusion", False),
        ("No pneumothorax.", "Lung", False),
        ("No hyperinflation.", "Lung/hyperdistention", True),
        ("The heart is not enlarged.", "Cardiomegaly", True),
    ],
)
def test_a_label_is_denied_by_its_reports_words(text: str, label: str, denied: bool) -> None:
    assert denies(text, label) is denied


def test_words_are_read_after_a_writer_swept_their_file(named: Path, tmp_path: Path) -> None:
    """A service that is open for days answers a first text after the index has grown."""
    path = Path(shutil.copytree(named, tmp_path / "bundle"))
    with Retriever.open(path) as retriever, Retriever.open(path) as before:
        wanted = before.query_text("effusion", k=9).hits
        terms = path / Bundle.open(path).index.terms
        rebuild_index(path)
        assert not terms.exists()
        assert retriever.query_text("effusion", k=9).hits == wanted
        assert retriever.notes.words == before.notes.words
