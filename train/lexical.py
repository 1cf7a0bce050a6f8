"""Reads a report by its word pieces alone, without a transformer: the lexical text side.

A text is its counts of pieces, 1 + log, times the pieces' idf over the train reports, as a vector of length 1
in the space of pieces, and of that its coordinates along the train reports' first singular vectors (latent
semantic analysis; Deerwester et al. 1990). Everything is taken from token ids, so the same arithmetic stands
in the graph: a row of a table for each id.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtclip_edge.errors import ArtefactDamaged, SourceUnusable
from mtclip_edge.files import sha256
from mtclip_edge.inference.tokenizer import Tokenizer, pack_pieces

from .backbones.backbone import Backbone
from .tensor_files import load_tensors, save_tensors

WIDTH = 256
MOST_PIECES = (
    8192  # those of the most reports: with 256 numbers each 8.4 MB, so that the tower stays below 10
)
_ROUNDS, _SPARE = 12, 64  # of the subspace iteration
_SMALLEST = 1e-6  # of the first singular value: directions below are rounding
_TEXTS = 64  # at a time


class WordTower(nn.Module):
    """int64 [texts, length] to float32 [texts, width], of length at most 1; 0 for a text of unknown pieces.

    ``row`` int16 [vocabulary] is a piece's row in ``idf`` float32 [rows] and ``table`` float32 [rows, width],
    the idf times its place along the axes. Row 0 is zero: padding, the tokenizer's own signs, unseen pieces.
    """

    row: Tensor
    idf: Tensor
    table: Tensor

    def __init__(self, row: Tensor, idf: Tensor, table: Tensor):
        super().__init__()
        self.register_buffer("row", row.to(torch.int16))  # of MOST_PIECES; a quarter of the bytes of int64
        self.register_buffer("idf", idf)
        self.register_buffer("table", table)

    @property
    def width(self) -> int:
        return self.table.shape[1]

    def forward(self, token_ids: Tensor) -> Tensor:
        rows = F.embedding(token_ids, self.row[:, None]).squeeze(-1).long()
        held = (rows > 0).float()
        # How often the piece at each place occurs in its text; 1 where there is none, so that its log is 0.
        same = (rows[:, :, None] == rows[:, None, :]).float()
        count = same.sum(dim=2) * held + (1 - held)
        weight = held * (1 + count.log())  # of the piece, told once at each of its places: so a share of it
        share = weight / count
        square = (share * weight * F.embedding(rows, self.idf[:, None]).squeeze(-1) ** 2).sum(dim=1)
        # Any piece alone has a weight and an idf of 1 or more.
        whole = torch.matmul(share[:, None, :], F.embedding(rows, self.table)).squeeze(1)
        return whole / square.clamp(min=1).sqrt()[:, None]

    def known_pieces(self) -> np.ndarray:
        """Which ids of the vocabulary have a row, bool [vocabulary]."""
        return (self.row > 0).cpu().numpy()


class TowerAndWords(nn.Module):
    """A text tower's output with the words' behind it: int64 [texts, length] to float32 [texts, widths]."""

    def __init__(self, tower: nn.Module, words: WordTower):
        super().__init__()
        self.tower, self.words = tower, words

    def forward(self, token_ids: Tensor) -> Tensor:
        return torch.cat([self.tower(token_ids), self.words(token_ids)], dim=1)


def fit_words(tokenizer: Tokenizer, texts: Sequence[str], width: int = WIDTH) -> WordTower:
    """The lexical tower of some reports, those of the train split only; the same on every run.

    Narrower than ``width`` where there are fewer reports or pieces. Errors: SourceUnusable without any piece.
    """
    reports, ids, count = _counts(tokenizer, texts)
    if not len(ids):
        raise SourceUnusable(
            "the lexical text side: no report of the train split has a word",
            "it is fitted on them",
            "train with --text-side transformer, or give reports",
        )
    frequency = np.bincount(ids, minlength=tokenizer.vocabulary)
    kept = np.sort(np.argsort(-frequency, kind="stable")[: min(MOST_PIECES, int((frequency > 0).sum()))])
    row = np.zeros(tokenizer.vocabulary, np.int64)
    row[kept] = 1 + np.arange(len(kept))
    idf = np.log((1 + len(texts)) / (1 + frequency[kept])) + 1
    some = row[ids] > 0
    place = (reports[some], row[ids[some]] - 1)
    value = (1 + np.log(count[some])) * idf[place[1]]
    length = np.sqrt(np.bincount(place[0], value**2, minlength=len(texts)))
    axes = _axes(place, value / length[place[0]], (len(texts), len(kept)), width)
    table = torch.zeros(1 + len(kept), axes.shape[1])
    table[1:] = torch.from_numpy(idf[:, None] * axes).float()
    return WordTower(torch.from_numpy(row), torch.from_numpy(np.append(0, idf)).float(), table)


def _counts(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Report, piece and count of each piece that a report holds, int64 each."""
    left_out = np.array(sorted(tokenizer.special_ids), np.int64)
    parts = []
    for number, text in enumerate(texts):
        ids, count = np.unique(tokenizer([text])[0], return_counts=True)
        held = ~np.isin(ids, left_out)
        parts.append(np.stack([np.full(int(held.sum()), number), ids[held], count[held]]))
    together = np.concatenate(parts, axis=1) if parts else np.zeros((3, 0), np.int64)
    return together[0], together[1], together[2]


def _axes(
    place: tuple[np.ndarray, np.ndarray], value: np.ndarray, shape: tuple[int, int], width: int
) -> np.ndarray:
    """The first right singular vectors of a sparse matrix, float64 [columns, at most width], by subspace
    iteration (Halko et al.

    2011) from drawn directions of a fixed seed; the largest number of each is positive.
    """
    width = min(width, *shape)
    at = torch.from_numpy(np.stack(place))
    matrix = torch.sparse_coo_tensor(at, torch.from_numpy(value), shape, check_invariants=True).coalesce()
    across = matrix.t().coalesce()
    drawn = torch.Generator().manual_seed(0)
    basis = torch.randn(
        shape[1], min(width + _SPARE, *shape), generator=drawn, dtype=torch.float64, device="cpu"
    )
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(torch.sparse.mm(across, torch.sparse.mm(matrix, basis)))[0]
    _, sizes, turned = torch.linalg.svd(torch.sparse.mm(matrix, basis), full_matrices=False)
    some = sizes[:width] > _SMALLEST * sizes[0]
    axes = (basis @ turned.T)[:, :width][:, some].numpy()
    return axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])


def with_words(backbone: Backbone, words: WordTower, side: str, digest: str | None = None) -> Backbone:
    """The backbone whose text side is the words alone (``lexical``) or its own tower and the words
    (``both``).

    ``digest``: SHA-256 of the file that the words stand in, once they do.
    """
    words = words.eval()
    if side == "both":
        tower = TowerAndWords(backbone.text_tower, words).eval()
        return replace(
            backbone, text_tower=tower, words_width=words.width, text_side=side, words_sha256=digest
        )
    tokenizer = replace(backbone.tokenizer, pieces=pack_pieces(words.known_pieces()))
    return replace(
        backbone,
        text_tower=words,
        text_width=words.width,
        text_side=side,
        words_sha256=digest,
        tokenizer=tokenizer,
    )


def words_of(backbone: Backbone) -> WordTower | None:
    """The lexical side of a backbone, None without one."""
    tower = backbone.text_tower
    words = tower.words if isinstance(tower, TowerAndWords) else tower
    return words if isinstance(words, WordTower) else None


def save_words(path: Path, words: WordTower) -> str:
    """Write the words' file; gives its SHA-256."""
    save_tensors(path, words.state_dict(), {})
    return sha256(path)


def load_words(path: Path) -> WordTower:
    """Errors: ArtefactDamaged."""
    tensors, _ = load_tensors(path)
    try:
        words = WordTower(tensors["row"], tensors["idf"], tensors["table"])
        fits = words.table.shape[:1] == words.idf.shape and int(words.row.max()) < len(words.idf)
    except (KeyError, RuntimeError, IndexError):
        fits = False
    if not fits:
        raise ArtefactDamaged(f"{path}: not the word pieces of a run")
    return words.eval().requires_grad_(False)
