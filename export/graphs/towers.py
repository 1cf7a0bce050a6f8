"""Exports tower + projector + L2 norm as one ONNX graph each: opset 20, one file, dynamic batch, text with
dynamic length.

Traces and local paths are stripped, so that a graph tells nothing of the machine that made it and the same
run gives the same bytes.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtclip_edge.errors import ExtraMissing, ParityFailed
from mtclip_edge.files import replace_with
from mtclip_edge.inference.encoders import (
    ABNORMAL_LOGIT,
    FEATURE_MAP,
    FILM_EMBEDDING,
    PIXELS,
    TEXT_EMBEDDING,
    TOKEN_IDS,
    VIEW,
)
from mtclip_edge.installation import install_command
from mtclip_edge.train.backbones.backbone import Backbone
from mtclip_edge.train.backbones.split import split
from mtclip_edge.train.lexical import TowerAndWords
from mtclip_edge.train.projector import SharedSpace, prefix

OPSET = 20
# Two or more: torch.export takes a dimension of 1 for a constant. Unlike each other and any width, for the
# same reason.
EXAMPLE_BATCH, EXAMPLE_LENGTH = 3, 13


class FilmGraph(nn.Module):
    """float32 [batch, 3, size, size] to unit vectors [batch, dim] and abnormal logits [batch], which the
    whole embedding gives; of a space trained with lateral films from views int64 [batch] besides.

    Third, where the tower can be split (``halves``): its features by place, as they are before it pools, or
    before the last block of a transformer that pools its first token.
    """

    def __init__(self, backbone: Backbone, space: SharedSpace, dim: int):
        super().__init__()
        self.tower, self.space, self.dim = backbone.film_tower, space, dim
        self.halves = split(backbone.film_tower, backbone.preprocessing.size)
        self.last = self.halves.last if self.halves else None

    def forward(self, pixels: Tensor, view: Tensor | None = None) -> tuple[Tensor, ...]:
        if self.halves is None:
            return self._embedded(self.tower(pixels), view)
        features = self.halves.features(pixels)
        return *self._embedded(self.halves.finish(features), view), features

    def _embedded(self, features: Tensor, view: Tensor | None) -> tuple[Tensor, Tensor]:
        embedding = self.space.embed_films(features, view)
        return prefix(embedding, self.dim), self.space.abnormal_logit(embedding)


class TextGraph(nn.Module):
    """int64 [batch, length] to unit vectors [batch, dim]."""

    def __init__(self, backbone: Backbone, space: SharedSpace, dim: int):
        super().__init__()
        both = backbone.text_tower
        # Taken apart, so that the tower's weights are called the same with words beside it.
        self.tower: nn.Module = both.tower if isinstance(both, TowerAndWords) else both
        self.words: nn.Module | None = both.words if isinstance(both, TowerAndWords) else None
        self.space, self.dim = space, dim

    def forward(self, token_ids: Tensor) -> Tensor:
        features = self.tower(token_ids)
        if self.words is not None:
            features = torch.cat([features, self.words(token_ids)], dim=1)
        return prefix(self.space.embed_texts(features), self.dim)


def export_film_tower(graph: FilmGraph, size: int, target: Path) -> Path:
    example = [torch.rand(EXAMPLE_BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))]
    inputs, batch = [PIXELS], {0: torch.export.Dim("batch", min=1, max=1024)}
    if graph.space.shape.views:
        example.append(torch.arange(EXAMPLE_BATCH) % 2)
        inputs.append(VIEW)
    with torch.no_grad():
        outputs = [FILM_EMBEDDING, ABNORMAL_LOGIT, FEATURE_MAP][: len(graph(*example))]
    return export_graph(graph, tuple(example), inputs, outputs, tuple([batch] * len(example)), target)


def export_text_tower(graph: TextGraph, backbone: Backbone, target: Path) -> Path:
    tokenizer = backbone.tokenizer
    ids = tokenizer(["No pleural effusion or pneumothorax is seen in this film."] * EXAMPLE_BATCH)
    shape: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=1024)}
    if not tokenizer.fixed_length:
        # Every row ends in padding or is cut to it, so that the mask is part of what is traced.
        ids = np.pad(
            ids, ((0, 0), (0, max(0, EXAMPLE_LENGTH - ids.shape[1]))), constant_values=tokenizer.pad_id
        )[:, :EXAMPLE_LENGTH]
        shape[1] = torch.export.Dim("length", min=2, max=tokenizer.context_length)
    shapes = (shape,)
    with _eager_attention(graph.tower):
        return export_graph(graph, (torch.from_numpy(ids),), [TOKEN_IDS], [TEXT_EMBEDDING], shapes, target)


def export_graph(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    shapes: Any,
    target: Path,
) -> Path:
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch.onnx needs it and says so only half-way through
    except ImportError as error:
        raise ExtraMissing(f"{error.name} is not installed", hint=install_command("export")) from None
    with _silence(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            example,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    for value in model.graph.input[:1]:  # a map's view is of one film, whatever its rows
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise ParityFailed(f"{target.name}: the export froze the batch size of {value.name}")
    onnx.checker.check_model(model, full_check=True)
    return replace_with(target, lambda file: onnx.save_model(model, str(file)))


def _strip(model: Any) -> None:
    """Remove documentation strings and metadata: the exporter writes Python traces with local paths into
    them.
    """
    model.doc_string = ""
    del model.metadata_props[:]
    graphs = [model.graph]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        _strip_nodes(function.node, graphs)
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        del graph.metadata_props[:]
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.doc_string = ""
            del value.metadata_props[:]
        _strip_nodes(graph.node, graphs)


def _strip_nodes(nodes: Any, graphs: list[Any]) -> None:
    for node in nodes:
        node.doc_string = ""
        del node.metadata_props[:]
        graphs.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))


@contextlib.contextmanager
def _eager_attention(tower: nn.Module) -> Iterator[None]:
    """transformers builds a fused attention's mask by code that torch.export cannot follow; the eager
    form is plain arithmetic.
    """
    config = getattr(getattr(tower, "transformer", None), "config", None)
    previous = getattr(config, "_attn_implementation", None)
    if config is None or previous is None:
        yield
        return
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = previous


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter prints its progress on stdout, where our data goes, and warns about its own internals."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink), warnings.catch_warnings():  # noqa: PTH123
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
