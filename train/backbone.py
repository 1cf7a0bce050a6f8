"""An open_clip model as two towers, a tokenizer and preprocessing, from a local directory and without a network.

A directory holds ``open_clip_config.json``, weights (safetensors, or the published torch pickle, which is read once with
``weights_only=True`` and converted), ``tokenizer.json`` (towers of CLIP's own kind may lack it) and, for a BERT tower, its
``config.json``. open_clip by itself would ask the hub for that last file unless ``hf_model_name`` points at a folder; here it does.
"""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtclip_edge.durable import private_dir, replace_with, sha256
from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.paths import data_dir, user_path
from mtclip_edge.preprocess import Preprocessing
from mtclip_edge.tokens import Tokenizer

CPU = torch.device("cpu")
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
# Text towers whose configuration is transformers' default BertConfig, so that BiomedCLIP's folder loads as it is published.
_PLAIN_BERT = ("microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract")


@dataclass(frozen=True)
class Backbone:
    """Two towers in ``eval`` mode on the CPU, fp32, without gradients.

    ``identity`` is the SHA-256 of configuration, weights and tokenizer: features and runs are tied to it. ``logit_scale`` is the learned
    inverse temperature (not its logarithm).
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

    @property
    def aligned(self) -> bool:
        """Whether the towers share a space already. open_clip's own models do; towers of two widths cannot."""
        return self.film_width == self.text_width


def load_backbone(spec: str) -> Backbone:
    """``compact`` or a directory. Errors: BackboneUnusable, ExtraMissing."""
    path = _directory(spec)
    config = _config(path)
    weights = _weights(path)
    digest = sha256(weights)
    card = _card(path, digest)
    model = _build(config["model_cfg"], path, _as_safetensors(weights, digest))
    tokenizer_file = _tokenizer_file(path, config, model)
    tokenizer = _tokenizer(tokenizer_file, config, model)
    film_width, text_width = _widths(model, _preprocessing(config), tokenizer)
    return Backbone(
        name=card.get("name") or path.name,
        path=path,
        identity=sha256_of(json.dumps([config, digest, sha256(tokenizer_file)], sort_keys=True).encode()).hexdigest(),
        weights_sha256=digest,
        licence=card.get("licence"),
        film_tower=model.visual,
        text_tower=model.text,
        film_width=film_width,
        text_width=text_width,
        preprocessing=_preprocessing(config),
        tokenizer=tokenizer,
        tokenizer_file=tokenizer_file,
        logit_scale=float(model.logit_scale.detach().exp()),
    )


def _directory(spec: str) -> Path:
    if spec == "compact":
        from .compact import assemble

        return assemble()
    path = user_path(spec)
    if not path.is_dir():
        raise BackboneUnusable(
            f"backbone {spec!r} is not known",
            "expected 'compact' or a directory with open_clip_config.json",
        )
    return path.resolve()


def _config(path: Path) -> dict[str, Any]:
    file = path / "open_clip_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return {"model_cfg": config["model_cfg"], "preprocess_cfg": config.get("preprocess_cfg", {})}
    except FileNotFoundError:
        raise BackboneUnusable(f"{path}: no open_clip_config.json, so not an open_clip model") from None
    except (ValueError, KeyError, TypeError):
        raise BackboneUnusable(f"{file}: not an open_clip configuration (no model_cfg)") from None


def _weights(path: Path) -> Path:
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    raise BackboneUnusable(f"{path}: no weights", f"expected one of {', '.join(WEIGHT_FILES)}")


def _card(path: Path, digest: str) -> dict[str, Any]:
    """``backbone.json``, where the directory was made by this tool: name, licence and the hash its weights must have."""
    file = path / "backbone.json"
    card = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if card.get("weights_sha256", digest) != digest:
        raise BackboneUnusable(
            f"{path}: the weights are damaged",
            f"expected SHA-256 {card['weights_sha256'][:16]}…, found {digest[:16]}…",
            "delete that folder; it is made again on the next run",
        )
    return card


def _as_safetensors(weights: Path, digest: str) -> Path:
    """Published pickles are read once, with ``weights_only=True``, and kept as safetensors under their hash."""
    if weights.suffix == ".safetensors":
        return weights
    converted = private_dir(data_dir() / "converted") / f"{digest}.safetensors"
    if not converted.is_file():
        from open_clip.factory import load_state_dict
        from safetensors.torch import save_file

        try:
            tensors = load_state_dict(str(weights), weights_only=True)
        except Exception as error:  # pickle, zip and torch each raise their own classes on damaged or hostile bytes
            raise BackboneUnusable(f"{weights}: not a plain weights file ({type(error).__name__})", hint="nothing was loaded") from None
        replace_with(converted, lambda file: save_file({k: v.clone().contiguous() for k, v in tensors.items()}, file))
    return converted


def _build(model_cfg: dict[str, Any], path: Path, weights: Path) -> Any:
    import open_clip

    with tempfile.TemporaryDirectory() as scratch, _quiet():
        name = "mtclip-edge-backbone"
        local = _with_local_text_config(model_cfg, path, Path(scratch))
        (Path(scratch) / f"{name}.json").write_text(json.dumps(local))
        open_clip.add_model_config(Path(scratch) / f"{name}.json")
        try:
            model = open_clip.create_model(
                name, pretrained=str(weights), force_custom_text=True, pretrained_text=False, require_pretrained=True
            )
        except (RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
            raise BackboneUnusable(f"{path}: open_clip cannot build this model", " ".join(str(error).split())[:300]) from None
    return model.eval().requires_grad_(False)


def _with_local_text_config(model_cfg: dict[str, Any], path: Path, scratch: Path) -> dict[str, Any]:
    """The same configuration with ``hf_model_name`` pointing at a folder on this machine."""
    text = model_cfg["text_cfg"]
    name = text.get("hf_model_name")
    if not name:
        return model_cfg
    folder = path
    if not (path / "config.json").is_file():
        if name not in _PLAIN_BERT:
            raise BackboneUnusable(
                f"{path}: the text tower's config.json is missing",
                f"open_clip_config.json names {name}, which only a hub could resolve",
                "put that model's config.json into the folder",
            )
        from transformers import BertConfig

        folder = scratch
        BertConfig().to_json_file(scratch / "config.json", use_diff=False)
    return {**model_cfg, "text_cfg": {**text, "hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}}


def _preprocessing(config: dict[str, Any]) -> Preprocessing:
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    given = config["preprocess_cfg"]
    size = config["model_cfg"]["vision_cfg"].get("image_size", 224)
    return Preprocessing(
        size=size if isinstance(size, int) else size[0],
        mean=tuple(given.get("mean") or OPENAI_DATASET_MEAN),
        std=tuple(given.get("std") or OPENAI_DATASET_STD),
        interpolation=given.get("interpolation") or "bicubic",
    )


def _tokenizer_file(path: Path, config: dict[str, Any], model: Any) -> Path:
    """The folder's own tokenizer; a text tower of CLIP's own kind that names none means CLIP's."""
    file = path / "tokenizer.json"
    if file.is_file():
        return file
    if hasattr(model.text, "config") or config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"):
        raise BackboneUnusable(f"{path}: no tokenizer.json", hint="save the tower's tokenizer into that folder")
    from .clip_tokenizer import clip_tokenizer

    return clip_tokenizer()


def _tokenizer(file: Path, config: dict[str, Any], model: Any) -> Tokenizer:
    own_kind = not hasattr(model.text, "config")
    pad_id = model.text.pad_id if own_kind else model.text.config.pad_token_id
    limit = config["model_cfg"]["text_cfg"].get("context_length") or model.context_length
    return Tokenizer.load(file, min(limit, model.context_length or limit), pad_id, fixed_length=own_kind)


@torch.inference_mode()
def _widths(model: Any, preprocessing: Preprocessing, tokenizer: Tokenizer) -> tuple[int, int]:
    pixels = torch.zeros(1, 3, preprocessing.size, preprocessing.size)
    return model.visual(pixels).shape[1], text_features(model.text, tokenizer, ["normal"]).shape[1]


def text_features(tower: nn.Module, tokenizer: Tokenizer, texts: list[str], device: torch.device = CPU) -> Tensor:
    """Tower outputs of texts, before any projector and normalisation, float32 [texts, width]."""
    return tower(torch.from_numpy(tokenizer(texts)).to(device))


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs its every step to the root logger."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)
