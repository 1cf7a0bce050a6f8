"""Loads a backbone as two towers, a tokenizer and preprocessing, from a local directory and without a
network.

Three layouts: open_clip's (``open_clip_folder``), Hugging Face's CLIP and SigLIP
(``hugging_face_folder``), and a film tower without a text tower (``film_tower_folder``). A folder that
``mtclip pull`` or this tool made has a ``backbone.json`` besides: name, licence, the hash of every file, and
golden embeddings. What it states is checked here.
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

from . import film_tower_folder, golden, hugging_face_folder, open_clip_folder
from .folder import WEIGHT_SUFFIXES, NoTextTower, Parts, check_vocabulary, read_json
from .licence import Licence, of_card

CPU = torch.device("cpu")
CARD = "backbone.json"


@dataclass(frozen=True)
class Backbone:
    """Two towers in ``eval`` mode on the CPU, fp32, without gradients.

    ``identity`` is the SHA-256 of configuration, weights and tokenizer: features and runs are tied to it.
    ``logit_scale`` is the learned inverse temperature (not its logarithm). ``spec`` is what loads it again.
    Without a text tower ``text_tower`` is a ``NoTextTower`` and ``text_width`` 0, until a lexical side stands
    there.
    ``own_geometry`` is how its publisher squares a film; ``notes`` is what a person should know.
    ``text_side``: transformer, lexical or both; ``words_width`` numbers of the lexical side then stand behind
    the ``text_width`` of the tower's own, and ``words_sha256`` is the hash of a run's file of it.
    ``pool``: whole, or halves where the film tower pools left and right apart.
    """

    name: str
    path: Path
    spec: str
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
    text_side: str = "transformer"
    words_width: int = 0
    words_sha256: str | None = None
    pool: str = "whole"

    @property
    def reads_text(self) -> bool:
        """Whether it has a text side: a film tower alone has none until it gets a lexical one."""
        return not isinstance(self.text_tower, NoTextTower)

    @property
    def aligned(self) -> bool:
        """Whether the towers share a space already. open_clip's own models do; towers of two widths
        cannot.
        """
        return self.film_width == self.text_width and self.text_side != "lexical"


def load_backbone(spec: str) -> Backbone:
    """``compact``, a directory (a hub's cache folder too), or a file of weights in one.

    Errors: BackboneUnusable, ExtraMissing.
    """
    path, named = _folder(spec)
    card = read_json(path / CARD) if (path / CARD).is_file() else {}
    _check_files(path, card)
    parts = _parts(path, named)
    _check_weights(path, card, parts.weights_sha256)
    check_vocabulary(path, parts.tokenizer, parts.text_tower)
    film_width, text_width = _widths(parts)
    licence = Licence(card.get("licence"), card.get("terms")) if card else of_card(path / "README.md")
    return Backbone(
        name=card.get("name") or _name(path),
        path=path,
        spec=str(path / named) if named else str(path),
        identity=sha256_of(
            json.dumps(
                [parts.config, parts.weights_sha256, sha256(parts.tokenizer_file)], sort_keys=True
            ).encode()
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


def _folder(spec: str) -> tuple[Path, str | None]:
    """The folder that is meant, and the file of weights in it where it was named.

    Errors: BackboneUnusable, ExtraMissing.
    """
    if spec == "compact":
        from .compact import assemble

        return assemble(), None
    path = user_path(spec)
    if path.is_file() and path.suffix in WEIGHT_SUFFIXES:
        return path.resolve().parent, path.name
    if not path.is_dir():
        raise BackboneUnusable(
            f"backbone {spec!r} is not known",
            (
                f"expected 'compact' or a directory with {open_clip_folder.CONFIG}, "
                f"{film_tower_folder.CONFIG}, or {hugging_face_folder.CONFIG} of a CLIP or SigLIP"
            ),
            "mtclip pull NAME --out DIR makes one on a machine with a network",
        )
    return _snapshot(path.resolve()), None


def _snapshot(path: Path) -> Path:
    """Of a hub's cache folder the revision that ``main`` names, or the only one; any other folder is itself.

    Errors: BackboneUnusable.
    """
    snapshots = path / "snapshots"
    if not path.name.startswith("models--") or not snapshots.is_dir():
        return path
    main = path / "refs" / "main"
    revision = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    held = sorted(folder.name for folder in snapshots.iterdir() if folder.is_dir())
    if revision in held:
        return snapshots / revision
    if len(held) != 1:
        raise BackboneUnusable(
            f"{path}: {len(held)} snapshots, and refs/main names none of them",
            hint=f"name one: {snapshots}/…",
        )
    return snapshots / held[0]


def _name(path: Path) -> str:
    """The folder's name; of a hub's snapshot, which is called by its revision, the model's."""
    in_cache = path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--")
    return path.parent.parent.name.rpartition("--")[2] if in_cache else path.name


def _parts(path: Path, named: str | None) -> Parts:
    if (path / film_tower_folder.CONFIG).is_file():
        return film_tower_folder.load(path, named)
    if (path / open_clip_folder.CONFIG).is_file() or not hugging_face_folder.image_processor(path):
        return open_clip_folder.load(path, named)
    return hugging_face_folder.load(path, named)


def _check_files(path: Path, card: dict[str, Any]) -> None:
    """Every file that ``mtclip pull`` stored is as it stored it. Errors: BackboneUnusable."""
    for name, expected in card.get("files", {}).items():
        if expected == card.get("weights_sha256") and (path / name).is_file():
            continue  # hashed where they are read
        digest = sha256(path / name) if (path / name).is_file() else "missing"
        if digest != expected:
            raise BackboneUnusable(
                f"{path}: {name} is damaged or changed",
                f"expected SHA-256 {expected[:16]}…, found {digest[:16]}",
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
    """Compare with what the towers gave when the folder was pulled; a note where there is nothing to
    compare with.
    """
    if "golden" not in card:
        # The folder that compact is assembled in holds what its packages' hashes, and numbers in our code,
        # say.
        return (
            ()
            if card
            else (
                (
                    f"{path.name}: no golden embeddings (mtclip pull stores them): its preprocessing is "
                    "taken on trust"
                ),
            )
        )
    embedded = golden.embed(path, parts.film_tower, parts.text_tower, parts.preprocessing, parts.tokenizer)
    golden.compare(path, embedded, card["golden"])
    return ()


@torch.inference_mode()
def _widths(parts: Parts) -> tuple[int, int]:
    pixels = torch.zeros(1, 3, parts.preprocessing.size, parts.preprocessing.size)
    film_width = parts.film_tower(pixels).shape[1]
    if isinstance(parts.text_tower, NoTextTower):
        return film_width, 0
    return film_width, text_features(parts.text_tower, parts.tokenizer, ["normal"]).shape[1]


def text_features(
    tower: nn.Module, tokenizer: Tokenizer, texts: list[str], device: torch.device = CPU
) -> Tensor:
    """Tower outputs of texts, before any projector and normalisation, float32 [texts, width]."""
    return tower(torch.from_numpy(tokenizer(texts)).to(device))
