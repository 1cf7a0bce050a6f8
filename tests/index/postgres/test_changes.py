"""Adding, removing, scrubbing, a second model, two writers, and a library that is damaged or of another version."""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import numpy as np
import psycopg
import pytest
from library_studies import DIM, MODEL, OTHER_MODEL, TEXTS, batch_of, loaded, some_studies, vector_of

from mtclip_edge.errors import ArtefactIncompatible, Refused
from mtclip_edge.index.filters import Filters
from mtclip_edge.index.library import Scope
from mtclip_edge.index.postgres import removing
from mtclip_edge.index.postgres.administration import (
    create_library,
    drop_model,
    library_statistics,
    model_named,
    switch,
    verified,
)
from mtclip_edge.index.postgres.loading import load
from mtclip_edge.index.postgres.opening import open_library
from mtclip_edge.index.postgres.writing import Writer


def wrong(url: str) -> list[str]:
    return [f"{what}: {problem}" for what, problem in verified(url) if problem]


def sites_of(url: str) -> dict:
    (main,) = library_statistics(url)["sites"]
    return main


def without(url: str, **names: list[str]) -> removing.Removed:
    asked = {"studies": (), "patients": (), "sources": (), **names}
    with Writer(url, "main") as writer:
        return removing.remove(writer, removing.meant(writer, **asked, missing_ok=False))


def test_what_is_there_stays_and_new_twins_join(new_library: Callable[[], str]) -> None:
    url, studies = new_library(), some_studies(40)
    assert loaded(url, studies, films=True).studies == 40
    before = sites_of(url)
    again = loaded(url, studies, films=True)
    assert (again.studies, again.reports, again.films, again.vectors) == (0, 0, 0, 0)
    assert sites_of(url) == before
    twin = replace(
        studies[0], study_id="t1", patient_id="tp", report=studies[0].report.upper(), label="abnormal"
    )
    more = loaded(url, [twin])
    assert (more.studies, more.reports) == (1, 0) and not wrong(url)
    with closing(open_library(url, MODEL, DIM)) as library:
        found = library.details("t1")
        worded = {study.study_id: study.text for study in found.studies}
        assert worded["t1"] == twin.report and worded[studies[0].study_id] is None
        # normal, abnormal (s00005 is "unknown"): the vote of the report is a tie.
        assert found.label == "unknown"


def test_a_study_with_another_report_is_refused_and_nothing_is_written(
    new_library: Callable[[], str],
) -> None:
    url, studies = new_library(), some_studies(20)
    loaded(url, studies)
    before = sites_of(url)
    other = [*some_studies(5, "new"), replace(studies[3], report="Another report.")]
    with pytest.raises(Refused, match="1 of these studies are there with another report or patient: s00003"):
        loaded(url, other)
    assert sites_of(url) == before and not wrong(url)


def test_removed_is_found_by_nothing(new_library: Callable[[], str]) -> None:
    url, studies = new_library(), some_studies(40)
    loaded(url, studies, films=True)
    rare = next(s for s in studies if "zwischenrippe" in s.text)
    of_text = [s for s in studies if "zwischenrippe" in s.text]
    gone = without(url, studies=[s.study_id for s in of_text])
    assert gone.studies == len(of_text) and gone.films == len(of_text) and not wrong(url)
    with closing(open_library(url, MODEL, DIM)) as library:
        assert library.count(Scope(Filters(match="zwischenrippe"))) == 0
        assert library.count(Scope(Filters(match="zwischen*"))) == 0
        assert library.rows_of([rare.report_id]) == {}
        hits = library.nearest(vector_of(rare.text), 100, Scope())
        assert rare.report_id not in library.report_ids(hits.rows).values()
        for name in (rare.study_id, rare.report_id):
            with pytest.raises(Refused, match="no report or study"):
                library.details(name)
    with psycopg.connect(url) as connection:
        words = {w for (w,) in connection.execute("SELECT word FROM mtclip.spelt")}
        assert "zwischenrippe" not in words and "effusion" in words
        ((count,),) = connection.execute("SELECT count(*) FROM mtclip.audit WHERE what = 'remove'").fetchall()
    assert count == 1


def test_a_twin_keeps_the_report_in_its_own_words(new_library: Callable[[], str]) -> None:
    url, studies = new_library(), some_studies(10)
    loud = replace(
        studies[1],
        study_id="a-twin",
        patient_id="q",
        report=studies[1].report.upper(),
        finding_labels=("Effusion",),
    )
    loaded(url, studies)
    loaded(url, [loud])
    without(url, studies=[s.study_id for s in studies if s.report_id == loud.report_id])
    with closing(open_library(url, MODEL, DIM)) as library:
        found = library.details("a-twin")
        assert found.text == loud.report and [s.text for s in found.studies] == [None]
        assert found.label == loud.label and found.finding_labels == ()  # denied
    assert not wrong(url)


def test_by_patient_and_by_source_and_what_nothing_has(new_library: Callable[[], str]) -> None:
    url = new_library()
    loaded(url, [*some_studies(30), *some_studies(10, "z")])
    assert without(url, patients=["sp3"]).studies == 2
    assert without(url, sources=["manifest:z"]).studies == 10
    with pytest.raises(Refused, match="no patient 'sp3' in site main"):
        without(url, patients=["sp3"])
    said: list[str] = []
    with Writer(url, "main") as writer:
        keys = removing.meant(writer, ["s00000", "none"], (), (), True, said.append)
        told = removing.would_remove(writer, keys)
    assert said == ["1 of the names given is of nothing in this site"] and told.studies == 1
    assert sites_of(url)["studies"] == 28 and not wrong(url)


def test_scrubbed_words_are_in_no_page(new_library: Callable[[], str], postgres_server) -> None:
    url, studies = new_library(), some_studies(30)
    secret = replace(
        studies[0], study_id="secret", patient_id="nobodyelse", report="Unobtainium in the left apex."
    )
    loaded(url, [*studies, secret])

    def pages() -> bytes:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            ((oid,),) = connection.execute(
                "SELECT oid FROM pg_database WHERE datname = current_database()"
            ).fetchall()
        folder = postgres_server.folder / "data" / "base" / str(oid)
        return b"".join(file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file())

    assert b"Unobtainium" in pages() and b"nobodyelse" in pages()
    without(url, studies=["secret"])
    assert b"Unobtainium" in pages()  # which is why there is --scrub
    with Writer(url, "main") as writer:
        removing.scrub(writer)
    found = pages()
    assert b"nobtainium" not in found and b"nobodyelse" not in found and not wrong(url)


def test_two_models_stand_side_by_side(new_library: Callable[[], str]) -> None:
    url, studies = new_library(), some_studies(40)
    loaded(url, studies, films=True)
    with Writer(url, "main") as writer:
        stem = writer.model(OTHER_MODEL, 8)
        half = batch_of(studies[:20], films=True)
        half = replace(half, vectors={n: short(v) for n, v in half.vectors.items()},
                       films=[replace(f, vector=short(f.vector)) for f in half.films])  # fmt: skip
        done = load(writer, half, OTHER_MODEL, stem)
    assert (done.studies, done.reports) == (0, 0) and done.vectors == len(half.vectors)
    with pytest.raises(Refused, match="reports have no vector of this model"):
        switch(url, OTHER_MODEL)
    with Writer(url, "main") as writer:
        rest = batch_of(studies, films=True)
        rest = replace(rest, vectors={n: short(v) for n, v in rest.vectors.items()},
                       films=[replace(f, vector=short(f.vector)) for f in rest.films])  # fmt: skip
        load(writer, rest, OTHER_MODEL, stem)
        writer.with_graph(stem, 8)
    assert not wrong(url)
    with closing(open_library(url, MODEL, DIM)) as old, closing(open_library(url, OTHER_MODEL, 8)) as new:
        assert not any("current" in line for line in old.warnings)
        assert any("current" in line for line in new.warnings)
        (row,) = old.rows_of([studies[0].report_id]).values()
        assert np.allclose(new.vector(row), short(old.vector(row)))
        assert new.nearest(short(vector_of(studies[4].text)), 1, Scope()).scores == (1.0,)
    with pytest.raises(Refused, match="current model"):
        drop_model(url, model_named(url, "abab"))
    switch(url, OTHER_MODEL)
    drop_model(url, model_named(url, "abab"))
    with pytest.raises(ArtefactIncompatible, match="no vectors of this bundle's model"):
        open_library(url, MODEL, DIM)
    with closing(open_library(url, OTHER_MODEL, 8)) as new:
        assert not any("current" in line for line in new.warnings) and new.counts[0] == 40
    without(url, studies=["s00001"])
    assert not wrong(url)


def short(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector[:8] / np.linalg.norm(vector[:8]), np.float32)


def test_two_writers_wait_for_each_other(new_library: Callable[[], str]) -> None:
    url, studies = new_library(), some_studies(300)
    loaded(url, studies[:1])
    problems: list[BaseException] = []

    def write(some: list) -> None:
        try:
            for start in range(0, len(some), 20):
                loaded(url, some[start : start + 20])
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(some,)) for some in (studies[:200], studies[100:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems and sites_of(url)["studies"] == 300 and not wrong(url)


def test_readers_go_on_while_somebody_writes(new_library: Callable[[], str]) -> None:
    url, studies = new_library(), some_studies(200)
    loaded(url, studies[:100])
    with closing(open_library(url, MODEL, DIM)) as library:
        seen = []

        def ask() -> tuple[int, int]:
            hits = library.nearest(vector_of("x"), 500, Scope())
            return library.counts[1], len(library.reports(hits.rows, Filters()))

        for start in range(100, 200, 20):
            loaded(url, studies[start : start + 20])
            without(url, studies=[studies[start - 90].study_id])
            seen.append(library.reading(ask))
    assert all(count == found for count, found in seen) and len({count for count, _ in seen}) > 1


def test_a_newer_library_is_refused_and_an_older_server_by_name(
    new_library: Callable[[], str], monkeypatch
) -> None:
    url = new_library()
    loaded(url, some_studies(5))
    with pytest.raises(Refused, match="there is a library already"):
        create_library(url)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE mtclip.meta SET value = '99' WHERE key = 'schema_version'")
    for asks in (
        lambda: open_library(url, MODEL, DIM),
        lambda: Writer(url, "main"),
        lambda: create_library(url),
    ):
        with pytest.raises(ArtefactIncompatible, match="library version 99"):
            asks()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE mtclip.meta SET value = '1' WHERE key = 'schema_version'")
    from mtclip_edge.index.postgres import connect

    monkeypatch.setattr(connect, "OLDEST_PGVECTOR", (9, 1, 0))
    with pytest.raises(ArtefactIncompatible, match=r"pgvector 0\.\d+\.\d+\nexpected 9.1.0 or newer"):
        open_library(url, MODEL, DIM)
    monkeypatch.setattr(connect, "OLDEST_SERVER", 99)
    with pytest.raises(ArtefactIncompatible, match="PostgreSQL 18"):
        open_library(url, MODEL, DIM)


def test_an_empty_database_is_no_library(database: str) -> None:
    for asks in (lambda: open_library(database, MODEL, DIM), lambda: Writer(database, "main")):
        with pytest.raises(Refused, match="no library in this database\nmtclip library create"):
            asks()


def test_verify_tells_what_is_wrong(new_library: Callable[[], str]) -> None:
    url = new_library()
    loaded(url, some_studies(30), films=True)
    assert not wrong(url)
    with psycopg.connect(url) as connection:
        stem = connection.execute("SELECT vectors FROM mtclip.model").fetchone()[0]
        connection.execute(f"DELETE FROM mtclip.report_vector_{stem} WHERE row = 1")
        connection.execute(
            f"UPDATE mtclip.film_vector_{stem} SET vec = vec * '[2{',2' * (DIM - 1)}]' WHERE row = 2"
        )
        connection.execute("UPDATE mtclip.counts SET reports = reports + 1")
        connection.execute(f"DROP INDEX mtclip.report_hnsw_{stem}")
    found = "\n".join(wrong(url))
    assert "1 have none" in found and "1 are no unit vectors" in found
    assert "expected 30 studies" in found and "HNSW index: missing" in found


def test_letters_that_a_database_cannot_hold(new_library: Callable[[], str]) -> None:
    url = new_library()
    odd = replace(
        some_studies(1)[0],
        report="Nul\0 byte, quote ' and \\ back\\slash, {brace}, \t tab, é, 肺.",
        study_id="o'dd\\",
    )
    loaded(url, [odd])
    with closing(open_library(url, MODEL, DIM)) as library:
        assert library.details("o'dd\\").text == odd.report.replace("\0", "\ufffd")
        assert library.count(Scope(Filters(match="back"))) == 1
    assert TEXTS and not wrong(url)


def test_two_removals_of_the_same_count_once(new_library: Callable[[], str]) -> None:
    url = new_library()
    loaded(url, some_studies(40))
    with Writer(url, "main") as one, Writer(url, "main") as two:
        keys = [removing.meant(writer, (), ["sp3"], (), False) for writer in (one, two)]
        assert [removing.remove(w, k).studies for w, k in zip((one, two), keys, strict=True)] == [2, 0]
    assert sites_of(url)["studies"] == 38 and not wrong(url)


def test_scrubbing_is_for_the_owner(
    new_library: Callable[[], str], as_role: Callable[[str, str], str]
) -> None:
    from mtclip_edge.index.postgres.administration import grant

    url = new_library()
    loaded(url, some_studies(10))
    desk = as_role(url, "desk_scrub")
    grant(url, "desk_scrub", "main", write=True)
    with (
        Writer(desk, "main") as writer,
        pytest.raises(Refused, match="for the owner of the library's tables"),
    ):
        removing.scrub(writer)


def test_words_and_ids_that_are_too_long_or_broken(new_library: Callable[[], str]) -> None:
    url, usual = new_library(), some_studies(3)
    long = replace(usual[0], report=f"{'A' * 6000} and edema.", finding_labels=("B" * 4000,))
    broken = replace(usual[1], report="Half a letter: \ud800 here.")
    loaded(url, [long, broken])
    with closing(open_library(url, MODEL, DIM)) as library:
        assert library.details("s00000").text == long.report
        assert library.count(Scope(Filters(finding="b" * 4000))) == 1
        with pytest.raises(Refused, match="no text that a database can hold"):
            library.count(Scope(Filters(source="\ud800")))
    with pytest.raises(Refused, match="longer than the database takes"):
        loaded(url, [replace(usual[2], study_id=random_letters(9000))])
    assert sites_of(url)["studies"] == 2 and not wrong(url)


def random_letters(count: int) -> str:
    letters = np.random.default_rng(0).integers(ord("a"), ord("z"), count)
    return "".join(map(chr, letters))


def test_a_push_that_brings_nothing_leaves_the_graph(new_library: Callable[[], str]) -> None:
    url, studies = new_library(), some_studies(1500)
    loaded(url, studies)
    with Writer(url, "main") as writer:
        assert not writer.bulk(MODEL, len({s.report_id for s in studies}))
        assert writer.bulk(MODEL, 6000) and writer.bulk(OTHER_MODEL, 1500)
        assert writer.unmeasured(MODEL) == (True, True)


def test_what_lacks_a_vector_is_told(new_library: Callable[[], str]) -> None:
    url, studies = new_library(), some_studies(30)
    loaded(url, studies[:20])
    with Writer(url, "main") as writer:
        stem = writer.model(OTHER_MODEL, DIM)
        load(writer, batch_of(studies[:5]), OTHER_MODEL, stem)
        assert writer.with_vector([s.report_id for s in studies], stem) == {s.report_id for s in studies[:5]}
    with closing(open_library(url, OTHER_MODEL, DIM)) as library:
        assert any("10 reports have no vector of this model" in line for line in library.warnings)
        assert len(library.nearest(vector_of("x"), 50, Scope()).rows) == 5
        before = library.common
        with Writer(url, "main") as writer:
            load(writer, batch_of(studies[:20]), OTHER_MODEL, stem)
        assert not np.array_equal(library.common, before)
        assert library.choice.used == "exact"
        with Writer(url, "main") as writer:
            writer.with_graph(stem, DIM)
            load(writer, batch_of(studies[20:]), OTHER_MODEL, stem)
        assert library.choice.used == "hnsw"


def test_evidence_of_a_library_is_what_a_bundle_measures(
    new_library: Callable[[], str], bundle, tmp_path
) -> None:
    """Another set of reports than the bundle's own, measured by the library and by a bundle that holds it."""
    import json
    import shutil

    from kept import with_kept

    from mtclip_edge.bundle.bundle import Bundle
    from mtclip_edge.indexing.push import measure_evidence, push_bundle
    from mtclip_edge.indexing.update import remove

    with_kept(bundle, 40)
    url, smaller = new_library(), tmp_path / "smaller"
    push_bundle(bundle, url, "main")
    shutil.copytree(bundle, smaller)
    with closing(
        open_library(url, Bundle.open(bundle).model.model_id, Bundle.open(bundle).model.dim)
    ) as library:
        patient = next(library.patients())
    gone = without(url, patients=[patient])
    assert gone.studies
    with psycopg.connect(url) as connection:
        assert connection.execute(
            "SELECT e.generation = c.generation FROM mtclip.evidence e, mtclip.counts c"
        ).fetchall() == [(False,)]
    remove(smaller, patients=[patient])
    measure_evidence(Bundle.open(bundle), url, "main")
    with psycopg.connect(url) as connection:
        ((records, current),) = connection.execute(
            "SELECT records, e.generation = c.generation FROM mtclip.evidence e, mtclip.counts c"
        ).fetchall()
    assert current
    theirs, mine = (
        records["frontal"],
        json.loads(json.dumps(Bundle.open(smaller).manifest.evidence_of("frontal").to_dict())),
    )
    assert theirs["films"] >= mine["films"] - 2  # remove takes films of that patient out of the bundle too
    pairs = zip(theirs["best_scores"], mine["best_scores"], strict=True)
    assert max(abs(a - b) for a, b in pairs) < 0.05
