"""Graphs: dynamic, stripped, and equal to the backbone at step 0."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from backbone_layouts import make_coca_layout, make_timm_layout

from mtclip_edge.export.graphs.towers import FilmGraph, TextGraph, export_film_tower, export_text_tower
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.encoders import FilmEncoder, TextEncoder
from mtclip_edge.inference.preprocessing import model_input
from mtclip_edge.sources.phantoms.make import make
from mtclip_edge.train.backbones.backbone import Backbone, load_backbone, text_features
from mtclip_edge.train.projector import ProjectorShape, SharedSpace


@pytest.fixture(scope="module")
def untrained(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """Both graphs of the aligned backbone with projectors as they are before the first step."""
    folder = tmp_path_factory.mktemp("untrained")
    backbone = load_backbone(str(tiny_backbone))
    space = SharedSpace(
        ProjectorShape(32, 32, 64, 32, residual=True, dropout=0.5), backbone.logit_scale
    ).eval()
    export_film_tower(FilmGraph(backbone, space, space.shape.dim), 160, folder / "image.onnx")
    export_text_tower(TextGraph(backbone, space, space.shape.dim), backbone, folder / "text.onnx")
    return backbone, folder, space


@torch.inference_mode()
def test_step_0_is_the_backbone_itself_through_the_export(
    untrained: tuple, random: np.random.Generator
) -> None:
    backbone, folder, _ = untrained
    pixels = random.normal(size=(3, 3, 160, 160)).astype(np.float32)
    films = FilmEncoder.load(folder / "image.onnx", backbone.preprocessing, choose("cpu"))
    expected = F.normalize(backbone.film_tower(torch.from_numpy(pixels)), dim=-1).numpy()
    np.testing.assert_allclose(films.encode(pixels)[0], expected, atol=1e-5)
    texts = ["The lungs are clear.", "Opacity on the left."]
    encoder = TextEncoder.load(folder / "text.onnx", backbone.tokenizer, choose("cpu"))
    expected = F.normalize(text_features(backbone.text_tower, backbone.tokenizer, texts), dim=-1).numpy()
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["hf_siglip", "siglip_backbone", "hf_clip", "clip_backbone"])
@torch.inference_mode()
def test_step_0_of_every_aligned_layout_is_its_own_zero_shot_answer(
    kind: str, soak: bool, request, tmp_path: Path
) -> None:
    """Whole: reading, preprocessing, tokenizer, graph. A turned space gives other numbers and the same cosines."""
    if kind != "hf_siglip" and not soak:
        pytest.skip("one layout in make test, all in make soak")
    backbone = load_backbone(str(request.getfixturevalue(kind)))
    width, size = backbone.film_width, backbone.preprocessing.size
    space = SharedSpace(
        ProjectorShape(width, width, 64, width, residual=True, dropout=0.5), backbone.logit_scale
    ).eval()
    films = [make(0, number).drawn.grey for number in range(3)]
    texts = ["The lungs are clear.", "Opacity on the left, unchanged; " * 20]
    pixels = torch.from_numpy(np.stack([model_input(grey, backbone.preprocessing) for grey in films]))
    own = [
        F.normalize(backbone.film_tower(pixels), dim=-1),
        F.normalize(text_features(backbone.text_tower, backbone.tokenizer, texts), dim=-1),
    ]
    space.turn(torch.cat(own))
    image = export_film_tower(FilmGraph(backbone, space, width), size, tmp_path / "image.onnx")
    text = export_text_tower(TextGraph(backbone, space, width), backbone, tmp_path / "text.onnx")
    film = FilmEncoder.load(image, backbone.preprocessing, choose("cpu")).encode_films(films)[0]
    report = TextEncoder.load(text, backbone.tokenizer, choose("cpu")).encode(texts)
    for exported, expected in ((film, own[0].numpy()), (report, own[1].numpy())):
        np.testing.assert_allclose((exported @ space.axes.numpy().T * expected).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(film @ report.T, (own[0] @ own[1].T).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "size", "pool", "projection", "precision", "pooling"),
    [
        ("eva02_tiny_patch14_224", 224, "token", None, "int8-dynamic", "first"),
        ("test_convnext", 64, "", "linear", "fp16w", "average"),
    ],
)
@torch.inference_mode()
def test_eva02_and_convnext_go_through_export(
    model: str, size: int, pool: str, projection: str | None, precision: str, pooling: str, tmp_path: Path
) -> None:
    """As open_clip configures them: the graph is torch's tower, takes any batch, keeps its places, and its kind's default rung is near."""
    from mtclip_edge.export.quantization.ladder import CPU_DEFAULT
    from mtclip_edge.export.quantization.quantize import (
        quantize_dynamically,
        store_weights_in_fp16,
        tower_kind,
    )

    backbone = load_backbone(str(make_timm_layout(tmp_path / "backbone", model, size, pool, projection)))
    space = SharedSpace(
        ProjectorShape(32, 32, 64, 32, residual=True, dropout=0.5), backbone.logit_scale
    ).eval()
    graph = FilmGraph(backbone, space, 32)
    assert graph.halves is not None and graph.halves.pooling == pooling
    exported = export_film_tower(graph, size, tmp_path / "image.onnx")
    pixels = np.random.default_rng(0).normal(size=(3, 3, size, size)).astype(np.float32)
    expected = F.normalize(backbone.film_tower(torch.from_numpy(pixels)), dim=-1).numpy()
    np.testing.assert_allclose(encoded(backbone, exported, pixels), expected, atol=1e-5)
    assert CPU_DEFAULT[tower_kind(exported)] == precision
    make = {"int8-dynamic": quantize_dynamically, "fp16w": store_weights_in_fp16}[precision]
    smaller = make(exported, tmp_path / "small.onnx")
    assert (encoded(backbone, smaller, pixels, precision) * expected).sum(axis=1).min() > 0.99


@torch.inference_mode()
def test_cocas_towers_go_through_export(tmp_path: Path) -> None:
    backbone = load_backbone(str(make_coca_layout(tmp_path / "backbone")))
    space = SharedSpace(
        ProjectorShape(32, 32, 64, 32, residual=True, dropout=0.5), backbone.logit_scale
    ).eval()
    image = export_film_tower(FilmGraph(backbone, space, 32), 64, tmp_path / "image.onnx")
    pixels = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    expected = F.normalize(backbone.film_tower(torch.from_numpy(pixels)), dim=-1).numpy()
    np.testing.assert_allclose(encoded(backbone, image, pixels), expected, atol=1e-5)
    texts = ["The lungs are clear.", "Opacity on the left."]
    text = export_text_tower(TextGraph(backbone, space, 32), backbone, tmp_path / "text.onnx")
    expected = F.normalize(text_features(backbone.text_tower, backbone.tokenizer, texts), dim=-1).numpy()
    np.testing.assert_allclose(
        TextEncoder.load(text, backbone.tokenizer, choose("cpu")).encode(texts), expected, atol=1e-5
    )


def encoded(backbone: Backbone, graph: Path, pixels: np.ndarray, precision: str = "fp32") -> np.ndarray:
    return FilmEncoder.load(graph, backbone.preprocessing, choose("cpu"), precision).encode(pixels)[0]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_any_batch_and_any_length(untrained: tuple, random: np.random.Generator, batch: int) -> None:
    backbone, folder, _ = untrained
    films = FilmEncoder.load(folder / "image.onnx", backbone.preprocessing, choose("cpu"))
    vectors, logits = films.encode(random.normal(size=(batch, 3, 160, 160)).astype(np.float32))
    assert (vectors.shape, logits.shape) == ((batch, 32), (batch,))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    encoder = TextEncoder.load(folder / "text.onnx", backbone.tokenizer, choose("cpu"))
    for words in (1, 5, 300):
        assert encoder.encode(["opacity " * words] * batch).shape == (batch, 32)


def test_a_text_does_not_depend_on_the_padding_of_its_batch(untrained: tuple) -> None:
    backbone, folder, _ = untrained
    encoder = TextEncoder.load(folder / "text.onnx", backbone.tokenizer, choose("cpu"))
    short, long = "Clear.", "Opacity on the left, unchanged since the last film. " * 3
    np.testing.assert_allclose(encoder.encode([short])[0], encoder.encode([long, short])[1], atol=1e-5)


@pytest.mark.parametrize("name", ["image.onnx", "text.onnx"])
def test_graphs_are_stripped_and_plain(untrained: tuple, name: str) -> None:
    _, folder, _ = untrained
    model = onnx.load(folder / name)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]
    assert not model.metadata_props and not model.doc_string and not model.graph.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    raw = (folder / name).read_bytes()
    for trace in (b"site-packages", b"forward", b".py:", str(Path.home()).encode(), b"pkg.torch"):
        assert trace not in raw, trace
    assert {i.data_location for i in model.graph.initializer} == {0}


def test_the_same_run_gives_the_same_bytes(untrained: tuple, tmp_path: Path) -> None:
    backbone, folder, space = untrained
    torch.manual_seed(1)
    export_film_tower(FilmGraph(backbone, space, space.shape.dim), 160, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (folder / "image.onnx").read_bytes()
