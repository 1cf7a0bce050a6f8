"""Smaller graphs from the fp32 one.

fp16w: weights stored in half precision and cast back to fp32 when the graph is loaded, so every operator still computes in fp32. Half the
size and, for weights of ordinary size, nearly exact; no faster. Values beyond half precision's range would become infinite: refused.
"""

from pathlib import Path

import numpy as np

from mtclip_edge.durable import replace_with
from mtclip_edge.errors import ParityFailed

_SMALLEST = 256  # elements; below that a Cast node costs more bytes than it saves
_LARGEST = 65504.0  # of half precision


def store_weights_in_fp16(source: Path, target: Path) -> Path:
    """Write the fp16w form of a graph. Errors: ParityFailed where a weight does not fit into half precision."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(source)
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < _SMALLEST:
            continue
        if np.abs(values).max() > _LARGEST:
            raise ParityFailed(f"{target.name}: weight {weight.name} does not fit into half precision")
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
        casts.append(helper.make_node("Cast", [f"{name}_fp16"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return replace_with(target, lambda file: onnx.save_model(model, str(file)))
