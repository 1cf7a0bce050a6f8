"""``query --by study``: the mean of a study's frontal films, and of no other."""

import copy
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from dicoms import cr, written
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from mtclip_edge.errors import FilmUnreadable, StudyUnanswered
from mtclip_edge.films.read import read_film
from mtclip_edge.retrieval.intake import EmbeddedFilm
from mtclip_edge.retrieval.results import Input
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.retrieval.study_mean import not_counted
from mtclip_edge.sources.source import open_source

# By study


def test_a_study_is_the_mean_of_its_frontal_films(
    mtclip, tiny_bundle: Path, source: Path, tmp_path: Path
) -> None:
    paths = [study.films[0].path for study in open_source(str(source)).split("test") if study.films][:4]
    uid = generate_uid()
    views = ("PA", "AP", "LL")
    for number, (path, view) in enumerate(zip(paths, views, strict=False)):
        film = cr(
            np.asarray(Image.open(path)),
            StudyInstanceUID=uid,
            ViewPosition=view,
            WindowCenter=128,
            WindowWidth=256,
        )
        (tmp_path / f"{number}").write_bytes(written(film))
    (tmp_path / "picture.png").write_bytes(paths[3].read_bytes())
    found = mtclip("query", tmp_path, "--by", "study", "--bundle", tiny_bundle)
    study, alone = (json.loads(line) for line in found.out.splitlines())
    assert found.err == (
        "2 studies: 2 answered, 0 rejected, 0 could not be answered\n"
        "4 files: 3 counted, 1 left out of their studies\n"
    )
    assert (study["query"]["type"], study["image"]) == ("study", str(tmp_path / "0"))
    assert [(f["image"], f["counted"], f["reason"]) for f in study["films"]] == [
        (str(tmp_path / "0"), True, None),
        (str(tmp_path / "1"), True, None),
        (str(tmp_path / "2"), False, "view position LL: not frontal"),
    ]
    assert [f["image"] for f in alone["films"]] == [str(tmp_path / "picture.png")]
    with Retriever.open(tiny_bundle) as retriever:
        vectors, logits = retriever._films.encode_films([np.asarray(Image.open(path)) for path in paths[:2]])
        mean = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
        expected = retriever._answers.search.shown(retriever._answers.search.reports(mean, 5).first(5))
        assert [hit["report_id"] for hit in study["hits"]] == [hit.report_id for hit in expected]
        np.testing.assert_allclose(
            [hit["score"] for hit in study["hits"]], [hit.score for hit in expected], atol=1e-4
        )
        assert study["abnormal"]["logit"] == pytest.approx(logits.mean(), abs=1e-3)
        assert alone["hits"] == [hit.to_dict() for hit in retriever.query(paths[3]).hits]


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("LAO", "LAO"),
        ("OBLIQUE", "OBLIQUE"),
        ("LATERAL DECUB", "DECUB"),
        ("LLAT", "LLAT"),
        ("XTABLE LATERAL", "LATERAL"),
        ("L", "L"),
        ("RPO DOE", "RPO"),
        ("AP AXIAL", "AXIAL"),
        ("AP PORTABLE", None),
        ("PA", None),
        ("ERECT", None),
        ("", None),
    ],
)
def test_a_study_counts_no_film_that_is_not_frontal(deep: np.ndarray, view: str, said: str | None) -> None:
    """What the gate calls oblique or lateral takes no part in the mean of a study, and only a word known here is repeated."""
    header = read_film(written(cr(deep, 12, ViewPosition=view))).header
    film = EmbeddedFilm("f", Input("dicom", "ok", ()), True, header, np.ones(4, np.float32), 0.0, {})
    assert not_counted(film) == (said and f"view position {said}: not frontal")


@pytest.mark.parametrize(
    ("code", "word"),
    [("399135007", "LAO"), ("R-102C1", "OBLIQUE"), ("399067008", "LATERAL"), ("R-40888", None)],
)
def test_a_view_code_counts_as_its_word(deep: np.ndarray, code: str, word: str | None) -> None:
    view = Dataset()
    view.CodeValue = code
    header = read_film(written(cr(deep, 12, ViewPosition=None, ViewCodeSequence=[view]))).header
    assert header is not None
    assert header.projection == (
        {"LAO": "other", "OBLIQUE": "other", "LATERAL": "lateral"}[word] if word else "PA"
    )


def test_a_study_of_laterals_is_an_error_and_wrong_uses(
    mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "l").write_bytes(written(cr(deep, 12, ViewPosition="LATERAL")))
    found = mtclip("query", tmp_path / "l", "--by", "study", "--bundle", tiny_bundle)
    assert (found.code, found.err.count("\n")) == (6, 1) and json.loads(found.out)["input"][
        "verdict"
    ] == "reject"
    forced = mtclip("query", tmp_path / "l", "--by", "study", "--bundle", tiny_bundle, "--force")
    assert (forced.code, forced.out) == (1, "")
    assert (
        forced.err
        == f"{tmp_path / 'l'}: no frontal film in its study of 1\nview position LATERAL: not frontal\n"
    )
    text = mtclip("query", "--text", "x", "--by", "study", "--bundle", tiny_bundle)
    assert (text.code, text.err.splitlines()[0]) == (2, "--by study")
    assert (
        mtclip("query", "x", "--by", "patient", "--bundle", tiny_bundle).err
        == "by 'patient'\nexpected one of film, study\n"
    )


def mixed_folder(folder: Path, pictures: list[Path], deep: np.ndarray) -> None:
    """A study of three films, one of them lateral; two studies of a lateral each; a picture; a broken one; a letter."""
    for number, view in enumerate(("PA", "AP", "LL")):
        grey = np.asarray(Image.open(pictures[number]))
        film = cr(grey, StudyInstanceUID="1.2.3", ViewPosition=view, WindowCenter=128, WindowWidth=256)
        (folder / f"a{number}").write_bytes(written(film))
    for name in ("b", "c"):
        lateral = cr(deep, 12, StudyInstanceUID=generate_uid(), ViewPosition="LATERAL")
        (folder / name).write_bytes(written(lateral))
    (folder / "d.png").write_bytes(pictures[0].read_bytes())
    (folder / "e.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "letter.txt").write_text("no film")


def test_what_became_of_mixed_films_adds_up(
    mtclip, tiny_bundle: Path, source: Path, deep: np.ndarray, tmp_path: Path
) -> None:
    pictures = [study.films[0].path for study in open_source(str(source)).split("test") if study.films]
    mixed_folder(tmp_path, pictures, deep)
    words = ["query", tmp_path, "--by", "study", "--bundle", tiny_bundle]
    for force, studies, files in (
        (
            [],
            "4 studies: 2 answered, 2 rejected, 0 could not be answered",
            "8 files: 3 counted, 1 left out of their studies, 2 of rejected studies, 1 could not be read, "
            "1 passed over",
        ),
        (
            ["--force"],
            "4 studies: 2 answered, 0 rejected, 2 could not be answered",
            "8 files: 3 counted, 1 left out of their studies, 2 of studies that could not be answered, "
            "1 could not be read, 1 passed over",
        ),
    ):
        found = mtclip(*words, *force)
        said = found.err.splitlines()
        assert (found.code, said[-1], said[-3]) == (5, files, studies)
        whole, *parts = (int(number) for number in re.findall(r"\b\d+\b", files))
        assert whole == sum(parts) == len(list(tmp_path.iterdir()))
        answers = [json.loads(line) for line in found.out.splitlines()]
        answered = [answer for answer in answers if answer["hits"]]
        counted = [film["counted"] for answer in answered for film in answer["films"]]
        assert (len(answered), counted.count(True), counted.count(False)) == (2, 3, 1)


def test_a_list_of_studies_names_the_film_that_has_no_answer(
    mtclip, tiny_bundle: Path, source: Path, deep: np.ndarray, tmp_path: Path
) -> None:
    pictures = [study.films[0].path for study in open_source(str(source)).split("test") if study.films]
    mixed_folder(tmp_path, pictures, deep)
    words = ["query", tmp_path, "--by", "study", "--bundle", tiny_bundle, "--force", "-k", "1"]
    rows = csv.DictReader(io.StringIO(mtclip(*words, "--format", "csv").out))
    status = {Path(row["film"]).name: row["status"] for row in rows}
    bad = {"b": "unreadable", "c": "unreadable", "e.png": "unreadable"}
    assert status == {"a0": "answered", "d.png": "answered", **bad}


def test_of_one_film_nothing_is_added_up(mtclip, tiny_bundle: Path, source: Path) -> None:
    film = next(study.films[0].path for study in open_source(str(source)).split("test") if study.films)
    assert mtclip("query", film, "--by", "study", "--bundle", tiny_bundle).err == ""


def test_the_error_of_a_study_tells_how_many_films_it_has(
    tiny_bundle: Path, deep: np.ndarray, tmp_path: Path
) -> None:
    films = [written(cr(deep, 12, StudyInstanceUID="1.2", ViewPosition=view)) for view in ("LL", "RL")]
    with Retriever.open(tiny_bundle, force=True) as retriever:
        (error,) = retriever.query_studies(films, errors="return")
        assert isinstance(error, StudyUnanswered) and error.films == 2
        assert copy.copy(error).films == 2
        with pytest.raises(FilmUnreadable, match="no frontal film in its study of 2"):
            list(retriever.query_studies(films))


def test_the_table_names_the_study(mtclip, tiny_bundle: Path, deep: np.ndarray, tmp_path: Path) -> None:
    for name, view in (("a", "PA"), ("b", "RL")):
        (tmp_path / name).write_bytes(written(cr(deep, 12, StudyInstanceUID="1.2.3.4", ViewPosition=view)))
    out = mtclip("query", tmp_path, "--by", "study", "--bundle", tiny_bundle, "--format", "table").out
    assert "study of 2 films, without b (view position RL: not frontal)" in out
