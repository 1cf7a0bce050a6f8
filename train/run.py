"""Reads and writes a run: the folder that ``train`` writes. JSON and safetensors only; every file is replaced
whole, never edited.

run.json       configuration as resolved, backbone, sources, splits, best epoch, validation figures: written
last, so it means finished weights.safetensors     the best epoch's projectors, head and temperature
tower.safetensors       the best epoch's film tower, where it was trained too words.safetensors       the
lexical text side, where there is one checkpoint.safetensors  the last
finished epoch with optimiser state, for --resume log.jsonl      a line for each epoch
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtclip_edge.bundle.run_record import RUN, RunRecord, read_run_record, write_run_record
from mtclip_edge.errors import ArtefactDamaged, ArtefactIncompatible, RunUnusable
from mtclip_edge.files import sha256, write_bytes
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.train.settings import POOLS

from .backbones.backbone import Backbone, load_backbone
from .lexical import WordTower, load_words, save_words, with_words
from .pooling import with_pool
from .projector import ProjectorShape, SharedSpace
from .tensor_files import load_tensors, save_tensors

WEIGHTS, TOWER, WORDS, CHECKPOINT, LOG = (
    "weights.safetensors",
    "tower.safetensors",
    "words.safetensors",
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
    held = {WEIGHTS: record.weights_sha256, TOWER: record.tower_sha256, WORDS: record.words_sha256}
    for name, expected in held.items():
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


def files(path: Path) -> list[str]:
    """The names of a finished run's files, of those that it has."""
    return [name for name in (RUN, WEIGHTS, TOWER, WORDS, LOG) if (path / name).is_file()]


def write_log(path: Path, history: list[dict[str, Any]]) -> None:
    write_bytes(path / LOG, "".join(json.dumps(line) + "\n" for line in history).encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of ``log.jsonl``; empty where it is missing or damaged, since nothing is decided by it."""
    try:
        return [json.loads(line) for line in (path / LOG).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []


def write_run(
    path: Path,
    record: RunRecord,
    best: Mapping[str, Tensor],
    tower: Mapping[str, Tensor],
    words: WordTower | None = None,
) -> None:
    """Weights first and ``run.json`` last, so that a folder which has one is whole; the record gets their
    hashes.
    """
    save_tensors(path / WEIGHTS, best, {})
    if tower:
        save_tensors(path / TOWER, tower, {})
    of_tower = sha256(path / TOWER) if tower else None
    of_words = save_words(path / WORDS, words) if words else None
    named = replace(
        record, weights_sha256=sha256(path / WEIGHTS), tower_sha256=of_tower, words_sha256=of_words
    )
    write_run_record(path, named)


def backbone_of(run: Run) -> Backbone:
    """The backbone a run was trained on, with the run's own film tower, whose identity is the run's too, and
    lexical text side where it has one.

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
    pool = run.record.config.settings.get("pool", "whole")
    if pool not in POOLS:
        raise ArtefactDamaged(f"{run.path / RUN}: pool is {pool!r}", f"expected {' or '.join(POOLS)}")
    if run.record.words_sha256:
        side = "both" if run.record.shape.words_width else "lexical"
        backbone = with_words(backbone, load_words(run.path / WORDS), side, run.record.words_sha256)
    backbone = with_pool(backbone, str(pool))
    if tower_sha256 is None:
        return backbone
    try:
        backbone.film_tower.load_state_dict(load_tensors(run.path / TOWER)[0])
    except RuntimeError:
        raise ArtefactDamaged(f"{run.path / TOWER}: another tower's weights") from None
    return replace(backbone, identity=sha256_of(f"{backbone.identity}|{tower_sha256}".encode()).hexdigest())


def cpu_copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
