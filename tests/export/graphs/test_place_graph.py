"""The small graph that is the second half of a film tower, and the features that it is asked about."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import ParityFailed
from mtclip_edge.evidence.place_graph import Places
from mtclip_edge.export.graphs import place_graph
from mtclip_edge.export.graphs.towers import FilmGraph, export_film_tower
from mtclip_edge.export.quantization import quantize
from mtclip_edge.export.quantization.static import Calibrated
from mtclip_edge.inference.device import choose, open_session
from mtclip_edge.inference.encoders import FEATURE_MAP, PIXELS, FilmEncoder
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.train.backbones.backbone import load_backbone
from mtclip_edge.train.projector import ProjectorShape, SharedSpace
from mtclip_edge.train.run import backbone_of, load_run


@pytest.fixture(scope="module")
def convolutional(cnn_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """A small convolutional tower, its graph, and what belongs to it."""
    folder, backbone = tmp_path_factory.mktemp("cnn"), load_backbone(str(cnn_backbone))
    torch.manual_seed(0)
    space = SharedSpace(ProjectorShape(32, 32, 16, 8, residual=False, dropout=0.0), 10.0).eval()
    graph = FilmGraph(backbone, space, 8).eval()
    return backbone, graph, export_film_tower(graph, 96, folder / "image.onnx")


def test_a_graph_without_features_is_exported_with_a_line(convolutional: tuple, tmp_path: Path) -> None:
    said: list[str] = []
    graph = FilmGraph(convolutional[0], convolutional[1].space, 8)
    graph.halves = None
    assert place_graph.export_places(graph, None, [], tmp_path / "explain.onnx", said.append) is None
    assert "no maps" in said[0] and not list(tmp_path.iterdir())


def test_the_small_graph_is_the_second_half(
    tiny_run: Path, tiny_bundle: Path, random: np.random.Generator
) -> None:
    bundle, run = Bundle.open(tiny_bundle), load_run(tiny_run)
    told = bundle.model.explain.to_dict()
    heat = told.pop("heat")
    assert 0 < heat["floor"] < heat["full"] and heat["films"] > 10
    assert told == {
        "file": "explain.onnx",
        "layout": "tokens",
        "grid": [10, 10],
        "before": 1,
        "pooling": "first",
    }
    assert (tiny_bundle / "explain.onnx").stat().st_size < 0.3 * (
        tiny_bundle / "image.fp32.onnx"
    ).stat().st_size
    graph = place_graph.PlacesGraph(FilmGraph(backbone_of(run), run.space, bundle.model.dim))
    rows = random.normal(size=(17, 64)).astype(np.float32)
    with torch.inference_mode():
        expected = graph(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(Places.open(bundle).embed(rows), expected, atol=1e-5)


def test_a_small_graph_of_other_weights_is_not_published(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch
) -> None:
    def other(*rest: object) -> None:
        model = onnx.load(tiny_bundle / "explain.onnx")
        (bias,) = [weight for weight in model.graph.initializer if weight.name == "space.film.out.bias"]
        bias.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32([0.1, *[0] * 31]), bias.name)
        )
        onnx.save(model, str(rest[-1]))

    monkeypatch.setattr(place_graph, "export_graph", other)
    bundle, run = Bundle.open(tiny_bundle), load_run(tiny_run)
    films = FilmEncoder.load(
        bundle.graph("image", "fp32"), Preprocessing.of(bundle.model.preprocessing), choose("cpu")
    )
    graph = FilmGraph(backbone_of(run), run.space, bundle.model.dim)
    grey = [np.random.default_rng(0).integers(0, 255, (60, 50), dtype=np.uint8)]
    with pytest.raises(
        ParityFailed,
        match="explain.onnx: a film's places, pooled, give .* beside its embedding\nexpected at most 1e-04",
    ):
        place_graph.export_places(graph, films, grey, tmp_path / "explain.onnx", print)


@pytest.mark.parametrize("tower", ["cnn", "vit"])
def test_every_rung_gives_features(
    tower: str, convolutional: tuple, tiny_bundle: Path, tmp_path: Path, random: np.random.Generator
) -> None:
    source = convolutional[2] if tower == "cnn" else tiny_bundle / "image.fp32.onnx"
    size = 96 if tower == "cnn" else 160
    feeds = [{PIXELS: random.normal(size=(1, 3, size, size)).astype(np.float32)} for _ in range(4)]
    made = {
        "fp32": source,
        "fp16w": quantize.store_weights_in_fp16(source, tmp_path / "fp16w.onnx"),
        "fp16": quantize.convert_to_fp16(source, tmp_path / "fp16.onnx"),
        "w8": quantize.quantize_weights(source, tmp_path / "w8.onnx"),
        "int8": Calibrated.of(source, feeds, tmp_path).quantize(tmp_path / "int8.onnx"),
    }
    if tower == "vit":
        made["int8-dynamic"] = quantize.quantize_dynamically(source, tmp_path / "dynamic.onnx")
    (expected,) = _features(source, feeds[0])
    for name, graph in made.items():
        (output,) = [o for o in onnx.load(graph).graph.output if o.name == FEATURE_MAP]
        assert output.type.tensor_type.elem_type == TensorProto.FLOAT, name
        (found,) = _features(graph, feeds[0])
        cosine = (expected * found).sum() / np.linalg.norm(expected) / np.linalg.norm(found)
        assert cosine > (0.9 if name in ("int8", "int8-dynamic") else 0.999), (name, cosine)


def _features(graph: Path, feed: dict) -> list[np.ndarray]:
    return list(open_session(graph, choose("cpu"))[0].run([FEATURE_MAP], feed))
