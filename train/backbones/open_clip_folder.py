"""Loads open_clip's own layout: ``open_clip_config.json``, weights, ``tokenizer.json``, a text tower's
``config.json``.

open_clip by itself would ask the hub for that last file (of Hugging Face's text towers) unless
``hf_model_name`` points at a folder; here it does. It serves every kind that open_clip builds: timm ViT +
BERT (BiomedCLIP), CLIP's own, SigLIP, CNN + sentence encoder (compact).
"""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.files import sha256
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.tokenizer import Tokenizer

from .folder import Parts, as_safetensors, find_weights, read_json, shaped, special_id
from .tokenizer_cleaning import cleaning

CONFIG = "open_clip_config.json"
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
# Text towers whose configuration is transformers' default BertConfig, so that BiomedCLIP's folder loads as it
# is published.
_PLAIN_BERT = (
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract",
)


def load(path: Path, named: str | None = None) -> Parts:
    """``named``: the file of weights, where it has another name than usual. Errors: BackboneUnusable."""
    config = read_config(path)
    weights = find_weights(path, WEIGHT_FILES, named)
    digest = sha256(weights)
    model = _build(config["model_cfg"], path, as_safetensors(weights, digest))
    tokenizer_file = _tokenizer_file(path, config, model)
    tokenizer = _tokenizer(path, tokenizer_file, config, model)
    named = config["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    given = config["preprocess_cfg"]
    return Parts(
        # What CLIP's own and BERT towers pad with follows from the rest.
        config={**config, "tokenizer": tokenizer.settings()} if named and _own_kind(model) else config,
        weights_sha256=digest,
        film_tower=model.visual,
        text_tower=model.text,
        preprocessing=preprocessing(path, config),
        own_geometry={"shortest": "crop"}.get(mode := given.get("resize_mode") or "shortest", mode),
        tokenizer=tokenizer,
        tokenizer_file=tokenizer_file,
        logit_scale=float(model.logit_scale.detach().exp()),
        notes=()
        if given.get("mean") and given.get("std")
        else ("preprocess_cfg has no mean or std: CLIP's are taken, as open_clip does",),
    )


def read_config(path: Path) -> dict[str, Any]:
    """``model_cfg`` and ``preprocess_cfg``, each a JSON object with what is needed.

    Errors: BackboneUnusable.
    """
    file = path / CONFIG
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        config = {"model_cfg": content["model_cfg"], "preprocess_cfg": content.get("preprocess_cfg", {})}
        parts = (
            config["preprocess_cfg"],
            *(config["model_cfg"][name] for name in ("vision_cfg", "text_cfg")),
        )
    except FileNotFoundError:
        raise BackboneUnusable(f"{path}: no {CONFIG}, so not an open_clip model") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        parts = (None,)
    if not all(isinstance(part, dict) for part in parts):
        raise BackboneUnusable(f"{file}: not an open_clip configuration (no model_cfg)")
    return config


def _build(model_cfg: dict[str, Any], path: Path, weights: Path) -> Any:
    import open_clip

    with tempfile.TemporaryDirectory() as scratch, quiet():
        name = "mtclip-edge-backbone"
        local = with_local_text_config(model_cfg, path, Path(scratch))
        (Path(scratch) / f"{name}.json").write_text(json.dumps(local))
        open_clip.add_model_config(Path(scratch) / f"{name}.json")
        try:
            model = open_clip.create_model(
                name,
                pretrained=str(weights),
                force_custom_text=True,
                pretrained_text=False,
                require_pretrained=True,
            )
        except (RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
            raise BackboneUnusable(
                f"{path}: open_clip cannot build this model", " ".join(str(error).split())[:300]
            ) from None
    # CoCa's towers give the tokens for its captions besides, which nobody asks for here.
    for tower in (model.visual, model.text):
        if hasattr(tower, "output_tokens"):
            tower.output_tokens = False
    return model.eval().requires_grad_(False)


def with_local_text_config(model_cfg: dict[str, Any], path: Path, scratch: Path) -> dict[str, Any]:
    """The same configuration with ``hf_model_name`` pointing at ``scratch``, where the text tower's own
    is written.
    """
    text = model_cfg["text_cfg"]
    name = text.get("hf_model_name")
    if not name:
        return model_cfg
    if (path / "config.json").is_file():
        bert = read_json(path / "config.json")
        bert.pop("auto_map", None)  # code that a hub would bring along: never run
        (scratch / "config.json").write_text(json.dumps(bert))
    else:
        if name not in _PLAIN_BERT:
            raise BackboneUnusable(
                f"{path}: the text tower's config.json is missing",
                f"open_clip_config.json names {name}, which only a hub could resolve",
                "put that model's config.json into the folder",
            )
        from transformers import BertConfig

        BertConfig().to_json_file(scratch / "config.json", use_diff=False)
    return {
        **model_cfg,
        "text_cfg": {**text, "hf_model_name": str(scratch), "hf_tokenizer_name": str(scratch)},
    }


def preprocessing(path: Path, config: dict[str, Any]) -> Preprocessing:
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    given = config["preprocess_cfg"]
    size = _side(config["model_cfg"]["vision_cfg"].get("image_size", 224))
    if (named := _side(given.get("size") or size)) != size:
        raise BackboneUnusable(
            f"{path / CONFIG}: two sizes of a film", f"preprocess_cfg has {named}, vision_cfg {size}"
        )
    mean, std = given.get("mean") or OPENAI_DATASET_MEAN, given.get("std") or OPENAI_DATASET_STD
    return shaped(path / CONFIG, size, mean, std, given.get("interpolation") or "bicubic")


def _side(size: Any) -> int:
    return size if isinstance(size, int) else size[-1]


def _own_kind(model: Any) -> bool:
    """A text tower of open_clip's own making, which reads rows of its full length, and not one of
    transformers'.
    """
    return not hasattr(model.text, "config")


def _tokenizer_file(path: Path, config: dict[str, Any], model: Any) -> Path:
    """The folder's own tokenizer, cleaning as the model's own does; a tower of CLIP's own kind that names
    none means CLIP's.
    """
    file, text = path / "tokenizer.json", config["model_cfg"]["text_cfg"]
    named = text.get("hf_tokenizer_name")
    keywords = {
        **(text.get("tokenizer_kwargs") or {}),
        **({"tokenizer_mode": mode} if (mode := text.get("tokenizer_mode")) else {}),
    }
    # A BERT's normalizer has its own cleaning; CLIP's tokenizer.json, as we write it, too.
    clean = keywords.pop("clean", "whitespace" if named and _own_kind(model) else None)
    if keywords:
        raise BackboneUnusable(f"{path / CONFIG}: a tokenizer with {', '.join(keywords)} cannot be done here")
    if not file.is_file():
        if not _own_kind(model) or named:
            raise BackboneUnusable(
                f"{path}: no tokenizer.json", hint="save the tower's tokenizer into that folder"
            )
        from .clip_tokenizer import clip_tokenizer

        file = clip_tokenizer()
    return cleaning(file, clean) if clean else file


def _tokenizer(path: Path, file: Path, config: dict[str, Any], model: Any) -> Tokenizer:
    limit = config["model_cfg"]["text_cfg"].get("context_length") or model.context_length
    limit = min(limit, model.context_length or limit)
    if not _own_kind(model):
        return Tokenizer.load(file, limit, model.text.config.pad_token_id)
    # Without a padding mask the tower reads the padding too (SigLIP pools at the last place), so its id is
    # the tokenizer's.
    named = config["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
    pad_id = special_id(path, file, "pad_token") if named else model.text.pad_id
    if pad_id is None:
        raise BackboneUnusable(
            f"{path}: the tokenizer names no padding", "expected pad_token in tokenizer_config.json"
        )
    return Tokenizer.load(file, limit, pad_id, fixed_length=True)


@contextmanager
def quiet() -> Iterator[None]:
    """open_clip logs its every step to the root logger."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)
