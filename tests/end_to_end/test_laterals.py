"""A bundle that was trained with lateral films: it is told the view, lets laterals in as such, averages both
views of a study, and measures each by its own.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dicoms import cr, written
from laterals import draw_lateral
from PIL import Image

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.films.gate import FilmView
from mtclip_edge.index.filters import Filters
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.encoders import VIEW, open_film_encoder
from mtclip_edge.retrieval.retriever import Retriever

OF_LATERALS = "a lateral film by its {}; this bundle was trained with them"


@pytest.fixture(scope="session")
def films(two_views: Path) -> Path:
    return two_views


def test_the_manifest_says_which_views_were_trained(lateral_bundle: Path, tiny_bundle: Path) -> None:
    manifest = json.loads((lateral_bundle / "manifest.json").read_text())
    assert manifest["views"] == ["frontal", "lateral"]
    assert sorted(manifest["by_view"]) == ["both", "lateral"]
    assert manifest["by_view"]["lateral"]["evidence"]["films"] == 60
    assert manifest["film_gate"]["lateral"]["films"] == {"train": 130, "validation": 60}
    plain = json.loads((tiny_bundle / "manifest.json").read_text())
    assert not {"views", "by_view"} & plain.keys()


def test_the_graph_takes_the_view_and_it_matters(
    lateral_bundle: Path, tiny_bundle: Path, films: Path
) -> None:
    encoder, _ = open_film_encoder(Bundle.open(lateral_bundle), choose("cpu"))
    assert [(node.name, node.type) for node in encoder.session.get_inputs()] == [
        ("pixels", "tensor(float)"),
        (VIEW, "tensor(int64)"),
    ]
    grey = np.asarray(Image.open(films / "test0-lateral.png"))
    pixels = np.stack([encoder.prepare(grey)] * 2)
    vectors, _ = encoder.encode(pixels, [0, 1])
    assert float(vectors[0] @ vectors[1]) < 0.9999
    np.testing.assert_allclose(encoder.encode(pixels)[0], np.stack([vectors[0]] * 2), atol=1e-5)
    without, _ = open_film_encoder(Bundle.open(tiny_bundle), choose("cpu"))
    assert [node.name for node in without.session.get_inputs()] == ["pixels"]


def test_a_lateral_picture_is_let_in_as_a_lateral(lateral_bundle: Path, films: Path, tmp_path: Path) -> None:
    for view in ("lateral", "frontal"):  # larger, so that their size is not held against them
        Image.open(films / f"test1-{view}.png").resize((180, 200)).save(tmp_path / f"{view}.png")
    with Retriever.open(lateral_bundle) as retriever:
        lateral, frontal = (retriever.query(tmp_path / f"{view}.png", 3) for view in ("lateral", "frontal"))
    assert lateral.input is not None
    assert (lateral.input.verdict, lateral.input.view, lateral.input.view_from) == (
        "ok",
        "lateral",
        "picture",
    )
    assert lateral.input.reasons == (OF_LATERALS.format("picture"),)
    assert len(lateral.hits) == 3
    assert frontal.input is not None
    assert (frontal.input.view, frontal.input.view_from, frontal.input.reasons) == ("frontal", "picture", ())
    assert frontal.input.to_dict()["view"] == "frontal"


def test_each_view_is_measured_by_its_own(lateral_bundle: Path, films: Path) -> None:
    """The same vector by the two measures: a lateral never gets a frontal film's percentile."""
    with Retriever.open(lateral_bundle) as retriever:
        lateral = retriever.query(films / "test1-lateral.png")
        frontal = retriever.query(films / "test1-frontal.png")
    model = Bundle.open(lateral_bundle).model
    best = {"lateral": model.by_view["lateral"].evidence.best_scores, "frontal": model.evidence.best_scores}
    assert best["lateral"] != best["frontal"]
    for answer, view in ((lateral, "lateral"), (frontal, "frontal")):
        expected = round(float(np.interp(answer.reports[0].score, best[view], np.arange(101.0))), 1)
        assert answer.reports[0].percentile == expected


def test_without_laterals_in_validation_nothing_is_said_of_them(
    lateral_bundle: Path, films: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from mtclip_edge.bundle.generations import changing, commit

    copy = Path(shutil.copytree(lateral_bundle, tmp_path / "copy"))
    with changing(copy) as (bundle, change):
        model = replace(bundle.model, by_view={})
        manifest = replace(bundle.manifest, model=model, generation=change.generation)
        commit(copy, manifest, set(bundle.manifest.files))
    with Retriever.open(copy) as retriever:
        answer = retriever.query(films / "test1-lateral.png")
    assert answer.evidence is not None
    assert answer.abnormal is not None
    assert answer.reports[0].percentile is None
    assert not answer.abnormal.calibrated
    assert answer.evidence.similarity.why.startswith("measured on frontal films only: too few lateral")
    assert answer.evidence.judgement.verdict is None


def test_each_view_has_its_own_weight_of_the_head(lateral_bundle: Path, films: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from mtclip_edge.bundle.generations import changing, commit
    from mtclip_edge.bundle.records import RerankRecord

    copy = Path(shutil.copytree(lateral_bundle, tmp_path / "copy"))
    with changing(copy) as (bundle, change):
        of_lateral = replace(bundle.model.by_view["lateral"], rerank=RerankRecord(0.07, 0.5, "by laterals"))
        model = replace(
            bundle.model,
            rerank=RerankRecord(0.15, 0.5, "by frontal films"),
            by_view={"lateral": of_lateral},
        )
        manifest = replace(bundle.manifest, model=model, generation=change.generation)
        commit(copy, manifest, set(bundle.manifest.files))
    pair = [films / f"test1-{view}.png" for view in ("frontal", "lateral")]
    with Retriever.open(copy) as retriever:
        frontal, lateral = (retriever.query(path).ranking for path in pair)
        named = [(str(path), path) for path in pair]
        (study,) = retriever.query_studies(named, together={name: "one" for name, _ in named})
    assert (frontal["head"]["weight"], frontal["head"]["why"]) == (0.15, "by frontal films")
    assert (lateral["head"]["weight"], lateral["head"]["why"]) == (0.07, "by laterals")
    assert study.ranking["head"]["weight"] == 0.0
    assert study.ranking["head"]["why"].startswith("checked on frontal films only")


@pytest.mark.parametrize(("view", "source"), [("LL", "header"), ("PA", "picture")])
def test_a_header_that_says_lateral_is_believed_and_one_that_says_pa_is_not(
    lateral_bundle: Path, films: Path, tmp_path: Path, view: str, source: str
) -> None:
    grey = np.asarray(Image.open(films / "test2-lateral.png"))
    (tmp_path / "film.dcm").write_bytes(
        written(cr(grey, ViewPosition=view, WindowCenter=128, WindowWidth=256))
    )
    with Retriever.open(lateral_bundle) as retriever:
        taken = retriever.query(tmp_path / "film.dcm").input
    assert taken is not None
    assert (taken.view, taken.view_from) == ("lateral", source)
    assert taken.verdict != "reject"
    though = ", though its header says PA" if view == "PA" else ""
    assert f"a lateral film by its {source}{though}; this bundle was trained with them" in taken.reasons


def test_an_inverted_lateral_is_found_out(lateral_bundle: Path, tmp_path: Path) -> None:
    film = draw_lateral(np.random.default_rng(99), opaque=False)
    Image.fromarray(255 - np.asarray(film)).save(tmp_path / "inverted.png")
    with Retriever.open(lateral_bundle) as retriever:
        taken = retriever.query(tmp_path / "inverted.png").input
    assert taken is not None
    assert taken.verdict in ("warn", "reject")
    assert "black and white seem to be exchanged: ask again with --invert" in taken.reasons


def test_two_pictures_of_one_folder_are_one_study(
    mtclip, lateral_bundle: Path, films: Path, tmp_path: Path
) -> None:
    """And each folder inside is another; pictures named one by one stay their own."""
    for number in (3, 4):
        (tmp_path / "in" / f"s{number}").mkdir(parents=True)
        for view in ("frontal", "lateral"):
            shutil.copy(films / f"test{number}-{view}.png", tmp_path / "in" / f"s{number}" / f"{view}.png")
    found = mtclip("query", tmp_path / "in", "--by", "study", "--bundle", lateral_bundle)
    assert found.err == ("2 studies: 2 answered, 0 rejected, 0 could not be answered\n4 files: 4 counted\n")
    one, _ = (json.loads(line) for line in found.out.splitlines())
    assert [(f["image"].rsplit("/", 1)[-1], f["counted"], f["view"]) for f in one["films"]] == [
        ("frontal.png", True, "frontal"),
        ("lateral.png", True, "lateral"),
    ]
    assert one["input"]["view"] == "both"
    with Retriever.open(lateral_bundle) as retriever:
        greys = [np.asarray(Image.open(films / f"test3-{view}.png")) for view in ("frontal", "lateral")]
        vectors, logits = retriever._films.encode_films(greys, views=[0, 1])
        mean = vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0))
        expected = retriever._library.index.vectors[: retriever._library.index.reports] @ mean
        temperature = retriever.bundle.model.by_view["both"].calibration.temperature
    assert one["hits"][0]["score"] == pytest.approx(float(expected.max()), abs=1e-4)
    assert one["abnormal"]["calibrated"]
    assert one["abnormal"]["probability"] == pytest.approx(
        1 / (1 + np.exp(-logits.mean() / temperature)), abs=1e-4
    )
    named = [tmp_path / "in" / "s3" / f"{view}.png" for view in ("frontal", "lateral")]
    alone = mtclip("query", *named, "--by", "study", "--bundle", lateral_bundle)
    assert [len(json.loads(line)["films"]) for line in alone.out.splitlines()] == [1, 1]


def test_a_lateral_alone_is_a_study(mtclip, lateral_bundle: Path, films: Path, tmp_path: Path) -> None:
    shutil.copy(films / "test5-lateral.png", tmp_path)
    answer = json.loads(mtclip("query", tmp_path, "--by", "study", "--bundle", lateral_bundle).out)
    assert (answer["input"]["view"], [f["counted"] for f in answer["films"]]) == ("lateral", [True])
    assert len(answer["hits"]) == 5


def test_a_zip_given_as_such_is_one_study(mtclip, lateral_bundle: Path, films: Path, tmp_path: Path) -> None:
    from zipfile import ZipFile

    with ZipFile(tmp_path / "study.zip", "w") as archive:
        for view in ("frontal", "lateral"):
            archive.write(films / f"test6-{view}.png", f"{view}.png")
    answer = json.loads(
        mtclip("query", tmp_path / "study.zip", "--by", "study", "--bundle", lateral_bundle).out
    )
    assert [f["view"] for f in answer["films"]] == ["frontal", "lateral"]


def test_the_index_holds_laterals_by_their_view(lateral_bundle: Path, films: Path) -> None:
    """Their vectors are those of films that are told to be lateral, and a filter finds them."""
    import sqlite3

    bundle = Bundle.open(lateral_bundle)
    with sqlite3.connect(bundle.path / bundle.index.store) as store:
        counts = dict(store.execute("SELECT view, COUNT(*) FROM film GROUP BY view"))
    assert counts == {"frontal": 130, "lateral": 130}


def test_a_map_of_a_lateral_is_of_its_view(lateral_bundle: Path, films: Path) -> None:
    from mtclip_edge.evidence.place_graph import Places

    bundle = Bundle.open(lateral_bundle)
    encoder, _ = open_film_encoder(bundle, choose("cpu"))
    pixels = encoder.prepare(np.asarray(Image.open(films / "test7-lateral.png")))
    features = encoder.features(pixels)
    for view in (0, 1):
        whole = Places.open(bundle, view).whole(features)
        np.testing.assert_allclose(whole, encoder.encode(pixels[None], [view])[0][0], atol=1e-4)
    with Retriever.open(lateral_bundle, filters=Filters(label="abnormal")) as retriever:
        answer = retriever.query(films / "test7-lateral.png")
        assert retriever.explain(films / "test7-lateral.png", answer).values.shape


def test_a_bundle_of_frontal_films_asks_for_no_view(tiny_bundle: Path, films: Path) -> None:
    with Retriever.open(tiny_bundle, force=True) as retriever:
        taken = retriever.query(films / "test1-frontal.png").input
    assert taken is not None
    assert taken.view is None
    assert "view" not in taken.to_dict()


def test_a_view_has_a_name() -> None:
    assert [FilmView(code, "header").name for code in (0, 1)] == ["frontal", "lateral"]


def test_a_smaller_form_is_told_the_view_too(lateral_run: Path, films: Path, tmp_path: Path) -> None:
    from mtclip_edge.export.pack import export

    bundle = export(lateral_run, tmp_path / "small", precision=["fp32", "fp16w"], text=False)
    grey = np.asarray(Image.open(films / "test8-lateral.png"))
    found = {}
    for precision in ("fp32", "fp16w"):
        encoder, _ = open_film_encoder(bundle, choose("cpu"), precision)
        pixels = np.stack([encoder.prepare(grey)] * 2)
        found[precision] = encoder.encode(pixels, [0, 1])[0]
    assert (found["fp32"] * found["fp16w"]).sum(axis=1).min() > 0.999
    assert float(found["fp16w"][0] @ found["fp16w"][1]) < 0.9999
