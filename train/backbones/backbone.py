"""Loads a backbone as two towers, a tokenizer and preprocessing, from a local directory and without a network.

Two layouts: open_clip's (``open_clip_folder``) and Hugging Face's CLIP and SigLIP (``hugging_face``). A folder that ``mtclip pull`` or this
tool made has a ``backbone.json`` besides: name, licence, the hash of every file, and golden embeddings. What it states is checked here.
"""

import json
from dataclasses import dataclass
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.files import sha256
from mtclip_edge.folders import user_path
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.tokenizer import Tokenizer

from . import golden, hugging_face_folder, open_clip_folder
from .folder import Parts, check_vocabulary, read_json
from .licence import Licence, of_card

CPU = torch.device("cpu")
CARD = "backbone.json"


@dataclass(frozen=True)
class Backbone:
    """Two towers in ``eval`` mode on the CPU, fp32, without gradients.

    ``identity`` is the SHA-256 of configuration, weights and tokenizer: features and runs are tied to it. ``logit_scale`` is the learned
    inverse temperature (not its logarithm). ``own_geometry`` is how its publisher squares a film; ``notes`` is what a person should know.
    """

    name: str
    path: Path
    identity: str
    weights_sha256: str
    licence: str | None
    film_tower: nn.Module
    text_tower: nn.Module
    film_width: int
    text_width: int
    preprocessing: Preprocessing
    tokenizer: Tokenizer
    tokenizer_file: Path
    logit_scale: float
    terms: str | None = None
    own_geometry: str = "crop"
    notes: tuple[str, ...] = ()

    @property
    def aligned(self) -> bool:
        """Whether the towers share a space already. open_clip's own models do; towers of two widths cannot."""
        return self.film_width == self.text_width


def load_backbone(spec: str) -> Backbone:
    """``compact`` or a directory. Errors: BackboneUnusable, ExtraMissing."""
    path = _directory(spec)
    card = read_json(path / CARD) if (path / CARD).is_file() else {}
    _check_files(path, card)
    parts = _parts(path)
    _check_weights(path, card, parts.weights_sha256)
    check_vocabulary(path, parts.tokenizer, parts.text_tower)
    film_width, text_width = _widths(parts)
    licence = Licence(card.get("licence"), card.get("terms")) if card else of_card(path / "README.md")
    return Backbone(
        name=card.get("name") or path.name,
        path=path,
        identity=sha256_of(
            json.dumps([parts.config, parts.weights_sha256, sha256(parts.tokenizer_file)], sort_keys=True).encode()
        ).hexdigest(),
        weights_sha256=parts.weights_sha256,
        licence=licence.name,
        film_tower=parts.film_tower,
        text_tower=parts.text_tower,
        film_width=film_width,
        text_width=text_width,
        preprocessing=parts.preprocessing,
        tokenizer=parts.tokenizer,
        tokenizer_file=parts.tokenizer_file,
        logit_scale=parts.logit_scale,
        terms=licence.terms,
        own_geometry=parts.own_geometry,
        notes=(*parts.notes, *_check_golden(path, card, parts)),
    )


def _directory(spec: str) -> Path:
    if spec == "compact":
        from .compact import assemble

        return assemble()
    path = user_path(spec)
    if not path.is_dir():
        raise BackboneUnusable(
            f"backbone {spec!r} is not known",
            f"expected 'compact' or a directory with {open_clip_folder.CONFIG}, or {hugging_face_folder.CONFIG} of a CLIP or SigLIP",
            "mtclip pull NAME --out DIR makes one on a machine with a network",
        )
    return path.resolve()


def _parts(path: Path) -> Parts:
    if (path / open_clip_folder.CONFIG).is_file() or not (path / hugging_face_folder.PREPROCESSOR).is_file():
        return open_clip_folder.load(path)
    return hugging_face_folder.load(path)


def _check_files(path: Path, card: dict[str, Any]) -> None:
    """Every file that ``mtclip pull`` stored is as it stored it. Errors: BackboneUnusable."""
    for name, expected in card.get("files", {}).items():
        if expected == card.get("weights_sha256") and (path / name).is_file():
            continue  # hashed where they are read
        found = sha256(path / name) if (path / name).is_file() else "missing"
        if found != expected:
            raise BackboneUnusable(
                f"{path}: {name} is damaged or changed",
                f"expected SHA-256 {expected[:16]}…, found {found[:16]}",
                "pull it again, or delete backbone.json if the change is meant",
            )


def _check_weights(path: Path, card: dict[str, Any], digest: str) -> None:
    if card.get("weights_sha256", digest) != digest:
        raise BackboneUnusable(
            f"{path}: the weights are damaged",
            f"expected SHA-256 {card['weights_sha256'][:16]}…, found {digest[:16]}…",
            "pull it again" if "files" in card else "delete that folder; it is made again on the next run",
        )


def _check_golden(path: Path, card: dict[str, Any], parts: Parts) -> tuple[str, ...]:
    """Compare with what the towers gave when the folder was pulled; a note where there is nothing to compare with."""
    if "golden" not in card:
        # The folder that compact is assembled in holds what its packages' hashes, and numbers in our code, say.
        return () if card else (f"{path.name}: no golden embeddings (mtclip pull stores them): its preprocessing is taken on trust",)
    found = golden.embed(path, parts.film_tower, parts.text_tower, parts.preprocessing, parts.tokenizer)
    golden.compare(path, found, card["golden"])
    return ()


@torch.inference_mode()
def _widths(parts: Parts) -> tuple[int, int]:
    pixels = torch.zeros(1, 3, parts.preprocessing.size, parts.preprocessing.size)
    return parts.film_tower(pixels).shape[1], text_features(parts.text_tower, parts.tokenizer, ["normal"]).shape[1]


def text_features(tower: nn.Module, tokenizer: Tokenizer, texts: list[str], device: torch.device = CPU) -> Tensor:
    """Tower outputs of texts, before any projector and normalisation, float32 [texts, width]."""
    return tower(torch.from_numpy(tokenizer(texts)).to(device))
