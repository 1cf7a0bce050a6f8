"""Loads Hugging Face's layout of CLIP and SigLIP: ``config.json``, the image processor's JSON, weights,
tokenizer files.

PubMedCLIP, the CheXagent encoders and MedSigLIP are published so. transformers builds the towers; it gets the
weights as tensors, so it reads nothing but this folder and runs no code of it. Sizes, mean, token limit and
pooling come from the folder's own files.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.files import sha256
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.tokenizer import Tokenizer

from .folder import Parts, as_safetensors, find_weights, made_once, read_json, shaped, special_id
from .open_clip_folder import quiet
from .tokenizer_cleaning import cleaning

CONFIG = "config.json"
# The second in place of the first since transformers 5, with the image processor as a part of it.
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
KINDS = ("clip", "siglip")
_RESAMPLE = {2: "bilinear", 3: "bicubic"}  # PIL's numbers


class HuggingFaceTower(nn.Module):
    """One encoder with its projection, if it has one outside: pixels or token ids to features float32
    [batch, width].
    """

    def __init__(self, encoder: nn.Module, projection: nn.Module | None, takes: str):
        super().__init__()
        self.encoder, self.projection, self._takes = encoder, projection, takes

    def forward(self, values: Tensor) -> Tensor:
        # No attention mask: CLIP is causal and pools at the end of its text; SigLIP was trained with its
        # padding seen.
        pooled = self.encoder(**{self._takes: values}).pooler_output
        return self.projection(pooled) if self.projection is not None else pooled


def load(path: Path, named: str | None = None) -> Parts:
    """``named``: the file of weights, where it has another name than usual. Errors: BackboneUnusable."""
    config = read_json(path / CONFIG)
    file = image_processor(path) or path / PREPROCESSORS[0]
    how = _how(file)
    kind = check_kind(path, config)
    weights = find_weights(path, WEIGHT_FILES, named)
    digest = sha256(weights)
    model = _build(path, kind, as_safetensors(weights, digest))
    shape = _preprocessing(file, how, model.config.vision_config.image_size)
    tokenizer_file = _tokenizer_file(path)
    tokenizer = _tokenizer(path, tokenizer_file, model.config.text_config.max_position_embeddings)
    return Parts(
        config={"config": config, "preprocessor": how, "tokenizer": tokenizer.settings()},
        weights_sha256=digest,
        film_tower=HuggingFaceTower(
            model.vision_model, getattr(model, "visual_projection", None), "pixel_values"
        ),
        text_tower=HuggingFaceTower(model.text_model, getattr(model, "text_projection", None), "input_ids"),
        preprocessing=shape,
        own_geometry="crop" if kind == "clip" and how.get("do_center_crop", True) else "squash",
        tokenizer=tokenizer,
        tokenizer_file=tokenizer_file,
        logit_scale=float(model.logit_scale.detach().exp()),
    )


def image_processor(path: Path) -> Path | None:
    """The file that says how images are made ready, as only this layout has it."""
    return next((path / name for name in PREPROCESSORS if (path / name).is_file()), None)


def _how(file: Path) -> dict[str, Any]:
    """Errors: BackboneUnusable."""
    how = read_json(file)
    how = how if file.name == PREPROCESSORS[0] else how.get("image_processor", {})
    if not isinstance(how, dict):
        raise BackboneUnusable(f"{file}: image_processor is not a JSON object")
    return how


def check_kind(path: Path, config: dict[str, Any]) -> str:
    """``clip`` or ``siglip``. Errors: BackboneUnusable."""
    kind = str(config.get("model_type"))
    if kind not in KINDS:
        raise BackboneUnusable(
            f"{path / CONFIG}: model_type {kind!r} is not supported",
            f"expected {' or '.join(KINDS)}"
            + (" (siglip2 of one fixed size is siglip; this one takes patches)" if kind == "siglip2" else ""),
        )
    return kind


def _build(path: Path, kind: str, weights: Path) -> Any:
    from safetensors.torch import load_file
    from transformers import CLIPModel, SiglipModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    # The classes by name, not by what the folder names: a folder's own code has no say.
    model_class: Any = {"clip": CLIPModel, "siglip": SiglipModel}[kind]
    try:
        with quiet():
            model, loading = model_class.from_pretrained(
                None,
                config=model_class.config_class.from_pretrained(path, local_files_only=True),
                state_dict=load_file(weights),
                output_loading_info=True,
                dtype=torch.float32,
                # the fused form's mask is built by code that torch.export cannot follow
                attn_implementation="eager",
            )
    except (RuntimeError, KeyError, TypeError, ValueError, OSError) as error:
        raise BackboneUnusable(
            f"{path}: transformers cannot build this model", " ".join(str(error).split())[:300]
        ) from None
    # transformers would draw what is missing at random and only warn.
    if wrong := [*loading["missing_keys"], *(key for key, *_ in loading.get("mismatched_keys", ()))]:
        raise BackboneUnusable(
            f"{path}: the weights are another model's",
            f"{len(wrong)} tensors are missing or of another shape, {min(wrong)} first",
        )
    return model.eval().requires_grad_(False)


def _preprocessing(file: Path, how: dict[str, Any], size: int) -> Preprocessing:
    if missing := [name for name in ("image_mean", "image_std", "size", "resample") if how.get(name) is None]:
        raise BackboneUnusable(f"{file}: no {missing[0]}, and none is guessed")
    if (
        not how.get("do_resize", True)
        or not how.get("do_rescale", True)
        or abs(how.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3
    ):
        raise BackboneUnusable(
            f"{file}: films that are not resized, or not scaled to 0..1, cannot be done here"
        )
    crops = how.get("do_center_crop") and how.get("crop_size")
    if (named := _side(how["crop_size"] if crops else how["size"])) != size:
        raise BackboneUnusable(f"{file}: films of {named} pixels", f"{CONFIG} says {size}")
    if how["resample"] not in _RESAMPLE:
        raise BackboneUnusable(
            f"{file}: resample {how['resample']} is not known", "expected 2 (bilinear) or 3 (bicubic)"
        )
    mean, std = (
        (how["image_mean"], how["image_std"]) if how.get("do_normalize", True) else ([0.0] * 3, [1.0] * 3)
    )
    return shaped(file, size, mean, std, _RESAMPLE[how["resample"]])


def _side(size: Any) -> int | None:
    """224, {"shortest_edge": 224} or {"height": 224, "width": 224}; None for a film that is not square."""
    if isinstance(size, dict):
        sides = {size[name] for name in ("shortest_edge", "height", "width") if name in size}
        return sides.pop() if len(sides) == 1 else None
    return size


def _tokenizer_file(path: Path) -> Path:
    """``tokenizer.json``, or the same from CLIP's ``vocab.json`` and ``merges.txt``; cleaning as its
    class does in Python.
    """
    file = path / "tokenizer.json"
    if not file.is_file():
        parts = [path / "vocab.json", path / "merges.txt"]
        if not all(part.is_file() for part in parts):
            raise BackboneUnusable(
                f"{path}: no tokenizer.json",
                "nor vocab.json with merges.txt",
                "save the tower's tokenizer into that folder",
            )
        file = made_once(
            "vocabulary", b"".join(part.read_bytes() for part in parts), lambda: _from_vocabulary(path)
        )
    named = read_json(path / "tokenizer_config.json") if (path / "tokenizer_config.json").is_file() else {}
    kind = str(named.get("tokenizer_class", "")).removesuffix("Fast")
    if named.get("padding_side", "left" if kind == "Siglip2Tokenizer" else "right") != "right":
        raise BackboneUnusable(f"{path}: its tokenizer pads on the left, which cannot be done here")
    if kind == "SiglipTokenizer":
        if named.get("do_lower_case") is False:
            raise BackboneUnusable(f"{path}: a SigLIP tokenizer that keeps capitals cannot be done here")
        return cleaning(file, "canonicalize", underscore="")
    return cleaning(file, "lower") if kind == "Siglip2Tokenizer" else file


def _from_vocabulary(path: Path) -> str:
    from transformers import CLIPTokenizerFast  # type: ignore[attr-defined]

    return CLIPTokenizerFast.from_pretrained(path, local_files_only=True).backend_tokenizer.to_str()


def _tokenizer(path: Path, file: Path, limit: int) -> Tokenizer:
    pad_id = special_id(path, file, "pad_token")
    if pad_id is None:
        raise BackboneUnusable(
            f"{path}: the tokenizer names no padding", "expected pad_token in tokenizer_config.json"
        )
    return Tokenizer.load(file, limit, pad_id, fixed_length=True)
