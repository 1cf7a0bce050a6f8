"""Makes smaller and faster graphs from the fp32 one: every rung of the ladder but static int8, which needs
films (``static.py``).

Each function writes ``target`` whole or not at all. What the projector, the head and the L2 norm compute
stays in float everywhere: they cost next to nothing and decide the neighbours.
"""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mtclip_edge.errors import ParityFailed
from mtclip_edge.files import replace_with
from mtclip_edge.inference.device import choose, open_session
from mtclip_edge.progress import Progress, silent

_SMALLEST = 256  # elements; below that a Cast node costs more bytes than it saves
_LARGEST = 65504.0  # of half precision
BLOCK = 64  # inputs that share a scale in weight-only quantization
HEAD = (
    "space.",
    "tower.head.",
    "tower.proj",
    "tower.visual.proj",
)  # weights of these names belong to the head
_GEMM_SPLIT = "_MatMul"  # onnxruntime's dynamic quantizer first splits a Gemm, and names the product so
WITH_WEIGHTS = {
    "cnn": ("Conv",),
    "transformer": ("MatMul", "Gemm"),
    "words": ("MatMul", "Gemm"),
}  # the operators to quantize that have weights
Feed = dict[str, np.ndarray]  # one input of a graph, by name


def tower_kind(graph: Path) -> str:
    """``cnn``, ``transformer`` or ``words`` (a lexical text side alone), by the operators."""
    import onnx

    operators = [node.op_type for node in onnx.load(graph, load_external_data=False).graph.node]
    if operators.count("Conv") > 1:
        return "cnn"
    return "words" if "Softmax" not in operators and "Log" in operators else "transformer"


def store_weights_in_fp16(source: Path, target: Path) -> Path:
    """Weights stored in half precision and cast back to fp32 when the graph is loaded, so every operator
    still computes in fp32.

    Half the size and, for weights of ordinary size, nearly exact; no faster. Errors: ParityFailed where a
    weight does not fit.
    """

    def half(weight: Any, values: np.ndarray) -> list[Any]:
        from onnx import TensorProto, helper, numpy_helper

        if np.abs(values).max() > _LARGEST:
            raise ParityFailed(f"{target.name}: weight {weight.name} does not fit into half precision")
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
        return [helper.make_node("Cast", [f"{name}_fp16"], [name], name=f"{name}_cast", to=TensorProto.FLOAT)]

    return _rewritten(source, target, half, lambda values: values.size >= _SMALLEST)


def store_convolutions_in_int8(source: Path, target: Path) -> Path:
    """Weights of convolutions as 8-bit integers with a scale for each output channel, multiplied out when
    the graph is loaded.
    """

    def eight(weight: Any, values: np.ndarray) -> list[Any]:
        from onnx import TensorProto, helper, numpy_helper

        scale = np.maximum(np.abs(values).max(axis=(1, 2, 3), keepdims=True), 1e-12).astype(np.float32) / 127
        name, whole = weight.name, np.rint(values / scale).astype(np.int8)
        scales = numpy_helper.from_array(scale, f"{name}_scale")
        weight.CopyFrom(numpy_helper.from_array(whole, f"{name}_int8"))
        cast = helper.make_node(
            "Cast", [f"{name}_int8"], [f"{name}_cast"], name=f"{name}_cast", to=TensorProto.FLOAT
        )
        return [
            scales,
            cast,
            helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name], name=f"{name}_mul"),
        ]

    return _rewritten(source, target, eight, lambda values: values.ndim == 4 and values.size >= _SMALLEST)


def convert_to_fp16(source: Path, target: Path) -> Path:
    """Half precision throughout for CUDA and TensorRT; LayerNorm, Softmax and the L2 norm in fp32, inputs
    and outputs too.
    """
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.load(source)
    kept = [*DEFAULT_OP_BLOCK_LIST, "LayerNormalization", "Softmax", "ReduceL2"]
    with quietly():
        model = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=kept, node_block_list=_norm_nodes(model)
        )
        OnnxModel.graph_topological_sort(model.graph)  # it puts its casts at the end
    del model.graph.value_info[:]  # and leaves the types of before
    return _save(model, target)


def quantize_dynamically(
    source: Path, target: Path, left_out: Sequence[str] = (), only: Sequence[str] | None = None
) -> Path:
    """Products with constant weights in 8 bits, the activations' scale taken as they come: the runtime must
    feed rows one by one.

    Weights have 7 bits, one scale a channel: sums of two products then fit into 16 bits, so a processor
    without VNNI does not saturate and every machine finds the same neighbours. ``left_out`` names layers that
    stay in float. Errors: ParityFailed for a graph without such products.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def work(file: Path) -> None:
        with quietly(), TemporaryDirectory() as scratch:
            # onnxruntime writes a graph of its own beside the one it reads, and that may be a bundle which
            # others are reading.
            quantize_dynamic(
                shutil.copyfile(source, Path(scratch) / source.name),
                file,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=None
                if only is None
                else [f"{name}{suffix}" for name in only for suffix in ("", _GEMM_SPLIT)],
                nodes_to_exclude=[
                    f"{name}{suffix}"
                    for name in (*head_nodes(source), *left_out)
                    for suffix in ("", _GEMM_SPLIT)
                ],
                extra_options={"MatMulConstBOnly": True},
            )
        require(file, "MatMulInteger", target)

    return replace_with(target, work)


def quantize_weights(source: Path, target: Path) -> Path:
    """Weights of 8 bits in blocks with a scale each, multiplied out at run time: smaller, not faster.

    A transformer's products become MatMulNBits; a convolutional tower's weights are stored per output
    channel. Errors: ParityFailed where there is nothing to quantize.
    """
    if tower_kind(source) == "cnn":
        return store_convolutions_in_int8(source, target)
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    def work(file: Path) -> None:
        with quietly():
            quantizer = MatMulNBitsQuantizer(
                onnx.load(source),
                bits=8,
                block_size=BLOCK,
                is_symmetric=True,
                # activations stay in float; 4 rounds them too, and is wrong with large ones (onnxruntime
                # issue 29849)
                accuracy_level=0,
                nodes_to_exclude=head_nodes(source),
            )
            quantizer.process()
        onnx.save_model(quantizer.model.model, str(file))
        require(file, "MatMulNBits", target)

    return replace_with(target, work)


def head_nodes(graph: Path) -> list[str]:
    """The nodes that use a weight of the head: projector, axes, abnormal head."""
    import onnx

    return [
        node.name
        for node in onnx.load(graph, load_external_data=False).graph.node
        if any(n.startswith(HEAD) for n in node.input)
    ]


def layers(graph: Path) -> list[str]:
    """The layers with weights that can be quantized, by the names of their nodes, in order; not those of
    the head.
    """
    import onnx

    content = onnx.load(graph, load_external_data=False).graph
    constant = {weight.name for weight in content.initializer}
    head, wanted = set(head_nodes(graph)), WITH_WEIGHTS[tower_kind(graph)]
    return [
        n.name
        for n in content.node
        if n.op_type in wanted and n.name not in head and constant & set(n.input[1:2])
    ]


def by_harm(
    source: Path,
    make: Callable[[Path, Sequence[str]], Path],
    output: str,
    feeds: Sequence[Feed],
    scratch: Path,
    progress: Progress = silent,
) -> list[str]:
    """The layers of a graph, the one first that turns its ``output`` (unit vectors) farthest when it alone is
    quantized.

    ``make`` writes the graph with only the layers named quantized.
    """
    expected = _answers(source, output, feeds)
    harm: dict[str, float] = {}
    every = layers(source)
    for layer in every:
        progress("layers quantized alone", len(harm), len(every))
        answers = _answers(make(scratch / "one.onnx", [layer]), output, feeds)
        harm[layer] = 1 - float((expected * answers).sum(axis=1).mean())
    if every:
        progress("layers quantized alone", len(every), len(every))
    return sorted(harm, key=lambda layer: -harm[layer])


def require(graph: Path, operator: str, target: Path) -> None:
    """Errors: ParityFailed for a graph in which nothing was quantized."""
    import onnx

    if not any(node.op_type == operator for node in onnx.load(graph, load_external_data=False).graph.node):
        raise ParityFailed(
            f"{target.name}: nothing in this tower could be quantized", f"no {operator} in the result"
        )


def _answers(graph: Path, output: str, feeds: Sequence[Feed]) -> np.ndarray:
    session, _ = open_session(graph, choose("cpu"))
    return np.concatenate([session.run([output], feed)[0] for feed in feeds])


def _norm_nodes(model: Any) -> list[str]:
    """What follows ReduceL2 up to the division: the norm of the embedding."""
    names: list[str] = []
    reach = {output for node in model.graph.node if node.op_type == "ReduceL2" for output in node.output}
    for node in model.graph.node:
        if reach & set(node.input):
            names.append(node.name)
            if node.op_type != "Div":
                reach |= set(node.output)
    return names


def _rewritten(
    source: Path,
    target: Path,
    replace: Callable[[Any, np.ndarray], list[Any]],
    chosen: Callable[[np.ndarray], bool],
) -> Path:
    """Every fp32 weight that is chosen put in another form, with the nodes (and initializers) that
    restore it.
    """
    import onnx
    from onnx import NodeProto, TensorProto, numpy_helper

    model = onnx.load(source)
    added = []
    for weight in list(model.graph.initializer):
        values = numpy_helper.to_array(weight)
        if weight.data_type == TensorProto.FLOAT and chosen(values):
            added += replace(weight, values)
    nodes = [*(item for item in added if isinstance(item, NodeProto)), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(item for item in added if not isinstance(item, NodeProto))
    return _save(model, target)


def _save(model: Any, target: Path) -> Path:
    import onnx

    onnx.checker.check_model(model, full_check=True)
    return replace_with(target, lambda file: onnx.save_model(model, str(file)))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """onnxruntime's quantizers log a line for each node, and print."""
    import io
    import warnings

    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
