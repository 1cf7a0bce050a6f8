"""Keeps what ``eval --folds`` has finished: a file for each training, tied to its settings, its backbone and
the studies of its fold.

folds.json                           how the studies are divided, and a hash of it all
RECIPE/fold-N-seed-S.safetensors     embeddings and logits of the held-out films and reports
RECIPE/fold-N-seed-S/                checkpoint of a tower's training that is not finished
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtclip_edge.errors import ArtefactDamaged, RunUnusable, SourceUnusable
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import Judged
from mtclip_edge.evaluation.folds import Fold, fold_studies
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.files import private_dir, write_bytes
from mtclip_edge.inference.vector_cache import file_keys
from mtclip_edge.studies import Study
from mtclip_edge.train.settings import BEFORE, BY_BACKBONE, TrainConfig, text_side_for

from ..backbones.backbone import load_backbone
from ..loop import Fit
from ..run import load_tensors, save_tensors
from .further import Further

PLAN = "folds.json"
_SCHEMA = "mtclip.folds/1"
_OTHER = "give another --out, or delete the folder if the results in it are not needed"


@dataclass(frozen=True)
class Judgement:
    """What one training made of the fold it never saw. ``films``: names of the films that could be read."""

    films: tuple[tuple[str, str], ...]  # study id and name
    output: ModelOutput
    best_epoch: int
    epochs: int
    seconds: dict[str, float]

    @classmethod
    def of(cls, cases: Cases, output: ModelOutput, fit: Fit, seconds: dict[str, float]) -> "Judgement":
        return cls(_names(cases), output, fit.best_epoch, len(fit.history), seconds)

    def cases(self, fold: Fold) -> Cases:
        """The fold's films that were read, and all its reports."""
        whole, there = Cases.of(fold.held), set(self.films)
        return whole.only([i for i, name in enumerate(_names(whole)) if name in there])

    def summary(self, fold: Fold) -> dict[str, Any]:
        return Judged(self.cases(fold), self.output).summary()

    def told(self) -> dict[str, Any]:
        return {
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }


def folds_without_test(studies: Sequence[Study], count: int, seed: int = 0) -> list[Fold]:
    """The folds that ``eval --folds`` makes of some studies. Errors: WrongOption."""
    rest = [study for study in studies if study.films and study.split != "test"]
    digests, _ = file_keys([film.path for study in rest for film in study.films])
    return fold_studies(rest, digests, count, seed)[0]


@dataclass(frozen=True)
class FoldStore:
    """The output folder of one division of some studies; ``fingerprint`` is a hash of the division and of
    all that is judged, films by their bytes.
    """

    path: Path
    folds: tuple[Fold, ...]
    asked: tuple[Fold, ...]  # those that are trained and judged: all, or the first
    clusters: int
    largest: int
    fingerprint: str

    @classmethod
    def open(
        cls, path: Path, studies: Sequence[Study], count: int, seed: int, with_test: bool
    ) -> "FoldStore":
        """The folder for these folds, made where there is none.

        Errors: RunUnusable where it holds others; SourceUnusable; WrongOption.
        """
        if not studies:
            raise SourceUnusable("no study with a film is left to divide")
        digests, _ = file_keys([film.path for study in studies for film in study.films])
        folds, cluster = fold_studies(studies, digests, count, seed)
        fingerprint = _fingerprint(folds, digests)
        plan = {
            "schema": _SCHEMA,
            "folds": count,
            "seed": seed,
            "with_test": with_test,
            "studies": len(studies),
            "data": fingerprint,
        }
        _keep(path, plan)
        sizes = np.unique(cluster, return_counts=True)[1]
        return cls(path, tuple(folds), tuple(folds), len(sizes), int(sizes.max()), fingerprint)

    def check(self, name: str, config: TrainConfig) -> None:
        """Errors: RunUnusable where something under this name was trained by other settings."""
        for file in sorted((self.path / name).glob("fold-*.safetensors")):
            there, now = _stored_settings(file), {**_settings(config), "seed": None}
            if different := [key for key in now if there and there.get(key) != now[key]]:
                key = different[0]
                was = repr(there[key]) if key in there else "unknown to the version that did it"
                raise RunUnusable(
                    f"{self.path / name}: trained with {key} {was}, now {now[key]!r}",
                    hint=f"give the recipe another name, another --out, or delete {self.path / name}",
                )

    @property
    def studies(self) -> list[Study]:
        """All that are divided."""
        return [study for fold in self.folds for study in fold.held]

    def read(self, name: str, fold: int, config: TrainConfig, more: Further) -> Judgement | None:
        """What is finished; None where nothing is. Errors: RunUnusable where it belongs to something else."""
        file = self._file(name, fold, config.seed)
        if not file.is_file():
            return None
        try:
            tensors, held = load_tensors(file)
        except ArtefactDamaged:
            return None  # trained again
        if held["key"] != self._key(config, more):
            raise RunUnusable(f"{file}: of other data, settings or backbone", hint=_OTHER)
        arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
        calibration = Calibration(**held["calibration"]) if held["calibration"] else None
        output = ModelOutput(
            arrays["film"],
            arrays.get("logit"),
            arrays.get("report"),
            calibration,
            None,
            tuple(held["prefixes"]),
        )
        films = tuple((study, film) for study, film in held["films"])
        return Judgement(films, output, held["best_epoch"], held["epochs"], held["seconds"])

    def write(self, name: str, fold: int, config: TrainConfig, judgement: Judgement, more: Further) -> None:
        """One durable file, whole or not at all."""
        output = judgement.output
        parts = {"film": output.film, "logit": output.logit, "report": output.report}
        tensors = {key: torch.from_numpy(array) for key, array in parts.items() if array is not None}
        metadata = {
            "key": self._key(config, more),
            "settings": _settings(config),
            "films": judgement.films,
            "calibration": asdict(output.calibration) if output.calibration else None,
            "prefixes": output.prefixes,
            "best_epoch": judgement.best_epoch,
            "epochs": judgement.epochs,
            "seconds": judgement.seconds,
        }
        private_dir(self.path / name)
        save_tensors(self._file(name, fold, config.seed), tensors, metadata)

    def scratch(self, name: str, fold: int, seed: int) -> Path:
        """Where a training that takes long keeps its checkpoint."""
        return self._file(name, fold, seed).with_suffix("")

    def _file(self, name: str, fold: int, seed: int) -> Path:
        return self.path / name / f"fold-{fold}-seed-{seed}.safetensors"

    def _key(self, config: TrainConfig, more: Further) -> str:
        # What was kept before a setting was there stays good.
        told = {
            name: value for name, value in _settings(config).items() if (name, value) not in BEFORE.items()
        }
        content = [self.fingerprint, told, _named(config.backbone)[0], *filter(None, [more.fingerprint])]
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _settings(config: TrainConfig) -> dict[str, Any]:
    """All settings that a result depends on: not the device."""
    return {name: value for name, value in settled(config).to_dict().items() if name != "device"}


def _stored_settings(file: Path) -> dict[str, Any]:
    """Those that a result was trained with, the seed apart; none where it is damaged: it is trained again."""
    try:
        return {**BEFORE, **load_tensors(file)[1]["settings"], "seed": None}
    except ArtefactDamaged:
        return {}


@cache
def _named(backbone: str) -> tuple[str, str, bool]:
    """Identity, name and whether its towers are aligned; loaded once."""
    loaded = load_backbone(backbone)
    return loaded.identity, loaded.name, loaded.aligned


def backbone_name(backbone: str) -> str:
    """What a backbone is called."""
    return _named(backbone)[1]


def settled(config: TrainConfig) -> TrainConfig:
    """The settings with the text side that they come to: what is kept must not change with a default."""
    aligned = config.text_side == BY_BACKBONE and _named(config.backbone)[2]
    return replace(config, text_side=text_side_for(config.text_side, aligned))


def _keep(path: Path, plan: dict[str, Any]) -> None:
    """Write the plan, or find the same there. Errors: RunUnusable."""
    file = path / PLAN
    if not file.is_file():
        private_dir(path)
        write_bytes(file, (json.dumps(plan, indent=1) + "\n").encode())
        return
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
        different = [key for key in plan if there[key] != plan[key]]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunUnusable(f"{file}: cannot be read as a division into folds", hint=_OTHER) from None
    if different:
        key = different[0]
        what = "other data" if key == "data" else f"{key} = {there[key]!r}, now {plan[key]!r}"
        raise RunUnusable(f"{path}: holds folds of {what}", hint=_OTHER)


def _fingerprint(folds: Sequence[Fold], digests: dict[Path, bytes]) -> str:
    """SHA-256 of who is where in each fold, and of labels, texts and films."""
    digest = sha256()
    for fold in folds:
        for part in (fold.train, fold.validation, fold.held):
            digest.update(json.dumps([study.study_id for study in part]).encode())
        for study in fold.held:
            shown = [study.patient_id, study.label, sorted(study.finding_labels), study.text]
            digest.update(json.dumps(shown).encode())
            for film in study.films:
                digest.update(f"{film.name} {film.view} {digests.get(film.path, b'').hex()}".encode())
    return digest.hexdigest()


def _names(cases: Cases) -> tuple[tuple[str, str], ...]:
    return tuple((study.study_id, film.name) for study, film in zip(cases.studies, cases.films, strict=True))
