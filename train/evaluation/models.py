"""Puts models that need torch on the cases of an evaluation: a run, and a backbone by itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mtclip_edge.errors import BackboneUnusable
from mtclip_edge.evaluation.bundle_models import Model, Task, name_unread
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.progress import Progress, silent, step

from ..backbones.backbone import Backbone, load_backbone, text_features
from ..loop import embed
from ..run import backbone_of, load_run, read_log
from ..split_tensors import Table, choose_device, tabulate
from ..tower_features import film_features

# A zero-shot classifier of our own wording (CLIP, section 3.1.2: several templates, the mean of their
# embeddings).
NORMAL = (
    "a normal chest x-ray",
    "chest radiograph with no abnormality",
    "no acute cardiopulmonary abnormality",
)
ABNORMAL = (
    "an abnormal chest x-ray",
    "chest radiograph with an abnormality",
    "abnormal cardiopulmonary findings",
)


def run_model(path: Path, task: Task) -> Model:
    """A run's projectors on cached tower outputs.

    Errors: RunUnusable, ArtefactDamaged, ArtefactIncompatible, SourceUnusable.
    """
    run = load_run(path)
    with step(task.progress, "loading the backbone"):
        backbone = backbone_of(run)
    used, why = choose_device(task.device)
    table = _tabulate(backbone, task, used)
    film, logit, report = embed(run.space.to(used), table)
    embedded = ModelOutput(
        film,
        logit if run.head_trained else None,
        report if len(report) else None,
        Calibration.of(run.record.calibration),
        prefixes=run.space.shape.prefixes,
    )
    notes = (f"fp32 on {used} ({why})",)
    before = _before(
        backbone,
        table,
        load_backbone(run.record.backbone.spec) if run.record.tower_sha256 else None,
        used,
        task.progress,
    )
    log, name = tuple(read_log(path)), run.record.backbone.record.name
    return Model(str(path), "run", table.cases, embedded, None, notes, before, log, name)


def backbone_models(spec: str, task: Task) -> list[Model]:
    """A backbone zero-shot, with its own transform and with whole films squashed.

    Errors: BackboneUnusable, SourceUnusable.
    """
    with step(task.progress, "loading the backbone"):
        backbone = load_backbone(spec)
    if not backbone.aligned:
        raise BackboneUnusable(
            f"{backbone.name}: its towers do not share a space, so there is no zero-shot baseline"
        )
    for note in backbone.notes:
        task.say(note)
    used, _ = choose_device(task.device)
    models = []
    for geometry, what in (
        ("crop", "shorter side scaled, centre cropped"),
        ("squash", "the whole film squashed"),
    ):
        note = f"its own transform: {what}" if geometry == backbone.own_geometry else what
        shaped = replace(backbone, preprocessing=replace(backbone.preprocessing, geometry=geometry))
        table = _tabulate(shaped, task if geometry == "crop" else replace(task, say=silent), used)
        film, report = _unit(table.film), _unit(table.text)
        embedded = ModelOutput(film, _zero_shot_logit(shaped, film), report if len(report) else None)
        models.append(
            Model(
                f"{spec} ({geometry})",
                "backbone",
                table.cases,
                embedded,
                None,
                (note, "zero-shot; head by prompts"),
                backbone=backbone.name,
            )
        )
    return models


def _tabulate(backbone: Backbone, task: Task, device: torch.device) -> Table:
    table = tabulate(backbone, task.cases, task.progress, device)
    name_unread(table.problems, len(table.label), task.say)
    return table


def _before(
    backbone: Backbone, table: Table, original: Backbone | None, device: torch.device, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Features of the backbone before any training: of another tower than the run's where that was
    trained.
    """
    if original is None:
        return table.film.cpu().numpy(), table.text.cpu().numpy()
    paths = [film.path for film in table.cases.films]
    as_trained = replace(original, preprocessing=backbone.preprocessing)
    features = film_features(as_trained, paths, progress, device)
    return features.vectors[features.rows], table.text.cpu().numpy()


def _zero_shot_logit(backbone: Backbone, film: np.ndarray) -> np.ndarray:
    """Likeness to the abnormal prompts minus that to the normal ones, at the backbone's own temperature,
    float32 [films].
    """
    with torch.inference_mode():
        normal, abnormal = (_prompted(backbone, words) for words in (NORMAL, ABNORMAL))
    return np.asarray(backbone.logit_scale * (film @ (abnormal - normal)), np.float32)


def _prompted(backbone: Backbone, words: Sequence[str]) -> np.ndarray:
    """The mean direction of some prompts, float32 [width]."""
    texts = F.normalize(text_features(backbone.text_tower.cpu(), backbone.tokenizer, list(words)), dim=-1)
    return F.normalize(texts.mean(dim=0), dim=-1).numpy()


def _unit(features: torch.Tensor) -> np.ndarray:
    return F.normalize(features.float(), dim=-1).cpu().numpy()
