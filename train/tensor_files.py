"""Tensors and JSON as one safetensors file, written whole or not at all."""

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mtclip_edge.errors import ArtefactDamaged
from mtclip_edge.files import replace_with


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
    """Tensors and JSON metadata as one durable safetensors file."""
    content = {name: value.detach().contiguous().clone() for name, value in tensors.items()}

    def write(file: Path) -> None:
        try:
            save_file(content, file, {"json": json.dumps(metadata)})
        except SafetensorError as error:  # a full disk comes as this, without its number
            raise OSError(errno.EIO, str(error), str(path)) from None

    return replace_with(path, write)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Errors: ArtefactDamaged."""
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {}).get("json", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtefactDamaged(f"{path}: cannot be read ({error})") from None
