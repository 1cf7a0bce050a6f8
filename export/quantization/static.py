"""Makes static int8 graphs: ranges of activations measured beforehand on films of the train split, weights of
7 bits.

Ranges go from the smallest to the largest value; each channel's weights have a scale. 7 bits, because sums of
two products then fit into 16: a processor without VNNI does not saturate and every machine finds the same
neighbours. The patch convolution of a transformer, Softmax, norms and the head stay in float.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mtclip_edge.files import replace_with

from .quantize import Feed, head_nodes, quietly, require, tower_kind

OPERATORS = {"cnn": ("Conv", "Add", "Clip"), "transformer": ("MatMul", "Gemm"), "words": ("MatMul", "Gemm")}


@dataclass(frozen=True)
class Calibrated:
    """A graph with the ranges of its activations, ready to be quantized with some layers left out."""

    source: Path
    ranges: Path
    kind: str
    feeds: Sequence[Feed]

    @classmethod
    def of(cls, graph: Path, feeds: Sequence[Feed], scratch: Path) -> "Calibrated":
        """Prepare a graph for quantization in the folder ``scratch``; ranges are measured at the first
        use.
        """
        from onnxruntime.quantization.shape_inference import quant_pre_process

        source = scratch / f"{graph.stem}.prepared.onnx"
        if not source.exists():
            with quietly():
                quant_pre_process(str(graph), str(source), skip_symbolic_shape=True)
        return cls(source, scratch / f"{graph.stem}.ranges.json", tower_kind(source), feeds)

    def quantize(self, target: Path, left_out: Sequence[str] = (), only: Sequence[str] | None = None) -> Path:
        """Write the int8 graph; ``left_out`` names layers that stay in float.

        Errors: ParityFailed where nothing is left to quantize.
        """
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        def work(file: Path) -> None:
            with quietly():
                quantize_static(
                    str(self.source),
                    str(file),
                    _Reader(self.feeds),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(OPERATORS[self.kind]),
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.MinMax,
                    nodes_to_quantize=None if only is None else list(only),
                    nodes_to_exclude=[*head_nodes(self.source), *left_out],
                    extra_options={"MatMulConstBOnly": True},
                    calibration_cache_path=self.ranges,
                )
            require(file, "QuantizeLinear", target)

        return replace_with(target, work)


class _Reader:
    """Feeds one by one, as onnxruntime's calibrators ask for them."""

    def __init__(self, feeds: Sequence[Feed]):
        self._rest: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._rest, None)
