"""A bundle's reports grow, shrink and merge; what fails changes nothing, and what is removed is gone from every byte."""

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundle_content import assert_same, content
from PIL import Image

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.bundle.generations import commit
from mtclip_edge.errors import ArtefactIncompatible, MtclipError, NotABundle, Refused
from mtclip_edge.index.filters import Filters
from mtclip_edge.index.report_store import ReportStore
from mtclip_edge.indexing import embedder, update
from mtclip_edge.indexing.build import rebuild
from mtclip_edge.indexing.store_writer import stored_studies
from mtclip_edge.indexing.update import add, merge, rebuild_index, remove
from mtclip_edge.indexing.vectors import IndexFiles
from mtclip_edge.inference.encoders import TextEncoder
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study

SECRET = Study(
    "secret-7",
    "patient-secret",
    report="A zebrafish swims through the mediastinum.",
    label="abnormal",
    source="manifest:s",
    date="2024-03-05",
)


@pytest.fixture
def studies(source: Path) -> list[Study]:
    return [s for s in open_source(str(source)).studies if s.report_id]


@pytest.fixture
def half(bundle: Path, studies: list[Study]) -> Path:
    """A bundle of the first half of the studies."""
    rebuild(bundle, studies[: len(studies) // 2])
    return bundle


def test_half_and_half_is_the_whole(half: Path, studies: list[Study], tmp_path: Path, film: Path) -> None:
    whole = Path(shutil.copytree(half, tmp_path / "whole"))
    rebuild(whole, studies)
    said: list[str] = []
    add(half, studies[len(studies) // 2 :], say=said.append)
    assert_same(content(half), content(whole))
    assert all(problem is None for _, problem in Bundle.open(half).verify())
    assert {p.name for p in half.iterdir()} == {*Bundle.open(half).manifest.files, "manifest.json"}
    with Retriever.open(half) as a, Retriever.open(whole) as b:
        ours, theirs = ([(h.report_id, h.studies) for h in r.query(film, k=8).hits] for r in (a, b))
    assert ours == theirs
    with Retriever.open(half, exact=False) as a:
        assert a.search_choice.used == "hnsw"
        assert [(h.report_id, h.studies) for h in a.query(film, k=8).hits] == ours


def test_what_is_there_stays_as_it_is(half: Path, studies: list[Study]) -> None:
    before = (half / "manifest.json").read_bytes()
    said: list[str] = []
    add(half, studies[:30], say=said.append)
    assert said == ["30 of 30 studies are there already", "nothing to add"]
    assert (half / "manifest.json").read_bytes() == before
    add(half, [*studies[:30], SECRET, replace(SECRET, study_id="mute", report="")], say=said.append)
    assert said[2:] == [
        "1 studies without a report are left out: there is nothing to find of them",
        "30 of 31 studies are there already",
    ]
    assert Bundle.open(half).index.studies == len(studies) // 2 + 1


@pytest.mark.parametrize(
    "change",
    [{"report": "Another report.", "findings": "", "impression": ""}, {"patient_id": "somebody else"}],
)
def test_a_known_study_with_another_report_is_refused(half: Path, studies: list[Study], change: dict) -> None:
    before = {p.name: p.read_bytes() for p in half.iterdir()}
    with pytest.raises(
        Refused,
        match=f"1 of these studies are there with another report or patient: {studies[3].study_id}\nnothing was added",
    ):
        add(half, [SECRET, replace(studies[3], **change)])
    assert {p.name: p.read_bytes() for p in half.iterdir()} == before


def test_an_interrupted_add_goes_on_where_it_was(
    half: Path, studies: list[Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder, "KEPT_TEXTS", 2)
    real, seen = TextEncoder.encode, []

    def encode(self, texts, *rest):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(list(texts))
        return real(self, texts, *rest)

    monkeypatch.setattr(TextEncoder, "encode", encode)
    before = {p.name: p.read_bytes() for p in half.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        add(half, studies)
    assert {p.name: p.read_bytes() for p in half.iterdir()} == before
    done = {text for part in seen for text in part}
    (kept,) = half.parent.glob(".bundle.embedded.*")
    assert kept.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(
        TextEncoder, "encode", lambda self, texts, *rest: seen.append(list(texts)) or real(self, texts, *rest)
    )
    add(half, studies)
    assert not {text for part in seen[2:] for text in part} & done
    assert not list(half.parent.glob(".bundle.embedded.*"))


def test_a_removed_study_is_in_no_byte(half: Path, studies: list[Study], film: Path, tmp_path: Path) -> None:
    from mtclip_edge.studies import Film

    before = content(half)
    own = tmp_path / "own.png"  # like no other, so that its vector is nobody else's
    Image.fromarray(np.random.default_rng(77).integers(0, 255, (200, 180), np.uint8)).save(own)
    planted = replace(
        SECRET, films=(Film(own, "films/secret-film.png", "PA"),), finding_labels=("Zebrafish",)
    )
    add(half, [planted])
    parts = IndexFiles.of(Bundle.open(half))
    texts = [b"zebrafish", b"zebrafi", b"secret", b"2024-03-05"]
    vectors = [parts.report_vectors[-1].tobytes(), parts.film_vectors[-1].tobytes()]
    found = everything(half)
    assert all(word in found.lower() for word in texts[:3]) and all(vector in found for vector in vectors)
    del parts
    remove(half, patients=["patient-secret"])
    found = everything(half)
    assert not [word for word in texts if word in found.lower()]
    assert not [vector for vector in vectors if vector in found]
    assert vectors[0][:32] not in found and vectors[1][-32:] not in found
    assert_same(content(half), before)
    assert all(problem is None for _, problem in Bundle.open(half).verify())


def everything(bundle: Path) -> bytes:
    """Every byte of the bundle and of what lies beside it under its name."""
    return b"\n".join(
        p.read_bytes()
        for p in [*bundle.iterdir(), *bundle.parent.glob(".bundle*"), *bundle.parent.glob("bundle.*")]
    )


def test_removing_does_not_depend_on_how_it_is_named(half: Path, studies: list[Study]) -> None:
    two = [s for s in studies[: len(studies) // 2] if s.patient_id == studies[4].patient_id]
    before = Bundle.open(half).index.studies
    said: list[str] = []
    remove(half, studies=[two[0].study_id, two[0].study_id], patients=[two[0].patient_id], say=said.append)
    assert Bundle.open(half).index.studies == before - len(two)
    assert said[0].startswith(f"{len(two)} studies removed")
    with ReportStore(*store_of(half)) as store:
        assert not store.of_studies([s.study_id for s in two])


def store_of(path: Path) -> tuple[Path, str]:
    bundle = Bundle.open(path)
    return bundle.file(bundle.index.store), bundle.model.model_id


def test_when_the_shown_words_go_their_twins_take_their_place(half: Path) -> None:
    """The same report in capitals is the same report; its vector is then made of the words that stay."""
    loud = replace(SECRET, study_id="t-loud", patient_id="q", report=SECRET.report.upper(), label="normal")
    add(half, [SECRET, loud])
    with ReportStore(*store_of(half)) as store:
        row = store.row_of([SECRET.report_id])[SECRET.report_id]
        assert (store.reports([row])[0].text, store.reports([row])[0].label) == (SECRET.report, "unknown")
    assert {s.text for s in stored_studies(store_of(half)[0]) if s.report_id == SECRET.report_id} == {
        SECRET.report,
        loud.report,
    }
    remove(half, studies=[SECRET.study_id])
    with ReportStore(*store_of(half)) as store:
        row = store.row_of([SECRET.report_id])[SECRET.report_id]
        found = store.reports([row])[0]
    assert (found.text, found.label, found.study_ids) == (loud.report, "normal", ("t-loud",))
    assert SECRET.report.encode() not in everything(half)
    alone = next(s for s in stored_studies(store_of(half)[0]) if s.study_id == "t-loud")
    assert alone.text == loud.report
    with Retriever.open(half) as retriever:
        assert retriever.query_text(loud.report, k=1).hits[0].score == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"studies": ["nobody"]}, "no study 'nobody' in this bundle\nnothing was removed"),
        ({"patients": ["p001", "nobody"]}, "no patient 'nobody'"),
        ({"sources": ["manifest:drawn"]}, "that would remove every report\ndelete the folder"),
    ],
)
def test_what_cannot_be_removed(half: Path, names: dict, message: str) -> None:
    before = {p.name: p.read_bytes() for p in half.iterdir()}
    with pytest.raises(Refused, match=message):
        remove(half, **names)
    assert {p.name: p.read_bytes() for p in half.iterdir()} == before


def test_ids_that_nobody_has_are_passed_over_where_that_is_asked(
    half: Path, studies: list[Study], mtclip
) -> None:
    before = {p.name: p.read_bytes() for p in half.iterdir()}
    patient = studies[0].patient_id
    counted = mtclip("index", "remove", half, "--patient", patient, "--patient", "nobody", "--dry-run")
    assert counted.code == 1 and "no patient 'nobody' in this bundle" in counted.err
    counted = mtclip(
        "index", "remove", half, "--patient", patient, "--patient", "nobody", "--missing-ok", "--dry-run"
    )
    assert counted.code == 0 and counted.err.startswith("1 of the names given is of nothing in this bundle\n")
    nothing = mtclip("index", "remove", half, "--study", "nobody", "--missing-ok")
    assert nothing.code == 0 and {p.name: p.read_bytes() for p in half.iterdir()} == before
    with ReportStore(*store_of(half)) as store:
        all_before = store.counts()
    removed = mtclip("index", "remove", half, "--patient", patient, "--patient", "nobody", "--missing-ok")
    with ReportStore(*store_of(half)) as store:
        gone = [a - b for a, b in zip(all_before, store.counts(), strict=True)]
    assert removed.code == 0 and gone[0] > 0
    would = (
        f"would remove {gone[0]} studies, 1 patients, {gone[1]} reports, {gone[2]} films; nothing was changed"
    )
    assert would in counted.err


def test_a_held_file_of_before_is_named(
    half: Path, studies: list[Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a system that does not let go of an open file: published without the study, and exit 1 with the file's name."""
    held, real = Bundle.open(half).index.store, Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.name == held:
            raise PermissionError(13, "in use", str(self))
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(
        Refused, match=f"{held}: published without it, but this file of before cannot be removed"
    ) as refused:
        remove(half, studies=[studies[0].study_id])
    assert refused.value.exit_code == 1
    monkeypatch.undo()
    with ReportStore(*store_of(half)) as store:
        assert not store.of_studies([studies[0].study_id])
    rebuild_index(half)
    assert not (half / held).exists()


def test_two_halves_merge_into_the_whole(
    half: Path, studies: list[Study], tmp_path: Path, monkeypatch
) -> None:
    other, whole = (Path(shutil.copytree(half, tmp_path / name)) for name in ("other", "whole"))
    rebuild(other, studies[len(studies) // 2 - 20 :])
    rebuild(whole, studies)
    monkeypatch.setattr(TextEncoder, "encode", None)  # nothing is embedded
    said: list[str] = []
    merge(half, other, say=said.append)
    assert said[0].startswith("20 of ")
    assert_same(content(half), content(whole))


def test_bundles_of_two_models_do_not_merge(half: Path) -> None:
    with pytest.raises(ArtefactIncompatible, match="made with another model\nexpected sha256:"):
        merge(half, FOLDER)
    assert Bundle.open(half).generation == 2


OLD_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE report (
    row INTEGER PRIMARY KEY, report_id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, findings TEXT NOT NULL, impression TEXT NOT NULL,
    label TEXT NOT NULL, normal INTEGER NOT NULL, abnormal INTEGER NOT NULL, unknown INTEGER NOT NULL
);
CREATE TABLE study (
    study_id TEXT PRIMARY KEY, patient_id TEXT NOT NULL, report_row INTEGER REFERENCES report(row), label TEXT NOT NULL,
    source TEXT NOT NULL, split TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE film (row INTEGER PRIMARY KEY, study_id TEXT NOT NULL REFERENCES study(study_id), name TEXT NOT NULL, view TEXT NOT NULL);
CREATE TABLE finding (study_id TEXT NOT NULL REFERENCES study(study_id), name TEXT NOT NULL);
CREATE INDEX film_by_study ON film(study_id);
CREATE INDEX study_by_report ON study(report_row);
CREATE INDEX finding_by_study ON finding(study_id);
INSERT INTO meta SELECT key, iif(key = 'schema_version', '1', value) FROM new.meta;
INSERT INTO report SELECT * FROM new.report;
INSERT INTO study SELECT study_id, patient_id, report_row, label, source, split FROM new.study;
INSERT INTO film SELECT row + (SELECT count(*) FROM new.report), study_id, name, view FROM new.film;
INSERT INTO finding SELECT study_id, name FROM new.finding;
"""


def as_it_was(bundle: Path) -> Path:
    """A bundle with a store of the first schema, without words."""
    opened = Bundle.open(bundle)
    store = bundle / opened.index.store
    name = f"reports-{opened.generation + 1}.sqlite"
    db = sqlite3.connect(bundle / name)
    db.execute("ATTACH ? AS new", (str(store),))
    db.executescript(OLD_SCHEMA)
    db.close()
    site = replace(opened.manifest.site, index=replace(opened.index, terms=None, store=name))
    kept = (set(opened.manifest.files) - {store.name, opened.index.terms}) | {name}
    commit(bundle, replace(opened.manifest, generation=opened.generation + 1, site=site), kept)
    return bundle


def test_a_store_of_before_is_read_and_brought_up_to_date(bundle: Path, film: Path) -> None:
    """The first schema had film rows after the reports', and neither dates nor words for full-text search."""
    before = content(bundle)
    with Retriever.open(bundle) as retriever:
        hits = retriever.query(film, k=20).hits, retriever.query_text("opacity", k=9).hits
    old = as_it_was(bundle)
    assert_same(content(old), before)
    with Retriever.open(old) as retriever:
        assert (retriever.query(film, k=20).hits, retriever.query_text("opacity", k=9).hits) == hits
    with Retriever.open(old, filters=Filters(match="left")) as retriever:
        read_now = {hit.report_id for hit in retriever.query(film, k=99).hits}
        assert (
            "was read just now" in retriever.notes.words and "mtclip index rebuild" in retriever.notes.words
        )
    for work in (lambda: rebuild_index(old), lambda: add(old, [SECRET])):
        work()
        with Retriever.open(old, filters=Filters(match="left")) as retriever:
            assert {hit.report_id for hit in retriever.query(film, k=99).hits} - {
                SECRET.report_id
            } == read_now
            assert retriever.notes.words is None
        if SECRET.study_id in content(old)["studies"]:
            remove(old, studies=[SECRET.study_id])
        assert_same(content(old), before)
        as_it_was(old)


def ids_and_texts(path: Path) -> dict[str, str]:
    with ReportStore(*store_of(path)) as store:
        return {report.report_id: report.text for report in store.reports(range(store.counts()[1]))}


def test_a_newer_store_is_refused(bundle: Path) -> None:
    store = bundle / Bundle.open(bundle).index.store
    with sqlite3.connect(store) as db:
        db.execute("UPDATE meta SET value = '4' WHERE key = 'schema_version'")
    db.close()
    with pytest.raises(ArtefactIncompatible, match="report store version 4\nget a newer"):
        ReportStore(store, "x")


def test_the_graph_is_made_again_where_it_is_damaged(half: Path, film: Path) -> None:
    path = half / Bundle.open(half).index.hnsw.file
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with Retriever.open(half) as retriever:
        assert "damaged" in (retriever.notes.search or "")
    add(half, [SECRET])
    with Retriever.open(half, exact=False) as retriever:
        assert retriever.search_choice.used == "hnsw" and retriever.notes.search is None


def test_a_damaged_store_stops_every_change(half: Path, studies: list[Study]) -> None:
    path = half / Bundle.open(half).index.store
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    names = sorted(p.name for p in half.iterdir())
    for work in (
        lambda: add(half, [SECRET]),
        lambda: remove(half, studies=["s001"]),
        lambda: rebuild_index(half),
    ):
        with pytest.raises(MtclipError, match=f"{path.name}: damaged") as error:
            work()
        assert error.value.exit_code == 3
    assert sorted(p.name for p in half.iterdir()) == names


def test_a_wrong_path_leaves_nothing(tmp_path: Path) -> None:
    for work in (add, lambda path, _: remove(path, studies=["x"]), lambda path, _: merge(path, path)):
        with pytest.raises(NotABundle):
            work(tmp_path / "no" / "bundle", [SECRET])
    assert not list(tmp_path.iterdir())


def test_adding_a_few_to_many_does_not_build_the_graph_again(
    half: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "build_graph", None)
    add(half, [SECRET])
    assert Bundle.open(half).index.hnsw.recall >= 0.99


def test_merge_knows_the_demo_bundle_by_name(tmp_path: Path, mtclip) -> None:
    shutil.copytree(FOLDER, tmp_path / "own")
    answer = mtclip("index", "merge", tmp_path / "own", "demo")
    assert answer.code == 0 and "nothing to add" in answer.err
