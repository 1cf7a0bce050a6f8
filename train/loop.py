"""Trains epoch by epoch with three losses at once: projectors on cached tower outputs, or with the film tower
on films.

Every random choice is drawn from the seed and the epoch's number, so a run that was killed continues to
exactly the weights of an unbroken one (one machine, one thread): the checkpoint of the last finished epoch is
all it needs.
"""

import json
import math
import time
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mtclip_edge.errors import RunUnusable, WrongOption
from mtclip_edge.evaluation.figures import evaluate, selection_score
from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.progress import Progress, Say, silent
from mtclip_edge.studies import FRONTAL
from mtclip_edge.train.settings import BEFORE, TrainConfig

from . import run as runs
from .calibration import fit_calibration
from .epoch_words import ending_lines, epoch_line, interrupted_line
from .finding_heads import FindingHeads
from .fine_tuning import FineTunedTower, decayed, forward_in_parts, tower_groups
from .frozen_below import Views
from .losses import abnormal_loss, clip_loss, supervised_contrastive_loss
from .projector import ProjectorShape, SharedSpace
from .split_tensors import Table, epoch_order

_FINDINGS = "findings/"


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
        tower: FineTunedTower | None = None,
        start: dict[str, Tensor] | None = None,
        views: Views | None = None,
    ):
        """``start``: projectors to begin with, as ``best`` of another fit gives them; else they are drawn
        from the seed. ``views`` of the films to train on, in the place of the films.
        """
        torch.manual_seed(config.seed)
        self.config, self.shape, self.train_table, self.validation, self.tower = (
            config,
            shape,
            train,
            validation,
            tower,
        )
        self.views = views
        self.space = SharedSpace(shape, logit_scale).to(device)
        if start:
            self.space.load_state_dict({k: v for k, v in start.items() if not k.startswith(_FINDINGS)})
        groups = _groups(self.space, config.lr, config.weight_decay)
        if tower:
            groups += tower_groups(tower, config.tower_lr, config.weight_decay, config.layer_decay)
        self.findings = _finding_heads(config, shape, train, device)
        if self.findings:
            if start and (begun := _below(start, _FINDINGS)):
                self.findings.load_state_dict(begun)
            groups += _groups(self.findings, config.lr, config.weight_decay)
        self.optimiser = torch.optim.AdamW(groups)
        self.rates = [group["lr"] for group in groups]
        self.trained = Trained(self.space, tower)
        self.average = _average(self.trained, config.ema)
        self.steps_per_epoch = math.ceil(len(train.label) / config.batch_size)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_tower: dict[str, Tensor] = {}
        self.best_epoch, self.best_score = 0, -math.inf

    def run(self, out: Path | None, resume: bool, say: Say, progress: Progress = silent) -> "Fit":
        """Train to the last epoch or until patience ends, and say which; checkpoints go to ``out``, or
        nowhere.
        """
        if out and resume and (out / runs.CHECKPOINT).is_file():
            self._restore(out / runs.CHECKPOINT)
            say(f"{out}: resumed after epoch {len(self.history)}")
        epochs, patience = self.config.epochs, self.config.patience
        try:
            while len(self.history) < epochs and len(self.history) - self.best_epoch < patience:
                progress("epochs", len(self.history), epochs)
                self._epoch(len(self.history), progress)
                if out:
                    self._save(out)
                say(epoch_line(self.history[-1], epochs))
        except KeyboardInterrupt:
            say(interrupted_line(self.history, self.best_epoch, epochs, out is not None))
            raise
        progress("epochs", epochs, epochs)
        for line in ending_lines(self.history, self.best_epoch, epochs, patience):
            say(line)
        return self

    def _epoch(self, epoch: int, progress: Progress) -> None:
        started = time.perf_counter()
        # Order and dropout depend on seed and epoch alone, never on what ran before in this process.
        torch.manual_seed(self.config.seed * 100_003 + epoch)
        order = epoch_order(self.train_table.label, self.config.balanced)
        if self.views:
            self.views.choose()
        self.space.train()
        if self.tower:
            self.tower.train()
        sums: dict[str, float] = {}
        batches = order.split(self.config.batch_size)
        for step, rows in enumerate(batches):
            self._set_rate(epoch * self.steps_per_epoch + step)
            losses = self._step(rows)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(batches)
            if self.tower:  # else an epoch takes no time
                progress("batches of this epoch", step + 1, len(batches))
        if not all(math.isfinite(value) for value in sums.values()):
            raise RunUnusable(
                f"training diverged in epoch {epoch + 1}: a loss is not finite", hint="try a smaller --lr"
            )
        self._note(epoch + 1, sums, started)

    def _step(self, rows: Tensor) -> dict[str, Tensor]:
        """One step of the optimiser; gives its losses."""
        kept = self.train_table.film
        films = self.views[rows] if self.views else kept[rows.to(kept.device)]
        passes = forward_in_parts(self.tower, films, self.config.micro_batch) if self.tower else None
        losses = self._losses(rows, passes.features if passes else films)
        if losses["loss"].requires_grad:  # else no row of this batch serves a loss
            self.optimiser.zero_grad()
            losses["loss"].backward()
            if passes:
                passes.backward()
            self.optimiser.step()
            if self.average:
                self.average.update_parameters(self.trained)
        return losses

    def _losses(self, rows: Tensor, features: Tensor) -> dict[str, Tensor]:
        """The three losses of one batch and their weighted sum; a loss whose weight is 0 is not computed."""
        table, config, space = self.train_table, self.config, self.space
        report, label = table.report[rows.to(table.report.device)], table.label[rows.to(table.label.device)]
        film = space.embed_films(features, table.view[rows.to(table.view.device)])
        has_text = report >= 0
        text = film.new_zeros(film.shape)
        if bool(has_text.any()):
            text = text.index_copy(
                0, has_text.nonzero().squeeze(1), space.embed_texts(table.text[report[has_text]])
            )
        losses = {}
        if config.clip:
            losses["clip"] = clip_loss(film, text, space.scale, report, self._exchanged(film, report))
        if config.supcon:
            both, labels = torch.cat([film, text[has_text]]), torch.cat([label, label[has_text]])
            losses["supcon"] = supervised_contrastive_loss(both, labels, config.supcon_temperature)
        if config.bce:
            losses["bce"] = abnormal_loss(space.abnormal_logit(film), label)
        if self.findings:
            losses["findings"] = self.findings.loss(film, rows)
        weights = {name: getattr(config, name) for name in losses}
        return {
            **losses,
            "loss": sum((weights[name] * value for name, value in losses.items()), film.new_zeros(())),
        }

    def _exchanged(self, film: Tensor, report: Tensor) -> Tensor | None:
        """The logit of each film's own report with left and right exchanged, float32 [batch], and the weight
        it has among the other wrong ones; -inf where there is none.
        """
        others = self.train_table.exchanged
        if others is None:
            return None
        row = torch.where(report >= 0, others.row[report.clamp(min=0)], -1)
        has = (row >= 0).nonzero().squeeze(1)
        further = film.new_full((len(film),), -torch.inf)
        if not len(has):
            return further
        cosine = (film[has] * self.space.embed_texts(others.text[row[has]])).sum(dim=1)
        return further.index_copy(0, has, self.space.scale * cosine + math.log(self.config.side_negatives))

    def _set_rate(self, step: int) -> None:
        """Linear warm-up, then a cosine to zero."""
        total = self.config.epochs * self.steps_per_epoch
        warmup = max(1, round(self.config.warmup * total))
        factor = (
            (step + 1) / warmup
            if step < warmup
            else 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
        )
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _note(self, epoch: int, losses: dict[str, float], started: float) -> None:
        kept: Trained = self.average.module if self.average else self.trained  # type: ignore[assignment]
        space, tower = kept.space, kept.tower
        result = evaluate_table(space, with_features(self.validation, tower), self.config)
        score = selection_score(result)
        if score is None:  # nothing to choose by: keep the last epoch
            score = epoch * 1e-9
        if score > self.best_score:
            self.best_score, self.best_epoch, self.best = score, epoch, runs.cpu_copy(space.state_dict())
            self.best_tower = runs.cpu_copy(tower.tower.state_dict()) if tower else {}
        seconds = time.perf_counter() - started
        self.history.append(
            {"epoch": epoch, "train": losses, "validation": result, "selection": score, "seconds": seconds}
        )

    def finish(self) -> Calibration | None:
        """Turn the best epoch's space to its principal axes, by train, and fit the head's calibration, by
        validation.

        None without a head or with too few films to calibrate it.
        """
        self.space.load_state_dict(self.best)
        if self.tower:
            self.tower.tower.load_state_dict(self.best_tower)
        film, _, report = embed(self.space, with_features(self.train_table, self.tower))
        self.space.turn(torch.from_numpy(np.concatenate([film, report])).to(self.space.axes.device))
        self.best = runs.cpu_copy(self.space.state_dict())
        if not self.config.bce or not len(self.validation.label):
            return None
        _, logit, _ = embed(self.space, with_features(self.validation, self.tower))
        label, view = self.validation.label.cpu().numpy(), self.validation.view.cpu().numpy()
        # Of frontal films: laterals get a calibration of their own when a bundle is made.
        asked = view == FRONTAL if self.shape.views else np.ones(len(label), bool)
        return fit_calibration(label[asked], logit[asked])

    def finding_weights(self) -> dict[str, Tensor]:
        """Those of the heads that go when training ends, each name below ``findings/``."""
        heads = self.findings.state_dict() if self.findings else {}
        return {f"{_FINDINGS}{name}": weight for name, weight in heads.items()}

    def adopt(self, space: dict[str, Tensor], tower: dict[str, Tensor]) -> None:
        """Take weights that came about elsewhere for the best, as if by one more epoch."""
        started, epoch = time.perf_counter(), len(self.history) + 1
        self.space.load_state_dict(space)
        if self.tower:
            self.tower.tower.load_state_dict(tower)
        result = evaluate_table(self.space, with_features(self.validation, self.tower), self.config)
        score = selection_score(result)
        self.best_epoch, self.best_score = epoch, epoch * 1e-9 if score is None else score
        self.best, self.best_tower = space, tower
        seconds = time.perf_counter() - started
        self.history.append(
            {"epoch": epoch, "train": {}, "validation": result, "selection": score, "seconds": seconds}
        )

    def _save(self, out: Path) -> None:
        tensors = {f"model/{k}": v for k, v in self.space.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        if self.tower:
            tensors |= {f"tower/{k}": v for k, v in self.tower.tower.state_dict().items()}
            tensors |= {f"best_tower/{k}": v for k, v in self.best_tower.items()}
        if self.findings:
            tensors |= self.finding_weights()
        if self.average:
            tensors |= {f"average/{k}": v for k, v in self.average.state_dict().items()}
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
        if self.findings:
            self.findings.load_state_dict(_below(tensors, _FINDINGS))
        if self.average:
            self.average.load_state_dict(_below(tensors, "average/"))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimiser/").items():
            index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict(
            {"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]}
        )
        self.history, self.best_epoch, self.best_score = (
            metadata["history"],
            metadata["best_epoch"],
            metadata["best_score"],
        )

    @cached_property
    def fingerprint(self) -> str:
        """What a checkpoint belongs to: configuration (but the device), shapes, and every row trained and
        validated on.
        """
        config = {k: v for k, v in self.config.to_dict().items() if k not in ("device", "backbone")}
        if config["render"] == "voi":  # checkpoints of before it could be chosen stay good
            del config["render"]
        config = {name: value for name, value in config.items() if (name, value) not in BEFORE.items()}
        if self.tower and self.tower.folding.pairs:
            config["folded"] = True  # its tower's weights are of another layout than before
        digest = sha256(json.dumps([config, self.shape.to_dict()], sort_keys=True).encode())
        for table in (self.train_table, self.validation):
            for tensor in (table.film, table.text, table.report, table.label):
                digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


@torch.inference_mode()
def embed(space: SharedSpace, table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Film embeddings, abnormal logits and report embeddings of a table, in ``eval`` mode."""
    space.eval()
    film = space.embed_films(table.film, table.view)
    return (
        film.cpu().numpy(),
        space.abnormal_logit(film).cpu().numpy(),
        space.embed_texts(table.text).cpu().numpy(),
    )


def evaluate_table(space: SharedSpace, table: Table, config: TrainConfig) -> dict[str, Any]:
    """Figures of a table; without a BCE loss the head was never trained and gives none."""
    film, logit, report = embed(space, table)
    return evaluate(table.cases, film, logit if config.bce else None, report)


def with_features(table: Table, tower: FineTunedTower | None) -> Table:
    """The table with the tower's features in place of films."""
    return replace(table, film=tower.features(table.film)) if tower else table


def _groups(module: nn.Module, rate: float, weight_decay: float) -> list[dict[str, Any]]:
    return decayed((p for p in module.parameters() if p.requires_grad), rate, weight_decay)


def _finding_heads(
    config: TrainConfig, shape: ProjectorShape, train: Table, device: torch.device
) -> FindingHeads | None:
    """None where none are wanted. Errors: WrongOption where no finding has films enough."""
    if not config.findings:
        return None
    try:
        return FindingHeads(train, shape.dim).to(device)
    except ValueError as error:
        raise WrongOption(f"findings = {config.findings}", str(error)) from None


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class Trained(nn.Module):
    """What the optimiser changes, as one module."""

    def __init__(self, space: SharedSpace, tower: FineTunedTower | None):
        super().__init__()
        self.space, self.tower = space, tower


def _average(trained: Trained, decay: float) -> AveragedModel | None:
    """An exponential moving average of all weights (decay per step), which is what is judged and kept;
    None without one.
    """
    return AveragedModel(trained, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
