"""Hits, areas and intervals on maps and boxes that were drawn for it, and the script from end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import script

from mtclip_edge.evidence.heat_map import peak
from mtclip_edge.sources.source import open_source

BOXES = script("retrieval/pointing_boxes")


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["image_path,finding,x,y,width,height", *rows]) + "\n", encoding="utf-8")
    return path


def test_a_peak_hits_the_box_that_it_is_in_and_no_other() -> None:
    values = np.zeros((7, 7), np.float32)
    values[1, 5] = 1.0  # its middle is at 5.5 and 1.5 sevenths, from the upper left corner
    assert BOXES.hit(peak(values), [(0.7, 0.1, 0.9, 0.3)])
    assert not BOXES.hit(peak(values), [(0.1, 0.7, 0.3, 0.9)])  # x and y exchanged
    assert not BOXES.hit(peak(values), [(0.79, 0.1, 0.9, 0.3)])  # no tolerance
    assert BOXES.hit(peak(values), [(0.0, 0.0, 0.1, 0.1), (0.7, 0.1, 0.9, 0.3)])


def test_boxes_that_overlap_cover_their_union_once() -> None:
    assert BOXES.area([(0.1, 0.2, 0.4, 0.6)]) == pytest.approx(0.12)
    assert BOXES.area([(0.0, 0.0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75)]) == pytest.approx(0.4375)
    assert BOXES.area([(0.0, 0.0, 0.5, 0.5)] * 2) == pytest.approx(0.25)


def test_a_map_is_above_its_mean_inside_a_box_around_its_peak() -> None:
    values = np.zeros((7, 7), np.float32)
    values[1, 5] = 1.0
    assert BOXES.inside(values, [(0.7, 0.1, 0.9, 0.3)]) > 2
    assert BOXES.inside(values, [(0.1, 0.7, 0.3, 0.9)]) < 0
    assert BOXES.inside(values, [(0.0, 0.0, 0.001, 0.001)]) == 0.0
    assert BOXES.inside(np.ones((7, 7), np.float32), [(0.0, 0.0, 0.5, 0.5)]) == 0.0


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (1, 36, 0.0007, 0.1453), (5, 20, 0.0866, 0.4910)],
)
def test_the_interval_is_clopper_and_pearsons(hits: int, count: int, low: float, high: float) -> None:
    assert BOXES.exact_interval(hits, count) == pytest.approx((low, high), abs=1e-4)


def test_points_at_random_hit_by_poissons_binomial() -> None:
    assert BOXES.at_least(0, [0.2, 0.7]) == pytest.approx(1.0)
    assert BOXES.at_least(1, [0.2, 0.7]) == pytest.approx(1 - 0.8 * 0.3)
    assert BOXES.at_least(2, [0.2, 0.7]) == pytest.approx(0.14)


def test_cases_are_a_film_and_a_finding_and_no_box_is_told_by_its_line(tmp_path: Path) -> None:
    rows = ["a.png,Mass,0.1,0.2,0.3,0.4", "a.png,Mass,0.5,0.5,0.1,0.1", "a.png,Nodule,0,0,1,1"]
    cases = BOXES.read_cases(write(tmp_path / "b.csv", rows), tmp_path)
    assert [(case.finding, len(case.boxes)) for case in cases] == [("Mass", 2), ("Nodule", 1)]
    assert cases[0].boxes[0] == pytest.approx((0.1, 0.2, 0.4, 0.6))
    for bad in ("a.png,Mass,120,40,30,30", "a.png,Mass,0.1,0.2,0,0.4", "a.png,Mass,x,0,1,1"):
        with pytest.raises(SystemExit, match="line 3"):
            BOXES.read_cases(write(tmp_path / "b.csv", [rows[0], bad]), tmp_path)
    with pytest.raises(SystemExit, match="no boxes"):
        BOXES.read_cases(write(tmp_path / "b.csv", []), tmp_path)


def test_the_whole_script_on_drawn_films(
    tiny_bundle: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    films = [s.films[0].path for s in open_source(str(source)).split("test") if s.films][:3]
    rows = [f"{film.name},Effusion,0,0,1,1" for film in films[:2]] + [f"{films[2].name},Mass,0,0,0.001,0.001"]
    table, kept = write(tmp_path / "b.csv", rows), tmp_path / "kept.json"
    words = [str(tiny_bundle), "--boxes", str(table), "--data", str(films[0].parent), "--json", str(kept)]
    BOXES.main(words)
    out = capsys.readouterr().out
    assert "3 findings with 3 boxes on 3 films" in out and "inside the boxes): 0.667" in out
    (rates,) = json.loads(kept.read_text(encoding="utf-8"))["figures"]["tables"]
    assert len(rates) == 5
    assert {row["hits"] for row in rates} == {"2 of 3"}  # a box of all the film is always hit, a dot never
    assert rates[0]["rate"] == 0.667 and rates[0]["points at random do as well"] == 1.0
