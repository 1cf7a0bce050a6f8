"""A library in PostgreSQL gives the answers of a bundle with the same reports: every query test runs against both, and whole answers are
compared, by films and texts under many filters.
"""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from any_library import made_library
from postgres import PostgresServer

from mtclip_edge import Filters, Retriever
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.errors import Refused
from mtclip_edge.index.library import Scope
from mtclip_edge.indexing.push import push_bundle

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.png"))
QUERY_TESTS = (
    "tests/retrieval",
    "tests/index/test_filters.py",
    "tests/index/test_rerank.py",
    "tests/evidence/test_gather.py",
)
MORE = (
    "tests/commands/test_query.py",
    "tests/commands/test_exit_codes.py",
    "tests/commands/test_show.py",
    "tests/server",
)
TEXTS = (
    "effusion", "no effusion", "pleural effusion and cardiomegaly", "nodule without pneumothorax", "mass",
    "consolidation in the right lower lobe", "clear lungs", "pneumothorax",
)  # fmt: skip


@pytest.mark.slow
def test_every_query_test_holds_for_a_library(postgres_server: PostgresServer, soak: bool) -> None:
    asked = (*QUERY_TESTS, *MORE) if soak else QUERY_TESTS
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MTCLIP_"))}
    for name in ("MTCLIP_TEST_KEEP", "MTCLIP_TEST_DATA"):
        kept |= {name: os.environ[name]} if name in os.environ else {}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0", *asked],
        env={**kept, "MTCLIP_TEST_LIBRARY": "postgres"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(done.stdout.rsplit(" passed", 1)[0].rsplit(maxsplit=1)[-1].rsplit("\n", 1)[-1]) > 150


@pytest.fixture(scope="module")
def library(postgres_server: PostgresServer) -> str:
    url = made_library(postgres_server)
    push_bundle(FOLDER, url, "main")
    return url


@pytest.fixture(scope="module")
def both(library: str) -> Iterator[tuple[Retriever, Retriever]]:
    with Retriever.open(FOLDER) as own, Retriever.open(FOLDER, library=library) as other:
        yield own, other


def told(answer) -> dict:
    """An answer but for its times and for how it was searched."""
    document = answer.to_dict()
    document["bundle"].pop("library", None)
    return {**document, "timings_ms": None, "bundle": {**document["bundle"], "search": None}}


def some_filters(chosen: random.Random) -> Filters:
    ways = {
        "view": ("pa", "frontal"),
        "label": ("normal", "abnormal"),
        "finding": ("effusion", "Cardiomegaly", "nodule"),
        "match": (
            "effusion",
            "right AND lung",
            "NOT effusion",
            "opac*",
            '"no pleural effusion"',
            "mass OR nodule",
        ),
        "match_any": ("pneumothorax", "NOT heart", "size NOT normal"),
        "exclude_patient": (("p0",), ("p1", "p2")),
    }
    names = chosen.sample(sorted(ways), chosen.choice((0, 1, 1, 2, 3)))
    return Filters(**{name: chosen.choice(ways[name]) for name in names})


def test_films_get_the_same_answers(both: tuple[Retriever, Retriever]) -> None:
    chosen, found = random.Random(5), 0  # noqa: S311
    seen = [both[0].see(film) for film in EXAMPLES]
    for _ in range(60):
        film, filters, k = chosen.choice(seen), some_filters(chosen), chosen.choice((1, 5, 30, 900))
        mine, theirs = (told(retriever.answer(film, k, filters=filters)) for retriever in both)
        assert mine == theirs, (filters, k)
        found += len(mine["hits"])
    assert found > 1000


def test_texts_get_the_same_answers(both: tuple[Retriever, Retriever]) -> None:
    chosen = random.Random(6)  # noqa: S311
    for _ in range(60):
        text, filters, k = chosen.choice(TEXTS), some_filters(chosen), chosen.choice((1, 5, 40))
        mine, theirs = (told(retriever.query_text(text, k, filters=filters)) for retriever in both)
        assert mine == theirs, (text, filters, k)
    for retriever in both:
        with pytest.raises(Refused, match="words are unknown"):
            retriever.query_text("zebra")


def test_with_films_counting_and_by_study(library: str) -> None:
    answers = []
    for url in (None, library):
        with Retriever.open(FOLDER, library=url, fuse="0.4") as retriever:
            by_film = [told(answer) for answer in retriever.query_many(EXAMPLES, 20)]
            by_study = [told(answer) for answer in retriever.query_studies(EXAMPLES, 20)]
            answers.append((by_film, by_study))
    assert answers[0] == answers[1]


def test_reports_priors_and_maps_are_the_same(both: tuple[Retriever, Retriever]) -> None:
    own, other = both
    report = own.query(EXAMPLES[0], 1).best
    assert report is not None
    for name in (report.report_id, report.study_ids[0]):
        assert own.report(name) == other.report(name)
    assert own.contents() == other.contents()
    patients = list(own._library.store.patients())[:3]
    (vector,) = own.embed([EXAMPLES[0]])
    for patient in patients:
        assert own.own_priors(vector, patient) == other.own_priors(vector, patient)
        mine, theirs = (told(r.query(EXAMPLES[0], 5, own_priors=patient)) for r in both)
        assert mine == theirs
    maps = [retriever.explain(EXAMPLES[0], text="effusion").values for retriever in both]
    assert maps[0] == pytest.approx(maps[1], abs=1e-5)


def test_counts_are_the_same(both: tuple[Retriever, Retriever]) -> None:
    own, other = (retriever._library for retriever in both)
    chosen = random.Random(7)  # noqa: S311
    for _ in range(40):
        filters = some_filters(chosen)
        for scope in (Scope(filters), Scope(filters, label="abnormal")):
            assert own.count(scope) == other.count(scope), scope
            assert own.count_naming("EFFUSION", scope) == other.count_naming("EFFUSION", scope)
        if not own.count(Scope(filters)):
            assert own.why_nothing_passes(filters) == other.why_nothing_passes(filters)
    patients = ["p0", "nobody", "x"]
    assert own.unknown_patients(patients) == other.unknown_patients(patients)


def test_reads_of_one_answer_are_of_one_state(library: str) -> None:
    """A writer that removes what was just found does not make an answer fail or contradict itself."""
    import psycopg

    with Retriever.open(FOLDER, library=library) as retriever:
        held = retriever._library

        def reports() -> int:
            return held._rows("SELECT sum(reports)::bigint FROM counts")[0][0]

        def asked() -> tuple[int, int]:
            before = reports()
            with closing(psycopg.connect(library, autocommit=True)) as writer:
                writer.execute("UPDATE mtclip.counts SET reports = reports + 7, generation = generation + 1")
            assert held.count(Scope()) == before
            return before, reports()

        before, within = held.reading(asked)
        assert before == within and held.count(Scope()) == before + 7
        with closing(psycopg.connect(library, autocommit=True)) as writer:
            writer.execute("UPDATE mtclip.counts SET reports = reports - 7, generation = generation + 1")
