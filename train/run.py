"""Reads and writes a run: the folder that ``train`` writes. JSON and safetensors only; every file is replaced
whole, never edited.

run.json       configuration as resolved, backbone, sources, splits, best epoch, validation figures: written
last, so it means finished weights.safetensors     the best epoch's projectors, head and temperature
tower.safetensors       the best epoch's film tower, where it was trained too checkpoint.safetensors  the last
finished epoch with optimiser state, for --resume log.jsonl      a line for each epoch
"""

import errno
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mtclip_edge.bundle.run_record import RUN, RunRecord, read_run_record, write_run_record
from mtclip_edge.errors import ArtefactDamaged, ArtefactIncompatible, RunUnusable
from mtclip_edge.files import replace_with, sha256, write_bytes
from mtclip_edge.inference.preprocessing import Preprocessing

from .backbones.backbone import Backbone, load_backbone
from .projector import ProjectorShape, SharedSpace

WEIGHTS, TOWER, CHECKPOINT, LOG = (
    "weights.safetensors",
    "tower.safetensors",
    "checkpoint.safetensors",
    "log.jsonl",
)


@dataclass(frozen=True)
class Run:
    """A finished run as read back."""

    path: Path
    record: RunRecord
    space: SharedSpace

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.of(self.record.preprocessing)

    @property
    def sources(self) -> list[str]:
        return list(self.record.data.sources)

    @property
    def head_trained(self) -> bool:
        """Whether the abnormal head was; without its loss it gives numbers that mean nothing."""
        return self.record.config.bce > 0


def load_run(path: Path) -> Run:
    """Read a finished run.

    Errors: RunUnusable (missing, unfinished), ArtefactDamaged, ArtefactIncompatible.
    """
    record = _record(path)
    for name, expected in ((WEIGHTS, record.weights_sha256), (TOWER, record.tower_sha256)):
        if expected and (not (path / name).is_file() or sha256(path / name) != expected):
            raise ArtefactDamaged(
                f"{path / name}: not the weights that {RUN} names",
                hint="train again, or restore the folder from a copy",
            )
    return Run(path, record, _space(path, ProjectorShape(**asdict(record.shape))))


def _space(path: Path, shape: ProjectorShape) -> SharedSpace:
    """Errors: ArtefactDamaged, before memory is taken for a shape that the weights do not have."""
    tensors, _ = load_tensors(path / WEIGHTS)
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in SharedSpace(shape, 1.0).state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != expected:
        raise ArtefactDamaged(f"{path / WEIGHTS}: not of the shape that {RUN} says")
    space = SharedSpace(shape, 1.0)
    space.load_state_dict(tensors)
    return space.eval().requires_grad_(False)


def _record(path: Path) -> RunRecord:
    try:
        return read_run_record(path)
    except (FileNotFoundError, NotADirectoryError):
        unfinished = (path / CHECKPOINT).is_file()
        raise RunUnusable(
            f"{path}: {'the run is not finished' if unfinished else 'not a run (no run.json)'}",
            hint=f"mtclip train --out {path} --resume …"
            if unfinished
            else "mtclip train --data SOURCE --out RUN makes one",
        ) from None


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


def write_run(path: Path, record: RunRecord, best: Mapping[str, Tensor], tower: Mapping[str, Tensor]) -> None:
    """Weights first and ``run.json`` last, so that a folder which has one is whole; the record gets their
    hashes.
    """
    save_tensors(path / WEIGHTS, best, {})
    if tower:
        save_tensors(path / TOWER, tower, {})
    of_tower = sha256(path / TOWER) if tower else None
    write_run_record(path, replace(record, weights_sha256=sha256(path / WEIGHTS), tower_sha256=of_tower))


def backbone_of(run: Run) -> Backbone:
    """The backbone a run was trained on, with the run's own film tower where it has one; its identity then is
    the run's too.

    Errors: BackboneUnusable, ArtefactIncompatible (another backbone under the same name), ArtefactDamaged.
    """
    trained_on, tower_sha256 = run.record.backbone, run.record.tower_sha256
    backbone = load_backbone(trained_on.spec)
    if backbone.identity != trained_on.record.identity:
        raise ArtefactIncompatible(
            f"{backbone.path}: not the backbone this run was trained on",
            f"expected {trained_on.record.identity[:16]}…, found {backbone.identity[:16]}…",
        )
    backbone = replace(backbone, preprocessing=run.preprocessing)
    if tower_sha256 is None:
        return backbone
    try:
        backbone.film_tower.load_state_dict(load_tensors(run.path / TOWER)[0])
    except RuntimeError:
        raise ArtefactDamaged(f"{run.path / TOWER}: another tower's weights") from None
    return replace(backbone, identity=sha256_of(f"{backbone.identity}|{tower_sha256}".encode()).hexdigest())


def cpu_copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
