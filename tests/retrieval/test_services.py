"""A retriever inside another program: it travels to another process, ends, and says what was wrong with a call."""

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicoms import cr
from PIL import Image

from mtclip_edge import Retriever
from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.errors import Closed, FilmUnreadable, WrongOption
from mtclip_edge.index.filters import Filters


def ids(retriever: Retriever, film: Path) -> list[str]:
    return [hit.report_id for hit in retriever.query(film, 3).reports]


def test_a_pickled_retriever_opens_its_bundle_again(
    tiny_bundle: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_bundle.parent)
    with Retriever.open(
        tiny_bundle.name, filters=Filters(label="normal"), evidence=False, force=True
    ) as retriever:
        expected, packed = ids(retriever, film), pickle.dumps(retriever)
    monkeypatch.chdir(tiny_bundle)  # another process may work elsewhere
    with pickle.loads(packed) as again:  # noqa: S301 - our own bytes
        assert ids(again, film) == expected
        assert again.filters == Filters(label="normal") and again.force and again.query(film).evidence is None
        assert {hit.label for hit in again.query(film).reports} == {"normal"}
        assert ids(pickle.loads(pickle.dumps(again)), film) == expected  # noqa: S301


def test_a_pickled_retriever_answers_in_another_process(film: Path, tmp_path: Path) -> None:
    with Retriever.open("demo") as retriever:
        (tmp_path / "packed").write_bytes(pickle.dumps(retriever))
        expected = ids(retriever, film)
    code = "import pickle, sys; r = pickle.load(open(sys.argv[1], 'rb')); print(*[h.report_id for h in r.query(sys.argv[2], 3).reports])"
    words = [sys.executable, "-c", code, str(tmp_path / "packed"), str(film)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == expected


def test_demo_is_known_by_its_name_and_a_folder_by_its_path(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").symlink_to(tiny_bundle)
    with Retriever.open("demo") as retriever:
        assert retriever.bundle.path == FOLDER and retriever.bundle.demo
    for path in ("./demo", Path("demo")):
        with Retriever.open(path) as retriever:
            assert not retriever.bundle.demo


@pytest.mark.parametrize(
    "call",
    [
        lambda r, film: r.query(film),
        lambda r, film: r.query_many([("a", film)]),
        lambda r, film: r.query_studies([("a", film)]),
        lambda r, film: r.query_text("opacity"),
        lambda r, film: r.nearest(np.ones(4, np.float32), 1),
        lambda r, film: r.explain_grey(np.zeros((4, 4), np.uint8), None),
        lambda r, film: pickle.dumps(r),
    ],
    ids=["query", "query_many", "query_studies", "query_text", "nearest", "explain", "pickle"],
)
def test_a_closed_retriever_says_so(
    tiny_bundle: Path, film: Path, call: Callable[[Retriever, Path], Any]
) -> None:
    retriever = Retriever.open(tiny_bundle)
    retriever.close()
    retriever.close()
    with pytest.raises(Closed, match="this retriever is closed\nopen its bundle again with Retriever.open"):
        call(retriever, film)


def test_closing_while_films_are_answered_says_so_too(tiny_bundle: Path, film: Path) -> None:
    retriever = Retriever.open(tiny_bundle)
    answers = retriever.query_many([(str(number), film) for number in range(20)])
    assert next(answers).hits
    retriever.close()
    with pytest.raises(Closed):
        list(answers)


@pytest.mark.parametrize("k", ["5", 2.0, None, True, 0, -1])
def test_k_is_a_whole_number(tiny_bundle: Path, film: Path, k: Any) -> None:
    with Retriever.open(tiny_bundle) as retriever:
        for call in (
            retriever.query,
            lambda f, k: retriever.query_many([("a", f)], k),
            lambda f, k: retriever.query_text("opacity", k),
        ):
            with pytest.raises(WrongOption, match=r"expected (a whole number, )?1 or more"):
                call(film, k)
        assert len(retriever.query(film, np.int64(2)).hits) == 2


def test_a_patient_left_out_may_stand_alone(tiny_bundle: Path) -> None:
    assert (
        Filters(exclude_patient="p001")
        == Filters(exclude_patient=["p001"])
        == Filters(exclude_patient=("p001",))
    )
    with Retriever.open(tiny_bundle, filters=Filters(exclude_patient="p001")) as retriever:
        assert retriever.filters.to_dict() == {"exclude_patient": ["p001"]}


def test_words_and_filters_are_what_they_should_be(tiny_bundle: Path) -> None:
    with pytest.raises(WrongOption, match="filters of type dict\nexpected Filters"):
        Retriever.open(tiny_bundle, filters={"label": "normal"})
    with Retriever.open(tiny_bundle) as retriever, pytest.raises(WrongOption, match="a text of type list"):
        retriever.query_text(["opacity"])


def test_what_is_no_film_is_told_in_a_line(tiny_bundle: Path, film: Path) -> None:
    with Retriever.open(tiny_bundle) as retriever:
        for wrong, name in ((None, "NoneType"), (7, "int"), ({}, "dict")):
            with pytest.raises(
                FilmUnreadable, match=f"not a film\nexpected a path, a file's bytes, .* found {name}$"
            ):
                retriever.query(wrong)
        first, second = retriever.query_many([("none", None), ("film", film)], errors="return")
        assert isinstance(first, FilmUnreadable) and second.hits


def test_one_film_is_not_taken_for_many(tiny_bundle: Path, film: Path) -> None:
    grey = np.zeros((8, 8), np.uint8)
    with Retriever.open(tiny_bundle) as retriever:
        for one in (
            str(film),
            film,
            film.read_bytes(),
            io.BytesIO(),
            grey,
            cr(grey),
            Image.fromarray(grey),
            None,
        ):
            for call in (retriever.query_many, retriever.query_studies, retriever.embed):
                with pytest.raises(
                    WrongOption, match=r"one film where many are expected\n.*\nof one: \[film\]"
                ):
                    call(one)


def test_a_film_that_cannot_be_read_raises_unless_errors_are_wanted(tiny_bundle: Path, film: Path) -> None:
    with Retriever.open(tiny_bundle) as retriever:
        answers = retriever.query_many([film, b"nothing", film])
        assert next(answers).image == str(film)
        with pytest.raises(FilmUnreadable, match=r"^film 2: not a picture"):
            next(answers)
        good, bad, again = retriever.query_many([film, b"nothing", film], errors="return")
        assert (good.hits, good.ok) == (again.hits, True) and str(bad).startswith("film 2: ")
        with pytest.raises(FilmUnreadable, match="film 1"):
            list(retriever.query_studies([b"nothing", film]))
        bad, study = retriever.query_studies([b"nothing", film], errors="return")
        assert isinstance(bad, FilmUnreadable) and study.hits
        with pytest.raises(WrongOption, match="errors 'ignore'\nexpected one of raise, return"):
            retriever.query_many([film], errors="ignore")
