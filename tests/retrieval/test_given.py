"""What a retriever takes and gives beside files: films of every kind, vectors, a film with a text, filters a query."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicoms import cr, written
from PIL import Image

from mtclip_edge import (
    Closed,
    FilmUnreadable,
    Filters,
    NothingToExplain,
    QueryResult,
    Retriever,
    WrongOption,
    ZeroQuery,
    open_source,
)


@pytest.fixture
def retriever(tiny_bundle: Path):
    with Retriever.open(tiny_bundle) as opened:
        yield opened


@pytest.mark.parametrize("isolated", [False, True])
def test_every_kind_of_film_gives_the_same_answer(tiny_bundle: Path, film: Path, isolated: bool) -> None:
    grey = np.asarray(Image.open(film).convert("L"))
    dicom = written(cr(grey, WindowCenter=128, WindowWidth=256))
    with Retriever.open(tiny_bundle, isolated=isolated) as retriever, film.open("rb") as file:
        given = [
            film,
            str(film),
            film.read_bytes(),
            io.BytesIO(film.read_bytes()),
            file,
            Image.open(film),
            grey,
        ]
        answers = list(retriever.query_many([*given, film.read_bytes]))
        by_file = retriever.query(dicom)
        by_dataset = retriever.query(pydicom.dcmread(io.BytesIO(dicom)))
    expected = [hit.report_id for hit in answers[0].hits]
    assert all([hit.report_id for hit in answer.hits] == expected for answer in answers)
    name = str(film)
    assert [answer.image for answer in answers] == [
        name,
        name,
        "film 3",
        "film 4",
        name,
        name,
        "film 7",
        "film 8",
    ]
    kinds = [answer.input.kind for answer in answers]
    assert kinds == ["png", "png", "png", "png", "png", "png", "array", "png"]
    assert by_dataset.hits == by_file.hits and by_dataset.input.kind == "dicom"


def test_a_film_has_the_name_it_is_given(retriever: Retriever, film: Path) -> None:
    assert retriever.query(film.read_bytes(), name="the film").image == "the film"
    assert retriever.query(np.zeros((9, 9), np.uint8)).image == "-"
    (answer,) = retriever.query_many([("mine", film)])
    assert answer.value == "mine"


def test_embeddings_are_what_is_searched(retriever: Retriever, source: Path) -> None:
    studies = [s for s in open_source(source).split("train") if s.report_id and s.films][:9]
    films = retriever.embed(s.films[0].path for s in studies)
    texts = retriever.embed_texts(s.text for s in studies)
    for vectors in (films, texts):
        assert vectors.dtype == np.float32 and vectors.shape == (9, retriever.bundle.model.dim)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    for study, film, text in zip(studies, films, texts, strict=True):
        row = retriever._library.rows_of([study.report_id])[study.report_id]
        assert text == pytest.approx(retriever._library.vector(row), abs=1e-5)  # as the index holds it
        assert retriever.search(text, 1)[0].score == pytest.approx(1, abs=2e-4)
        asked = retriever.query(study.films[0].path, 4).reports
        found = retriever.search(3 * film, 4)
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in asked], abs=1.1e-4)
        assert [hit.rank for hit in found] == [1, 2, 3, 4]
    assert retriever.embed([]).shape == retriever.embed_texts([]).shape == (0, retriever.bundle.model.dim)
    with pytest.raises(FilmUnreadable, match="film 1"):
        retriever.embed([b"nothing"])


def test_vectors_that_are_none_are_refused(retriever: Retriever) -> None:
    dim = retriever.bundle.model.dim
    for vector in (np.zeros(dim + 1, np.float32), np.zeros((1, dim)), ["a"] * dim):
        with pytest.raises(WrongOption, match=rf"a vector .* of shape .*\nexpected float32 \[{dim}\]"):
            retriever.search(vector)
    for vector in (np.zeros(dim), np.full(dim, np.nan)):
        with pytest.raises(ZeroQuery):
            retriever.search(vector)
    with pytest.raises(WrongOption, match="expected 1 or more"):
        retriever.search(np.ones(dim), 0)
    with pytest.raises(WrongOption, match="one text where many are expected"):
        retriever.embed_texts("opacity")
    with pytest.raises(WrongOption, match="a text of type int"):
        retriever.embed_texts([3])


def test_filters_and_k_hold_for_one_query(tiny_bundle: Path, retriever: Retriever, film: Path) -> None:
    normal = Filters(label="normal")
    vector = retriever.embed([film])[0]
    with Retriever.open(tiny_bundle, filters=normal) as always:
        expected, text = always.query(film, 7), always.query_text("opacity", 7)
        assert always.query(film, 7, filters=Filters()).reports == retriever.query(film, 7).reports
    for _ in range(2):  # the second time from what was kept
        answer = retriever.query(film, 7, filters=normal)
        assert (answer.hits, answer.filters) == (expected.hits, expected.filters)
        assert answer.evidence == expected.evidence
    (many,) = retriever.query_many([film], 7, filters=normal)
    (study,) = retriever.query_studies([film], 7, filters=normal)
    assert many.hits == study.hits == expected.hits
    assert retriever.query_text("opacity", 7, filters=normal).hits == text.hits
    assert {hit.label for hit in retriever.search(vector, 7, filters=normal)} == {"normal"}
    assert {hit.label for hit in retriever.query(film, 7).reports} == {"normal", "abnormal"}
    assert len(retriever.query(film, 2).hits) == 2 and retriever.filters == Filters()
    for number in range(30):  # and what is kept has a bound
        retriever.query(film, 1, filters=Filters(exclude_patient=f"p{number}"))
    assert len(retriever._filtered) <= 8
    with pytest.raises(WrongOption, match="filters of type dict"):
        retriever.query(film, filters={"label": "normal"})
    with pytest.raises(WrongOption, match="no study of this bundle has it"):
        retriever.query(film, filters=Filters(finding="zebra"))


def test_a_film_and_a_text_are_asked_as_one_vector(retriever: Retriever, film: Path) -> None:
    text = "Opacity in the right lower zone."
    both = retriever.embed([film])[0] + retriever.embed_texts([text])[0]
    answer = retriever.query(film, 4, text=text)
    assert answer.reports == list(retriever.search(both, 4))
    document = answer.to_dict()
    assert document["query"]["text"] == text and document["query"]["type"] == "film"
    assert "text" not in retriever.query(film).to_dict()["query"]
    assert answer.abnormal == retriever.query(film).abnormal  # of the film alone
    assert answer.ranking["head"]["why"] == "a film and a text together are ordered by cosine alone"
    assert answer.evidence.similarity.percentile is None and answer.evidence.judgement.verdict is None
    assert answer.evidence.judgement.why == "validation films were asked without a text"
    assert all(hit.percentile is None for hit in answer.reports)
    with pytest.raises(WrongOption, match="--text is empty"):
        retriever.query(film, text=" ")


def test_a_map_without_an_answer_asks_for_one(retriever: Retriever, tiny_bundle: Path, film: Path) -> None:
    """``explain(film, None)`` raised AttributeError once."""
    with Retriever.open(tiny_bundle, filters=Filters(label="abnormal")) as abnormal:
        expected = abnormal.explain(film, abnormal.query(film, 1))
        for given in (film, io.BytesIO(film.read_bytes()), np.asarray(Image.open(film).convert("L"))):
            assert np.allclose(abnormal.explain(given).values, expected.values)
    with pytest.raises(NothingToExplain, match="the best hit is a normal report"):
        retriever.explain(film)  # s000_0 is a film of a normal study
    by_text = retriever.explain(film, text="opacity").to_dict()
    assert by_text["target"] == {"kind": "text"}
    with pytest.raises(NothingToExplain, match="no report was found"):
        retriever.explain_grey(np.zeros((9, 9), np.uint8), None)


@pytest.mark.parametrize("call", ["embed", "embed_texts", "search"])
def test_a_closed_retriever_says_so_of_vectors_too(tiny_bundle: Path, call: str) -> None:
    retriever = Retriever.open(tiny_bundle)
    retriever.close()
    with pytest.raises(Closed):
        getattr(retriever, call)([])


def test_the_lines_of_the_readme_work_on_every_film(gated: Path, odd: Path, capsys) -> None:
    """Also on one that is rejected, which has no report: word for word, with its names put in."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    rejected = 0
    for film in sorted(odd.iterdir()):
        exec(lines.replace('"bundle"', repr(str(gated))).replace('"film.png"', repr(str(film))), {})  # noqa: S102 - our own page
        said = capsys.readouterr().out
        assert said.startswith(("Abnormal(", "('")), said
        rejected += said.startswith("('")
    assert 0 < rejected < len(list(odd.iterdir()))


def test_an_answer_tells_whether_it_is_one(gated: Path, odd: Path) -> None:
    with Retriever.open(gated) as retriever:
        answers = list(retriever.query_many(sorted(odd.iterdir())))
        for result in answers:
            assert result.ok != result.rejected
            assert (result.best is None) == result.rejected
            if result.ok:
                assert result.best == result.hits[0] == result.reports[0]
            else:
                assert result.input.reasons and result.abnormal is None
        assert {result.ok for result in answers} == {True, False}
        rejected = next(result for result in answers if result.rejected)
        with pytest.raises(NothingToExplain):
            retriever.explain(rejected.image)
    with Retriever.open(gated, force=True) as forced:
        answer = forced.query(rejected.image)
        assert answer.rejected and answer.ok and answer.best


def test_a_repr_is_one_line_without_words_of_reports(gated: Path, odd: Path) -> None:
    with Retriever.open(gated) as retriever:
        for film in sorted(odd.iterdir()):
            result = retriever.query(film, 3)
            line = repr(result)
            assert "\n" not in line and len(line) < 300 and str(film) in line
            if result.rejected:
                assert f"rejected ({result.input.reasons[0]}" in line
            else:
                assert f": 3 reports, first {result.best.label} {result.best.report_id}>" in line
                assert not any(hit.text in line for hit in result.reports)
        assert "films" in repr(retriever.query_text("opacity"))


def test_a_frame_has_a_row_for_each_hit(retriever: Retriever, film: Path) -> None:
    pandas = pytest.importorskip("pandas")
    answer, text = retriever.query(film, 4), retriever.query_text("opacity", 2)
    frame = answer.to_frame()
    assert list(frame["report_id"]) == [hit.report_id for hit in answer.hits]
    assert list(frame["score"]) == [hit.score for hit in answer.hits]
    assert set(frame["query"]) == {str(film)} and set(frame["abnormal"]) == {None}
    both = pandas.concat([frame, text.to_frame()])
    assert list(both["kind"]) == ["report"] * 6 + ["film"] * 2 and list(both.columns) == list(frame.columns)


def test_a_frame_without_pandas_is_one_clear_line(retriever: Retriever, film: Path, monkeypatch) -> None:
    from mtclip_edge import ExtraMissing
    from mtclip_edge.retrieval import frame

    monkeypatch.setattr(frame, "find_spec", lambda name: None)
    with pytest.raises(
        ExtraMissing, match="^to_frame needs pandas, which is not installed\npip install pandas$"
    ):
        retriever.query(film).to_frame()


def test_a_notebook_shows_the_page_of_an_answer(tiny_bundle: Path, film: Path, retriever: Retriever) -> None:
    from balanced_html import Balanced

    with Retriever.open(tiny_bundle, keep_films=True) as keeping:
        shown = keeping.query(film, 2)._repr_html_()
    assert shown.startswith('<div class="mtclip-answer"><style>.mtclip-answer {') and shown.endswith("</div>")
    for word in ("<html", "<body", "<main", "<script", ":root"):
        assert word not in shown
    assert shown.count("<img") == 1 and "Research use only" in shown
    assert {"div", "img", "table"} & set(Balanced(shown).tags)
    plain = retriever.query(film, 2)
    assert plain.best.report_id in plain._repr_html_() and "<img" not in plain._repr_html_()


def test_without_the_door_a_notebook_shows_the_line(retriever: Retriever, film: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules[QueryResult.__module__], "drawn", None)
    assert retriever.query(film)._repr_html_() is None
