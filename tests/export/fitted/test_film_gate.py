"""The film gate as it is fitted: its distance, its thresholds, and whose films they are of."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.bundle.generations import commit
from mtclip_edge.bundle.records import FilmGateRecord
from mtclip_edge.errors import SourceUnusable
from mtclip_edge.export.fitted import film_gate as fitting
from mtclip_edge.fields import Fields
from mtclip_edge.films.film import DecodedFilm
from mtclip_edge.films.gate import layout_of
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.retrieval.retriever import Retriever
from mtclip_edge.studies import Film as StudyFilm
from mtclip_edge.studies import Study


def test_the_distance_is_mahalanobis(random: np.random.Generator) -> None:
    rows = random.normal(0, 1, (300, 12)) @ random.normal(0, 1, (12, 12))
    covariance = np.cov(rows.T)
    shrunk = (1 - fitting.SHRINKAGE) * covariance + fitting.SHRINKAGE * np.trace(covariance) / 12 * np.eye(12)
    away = rows - rows.mean(axis=0)
    expected = np.einsum("ni,ij,nj->n", away, np.linalg.inv(shrunk), away) / 12
    assert fitting.fit_gaussian(rows, 64).distance(rows) == pytest.approx(expected, rel=1e-4)
    few = fitting.fit_gaussian(rows, 3)
    variance, vectors = np.linalg.eigh(shrunk)
    flat = vectors @ np.diag([*[variance[:9].mean()] * 9, *variance[9:]]) @ vectors.T
    assert few.distance(rows) == pytest.approx(
        np.einsum("ni,ij,nj->n", away, np.linalg.inv(flat), away) / 12, rel=1e-4
    )


def test_a_threshold_holds_for_new_films_and_few_films_give_none(random: np.random.Generator) -> None:
    assert fitting.threshold(np.arange(1, 100.0), 0.05) == 95
    assert fitting.threshold(np.arange(1, 200.0), 0.005) == 199
    assert fitting.threshold(np.arange(1, 199.0), 0.005) is None
    assert (
        fitting.threshold(np.arange(1, 20.0), 0.05) == 19
        and fitting.threshold(np.arange(1, 19.0), 0.05) is None
    )
    assert fitting.threshold(np.zeros(0), 0.05) is None
    alarms = [
        (random.normal(size=50) > fitting.threshold(random.normal(size=99), 0.03)).mean() for _ in range(400)
    ]
    assert 0.025 < np.mean(alarms) < 0.035


def test_what_fits_better_as_it_is_is_never_called_mirrored(random: np.random.Generator) -> None:
    """All validation films far on one side: their threshold would be below zero."""
    side = np.where(np.arange(64) % 8 < 4, 1.0, -1.0)
    layouts = side + random.normal(0, 0.1, (300, 64))
    gate = fitting.fit_gate(fitting.Layouts(layouts[:150], layouts[150:]))
    assert gate.thresholds.mirror_warn == 0 and gate.thresholds.layout_reject is None


def test_a_gate_goes_with_its_bundle(
    mtclip, gated: Path, gate_films: SimpleNamespace, odd: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(gated, tmp_path / "bundle"))
    before = Bundle.open(path).model.film_gate
    assert before.file == "film-gate-2.npy" and before.films == {"train": 120, "validation": 205}
    with Retriever.open(path) as retriever:
        study = retriever.query(odd / "a.png").hits[0].study_ids[0]
    assert mtclip("index", "remove", path, "--study", study).code == 0
    after = Bundle.open(path)
    assert after.generation == 3 and after.model.film_gate.to_dict() == before.to_dict()
    assert mtclip("query", odd / "inverted.png", "--bundle", path, "--json").code == 6
    fitting.refit(path, gate_films.train, gate_films.validation[:60])
    fewer = Bundle.open(path)
    assert fewer.model.film_gate.file == "film-gate-4.npy" and not (path / "film-gate-2.npy").exists()
    assert all(problem is None for _, problem in fewer.verify())
    thresholds = fewer.model.film_gate.thresholds
    assert [name for name, value in thresholds.items() if value is None] == ["layout_reject"]
    with Retriever.open(path) as retriever:
        assert retriever.query(odd / "inverted.png").input.verdict == "warn"
    with pytest.raises(SourceUnusable, match="so few films"):
        fitting.refit(path, gate_films.train, gate_films.validation[:4])
    assert Bundle.open(path).identity == fewer.identity
    (path / "film-gate-4.npy").write_bytes(b"x" + (path / "film-gate-4.npy").read_bytes()[1:])
    damaged = mtclip("query", odd / "a.png", "--bundle", path)
    assert damaged.code == 3 and "film-gate-4.npy: damaged" in damaged.err


@pytest.mark.usefixtures("known_graphs")
def test_an_export_fits_a_gate(
    tiny_run: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a later fit of the bundle would; of so few films, fewer are enough here."""
    from mtclip_edge.export import pack
    from mtclip_edge.sources.source import open_source

    monkeypatch.setattr(fitting, "GATE_FOLDED", 50)
    lines: list[str] = []
    bundle = pack.export(tiny_run, tmp_path / "b", precision=["fp32"], say=lines.append)
    told = next(line for line in lines if line.startswith("film gate"))
    films = bundle.model.film_gate.films
    assert films["validation"] == 14 and bundle.model.film_gate.folds == 5
    assert told == (
        f"film gate: fitted on {sum(films.values())} training and validation films, thresholds by 5 folds of "
        "them; too few for layout reject"
    )
    reading = open_source(str(source))
    again = fitting.refit(bundle.path, reading.split("train"), reading.split("validation")).model.film_gate
    assert again.to_dict() == {**bundle.model.film_gate.to_dict(), "file": "film-gate-2.npy"}


def test_with_folds_every_film_is_scored_by_the_others(random: np.random.Generator) -> None:
    """The distribution is of all films; a score is of a distribution that the film's fold had no part in."""
    train, validation = (random.normal(size=(rows, 64)) for rows in (200, 40))
    part = random.integers(0, 5, 240)
    gate = fitting.fit_gate(fitting.Layouts(train, validation, part))
    rows = np.concatenate([train, validation])
    np.testing.assert_allclose(gate.layout.mean, rows.mean(axis=0), atol=1e-6)
    odd, better = np.zeros(240), np.zeros(240)
    for film, row in enumerate(rows):
        others = fitting.fit_gaussian(rows[part != part[film]], fitting.LAYOUT_AXES)
        other_way = row.reshape(8, 8)[:, ::-1].reshape(1, 64)
        odd[film] = others.distance(row[None])[0]
        better[film] = odd[film] - others.distance(other_way)[0]
    assert gate.thresholds.layout_warn == pytest.approx(fitting.threshold(odd, fitting.LAYOUT_WARN))
    assert gate.thresholds.layout_reject == pytest.approx(fitting.threshold(odd, fitting.LAYOUT_REJECT))
    assert gate.thresholds.mirror_warn == pytest.approx(
        max(0.0, fitting.threshold(better, fitting.MIRROR_WARN))
    )
    assert (gate.layout.distance(rows) > gate.thresholds.layout_warn).mean() < fitting.LAYOUT_WARN


def test_of_few_films_the_promise_holds_on_new_ones(random: np.random.Generator) -> None:
    """150 films, 19 of them validation: too few for a threshold from validation alone."""
    warned = []
    for _ in range(40):
        rows = random.standard_t(5, size=(150, 64))
        films = fitting.Layouts(rows[:131], rows[131:], random.integers(0, 5, 150))
        assert films.enough and not fitting.Layouts(rows[:131], rows[131:]).enough
        gate, new = fitting.fit_gate(films), random.standard_t(5, size=(1000, 64))
        warned.append((gate.layout.distance(new) > gate.thresholds.layout_warn).mean())
    assert 0 < np.mean(warned) <= fitting.LAYOUT_WARN


def test_a_patient_lies_in_one_fold() -> None:
    def studies(count: int, patients: int, first: int = 0) -> list[Study]:
        return [
            Study(f"s{n}", f"p{n % patients}", (StudyFilm(Path(f"{n}.png"), f"{n}.png"),))
            for n in range(first, first + count)
        ]

    fold = fitting.fold_of_films(studies(60, 30), studies(30, 30, 60))
    assert len(fold) == 90 and set(fold.values()) == set(range(5))
    assert all(fold[Path(f"{n}.png")] == fold[Path(f"{n % 30}.png")] for n in range(90))
    assert fitting.fold_of_films(studies(60, 4), []) is None
    assert fitting.fold_of_films(studies(1999, 500), []) is not None
    assert fitting.fold_of_films(studies(1000, 500), studies(1000, 500)) is None


def test_a_film_that_cannot_be_read_moves_nobody_to_another_fold(
    gated: Path, gate_films: SimpleNamespace, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no film")
    train = [Study("bad", "bad", (StudyFilm(bad, "bad.png"),)), *gate_films.train]
    model = Bundle.open(gated).manifest.model
    record = fitting.gate_for(tmp_path / "gate.npy", model, train, gate_films.validation, lambda line: None)
    assert record.films == {"train": 120, "validation": 205}
    fold = fitting.fold_of_films(train, gate_films.validation)
    how = Preprocessing.of(model.preprocessing)
    paths = fitting.films_in([*gate_films.train, *gate_films.validation])
    rows = fitting.layouts_of(how, paths)
    films = fitting.Layouts(rows[:120], rows[120:], np.array([fold[path] for path in paths]))
    assert record.thresholds == vars(fitting.fit_gate(films).thresholds)


def test_where_one_patient_has_most_films_validation_alone_gives_thresholds(
    gated: Path, gate_films: SimpleNamespace, tmp_path: Path
) -> None:
    model, lines = Bundle.open(gated).manifest.model, []
    films = [study.films[0] for study in gate_films.train[:110]]
    train = [Study("all", "one", tuple(films)), *gate_films.train[110:]]
    record = fitting.gate_for(tmp_path / "gate.npy", model, train, gate_films.validation[:40], lines.append)
    assert record.folds is None and record.films == {"train": 120, "validation": 40}
    assert lines[0].startswith("film gate: fitted on 120 training films, thresholds from 40 validation films")
    few = fitting.gate_for(tmp_path / "none.npy", model, train, gate_films.validation[:32], lines.append)
    assert few is None and not (tmp_path / "none.npy").exists()
    assert lines[1] == ("no film gate: 120 training and 32 validation films, at least 100 and 33 are needed")


def test_the_bundle_says_by_what_its_thresholds_are(mtclip, gated: Path, tmp_path: Path) -> None:
    entry = Bundle.open(gated).model.film_gate
    assert entry.folds == 5 and FilmGateRecord.read(Fields(entry.to_dict())).folds == 5
    said = "fitted on 120 training and 205 validation films, thresholds by 5 folds of both"
    assert said in " ".join(mtclip("info", gated).out.split())
    assert json.loads(mtclip("info", gated, "--format", "json").out)["film_gate"]["folds"] == 5
    plain = replace(entry, folds=None)
    assert "folds" not in plain.to_dict() and FilmGateRecord.read(Fields(plain.to_dict())).folds is None


def test_distributions_are_of_training_films_and_thresholds_of_validation_films(
    random: np.random.Generator,
) -> None:
    train, near, far = (
        centre + random.normal(size=(rows, 64)) for centre, rows in ((0.0, 400), (0.0, 250), (3.0, 250))
    )
    for validation in (near, far):
        gate = fitting.fit_gate(fitting.Layouts(train, validation))
        np.testing.assert_allclose(gate.layout.mean, train.mean(axis=0), atol=1e-6)
        assert gate.thresholds.layout_warn == fitting.threshold(
            gate.layout.distance(validation), fitting.LAYOUT_WARN
        )


def test_layouts_are_of_films_rendered_as_the_tower_learned_them(tmp_path: Path) -> None:
    """A film with a narrow window: by voi two flat halves, by minmax all its values."""
    from dicoms import cr, written

    from mtclip_edge.inference.preprocessing import Preprocessing, tower_input

    deep = np.tile(np.arange(0, 4000, 20, dtype=np.uint16), (200, 1))
    (tmp_path / "film.dcm").write_bytes(written(cr(deep, 12, WindowCenter=2000, WindowWidth=10)))
    by = {render: Preprocessing(64, (0.5,) * 3, (0.25,) * 3, render=render) for render in ("voi", "minmax")}
    layouts = {render: fitting.layouts_of(how, [tmp_path / "film.dcm"]) for render, how in by.items()}
    for render, how in by.items():
        np.testing.assert_array_equal(layouts[render][0], layout_of(tower_input(tmp_path / "film.dcm", how)))
    assert np.abs(layouts["voi"] - layouts["minmax"]).max() > 0.1
    assert len(np.unique(layouts["voi"][0].round(3))) < len(np.unique(layouts["minmax"][0].round(3)))


def test_the_gate_of_a_bundle_is_fitted_by_its_own_render(
    gated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``--render minmax`` trained on is what its gate must know."""
    path = Path(shutil.copytree(gated, tmp_path / "bundle"))
    bundle = Bundle.open(path)
    shaped = replace(bundle.model.preprocessing, render="minmax")
    commit(
        path,
        replace(bundle.manifest, model=replace(bundle.model, preprocessing=shaped)),
        set(bundle.manifest.files),
    )
    asked = []

    def read(source: Path, name: str | None = None, render: str = "voi") -> DecodedFilm:
        asked.append(render)
        return DecodedFilm(
            np.random.default_rng(len(asked)).integers(0, 256, (64, 64), dtype=np.uint8), "dicom"
        )

    monkeypatch.setattr("mtclip_edge.inference.preprocessing.read_film", read)
    study = Study("a", "a", tuple(StudyFilm(tmp_path / f"{i}.dcm", f"{i}.dcm") for i in range(120)))
    fitting.refit(path, [study], [study])
    assert set(asked) == {"minmax"} and len(asked) == 240
