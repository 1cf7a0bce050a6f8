"""Holds the trainable part: one MLP for each tower into the shared space, and the abnormal head.

Where the backbone's towers share a space and the width is kept, a projector is residual and its last layer
starts at zero: step 0 is the backbone itself. Where they do not, it is a plain two-layer MLP.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ProjectorShape:
    """Widths of the two towers, the hidden layer and the shared space, and whether the projectors are
    residual.
    """

    film_width: int
    text_width: int
    hidden: int
    dim: int
    residual: bool
    dropout: float
    words_width: int = 0  # numbers of a lexical side that stand behind the text tower's own
    views: bool = False  # whether a learned vector tells lateral films from all others

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Widths to judge embeddings at that are cut to their first numbers: 64, 128, 256 …"""
        return tuple(64 << i for i in range(10) if 64 << i < self.dim)

    def to_dict(self) -> dict[str, Any]:
        """As in ``run.json``; runs without a lexical branch, or without views, are told as before there were
        any.
        """
        return {k: v for k, v in asdict(self).items() if v or k not in ("words_width", "views")}


class Projector(nn.Module):
    """LayerNorm, Linear, GELU, Dropout, Linear: [batch, width] to [batch, dim], not normalised."""

    def __init__(self, width: int, shape: ProjectorShape, branch: bool = False, views: bool = False):
        """``branch``: starts at zero and hands nothing of its input on: step 0 is what it is added to.

        ``views``: a vector is added to the hidden layer of lateral films; it starts at zero.
        """
        super().__init__()
        self.residual = shape.residual and not branch
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, shape.hidden)
        self.dropout = nn.Dropout(shape.dropout)
        self.out = nn.Linear(shape.hidden, shape.dim)
        self.lateral = nn.Parameter(torch.zeros(shape.hidden)) if views else None
        if self.residual or branch:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor, view: Tensor | None = None) -> Tensor:
        """``view`` int64 [batch], 0 frontal, 1 lateral; None: all are frontal."""
        hidden = self.hidden(self.norm(features))
        if self.lateral is not None and view is not None:
            hidden = hidden + view[:, None].to(hidden.dtype) * self.lateral
        change = self.out(self.dropout(F.gelu(hidden)))
        return features + change if self.residual else change


class SharedSpace(nn.Module):
    """Both projectors, the abnormal head and the CLIP loss's learnable temperature.

    ``axes`` float32 [dim, dim] turns all embeddings alike, which changes no cosine; the identity while
    training.
    """

    axes: Tensor

    def __init__(self, shape: ProjectorShape, logit_scale: float):
        super().__init__()
        self.shape = shape
        self.film = Projector(shape.film_width, shape, views=shape.views)
        self.text = Projector(shape.text_width, shape)
        self.abnormal = nn.Linear(shape.dim, 1)
        self.register_buffer("axes", torch.eye(shape.dim))
        self.log_scale = nn.Parameter(torch.tensor(float(logit_scale)).log())
        # Drawn last, so that a seed gives the rest the same weights with and without it.
        self.words = Projector(shape.words_width, shape, branch=True) if shape.words_width else None

    def embed_films(self, features: Tensor, view: Tensor | None = None) -> Tensor:
        """Film tower outputs to unit vectors [films, dim]; ``view`` int64 [films], 0 frontal, 1 lateral, has
        no effect where no view was trained.
        """
        return F.normalize(self.film(features, view), dim=-1) @ self.axes

    def embed_texts(self, features: Tensor) -> Tensor:
        """Text tower outputs, and the lexical side's numbers behind them where there is one, to unit vectors
        [texts, dim].
        """
        if self.words is None:
            return F.normalize(self.text(features), dim=-1) @ self.axes
        own, words = features.split([self.shape.text_width, self.shape.words_width], dim=-1)
        return F.normalize(self.text(own) + self.words(words), dim=-1) @ self.axes

    def abnormal_logit(self, embedding: Tensor) -> Tensor:
        """Unit film embeddings to logits [films].

        Scaled to unit variance, so that the head learns at the projectors' rate.
        """
        return self.abnormal(embedding * self.shape.dim**0.5).squeeze(-1)

    def turn(self, embedding: Tensor) -> None:
        """Turn the space so that its first numbers tell most of some embeddings, float32 [rows, dim], and the
        last ones least.

        The axes are the eigenvectors of their second moments (no centring: it is cosines that count). An
        embedding cut to its first N numbers then loses as little as any N directions can; whole, it is as it
        was, and so is the head.
        """
        _, vectors = torch.linalg.eigh(embedding.double().T @ embedding.double())
        axes = vectors.flip(dims=[1])
        axes = (
            axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
        ).float()  # one sign on every machine
        with torch.no_grad():
            self.axes.copy_(self.axes @ axes)
            self.abnormal.weight.copy_(self.abnormal.weight @ axes)

    @property
    def scale(self) -> Tensor:
        """The inverse temperature, at most 100 as in CLIP."""
        return self.log_scale.exp().clamp(max=100.0)


def prefix(embedding: Tensor, dim: int) -> Tensor:
    """The first ``dim`` numbers of unit vectors [batch, width] as unit vectors."""
    return embedding if dim == embedding.shape[-1] else F.normalize(embedding[:, :dim], dim=-1)
