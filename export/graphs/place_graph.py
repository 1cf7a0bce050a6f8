"""The second graph of a bundle: from features of a place, or of many pooled, to their embedding.

The film graph gives the features as a third output, an intermediate that costs nothing where it is not
fetched; this one is the rest of the tower (the last norm and projection, before them the last block of a
transformer that pools its first token), then the projector. It is kept only where features pooled by the
runtime give the film's own embedding.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtclip_edge.bundle.records import PlacesRecord
from mtclip_edge.errors import ParityFailed
from mtclip_edge.evidence.place_graph import PLACE_EMBEDDING, PLACE_FEATURES, Places
from mtclip_edge.inference.device import choose, open_session
from mtclip_edge.inference.encoders import VIEW, FilmEncoder
from mtclip_edge.progress import Say
from mtclip_edge.studies import FRONTAL, LATERAL
from mtclip_edge.train.projector import prefix

from ..parity.limits import limits_of
from .towers import EXAMPLE_BATCH, FilmGraph, export_graph

TRIED_ON = 8  # films


class PlacesGraph(nn.Module):
    """float32 [rows, channels] to unit vectors [rows, dim]: what a film would be of which these features
    are all; of a space trained with lateral films with the film's view, int64 [1], besides.
    """

    def __init__(self, graph: FilmGraph):
        super().__init__()
        assert graph.halves is not None
        self.tower, self.space, self.dim, self._halves = graph.tower, graph.space, graph.dim, graph.halves

    def forward(self, features: Tensor, view: Tensor | None = None) -> Tensor:
        return prefix(self.space.embed_films(self._halves.each(features), view), self.dim)


def export_places(
    graph: FilmGraph, films: FilmEncoder, pictures: Sequence[np.ndarray], target: Path, say: Say
) -> PlacesRecord | None:
    """Write the graph and give the manifest's ``explain`` entry; None, with a line, for a tower that cannot
    be split.

    ``films`` is the fp32 encoder, ``pictures`` grey films to try both on. Errors: ParityFailed.
    """
    if graph.halves is None:
        say("no maps (query --explain): this film tower pools in a way that cannot be taken apart")
        return None
    rows = torch.rand(EXAMPLE_BATCH, graph.halves.channels, generator=torch.Generator().manual_seed(0))
    example, inputs = [rows], [PLACE_FEATURES]
    shapes: list[dict[int, Any]] = [{0: torch.export.Dim("rows", min=1, max=65536)}]
    if graph.space.shape.views:
        example, inputs, shapes = [rows, torch.ones(1, dtype=torch.int64)], [*inputs, VIEW], [*shapes, {}]
    export_graph(PlacesGraph(graph), tuple(example), inputs, [PLACE_EMBEDDING], tuple(shapes), target)
    record = graph.halves.record(target.name)
    _prove(films, Places.of(open_session(target, choose("cpu"))[0], record), pictures[:TRIED_ON], target.name)
    return record


def _prove(films: FilmEncoder, places: Places, pictures: Sequence[np.ndarray], name: str) -> None:
    """A film's features, pooled, must give what the film graph gives. Errors: ParityFailed."""
    most = limits_of("fp32").max_abs or 0.0
    for grey in pictures:
        pixels = films.prepare(grey)
        features = films.features(pixels)
        far = max(
            float(
                np.abs(
                    replace(places, view=view).whole(features)
                    - films.encode(pixels[None], [view or FRONTAL])[0][0]
                ).max()
            )
            for view in ((FRONTAL, LATERAL) if films.takes_views else (None,))
        )
        if not far <= most:
            raise ParityFailed(
                f"{name}: a film's places, pooled, give {far:.1e} beside its embedding",
                f"expected at most {most:.0e}",
            )
