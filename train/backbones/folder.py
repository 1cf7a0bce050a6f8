"""Reads what every backbone folder has, whatever its layout: JSON files, one file of weights, a ``tokenizer.json``.

Weights are safetensors, or the published torch pickle, which is read once with ``weights_only=True`` (nothing in it is executed) and kept
as safetensors under its hash.
"""

import errno
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.files import private_dir, replace_with
from mtclip_edge.folders import data_dir
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.tokenizer import Tokenizer


@dataclass(frozen=True)
class Parts:
    """What a layout makes of a folder. ``config``: the JSON that, with weights and tokenizer, decides what comes out of the towers.

    ``own_geometry`` is how the model's publisher squares a film: ``crop``, ``squash`` or another word.
    """

    config: Any
    weights_sha256: str
    film_tower: nn.Module
    text_tower: nn.Module
    preprocessing: Preprocessing
    own_geometry: str
    tokenizer: Tokenizer
    tokenizer_file: Path
    logit_scale: float
    notes: tuple[str, ...] = ()


def read_json(file: Path) -> dict[str, Any]:
    """Errors: BackboneUnusable (missing, not a JSON object)."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackboneUnusable(f"{file.parent}: no {file.name}") from None
    except (ValueError, RecursionError):
        raise BackboneUnusable(f"{file}: not JSON") from None
    if not isinstance(content, dict):
        raise BackboneUnusable(f"{file}: not a JSON object")
    return content


def shaped(file: Path, size: Any, mean: Any, std: Any, interpolation: str) -> Preprocessing:
    """Preprocessing from the numbers of a JSON file. Errors: BackboneUnusable, where they are none."""
    try:
        return Preprocessing(int(size), _three(mean), _three(std), interpolation)
    except (TypeError, ValueError):
        raise BackboneUnusable(f"{file}: size, mean or std are not the numbers of three channels") from None


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def find_weights(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise BackboneUnusable(f"{folder}: no weights", f"expected one of {', '.join(names)}")


def as_safetensors(weights: Path, digest: str) -> Path:
    """The same weights as safetensors; a pickle is converted once into the user's data folder. Errors: BackboneUnusable."""
    if weights.suffix == ".safetensors":
        return weights
    target = private_dir(data_dir() / "converted") / f"{digest}.safetensors"
    return target if target.is_file() else convert(weights, target)


def convert(pickle: Path, target: Path) -> Path:
    """Write a torch pickle's tensors as safetensors. Errors: BackboneUnusable; then nothing of the pickle was executed."""
    from open_clip.factory import load_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        tensors = load_state_dict(str(pickle), weights_only=True)
        kept = {name: value.clone().contiguous() for name, value in tensors.items() if isinstance(value, Tensor)}
    except Exception as error:  # pickle, zip and torch each raise their own classes on damaged or hostile bytes
        raise BackboneUnusable(f"{pickle}: not a plain weights file ({type(error).__name__})", hint="nothing was loaded") from None
    try:
        return replace_with(target, lambda file: save_file(kept, file))
    except SafetensorError as error:  # a full disk comes as this, without its number
        raise OSError(errno.EIO, str(error), str(target)) from None


def made_once(kind: str, content: bytes, write: Callable[[], str]) -> Path:
    """A tokenizer made from other files, kept beside the converted weights under the hash of what it was made from."""
    file = data_dir() / "converted" / f"{kind}-{hashlib.sha256(content).hexdigest()[:32]}.json"
    if not file.is_file():
        private_dir(file.parent)
        replace_with(file, lambda temporary: temporary.write_text(write(), encoding="utf-8"))
    return file


def special_id(folder: Path, tokenizer_file: Path, name: str) -> int | None:
    """The id of a special token, ``pad_token`` say, as the folder's tokenizer files name it; None where they are silent."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        if not (folder / file).is_file():
            continue
        token = read_json(folder / file).get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            from tokenizers import Tokenizer as Model

            return Model.from_file(str(tokenizer_file)).token_to_id(token)
    padding = read_json(tokenizer_file).get("padding") or {}
    return padding.get("pad_id")


def check_vocabulary(folder: Path, tokenizer: Tokenizer, text_tower: nn.Module) -> None:
    """A tokenizer with more tokens than its tower has embeddings is another model's. Errors: BackboneUnusable."""
    embeddings = next((m.num_embeddings for m in text_tower.modules() if isinstance(m, nn.Embedding)), None)
    highest = max(tokenizer.model.get_vocab().values(), default=0)
    if embeddings is not None and (highest >= embeddings or tokenizer.pad_id >= embeddings):
        raise BackboneUnusable(
            f"{folder}: the tokenizer is another model's", f"it has ids up to {highest}, the text tower {embeddings} embeddings"
        )
