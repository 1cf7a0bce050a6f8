"""Loads a film tower that has no text tower: ``film_tower.json``, weights under timm's names, a
``tokenizer.json`` for the lexical text side.

The word pieces are those of compact's text tower, so that two lexical runs, of compact and of such a tower,
read reports alike and differ by their film towers alone.
"""

import importlib.metadata
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.files import sha256
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.tokenizer import Tokenizer

from . import compact, eva_x
from .folder import NoTextTower, Parts, copied, find_weights, read_json, shaped, special_id

CONFIG = "film_tower.json"
WEIGHTS = "film_tower.safetensors"
CONTEXT_LENGTH = 256  # tokens of a report, as compact reads
LOGIT_SCALE = 1 / 0.07  # where CLIP's loss starts; nobody has learned one
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
TOKENIZER_LICENCE = "Apache-2.0 (tokenizer of all-MiniLM-L6-v2)"


class TrunkTower(nn.Module):
    """A timm trunk as open_clip holds one: pixels float32 [batch, 3, size, size] to features float32 [batch,
    width].
    """

    def __init__(self, trunk: nn.Module):
        super().__init__()
        self.trunk, self.head = trunk, nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.trunk(pixels))


def load(path: Path, named: str | None = None) -> Parts:
    """``named``: the file of weights, where it has another name than usual. Errors: BackboneUnusable."""
    config = read_json(path / CONFIG)
    weights = find_weights(path, (WEIGHTS,), named)
    tokenizer_file = path / _TOKENIZER_FILES[0]
    if not tokenizer_file.is_file():
        raise BackboneUnusable(f"{path}: no tokenizer.json", hint="pull it again")
    tokenizer = Tokenizer.load(
        tokenizer_file, CONTEXT_LENGTH, special_id(path, tokenizer_file, "pad_token") or 0
    )
    return Parts(
        config={"film_tower": config, "tokenizer": tokenizer.settings()},
        weights_sha256=sha256(weights),
        film_tower=_tower(path, config, weights),
        text_tower=NoTextTower(),
        preprocessing=_preprocessing(path, config),
        own_geometry=str(config["preprocess"].get("geometry", "crop")),
        tokenizer=tokenizer,
        tokenizer_file=tokenizer_file,
        logit_scale=LOGIT_SCALE,
    )


def _preprocessing(path: Path, config: dict[str, Any]) -> Preprocessing:
    how = config.get("preprocess")
    if not isinstance(how, dict) or "mean" not in how or "std" not in how:
        raise BackboneUnusable(f"{path / CONFIG}: no mean or std, and none is guessed")
    return shaped(
        path / CONFIG, config["image_size"], how["mean"], how["std"], how.get("interpolation", "bicubic")
    )


def _tower(path: Path, config: dict[str, Any], weights: Path) -> TrunkTower:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if config.get("architecture") != "eva_x":
        raise BackboneUnusable(
            f"{path / CONFIG}: architecture {config.get('architecture')!r} is not known", "expected 'eva_x'"
        )
    try:
        trunk = eva_x.build(config)
        trunk.load_state_dict(load_file(weights))
    except (
        *(RuntimeError, KeyError, TypeError, ValueError, ArithmeticError, AssertionError),
        *(OSError, SafetensorError),
    ) as error:
        raise BackboneUnusable(
            f"{path}: the weights do not fit {CONFIG}", " ".join(str(error).split())[:300]
        ) from None
    return TrunkTower(trunk).eval().requires_grad_(False)


def write_tokenizer(folder: Path) -> dict[str, str]:
    """Put compact's word pieces into a folder; gives the package that they are from, and its version.

    Errors: ExtraMissing.
    """
    where = compact.text_files()
    for name in _TOKENIZER_FILES:
        copied(where / name, folder / name)
    package = compact.TEXT_PACKAGE.replace("_", "-")
    return {package: importlib.metadata.version(package)}
