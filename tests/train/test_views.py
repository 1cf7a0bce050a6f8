"""Which films are trained by their view, and what a lateral is told apart by."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mtclip_edge.errors import SourceUnusable, WrongOption
from mtclip_edge.evidence.enough import OF_LATERALS
from mtclip_edge.sources.source import open_sources
from mtclip_edge.studies import Film, Study
from mtclip_edge.train.projector import ProjectorShape, SharedSpace
from mtclip_edge.train.run import load_run
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.views import of_views

SHAPE = ProjectorShape(16, 12, 8, 6, residual=False, dropout=0.0)


def study(number: int, *views: str) -> Study:
    films = tuple(Film(Path(f"{number}-{view}.png"), f"{number}-{view}.png", view) for view in views)
    return Study(str(number), str(number), films, findings="Clear.")


def views_of(splits: list[list[Study]]) -> list[list[str]]:
    return [[film.view for one in part for film in one.films] for part in splits]


def test_a_lateral_starts_as_a_frontal_film_and_a_seed_gives_the_rest_the_same_weights() -> None:
    torch.manual_seed(0)
    told = SharedSpace(replace(SHAPE, views=True), 10.0).eval().requires_grad_(False)
    torch.manual_seed(0)
    untold = SharedSpace(SHAPE, 10.0).eval().requires_grad_(False)
    features = torch.randn(4, 16)
    lateral = torch.tensor([0, 1, 0, 1])
    torch.testing.assert_close(told.embed_films(features, lateral), untold.embed_films(features))
    assert told.film.lateral is not None
    told.film.lateral += torch.linspace(-1, 1, SHAPE.hidden)
    changed = told.embed_films(features, lateral)
    torch.testing.assert_close(changed[::2], untold.embed_films(features)[::2])
    assert float((changed[1::2] - untold.embed_films(features)[1::2]).abs().max()) > 1e-3
    torch.testing.assert_close(untold.embed_films(features, lateral), untold.embed_films(features))


def test_all_views_are_trained_where_there_are_enough_laterals() -> None:
    many = [study(i, "PA", "lateral", "other") for i in range(OF_LATERALS)]
    lines: list[str] = []
    kept, told = of_views(TrainConfig(views="all"), [many, many[:2]], lines.append)
    assert told
    assert kept == [many, many[:2]]
    assert lines == ["20 lateral films of the train split are trained too"]
    kept, told = of_views(TrainConfig(views="frontal"), [many, many[:2]], lines.append)
    assert not told
    assert views_of(kept) == [["PA"] * 20, ["PA"] * 2]
    assert lines[1] == "44 films that are not frontal are left out"


def test_few_laterals_are_left_out() -> None:
    lines: list[str] = []
    few = [study(i, "PA", "lateral", "other") for i in range(OF_LATERALS - 1)]
    kept, told = of_views(TrainConfig(views="all"), [few], lines.append)
    assert not told
    assert views_of(kept) == [["PA", "other"] * 19]
    assert lines == ["19 films that are not frontal are left out: of laterals at least 20 are needed"]


def test_another_word_for_views_is_refused() -> None:
    with pytest.raises(WrongOption, match="views = 'lateral'"):
        TrainConfig(views="lateral")


def test_a_study_of_two_tables_is_one_study(two_views: Path) -> None:
    reading = open_sources([str(two_views / f"{view}.csv") for view in ("frontal", "lateral")])
    assert len(reading.studies) == 202
    assert {tuple(film.view for film in study.films) for study in reading.studies} == {("frontal", "lateral")}
    assert reading.summary().endswith(": 202 studies, 404 films, 202 reports, 0 bad rows")
    assert reading.notes[-1] == "202 studies have films in several of these sources"
    assert sum(reading.tally.labels.values()) == 202


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("train0,p-other,x.png,lateral,Clear.,,train,drawn", "with another patient_id"),
        ("train0,p,x.png,lateral,Else.,,train,drawn", "with another report"),
        ("train0,p,x.png,lateral,Clear.,,test,drawn", "with another split"),
        ("train0,p,,lateral,Clear.,,train,drawn", "with no film of its own"),
        ("train0,p,x.png,lateral,Clear.,,train,elsewhere", "which is not of the same set"),
    ],
)
def test_what_is_not_the_same_study_is_refused(tmp_path: Path, row: str, why: str) -> None:
    header = "study_id,patient_id,image_path,view,report,label,split,source\n"
    for name, line in (("a", "train0,p,x.png,PA,Clear.,,train,drawn"), ("b", row)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"not read")
        (tmp_path / name / "t.csv").write_text(header + line + "\n")
    with pytest.raises(SourceUnusable, match=why):
        open_sources([str(tmp_path / name / "t.csv") for name in ("a", "b")])


def test_a_run_says_whether_it_knows_views(lateral_run: Path, tiny_run: Path) -> None:
    told, untold = load_run(lateral_run), load_run(tiny_run)
    assert told.space.film.lateral is not None
    assert float(told.space.film.lateral.abs().max()) > 0
    assert untold.space.film.lateral is None
    assert "views" not in untold.space.shape.to_dict()


def test_the_calibration_is_of_frontal_films(lateral_run: Path) -> None:
    calibration = load_run(lateral_run).record.calibration
    assert calibration is None or calibration.films == 60
    assert calibration is not None


def test_a_study_vector_weighs_views_not_films() -> None:
    from mtclip_edge.inference.study_vector import study_vector

    vectors = np.eye(3, dtype=np.float32)
    both, logit = study_vector(vectors, np.array([2.0, 4.0, 0.0]), np.array([0, 0, 1]))
    frontal = np.array([1, 1, 0]) / np.sqrt(2)
    mean = (frontal + np.array([0, 0, 1])) / 2
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean), atol=1e-6)
    assert logit == pytest.approx(1.5)
    alone, own = study_vector(vectors[:2], np.array([2.0, 4.0]), np.array([0, 0]))
    np.testing.assert_allclose(alone, frontal, atol=1e-6)
    assert own == pytest.approx(3.0)
