"""A run: the folder that ``train`` writes. JSON and safetensors only; every file is replaced whole, never edited.

run.json       configuration as resolved, backbone, sources, splits, best epoch, validation figures: written last, so it means finished
weights.safetensors     the best epoch's projectors, head and temperature
tower.safetensors       the best epoch's film tower, where it was trained too
checkpoint.safetensors  the last finished epoch with optimiser state, for --resume
log.jsonl      a line for each epoch
"""

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mtclip_edge.errors import ArtefactDamaged, ArtefactIncompatible, RunUnusable
from mtclip_edge.files import replace_with, sha256, write_bytes
from mtclip_edge.inference.preprocessing import Preprocessing

from .backbones.backbone import Backbone, load_backbone
from .projector import ProjectorShape, SharedSpace

FORMAT = 1
RUN, WEIGHTS, TOWER, CHECKPOINT, LOG = "run.json", "weights.safetensors", "tower.safetensors", "checkpoint.safetensors", "log.jsonl"
_REQUIRED = {"format", "config", "backbone", "preprocessing", "shape", "data", "calibration", "weights_sha256", "tower_sha256"}


@dataclass(frozen=True)
class Run:
    """A finished run as read back."""

    path: Path
    record: Mapping[str, Any]
    space: SharedSpace

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.from_dict(self.record["preprocessing"])

    @property
    def sources(self) -> list[str]:
        return list(self.record["data"]["sources"])


def load_run(path: Path) -> Run:
    """Read a finished run. Errors: RunUnusable (missing, unfinished), ArtefactDamaged, ArtefactIncompatible."""
    record = _record(path)
    for name, expected in ((WEIGHTS, record["weights_sha256"]), (TOWER, record["tower_sha256"])):
        if expected and (not (path / name).is_file() or sha256(path / name) != expected):
            raise ArtefactDamaged(f"{path / name}: not the weights that {RUN} names", hint="train again, or restore the folder from a copy")
    space = SharedSpace(ProjectorShape(**record["shape"]), 1.0)
    space.load_state_dict(load_tensors(path / WEIGHTS)[0])
    return Run(path, record, space.eval().requires_grad_(False))


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads((path / RUN).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        unfinished = (path / CHECKPOINT).is_file()
        raise RunUnusable(
            f"{path}: {'the run is not finished' if unfinished else 'not a run (no run.json)'}",
            hint=f"mtclip train --out {path} --resume …" if unfinished else "mtclip train --data SOURCE --out RUN makes one",
        ) from None
    except (ValueError, RecursionError):
        raise ArtefactDamaged(f"{path / RUN}: not JSON") from None
    if not isinstance(record, dict) or not set(record) >= _REQUIRED:
        raise ArtefactDamaged(f"{path / RUN}: not the record of a run")
    if record["format"] > FORMAT:
        raise ArtefactIncompatible(f"{path}: run format {record['format']}, this version reads {FORMAT}", hint="upgrade mtclip-edge")
    return record


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


def write_log(path: Path, history: list[dict[str, Any]]) -> None:
    write_bytes(path / LOG, "".join(json.dumps(line) + "\n" for line in history).encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of ``log.jsonl``; empty where it is missing or damaged, since nothing is decided by it."""
    try:
        return [json.loads(line) for line in (path / LOG).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []


def write_run(path: Path, record: Mapping[str, Any], best: Mapping[str, Tensor], tower: Mapping[str, Tensor]) -> None:
    save_tensors(path / WEIGHTS, best, {})
    full = {**record, "weights_sha256": sha256(path / WEIGHTS), "tower_sha256": None}
    if tower:
        save_tensors(path / TOWER, tower, {})
        full["tower_sha256"] = sha256(path / TOWER)
    write_bytes(path / RUN, (json.dumps(full, indent=1) + "\n").encode())


def backbone_of(run: Run) -> Backbone:
    """The backbone a run was trained on, with the run's own film tower where it has one; its identity then is the run's too.

    Errors: BackboneUnusable, ArtefactIncompatible (another backbone under the same name).
    """
    record = run.record["backbone"]
    backbone = load_backbone(record["spec"])
    if backbone.identity != record["identity"]:
        raise ArtefactIncompatible(
            f"{backbone.path}: not the backbone this run was trained on",
            f"expected {record['identity'][:16]}…, found {backbone.identity[:16]}…",
        )
    backbone = replace(backbone, preprocessing=run.preprocessing)
    if run.record["tower_sha256"] is None:
        return backbone
    backbone.film_tower.load_state_dict(load_tensors(run.path / TOWER)[0])
    return replace(backbone, identity=sha256_of(f"{backbone.identity}|{run.record['tower_sha256']}".encode()).hexdigest())


def cpu_copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
