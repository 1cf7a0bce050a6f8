"""Reads what every backbone folder has, whatever its layout: JSON files, one file of weights, a
``tokenizer.json``.

Weights are safetensors, or the published torch pickle, which is read once with ``weights_only=True`` (nothing
in it is executed) and kept as safetensors under its hash.
"""

import errno
import hashlib
import json
import re
import shutil
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

_PART = re.compile(r"-\d+-of-\d+\.")  # of weights that transformers has cut into files
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


class NoTextTower(nn.Module):
    """Stands where a backbone has no text tower: asked, it says which text side such a backbone has."""

    def forward(self, token_ids: Tensor) -> Tensor:  # noqa: ARG002 - as every text tower is asked
        raise BackboneUnusable(
            "this backbone has no text tower",
            "it reads reports by their word pieces alone",
            "train with --text-side lexical",
        )


@dataclass(frozen=True)
class Parts:
    """What a layout makes of a folder. ``config``: the JSON that, with weights and tokenizer, decides what
    comes out of the towers.

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


def copied(source: Path, target: Path) -> Path:
    """A copy of a file. Errors: OSError with its number and the file written; Python names the other one."""
    try:
        return Path(shutil.copyfile(source, target))
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror, str(target)) from None


def find_weights(folder: Path, names: Sequence[str], named: str | None = None) -> Path:
    """The file of weights: the one that is named, else one of ``names``, else the only one there is, as a
    training saved it.

    Errors: BackboneUnusable.
    """
    for name in (named,) if named else names:
        if (folder / name).is_file():
            return folder / name
    others = sorted(
        path.name for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES and path.is_file()
    )
    if others and all(_PART.search(name) for name in others):
        raise BackboneUnusable(
            f"{folder}: the weights are in parts ({others[0]} and so on)",
            hint='save them as one file: model.save_pretrained(folder, max_shard_size="100GB")',
        )
    if len(others) == 1 and not named:
        return folder / others[0]
    if others:
        listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise BackboneUnusable(
            f"{folder}: several files of weights ({listed})",
            hint=f"name the one that is meant: {folder / others[-1]}",
        )
    raise BackboneUnusable(f"{folder}: no weights", f"expected one of {', '.join(names)}")


def as_safetensors(weights: Path, digest: str) -> Path:
    """The same weights as safetensors under their plain names. Errors: BackboneUnusable.

    A pickle is converted once into the user's data folder, and so is a file whose names have prefixes of a
    wrapper.
    """
    folder = data_dir() / "converted"
    if weights.suffix != ".safetensors":
        target = private_dir(folder) / f"{digest}.safetensors"
        weights = target if target.is_file() else convert(weights, target)
    if plain_names(weights) is None:
        return weights
    target = private_dir(folder) / f"{digest}.plain.safetensors"
    return target if target.is_file() else _renamed(weights, target)


def plain_names(weights: Path) -> dict[str, str] | None:
    """Each tensor's name without what torch.compile, DistributedDataParallel, Lightning or a wrapper put
    before it; None without such.

    Every model that is loaded here has one ``logit_scale`` at its top: what stands before that is the prefix,
    and what does not have it (a loss, an optimiser's average) is left out. Errors: BackboneUnusable, where
    several models are in one file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "pt") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise BackboneUnusable(f"{weights}: not a file of weights ({error})") from None
    shorter = {name: name.replace("_orig_mod.", "") for name in names}
    prefixes = sorted(
        {
            name.removesuffix("logit_scale")
            for name in shorter.values()
            if name.split(".")[-1] == "logit_scale"
        }
    )
    if len(prefixes) > 1 and "" not in prefixes:
        raise BackboneUnusable(
            f"{weights}: it holds several models ({', '.join(prefixes)})",
            hint="save the one that is meant by itself",
        )
    prefix = "" if not prefixes or "" in prefixes else prefixes[0]
    plain = {name: short.removeprefix(prefix) for name, short in shorter.items() if short.startswith(prefix)}
    return None if all(name == short for name, short in plain.items()) else plain


def _renamed(weights: Path, target: Path) -> Path:
    from safetensors.torch import load_file, save_file

    plain, tensors = plain_names(weights) or {}, load_file(weights)
    return replace_with(
        target, lambda file: save_file({short: tensors[name] for name, short in plain.items()}, file)
    )


def convert(pickle: Path, target: Path) -> Path:
    """Write a torch pickle's tensors as safetensors.

    Errors: BackboneUnusable; then nothing of the pickle was executed.
    """
    from open_clip.factory import load_state_dict

    try:
        tensors = load_state_dict(str(pickle), weights_only=True)
        kept = {
            name: value.clone().contiguous() for name, value in tensors.items() if isinstance(value, Tensor)
        }
    except (
        Exception
    ) as error:  # pickle, zip and torch each raise their own classes on damaged or hostile bytes
        raise BackboneUnusable(
            f"{pickle}: not a plain weights file ({type(error).__name__})", hint="nothing was loaded"
        ) from None
    return save(kept, target)


def save(tensors: dict[str, Tensor], target: Path) -> Path:
    """Write tensors as safetensors. Errors: OSError with its number (a full disk)."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        return replace_with(target, lambda file: save_file(tensors, file))
    except SafetensorError as error:  # a full disk comes as this, without its number
        raise OSError(errno.EIO, str(error), str(target)) from None


def made_once(kind: str, content: bytes, write: Callable[[], str]) -> Path:
    """A tokenizer made from other files, kept beside the converted weights under the hash of what it was
    made from.
    """
    file = data_dir() / "converted" / f"{kind}-{hashlib.sha256(content).hexdigest()[:32]}.json"
    if not file.is_file():
        private_dir(file.parent)
        replace_with(file, lambda temporary: temporary.write_text(write(), encoding="utf-8"))
    return file


def special_id(folder: Path, tokenizer_file: Path, name: str) -> int | None:
    """The id of a special token, ``pad_token`` say, as the folder's tokenizer files name it; None where
    they are silent.
    """
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
    """A tokenizer with more tokens than its tower has embeddings is another model's.

    Errors: BackboneUnusable.
    """
    embeddings = next((m.num_embeddings for m in text_tower.modules() if isinstance(m, nn.Embedding)), None)
    highest = max(tokenizer.model.get_vocab().values(), default=0)
    if embeddings is not None and (highest >= embeddings or tokenizer.pad_id >= embeddings):
        raise BackboneUnusable(
            f"{folder}: the tokenizer is another model's",
            f"it has ids up to {highest}, the text tower {embeddings} embeddings",
        )
