"""The trainable part: one MLP for each tower into the shared space, and the abnormal head.

Where the backbone's towers share a space and the width is kept, a projector is residual and its last layer starts at zero: step 0 is
the backbone itself. Where they do not, it is a plain two-layer MLP.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ProjectorShape:
    """Widths of the two towers, the hidden layer and the shared space, and whether the projectors are residual."""

    film_width: int
    text_width: int
    hidden: int
    dim: int
    residual: bool
    dropout: float
    prefixes: tuple[int, ...] = ()  # widths below ``dim`` whose first numbers are trained to serve alone

    @property
    def all_dims(self) -> tuple[int, ...]:
        return (*self.prefixes, self.dim)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "prefixes": list(self.prefixes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ProjectorShape":
        return cls(**{**values, "prefixes": tuple(values["prefixes"])})


class Projector(nn.Module):
    """LayerNorm, Linear, GELU, Dropout, Linear: [batch, width] to [batch, dim], not normalised."""

    def __init__(self, width: int, shape: ProjectorShape):
        super().__init__()
        self.residual = shape.residual
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, shape.hidden)
        self.dropout = nn.Dropout(shape.dropout)
        self.out = nn.Linear(shape.hidden, shape.dim)
        if self.residual:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor) -> Tensor:
        change = self.out(self.dropout(F.gelu(self.hidden(self.norm(features)))))
        return features + change if self.residual else change


class SharedSpace(nn.Module):
    """Both projectors, the abnormal head and the CLIP loss's learnable temperature."""

    def __init__(self, shape: ProjectorShape, logit_scale: float):
        super().__init__()
        self.shape = shape
        self.film = Projector(shape.film_width, shape)
        self.text = Projector(shape.text_width, shape)
        self.abnormal = nn.Linear(shape.dim, 1)
        self.log_scale = nn.Parameter(torch.tensor(float(logit_scale)).log())

    def embed_films(self, features: Tensor) -> Tensor:
        """Film tower outputs to unit vectors [films, dim]."""
        return F.normalize(self.film(features), dim=-1)

    def embed_texts(self, features: Tensor) -> Tensor:
        """Text tower outputs to unit vectors [texts, dim]."""
        return F.normalize(self.text(features), dim=-1)

    def abnormal_logit(self, embedding: Tensor) -> Tensor:
        """Unit film embeddings to logits [films]. Scaled to unit variance, so that the head learns at the projectors' rate."""
        return self.abnormal(embedding * self.shape.dim**0.5).squeeze(-1)

    @property
    def scale(self) -> Tensor:
        """The inverse temperature, at most 100 as in CLIP."""
        return self.log_scale.exp().clamp(max=100.0)
