"""Train the projectors on cached tower outputs, or with the film tower on films, with three losses at once.

Every random choice is drawn from the seed and the epoch's number, so a run that was killed continues to exactly the weights of an
unbroken one (one machine, one thread): the checkpoint of the last finished epoch is all it needs.
"""

import json
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtclip_edge import NOTICE, __version__
from mtclip_edge.durable import private_dir
from mtclip_edge.errors import Refused, RunUnusable, SourceUnusable
from mtclip_edge.evaluation import evaluate, selection_score
from mtclip_edge.paths import user_path
from mtclip_edge.reporting import Progress, Say, silent
from mtclip_edge.settings import TrainConfig
from mtclip_edge.sources import Reading, open_sources

from . import run as runs
from .backbone import Backbone, load_backbone
from .losses import abnormal_loss, clip_loss, supervised_contrastive_loss
from .projector import ProjectorShape, SharedSpace
from .tables import Table, choose_device, resized, tabulate
from .tower import Tower


def train(
    config: TrainConfig,
    sources: Sequence[str],
    out: Path,
    *,
    resume: bool = False,
    origins: dict[str, str] | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> runs.Run:
    """Fit projectors and write a run to ``out``. Errors: SourceUnusable, BackboneUnusable, RunUnusable, Refused, WrongOption."""
    _check_out(out, resume)
    if resume and (out / runs.RUN).is_file():
        return _finished(out, config, sources, say)
    started = time.perf_counter()
    reading = open_sources(sources)
    for line in reading.lines():
        say(line)
    backbone = resized(load_backbone(config.backbone), config.size)
    device, why = choose_device(config.device)
    say(f"device {device}: {why}")
    tower = Tower(backbone.film_tower, backbone.preprocessing).to(device) if config.unfreeze == "all" else None
    train_table = tabulate(backbone, reading.split("train"), progress, device, tower)
    validation = tabulate(backbone, reading.split("validation"), progress, device, tower)
    _check_tables(config, train_table, validation, reading.spec, say)
    features_done = time.perf_counter()
    private_dir(out)
    fitted = Fit(config, shape_for(config, backbone), backbone.logit_scale, train_table, validation, device, tower).run(out, resume, say)
    record = {
        "format": runs.FORMAT,
        "notice": NOTICE,
        "made_by": {"mtclip_edge": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "config": config.to_dict(),
        "origins": origins or {},
        "backbone": _backbone_record(backbone, config),
        "preprocessing": backbone.preprocessing.to_dict(),
        "shape": fitted.shape.to_dict(),
        "data": _data_record(reading, sources, train_table, validation),
        "device": {"used": str(device), "why": why},
        "best_epoch": fitted.best_epoch,
        "epochs_run": len(fitted.history),
        "validation": fitted.history[fitted.best_epoch - 1]["validation"],
        "seconds": {"features": features_done - started, "fit": time.perf_counter() - features_done},
    }
    runs.write_run(out, record, fitted.best, fitted.best_tower)
    say(f"{out}: best epoch {fitted.best_epoch} of {len(fitted.history)}")
    return runs.load_run(out)


def _finished(out: Path, config: TrainConfig, sources: Sequence[str], say: Say) -> runs.Run:
    """The run that is there already, if it is the one asked for."""
    run = runs.load_run(out)
    asked = {**config.to_dict(), "device": None, "sources": [_absolute(spec) for spec in sources]}
    there = {**run.record["config"], "device": None, "sources": run.sources}
    if different := [name for name in asked if asked[name] != there.get(name)]:
        raise RunUnusable(f"{out}: a finished run with another {different[0]}", hint="give another --out")
    say(f"{out}: already finished")
    return run


def shape_for(config: TrainConfig, backbone: Backbone) -> ProjectorShape:
    """Residual projectors need towers that share a space, and its width."""
    dim = config.dim or (backbone.film_width if backbone.aligned else 256)
    residual = backbone.aligned and dim == backbone.film_width
    return ProjectorShape(backbone.film_width, backbone.text_width, config.hidden, dim, residual, config.dropout)


class Fit:
    """One training, epoch by epoch. Holds what changes; ``Table`` and ``TrainConfig`` hold what does not."""

    def __init__(
        self,
        config: TrainConfig,
        shape: ProjectorShape,
        logit_scale: float,
        train: Table,
        validation: Table,
        device: torch.device,
        tower: Tower | None = None,
    ):
        torch.manual_seed(config.seed)
        self.config, self.shape, self.train_table, self.validation, self.tower = config, shape, train, validation, tower
        self.space = SharedSpace(shape, logit_scale).to(device)
        groups = _groups(self.space, config.lr, config.weight_decay)
        groups += _groups(tower, config.tower_lr, config.weight_decay) if tower else []
        self.optimiser = torch.optim.AdamW(groups)
        self.rates = [group["lr"] for group in groups]
        self.steps_per_epoch = math.ceil(len(train.label) / config.batch_size)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_tower: dict[str, Tensor] = {}
        self.best_epoch, self.best_score = 0, -math.inf

    def run(self, out: Path, resume: bool, say: Say) -> "Fit":
        if resume and (out / runs.CHECKPOINT).is_file():
            self._restore(out / runs.CHECKPOINT)
            say(f"{out}: resumed after epoch {len(self.history)}")
        while len(self.history) < self.config.epochs and len(self.history) - self.best_epoch < self.config.patience:
            self._epoch(len(self.history))
            self._save(out)
            say(epoch_line(self.history[-1], self.config.epochs))
        return self

    def _epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        # Order and dropout depend on seed and epoch alone, never on what ran before in this process.
        torch.manual_seed(self.config.seed * 100_003 + epoch)
        order = torch.randperm(len(self.train_table.label))
        self.space.train()
        if self.tower:
            self.tower.train()
        sums: dict[str, float] = {}
        batches = order.split(self.config.batch_size)
        for step, rows in enumerate(batches):
            self._set_rate(epoch * self.steps_per_epoch + step)
            losses = self._losses(rows)
            if losses["loss"].requires_grad:  # else no row of this batch serves a loss
                self.optimiser.zero_grad()
                losses["loss"].backward()
                self.optimiser.step()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
        if not all(math.isfinite(value) for value in sums.values()):
            raise RunUnusable(f"training diverged in epoch {epoch + 1}: a loss is not finite", hint="try a smaller --lr")
        self._note(epoch + 1, sums, started)

    def _losses(self, rows: Tensor) -> dict[str, Tensor]:
        """The three losses of one batch and their weighted sum; a loss whose weight is 0 is not computed."""
        table, config, space = self.train_table, self.config, self.space
        report, label = table.report[rows.to(table.report.device)], table.label[rows.to(table.label.device)]
        features = table.film[rows.to(table.film.device)]
        film = space.embed_films(self.tower(features.to(report.device)) if self.tower else features)
        has_text = report >= 0
        text = film.new_zeros(film.shape)
        if bool(has_text.any()):
            text = text.index_copy(0, has_text.nonzero().squeeze(1), space.embed_texts(table.text[report[has_text]]))
        losses = {}
        if config.clip:
            losses["clip"] = clip_loss(film, text, space.scale, report)
        if config.supcon:
            both, labels = torch.cat([film, text[has_text]]), torch.cat([label, label[has_text]])
            losses["supcon"] = supervised_contrastive_loss(both, labels, config.supcon_temperature)
        if config.bce:
            losses["bce"] = abnormal_loss(space.abnormal_logit(film), label)
        weights = {"clip": config.clip, "supcon": config.supcon, "bce": config.bce}
        return {**losses, "loss": sum((weights[name] * value for name, value in losses.items()), film.new_zeros(()))}

    def _set_rate(self, step: int) -> None:
        """Linear warm-up, then a cosine to zero."""
        total = self.config.epochs * self.steps_per_epoch
        warmup = max(1, round(self.config.warmup * total))
        factor = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _note(self, epoch: int, losses: dict[str, float], started: float) -> None:
        result = evaluate_table(self.space, with_features(self.validation, self.tower), self.config)
        score = selection_score(result)
        if score is None:  # nothing to choose by: keep the last epoch
            score = epoch * 1e-9
        if score > self.best_score:
            self.best_score, self.best_epoch, self.best = score, epoch, runs.cpu_copy(self.space.state_dict())
            self.best_tower = runs.cpu_copy(self.tower.tower.state_dict()) if self.tower else {}
        seconds = time.perf_counter() - started
        self.history.append({"epoch": epoch, "train": losses, "validation": result, "selection": score, "seconds": seconds})

    def _save(self, out: Path) -> None:
        tensors = {f"model/{k}": v for k, v in self.space.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        if self.tower:
            tensors |= {f"tower/{k}": v for k, v in self.tower.tower.state_dict().items()}
            tensors |= {f"best_tower/{k}": v for k, v in self.best_tower.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser/{index}/{k}": v for k, v in state.items()}
        metadata = {
            "fingerprint": self.fingerprint,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score,
        }
        runs.save_tensors(out / runs.CHECKPOINT, runs.cpu_copy(tensors), metadata)
        runs.write_log(out, self.history)

    def _restore(self, path: Path) -> None:
        tensors, metadata = runs.load_tensors(path)
        if metadata["fingerprint"] != self.fingerprint:
            raise RunUnusable(
                f"{path.parent}: its checkpoint is of another configuration or other data",
                hint="give the same options and data, or another --out",
            )
        self.space.load_state_dict(_below(tensors, "model/"))
        self.best, self.best_tower = _below(tensors, "best/"), _below(tensors, "best_tower/")
        if self.tower:
            self.tower.tower.load_state_dict(_below(tensors, "tower/"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimiser/").items():
            index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.history, self.best_epoch, self.best_score = metadata["history"], metadata["best_epoch"], metadata["best_score"]

    @cached_property
    def fingerprint(self) -> str:
        """What a checkpoint belongs to: configuration (but the device), shapes, and every row trained and validated on."""
        config = {k: v for k, v in self.config.to_dict().items() if k not in ("device", "backbone")}
        digest = sha256(json.dumps([config, self.shape.to_dict()], sort_keys=True).encode())
        for table in (self.train_table, self.validation):
            for tensor in (table.film, table.text, table.report, table.label):
                digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


@torch.inference_mode()
def embed(space: SharedSpace, table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Film embeddings, abnormal logits and report embeddings of a table, in ``eval`` mode."""
    space.eval()
    film = space.embed_films(table.film)
    return film.cpu().numpy(), space.abnormal_logit(film).cpu().numpy(), space.embed_texts(table.text).cpu().numpy()


def evaluate_table(space: SharedSpace, table: Table, config: TrainConfig) -> dict[str, Any]:
    """Figures of a table; without a BCE loss the head was never trained and gives none."""
    film, logit, report = embed(space, table)
    return evaluate(table.cases, film, logit if config.bce else None, report)


def with_features(table: Table, tower: Tower | None) -> Table:
    """The table with the tower's features in place of films."""
    return replace(table, film=tower.features(table.film)) if tower else table


def epoch_line(entry: dict[str, Any], epochs: int) -> str:
    result = entry["validation"]
    precision, forth, back = result["precision@10"], result["film_to_report"], result["report_to_film"]
    figures = {
        "AUROC": result["auroc"],
        "macro P@10": precision and precision["macro"],
        "R@10 film>report": forth and forth["recall@10"]["value"],
        "R@10 report>film": back and back["recall@10"]["value"],
    }
    losses = " ".join(f"{name} {value:.3f}" for name, value in entry["train"].items())
    shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items() if value is not None)
    return f"epoch {entry['epoch']}/{epochs}  {losses}  validation: {shown}  {entry['seconds']:.1f} s"


def _groups(module: nn.Module, rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices only; biases, norms and the temperature are left free."""
    matrices = [p for p in module.parameters() if p.ndim >= 2]
    others = [p for p in module.parameters() if p.ndim < 2]
    return [{"params": matrices, "lr": rate, "weight_decay": weight_decay}, {"params": others, "lr": rate, "weight_decay": 0.0}]


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _check_out(out: Path, resume: bool) -> None:
    if not resume and (out / runs.RUN).exists():
        raise Refused(f"{out}: already holds a run", hint="give another --out")
    if not resume and (out / runs.CHECKPOINT).exists():
        raise Refused(f"{out}: holds an unfinished run", hint="add --resume to continue it, or give another --out")


def _check_tables(config: TrainConfig, train: Table, validation: Table, spec: str, say: Say) -> None:
    for problem in (*train.problems, *validation.problems):
        say(f"left out: {problem}")
    if not len(train.label):
        raise SourceUnusable(f"{spec}: no film of the train split can be read", "a film needs a row with image_path and split train")
    serves_clip, serves_labels = int((train.report >= 0).sum()) >= 2, bool((train.label >= 0).any())
    if not (config.clip and serves_clip) and not ((config.bce or config.supcon) and serves_labels):
        raise SourceUnusable(f"{spec}: no film of the train split serves a loss", "CLIP needs reports; BCE and SupCon need labels")
    if not len(validation.label):
        say("no film in the validation split: the last epoch is kept, and nothing was chosen by validation")


def _backbone_record(backbone: Backbone, config: TrainConfig) -> dict[str, Any]:
    return {
        "spec": config.backbone if config.backbone == "compact" else str(backbone.path),
        "name": backbone.name,
        "identity": backbone.identity,
        "weights_sha256": backbone.weights_sha256,
        "licence": backbone.licence,
        "aligned": backbone.aligned,
    }


def _data_record(reading: Reading, sources: Sequence[str], train: Table, validation: Table) -> dict[str, Any]:
    return {
        "sources": [_absolute(spec) for spec in sources],
        "studies": {name: len(reading.split(name)) for name in ("train", "validation", "test")},
        "films": {"train": len(train.label), "validation": len(validation.label)},
        "bad_rows": len(reading.problems),
        "unreadable_films": len(train.problems) + len(validation.problems),
    }


def _absolute(spec: str) -> str:
    """A source as it can be opened again from another folder."""
    kind, colon, rest = spec.partition(":")
    if kind == "phantom":
        return spec
    path = user_path(rest if colon and kind == "manifest" else spec).resolve()
    return f"manifest:{path}"
