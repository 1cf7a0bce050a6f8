"""Each rung of the ladder: how it is made, what it must not do, and what happens to one that fails."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import DeviceUnavailable, ParityFailed, WrongOption
from mtclip_edge.export import pack, proof
from mtclip_edge.export.parity import limits
from mtclip_edge.export.quantization import ladder, quantize, smooth_quant
from mtclip_edge.export.quantization.static import Calibrated
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.encoders import FILM_EMBEDDING, PIXELS, FilmEncoder
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.retrieval.retriever import Retriever

pytestmark = pytest.mark.usefixtures("known_graphs")


@pytest.fixture
def graph(tiny_bundle: Path) -> Path:
    return Bundle.open(tiny_bundle).graph("image", "fp32")


def operators(graph: Path) -> Counter:
    return Counter(node.op_type for node in onnx.load(graph).graph.node)


def weights(graph: Path) -> dict[str, np.ndarray]:
    return {w.name: numpy_helper.to_array(w) for w in onnx.load(graph).graph.initializer}


def encoder(tiny_bundle: Path, graph: Path, precision: str = "fp32") -> FilmEncoder:
    return FilmEncoder.load(
        graph, Preprocessing.of(Bundle.open(tiny_bundle).model.preprocessing), choose("cpu"), precision
    )


@pytest.fixture
def pixels(tiny_bundle: Path) -> np.ndarray:
    size = Preprocessing.of(Bundle.open(tiny_bundle).model.preprocessing).size
    return np.random.default_rng(0).normal(0, 1, (5, 3, size, size)).astype(np.float32)


def test_by_default_a_transformer_gets_dynamic_int8_where_it_passes(
    tiny_run: Path, tmp_path: Path, film: Path
) -> None:
    said: list[str] = []
    bundle = pack.export(
        tiny_run,
        tmp_path / "b",
        say=said.append,
        budget={"int8-dynamic.overlap": 0.5, "int8-dynamic.cosine": 0.5},
    )
    assert {tower: list(rungs) for tower, rungs in bundle.model.graphs.items()} == {
        "image": ["int8-dynamic", "fp32"],
        "text": ["int8-dynamic", "fp32"],
    }
    with Retriever.open(bundle.path) as retriever:
        answer = retriever.query(film).to_dict()
        assert answer["bundle"]["precision"] == "int8-dynamic"
        assert (
            answer["bundle"]["precision_why"] == "the fastest on cpu of those that passed the export's gate"
        )
        told = retriever.query_text("opacity in the left lung").bundle.precision
    assert told.name == "int8-dynamic"
    with Retriever.open(bundle.path, precision="fp32") as retriever:
        told = retriever.query_text("opacity in the left lung").bundle.precision
    assert (told.name, told.why) == ("fp32", "asked for")
    assert "int8-dynamic" in (bundle.path / "MODEL_CARD.md").read_text()


def test_a_default_that_fails_is_left_out_with_a_line(tiny_run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    bundle = pack.export(tiny_run, tmp_path / "b", say=said.append, budget={"int8-dynamic.cosine": 1.1})
    assert list(bundle.model.graphs["image"]) == ["fp32"]
    assert {p.name for p in bundle.path.glob("*.onnx")} == {
        "image.fp32.onnx",
        "text.fp32.onnx",
        "explain.onnx",
    }
    (line,) = [line for line in said if line.startswith("left out: film tower")]
    assert "int8-dynamic: the graph differs from torch (cosine of the worst 1 %" in line


def test_a_named_rung_that_fails_publishes_nothing(tiny_run: Path, tmp_path: Path, mtclip) -> None:
    found = mtclip(
        "export", tiny_run, "--out", tmp_path / "b", "--precision", "fp32,w8", "--budget", "w8.cosine=1.1"
    )
    assert (found.code, found.out) == (1, "")
    assert "film tower, w8: the graph differs from torch\ncosine of the worst 1 %" in found.err
    assert not (tmp_path / "b").exists()


def test_the_order_is_that_of_speed_and_fp16_is_never_for_a_cpu(tiny_run: Path, tmp_path: Path) -> None:
    bundle = pack.export(
        tiny_run,
        tmp_path / "b",
        precision=["fp16", "fp32", "fp16w"],
        budget={"fp16.cosine": 0.9, "fp16.overlap": 0.5},
        text=False,
    )
    assert list(bundle.model.graphs["image"]) == ["fp32", "fp16w", "fp16"]
    (row,) = [row for row in bundle.model.parity if row.precision == "fp16"]
    assert row.how == "judged on the CPU"
    with Retriever.open(bundle.path) as retriever:
        assert retriever.precision == "fp32"
    with pytest.raises(
        DeviceUnavailable, match="precision fp16 is not for a CPU\n.*cast.*\nuse --precision auto"
    ):
        Retriever.open(bundle.path, precision="fp16")


def test_fp16_keeps_norms_in_fp32(graph: Path, tmp_path: Path) -> None:
    half = onnx.load(quantize.convert_to_fp16(graph, tmp_path / "h.onnx"))
    kinds = {w.name: w.data_type for w in half.graph.initializer}
    assert Counter(kinds.values())[TensorProto.FLOAT16] > 10
    for node in half.graph.node:
        if node.op_type == "LayerNormalization":
            assert all(kinds.get(name) != TensorProto.FLOAT16 for name in node.input)
    model = onnx.shape_inference.infer_shapes(half)
    types = {
        v.name: v.type.tensor_type.elem_type
        for v in (*model.graph.value_info, *model.graph.output, *model.graph.input)
    }
    (norm,) = [node for node in half.graph.node if node.op_type == "ReduceL2"]
    assert types[norm.input[0]] == types[norm.output[0]] == TensorProto.FLOAT
    assert {types[v.name] for v in (*half.graph.input, *half.graph.output)} == {TensorProto.FLOAT}


def test_dynamic_int8_has_seven_bits_and_leaves_the_head_in_float(graph: Path, tmp_path: Path) -> None:
    small = quantize.quantize_dynamically(graph, tmp_path / "d.onnx")
    found = weights(small)
    eight = {name: values for name, values in found.items() if values.dtype == np.int8 and values.ndim == 2}
    assert eight and all(np.abs(values.astype(int)).max() <= 64 for values in eight.values())
    assert all(values.dtype == np.float32 for name, values in found.items() if name.startswith("space."))
    assert operators(small)["MatMulInteger"] == len(quantize.layers(graph))
    assert small.stat().st_size < 0.6 * graph.stat().st_size


def test_nothing_is_written_beside_the_graph_that_is_read(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may lie in a bundle that others read; onnxruntime leaves a graph of its own beside its input for a moment."""
    real, places = onnx.shape_inference.infer_shapes_path, []

    def infer(source, target, *rest):
        places.append(Path(target).parent)
        return real(source, target, *rest)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes_path", infer)
    quantize.quantize_dynamically(graph, tmp_path / "d.onnx")
    assert places and graph.parent not in places and tmp_path not in places


def test_dynamic_int8_is_fed_row_by_row(
    tiny_bundle: Path, graph: Path, tmp_path: Path, pixels: np.ndarray
) -> None:
    small = quantize.quantize_dynamically(graph, tmp_path / "d.onnx")
    pixels[0] *= 30  # a neighbour that would widen everybody's scale
    right, wrong = encoder(tiny_bundle, small, "int8-dynamic"), encoder(tiny_bundle, small)
    together, alone = right.encode(pixels)[0], right.encode(pixels[1:])[0]
    np.testing.assert_array_equal(together[1:], alone)
    assert np.abs(wrong.encode(pixels)[0][1:] - wrong.encode(pixels[1:])[0]).max() > 1e-3


def test_layers_can_stay_in_float_the_worst_first(graph: Path, tmp_path: Path, pixels: np.ndarray) -> None:
    feeds = [{PIXELS: row[None]} for row in pixels]
    layers = quantize.layers(graph)

    def make(file: Path, only) -> Path:
        return quantize.quantize_dynamically(graph, file, only=only)

    told: list[tuple[str, int, int]] = []
    order = quantize.by_harm(graph, make, FILM_EMBEDDING, feeds, tmp_path, lambda *what: told.append(what))
    assert sorted(order) == sorted(layers)
    count = len(layers)  # each layer takes seconds, so a bar counts them
    assert told == [("layers quantized alone", done, count) for done in range(count + 1)]
    expected = quantize._answers(graph, FILM_EMBEDDING, feeds)
    lost = [
        1
        - (expected * quantize._answers(make(tmp_path / "x.onnx", [one]), FILM_EMBEDDING, feeds))
        .sum(1)
        .mean()
        for one in order
    ]
    assert lost == sorted(lost, reverse=True)
    left = quantize.quantize_dynamically(graph, tmp_path / "l.onnx", left_out=order[:2])
    assert operators(left)["MatMulInteger"] == len(layers) - 2


def test_static_int8_has_seven_bits_and_one_scale_a_channel(
    graph: Path, tmp_path: Path, pixels: np.ndarray
) -> None:
    calibrated = Calibrated.of(graph, [{PIXELS: row[None]} for row in pixels], tmp_path)
    small = calibrated.quantize(tmp_path / "q.onnx")
    eight = {
        name: values
        for name, values in weights(small).items()
        if values.dtype == np.int8 and values.ndim == 2
    }
    assert eight and all(np.abs(values.astype(int)).max() <= 64 for values in eight.values())
    scales = [
        values for name, values in weights(small).items() if name.endswith("_scale") and values.size > 1
    ]
    assert len(scales) >= len(eight)
    assert (
        operators(small)["Softmax"] == operators(graph)["Softmax"]
        and operators(small)["LayerNormalization"] > 0
    )
    assert {n for n in weights(small) if n.startswith("space.film")} == {
        n for n in weights(graph) if n.startswith("space.film")
    }
    fewer = calibrated.quantize(tmp_path / "f.onnx", left_out=quantize.layers(calibrated.source)[:3])
    assert operators(fewer)["QuantizeLinear"] < operators(small)["QuantizeLinear"]


def test_the_best_calibration_is_picked_and_named(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "CALIBRATED_ON", 24)
    said: list[str] = []
    loose = {
        "int8.cosine": 0.5,
        "int8.overlap": 0.3,
        "int8.precision": 0.5,
        "int8.recall": 1.0,
        "int8.decisions": 0.5,
    }
    bundle = pack.export(
        tiny_run, tmp_path / "b", precision=["int8"], budget=loose, text=False, say=said.append
    )
    tried = {line.split(":")[0].removeprefix("int8 by ") for line in said if line.startswith("int8 by ")}
    assert tried == {"MinMax", "MinMax, smoothed"}
    (row,) = bundle.model.parity
    figures = {}
    for line in said:
        if line.startswith("int8 by "):
            how, cosine, overlap = re.fullmatch(
                r"int8 by (.+): cosine (.+), top-10 overlap (.+)", line
            ).groups()
            figures[how] = (float(overlap), float(cosine))
    picked = next(how for how in sorted(figures, key=len, reverse=True) if row.how.startswith(how))
    assert figures[picked] == max(figures.values())


def test_weights_alone_in_eight_bits(
    tiny_bundle: Path, graph: Path, tmp_path: Path, pixels: np.ndarray
) -> None:
    small = quantize.quantize_weights(graph, tmp_path / "w.onnx")
    assert operators(small)["MatMulNBits"] == len(quantize.layers(graph))
    assert small.stat().st_size < 0.5 * graph.stat().st_size
    whole, found = (encoder(tiny_bundle, path).encode(pixels)[0] for path in (graph, small))
    assert (whole * found).sum(axis=1).min() > 0.999


def convolutional(folder: Path) -> Path:
    """Two convolutions and a projection, as a graph."""
    from onnx import helper

    random = np.random.default_rng(0)
    shapes = {"a": (8, 3, 3, 3), "b": (16, 8, 3, 3), "space.p": (16, 4)}
    values = [
        numpy_helper.from_array(random.normal(0, 1, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["pixels", "a"], ["x"], name="first"),
        helper.make_node("Conv", ["x", "b"], ["y"], name="second"),
        helper.make_node("GlobalAveragePool", ["y"], ["z"]),
        helper.make_node("Flatten", ["z"], ["f"]),
        helper.make_node("MatMul", ["f", "space.p"], ["out"], name="head"),
    ]
    ends = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 16, 16])]
    outs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends, outs, values),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(model, folder / "cnn.onnx")
    return folder / "cnn.onnx"


def test_a_convolutional_tower_stores_its_weights_in_eight_bits(tmp_path: Path) -> None:
    source = convolutional(tmp_path)
    assert quantize.tower_kind(source) == "cnn" and quantize.layers(source) == ["first", "second"]
    small = quantize.quantize_weights(source, tmp_path / "w.onnx")
    feeds = [{"pixels": np.random.default_rng(1).normal(0, 1, (2, 3, 16, 16)).astype(np.float32)}]
    a, b = (quantize._answers(path, "out", feeds) for path in (source, small))
    np.testing.assert_allclose(a, b, rtol=0.05, atol=0.05)
    assert not np.array_equal(a, b)
    with pytest.raises(ParityFailed, match="nothing in this tower could be quantized"):
        quantize.quantize_dynamically(source, tmp_path / "d.onnx")
    assert {p.name for p in tmp_path.iterdir()} == {"cnn.onnx", "w.onnx"}


def test_smoothing_is_the_same_function_with_evener_ranges(tiny_run: Path) -> None:
    from mtclip_edge.train.run import backbone_of, load_run

    tower = backbone_of(load_run(tiny_run)).film_tower
    pixels = torch.rand(4, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    found = smooth_quant.pairs(tower)
    assert len(found) == 2 * len(tower.trunk.blocks)
    with torch.no_grad():
        found[0].norm.weight[3] *= 50  # an outlier channel, as trained transformers have
    even = smooth_quant.smoothed(tower, pixels)
    with torch.inference_mode():
        torch.testing.assert_close(even(pixels), tower(pixels), rtol=1e-3, atol=1e-4)
    before, after = (
        smooth_quant._largest(t, [smooth_quant.pairs(t)[0].norm], pixels)[0] for t in (tower, even)
    )
    assert after.max() / after.median() < 0.5 * before.max() / before.median()
    with torch.no_grad():
        found[0].norm.weight[3] /= 50


def test_a_text_tower_with_residuals_after_the_norm_is_not_smoothed(tiny_run: Path) -> None:
    from mtclip_edge.train.run import backbone_of, load_run

    assert smooth_quant.pairs(backbone_of(load_run(tiny_run)).text_tower) == []


def test_the_default_of_each_kind_is_a_rung_and_every_rung_has_its_place() -> None:
    assert set(ladder.CPU_DEFAULT.values()) <= set(ladder.PRECISIONS)
    for order in ladder.CPU_ORDER.values():
        assert sorted(order) == sorted(ladder.PRECISIONS)
    assert {limits.limits_of(p).cosine for p in ladder.PRECISIONS} == {0.99999, 0.999, 0.98}


def test_an_unknown_budget_is_one_line(tiny_run: Path, tmp_path: Path, mtclip) -> None:
    found = mtclip("export", tiny_run, "--out", tmp_path / "b", "--budget", "overlpa=0.9")
    assert found.code == 2 and found.err.endswith("did you mean overlap?\n")


def test_rows_are_kept_whole(tiny_bundle: Path) -> None:
    (row, _) = json.loads((tiny_bundle / "manifest.json").read_text())["parity"]
    assert set(row) == set(_row().record().to_dict())


def _row() -> limits.Row:
    return limits.Row("film", "fp32", "", 1, 0.0, 1.0, 1.0, 1.0)


def test_wrong_names(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongOption, match="did you mean int8-dynamic"):
        pack.export(tiny_run, tmp_path / "b", precision=["int8-dynamc"])


def test_without_train_films_nothing_can_be_measured(moved_films: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ParityFailed, match="int8: no film of the run's train split can be read to measure ranges on"
    ):
        pack.export(moved_films, tmp_path / "b", precision=["int8"], text=False)
    assert not (tmp_path / "b").exists()


@pytest.fixture
def moved_films(tiny_run: Path, source: Path, tmp_path: Path) -> Path:
    """The run where the films of the train split are gone, and only those."""
    import json
    import shutil

    from mtclip_edge.sources.source import open_source

    folder = tmp_path / "films"
    shutil.copytree(source.parent, folder)
    for study in open_source(str(folder / "manifest.csv")).split("train"):
        for film in study.films:
            film.path.unlink()
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    record = json.loads((run / "run.json").read_text())
    record["data"]["sources"] = [str(folder / "manifest.csv")]
    (run / "run.json").write_text(json.dumps(record))
    return run
