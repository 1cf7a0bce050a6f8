"""The film gate of a bundle that was trained with laterals: which view a film is taken for, and what then speaks against it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import draw
from laterals import SIZE, draw_lateral

from mtclip_edge.errors import ArtefactDamaged
from mtclip_edge.export.fitted import film_gate as fitting
from mtclip_edge.films.film import DecodedFilm, Header
from mtclip_edge.films.gate import Admission, FilmGate, FilmView, layout_of
from mtclip_edge.inference.preprocessing import Preprocessing, model_input
from mtclip_edge.sources.source import open_sources
from mtclip_edge.studies import FRONTAL, LATERAL

HOW = Preprocessing(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "squash", 0)


def pixels(view: int, seed: int) -> np.ndarray:
    random = np.random.default_rng([view, seed])
    film = draw_lateral(random, opaque=False) if view == LATERAL else draw(random, None, SIZE)
    return model_input(np.asarray(film), HOW)


def layouts(view: int, start: int, count: int) -> np.ndarray:
    return np.stack([layout_of(pixels(view, start + number)) for number in range(count)])


@pytest.fixture(scope="module")
def gate() -> FilmGate:
    """Fitted on drawn films of both views, thresholds from 210 others each."""
    frontal = fitting.fit_gate(fitting.Layouts(layouts(FRONTAL, 0, 110), layouts(FRONTAL, 1000, 210)))
    return replace(
        frontal,
        lateral=fitting.fit_lateral_gate(
            fitting.Layouts(layouts(LATERAL, 0, 110), layouts(LATERAL, 1000, 210))
        ),
    )


def test_new_films_are_taken_for_what_they_are(gate: FilmGate) -> None:
    for view in (FRONTAL, LATERAL):
        seen = [gate.sees_lateral(layout) for layout in layouts(view, 5000, 40)]
        assert sum(seen) == (40 if view == LATERAL else 0)


def test_a_lateral_may_face_either_way(gate: FilmGate) -> None:
    turned = layouts(LATERAL, 6000, 20).reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)
    assert all(gate.sees_lateral(layout) for layout in turned)
    assert sum(bool(gate.facts(layout, LATERAL)) for layout in turned) <= 3


def test_few_new_laterals_are_warned_of_and_every_inverted_one(gate: FilmGate) -> None:
    new = layouts(LATERAL, 7000, 40)
    assert sum(bool(gate.facts(layout, LATERAL)) for layout in new) <= 5
    assert all(gate.facts(-layout, LATERAL) for layout in new)


def test_a_gate_of_frontal_films_alone_takes_none_for_a_lateral(gate: FilmGate) -> None:
    alone = replace(gate, lateral=None)
    assert not any(alone.sees_lateral(layout) for layout in layouts(LATERAL, 8000, 5))
    assert alone.facts(layouts(LATERAL, 8000, 1)[0], LATERAL) == []


@pytest.mark.parametrize(
    ("header", "view", "expected"),
    [
        (Header(view="LL"), FRONTAL, FilmView(LATERAL, "header")),
        (Header(view="PA"), LATERAL, FilmView(LATERAL, "picture")),
        (Header(view="PA"), FRONTAL, FilmView(FRONTAL, "header")),
        (Header(), FRONTAL, FilmView(FRONTAL, "picture")),
        (None, LATERAL, FilmView(LATERAL, "picture")),
    ],
)
def test_where_a_view_is_known_from(
    gate: FilmGate, header: Header | None, view: int, expected: FilmView
) -> None:
    film = DecodedFilm(np.zeros((8, 8), np.uint8), "dicom", header=header)
    assert Admission(gate, laterals=True).view_of(film, pixels(view, 9000)) == expected
    assert Admission(gate).view_of(film, pixels(view, 9000)) is None


def test_without_a_gate_a_picture_is_assumed_frontal() -> None:
    film = DecodedFilm(np.zeros((8, 8), np.uint8), "png")
    assert Admission(laterals=True).view_of(film, pixels(LATERAL, 1)) == FilmView(FRONTAL, "assumed")


def test_a_lateral_header_rejects_where_no_lateral_was_trained(gate: FilmGate) -> None:
    film = DecodedFilm(np.tile(np.arange(256, dtype=np.uint8), (256, 1)), "dicom", header=Header(view="LL"))
    seen = pixels(LATERAL, 9500)
    verdict, answered = Admission(replace(gate, lateral=None)).judge(film, seen)
    assert (verdict.verdict, answered) == ("reject", False)
    verdict, answered = Admission(gate, laterals=True).judge(film, seen, FilmView(LATERAL, "header"))
    assert (verdict.verdict, answered) == ("ok", True)
    assert verdict.reasons == ("a lateral film by its header; this bundle was trained with them",)


def test_numbers_go_there_and_back(gate: FilmGate, tmp_path: Path) -> None:
    assert gate.lateral is not None
    np.save(tmp_path / "gate.npy", gate.numbers())
    shapes = [(64, len(g.layout.axes), g.layout.rest) for g in (gate, gate.lateral)]
    named = [vars(g.thresholds) for g in (gate, gate.lateral)]
    back = FilmGate.load(tmp_path / "gate.npy", shapes[0], named[0], (shapes[1], named[1]))
    new = layouts(LATERAL, 9900, 3)
    assert back.lateral is not None
    np.testing.assert_allclose(back.lateral.odd(new), gate.lateral.odd(new), rtol=1e-5)
    assert back.lateral.thresholds == gate.lateral.thresholds
    np.save(tmp_path / "short.npy", replace(gate, lateral=None).numbers())
    with pytest.raises(ArtefactDamaged):
        FilmGate.load(tmp_path / "short.npy", shapes[0], named[0], (shapes[1], named[1]))


@pytest.mark.realdata
def test_real_laterals_are_told_from_real_frontal_films(real_data: Path) -> None:
    reading = open_sources(
        [str(real_data / f"openi_{name}" / "manifest.csv") for name in ("frontal", "lateral")]
    )

    def some(split: str, view: int, most: int) -> np.ndarray:
        paths = fitting.spread(fitting.films_in(reading.split(split), view), most)
        return fitting.layouts_of(HOW, paths)

    frontal, lateral = (some("train", view, 400) for view in (FRONTAL, LATERAL))
    new = {view: some("validation", view, 120) for view in (FRONTAL, LATERAL)}
    gate = fitting.fit_gate(fitting.Layouts(frontal[:250], frontal[250:]))
    gate = replace(gate, lateral=fitting.fit_lateral_gate(fitting.Layouts(lateral[:250], lateral[250:])))
    share = {view: np.mean([gate.sees_lateral(row) for row in rows]) for view, rows in new.items()}
    assert share[LATERAL] >= 0.95
    assert share[FRONTAL] <= 0.04
    assert np.mean([bool(gate.facts(row, LATERAL)) for row in new[LATERAL]]) <= 0.1
