"""Does ``train``: sources in, a finished run out."""

import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mtclip_edge.bundle.records import BackboneRecord, MetricsRecord
from mtclip_edge.bundle.run_record import (
    ConfigRecord,
    DataRecord,
    DeviceRecord,
    RunBackboneRecord,
    RunRecord,
    ShapeRecord,
)
from mtclip_edge.errors import BackboneUnusable, LeakFound, Refused, RunUnusable, SourceUnusable
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.leaks import between_tables
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.evidence.enough import SplitFilms, shortages
from mtclip_edge.fields import Fields
from mtclip_edge.files import private_dir
from mtclip_edge.folders import user_path
from mtclip_edge.notice import NOTICE, __version__
from mtclip_edge.progress import Progress, Say, silent, step
from mtclip_edge.sources.source import Reading, absolute, open_sources
from mtclip_edge.studies import Study, distinct_reports
from mtclip_edge.train.settings import BEFORE, BY_BACKBONE, TUNED, TrainConfig, text_side_for

from . import run as runs
from . import soup
from .backbones.backbone import Backbone, load_backbone
from .backbones.licence import Licence
from .epoch_words import epoch_line
from .fine_tuning import FineTunedTower
from .frozen_below import Views
from .lexical import fit_words, with_words, words_of
from .loop import Fit, embed, with_features
from .pooling import with_pool
from .projector import ProjectorShape
from .split_tensors import Table, choose_device, prepared, tabulate, with_exchanged
from .views import of_views


@dataclass(frozen=True)
class Fitted:
    """What a training made, its best epoch in force; ``seconds`` that features and epochs took."""

    backbone: Backbone
    fit: Fit
    calibration: Calibration | None
    device: DeviceRecord
    seconds: dict[str, float]

    @torch.inference_mode()
    def judge(self, cases: Cases, progress: Progress = silent) -> tuple[Table, ModelOutput]:
        """The films of some cases that could be read, and what is made of them and of the cases' reports."""
        device, fit = self.fit.space.axes.device, self.fit
        table = with_features(tabulate(self.backbone, cases, progress, device, fit.tower), fit.tower)
        film, logit, report = embed(fit.space, table)
        return table, ModelOutput(
            film,
            logit if fit.config.bce else None,
            report if len(report) else None,
            self.calibration,
            prefixes=fit.shape.prefixes,
        )


def train(
    config: TrainConfig,
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    resume: bool = False,
    allow_bad_rows: bool = False,
    origins: dict[str, str] | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> runs.Run:
    """Fit projectors on one or several sources (``KIND:PATH``, or paths) and write a run to the folder
    ``out``.

    ``resume`` goes on with an unfinished one. ``origins`` tells where each setting comes from, for the run's
    record. ``say`` gets what a person should know, a line at a time; ``progress`` the name of a step, how
    much of it is done, and of how much.

    Errors: SourceUnusable, BackboneUnusable, RunUnusable, Refused, WrongOption, LeakFound, ExtraMissing.
    """
    specs = [str(word) for word in ([sources] if isinstance(sources, str | Path) else sources)]
    out = user_path(out)
    _check_out(out, resume)
    if resume and (out / runs.RUN).is_file():
        return _finished(out, config, specs, say)
    with step(progress, "reading the source"):
        reading = read_sources(specs, allow_bad_rows, say)
    splits = reading.split("train"), reading.split("validation")
    asked, _ = of_views(config, splits, silent)
    for shortage in shortages(SplitFilms.of(asked[0]), SplitFilms.of(asked[1]), head=bool(config.bce)):
        say(str(shortage))
    fitted = fit_splits(config, splits, reading.spec, out, resume=resume, say=say, progress=progress)
    data = _data_record(reading, specs, fitted.fit)
    record, fit = _record(fitted.fit.config, origins or {}, fitted, data), fitted.fit
    tower = fit.tower.plain(fit.best_tower) if fit.tower else {}
    runs.write_run(out, record, fit.best, tower, words_of(fitted.backbone))
    for folder in soup.folders(out):
        shutil.rmtree(folder)
    say(f"{out}: best epoch {fit.best_epoch} of {len(fit.history)}; wrote {', '.join(runs.files(out))}")
    return runs.load_run(out)


def fit_splits(
    config: TrainConfig,
    splits: Sequence[Sequence[Study]],
    spec: str,
    out: Path | None,
    *,
    resume: bool = False,
    say: Say = silent,
    progress: Progress = silent,
) -> Fitted:
    """Fit on the first of two lists of studies and choose by the second, whatever splits they come from.

    ``out`` gets a checkpoint after each epoch, which ``resume`` goes on from; None: none is kept. ``spec`` is
    what the studies are called in an error. Errors: those of ``train`` but for its folder.
    """
    started = time.perf_counter()
    splits, laterals = of_views(config, splits, say)
    with step(progress, "loading the backbone"):
        backbone = _checked_backbone(config, splits, say)
    config = replace(config, text_side=backbone.text_side)
    device, why = choose_device(config.device)
    say(f"device {device}: {why}")
    # A soup needs its projectors again: what is not begun yet begins with them.
    unfinished = resume and out is not None and (out / runs.CHECKPOINT).is_file()
    shape = replace(shape_for(config, backbone), views=laterals)
    heads = None if unfinished else _heads(config, shape, backbone, splits, device, say, progress)
    tower = _tower(config, backbone, device, say)
    train_table, validation = (
        tabulate(backbone, Cases.of(studies), progress, device, tower, say) for studies in splits
    )
    train_table = with_exchanged(config, backbone, train_table, progress)
    _check_tables(config, train_table, validation, spec, say)
    features_done = time.perf_counter()
    if out:
        private_dir(out)
    views = _views(config, tower, train_table, say, progress)

    def one(config: TrainConfig, folder: Path | None) -> Fit:
        fit = Fit(config, shape, backbone.logit_scale, train_table, validation, device, tower, heads, views)
        return fit.run(folder, resume, say, progress)

    fit = _fitted(config, one, tower, out, say)
    with step(progress, "embedding all films by the best epoch"):
        calibration = fit.finish()
    seconds = {"features": features_done - started, "fit": time.perf_counter() - features_done}
    return Fitted(backbone, fit, calibration, DeviceRecord(str(device), why), seconds)


def _fitted(
    config: TrainConfig,
    one: Callable[[TrainConfig, Path | None], Fit],
    tower: FineTunedTower | None,
    out: Path | None,
    say: Say,
) -> Fit:
    """A training, or several from the same weights and then their mean."""
    begun = runs.cpu_copy(tower.tower.state_dict()) if tower else {}
    fits: list[Fit] = []
    for number, (settings, folder) in enumerate(soup.members(config, out), 1):
        if fits and tower:
            say(f"training {number} of {config.soup}, by seed {settings.seed}")
            tower.tower.load_state_dict(begun)
        if folder:
            private_dir(folder)
        fits.append(one(settings, folder))
    first = fits[0]
    if len(fits) > 1:
        first.config = config
        first.adopt(soup.mean([fit.best for fit in fits]), soup.mean([fit.best_tower for fit in fits]))
        say(f"the mean of {len(fits)} trainings: {epoch_line(first.history[-1], first.best_epoch)}")
    return first


def read_sources(sources: Sequence[str], allow_bad_rows: bool = False, say: Say = silent) -> Reading:
    """All sources as one.

    Errors: SourceUnusable, for too many bad rows too; LeakFound for a patient in two splits of several
    tables.
    """
    reading = open_sources(sources)
    for line in reading.summary_lines():
        say(line)
    reading.refuse_bad_rows(allow_bad_rows)
    if len(sources) > 1 and (leaks := between_tables(reading)):
        raise LeakFound(
            "; ".join(leaks[:2]),
            "what is fitted on validation would be too good",
            "mend the splits of the tables",
        )
    return reading


def _checked_backbone(config: TrainConfig, splits: Sequence[Sequence[Study]], say: Say) -> Backbone:
    """The backbone as the settings want it.

    Errors: BackboneUnusable; Refused where it knows less than half of the reports' words.
    """
    backbone = prepared(load_backbone(config.backbone), config.size, config.via, config.render)
    backbone = with_pool(with_text_side(config, backbone, splits[0]), config.pool)
    texts = dict.fromkeys(study.tower_text for studies in splits for study in studies if study.report_id)
    read = backbone.tokenizer.coverage(list(texts))
    if config.clip:
        read.refuse_unknown("the reports")
    for note in (*backbone.notes, *read.lines()):
        say(note)
    return backbone


def with_text_side(config: TrainConfig, backbone: Backbone, train: Sequence[Study]) -> Backbone:
    """The backbone with the text side that the settings want, a lexical one fitted on the reports of
    ``train`` alone.

    Errors: SourceUnusable where it has none, but with ``auto`` the backbone's own tower stays;
    BackboneUnusable where the backbone has no text tower and one is wanted.
    """
    side = text_side_for(config.text_side, backbone.aligned)
    if side != "lexical" and not backbone.reads_text:
        raise BackboneUnusable(
            f"{backbone.name}: has no text tower, so it cannot have --text-side {side}",
            "it reads reports by their word pieces alone",
            "add --text-side lexical",
        )
    if side == "transformer":
        return backbone
    texts = [report.first.tower_text for report in distinct_reports(train)]
    try:
        return with_words(backbone, fit_words(backbone.tokenizer, texts), side)
    except SourceUnusable:  # labels alone can be trained on too
        if config.text_side != BY_BACKBONE or not backbone.reads_text:
            raise
        return backbone


def _tower(config: TrainConfig, backbone: Backbone, device: torch.device, say: Say) -> FineTunedTower | None:
    """The film tower where it is trained too."""
    if not config.trains_tower:
        return None
    tower = FineTunedTower(backbone.film_tower, backbone.preprocessing, config.unfreeze, config.drop_path).to(
        device
    )
    if config.drop_path and not tower.skips:
        say("this film tower has no place for stochastic depth: trained without")
    return tower


def _views(
    config: TrainConfig, tower: FineTunedTower | None, table: Table, say: Say, progress: Progress
) -> Views | None:
    """Views of the films below the blocks that are trained, where there are frozen ones that can be parted.

    Errors: Refused without room for them.
    """
    if not tower or config.unfreeze == "all" or not config.kept_views:
        return None
    try:
        views = tower.keep_views(table.film, config.kept_views, config.seed, progress)
    except ValueError as error:
        say(f"every epoch runs through the frozen blocks too: they cannot be parted from the rest ({error})")
        return None
    say(
        f"{config.kept_views} augmented views of {len(table.film)} films went through the frozen blocks, "
        f"once for all epochs: {views.bytes / 1e9:.1f} GB beside the cache until training ends"
    )
    return views


def _finished(out: Path, config: TrainConfig, sources: Sequence[str], say: Say) -> runs.Run:
    """The run that is there already, if it is the one asked for."""
    run = runs.load_run(out)
    wanted = {**config.to_dict(), "device": None, "sources": [absolute(spec) for spec in sources]}
    # Runs of before a setting was there have none of it.
    settings = {**BEFORE, **run.record.config.settings}
    there = {**settings, "device": None, "sources": run.sources}
    if config.text_side == BY_BACKBONE:  # not asked for: whatever it came to when the run was made
        wanted["text_side"] = there["text_side"]
    if different := [name for name in wanted if wanted[name] != there.get(name)]:
        raise RunUnusable(f"{out}: a finished run with another {different[0]}", hint="give another --out")
    say(f"{out}: already finished")
    return run


def shape_for(config: TrainConfig, backbone: Backbone) -> ProjectorShape:
    """Residual projectors need towers that share a space, and its width."""
    dim = config.dim or (backbone.film_width if backbone.aligned else 256)
    residual = backbone.aligned and dim == backbone.film_width
    widths = backbone.film_width, backbone.text_width
    return ProjectorShape(*widths, config.hidden, dim, residual, config.dropout, backbone.words_width)


def _heads(
    config: TrainConfig,
    shape: ProjectorShape,
    backbone: Backbone,
    splits: Sequence[Sequence[Study]],
    device: torch.device,
    say: Say,
    progress: Progress,
) -> dict[str, Tensor] | None:
    """Projectors fitted on the tower as it came, to start from (Kumar et al.

    2022, LP-FT); None where the tower is not trained.
    """
    if not config.trains_tower or not config.heads_first:
        return None
    say("the projectors first, on the tower as it is")
    alone = replace(config, unfreeze="0", soup=1, **{name: TrainConfig.__dict__[name] for name in TUNED})
    train_table, validation = (
        tabulate(backbone, Cases.of(studies), progress, device, None, say) for studies in splits
    )
    train_table = with_exchanged(alone, backbone, train_table, progress)
    _check_tables(alone, train_table, validation, "the data", silent)
    fitted = Fit(alone, shape, backbone.logit_scale, train_table, validation, device)
    fitted = fitted.run(None, False, silent, progress)
    say(f"projectors: {epoch_line(fitted.history[fitted.best_epoch - 1], len(fitted.history))}")
    return fitted.best | fitted.finding_weights()


def _check_out(out: Path, resume: bool) -> None:
    if not resume and (out / runs.RUN).exists():
        raise Refused(f"{out}: already holds a run", hint="give another --out")
    if not resume and ((out / runs.CHECKPOINT).exists() or soup.folders(out)):
        raise Refused(
            f"{out}: holds an unfinished run", hint="add --resume to continue it, or give another --out"
        )


def _check_tables(config: TrainConfig, train: Table, validation: Table, spec: str, say: Say) -> None:
    for problem in (*train.problems, *validation.problems):
        say(f"left out: {problem}")
    if not len(train.label):
        raise SourceUnusable(
            f"{spec}: no film of the train split can be read",
            "a film needs a row with image_path and split train",
        )
    serves_clip, serves_labels = int((train.report >= 0).sum()) >= 2, bool((train.label >= 0).any())
    if not (config.clip and serves_clip) and not ((config.bce or config.supcon) and serves_labels):
        raise SourceUnusable(
            f"{spec}: no film of the train split serves a loss",
            "CLIP needs reports; BCE and SupCon need labels",
        )
    if train.exchanged is not None:
        told = len(train.exchanged.text)
        say(f"side_negatives: {told} of {len(train.text)} train reports, with left and right exchanged")
    if not len(validation.label):
        say("no film in the validation split: the last epoch is kept, and nothing was chosen by validation")


def _record(config: TrainConfig, origins: dict[str, str], fitted: Fitted, data: DataRecord) -> RunRecord:
    """All that ``run.json`` says but the hashes of the weights, which are not written yet."""
    backbone, fit = fitted.backbone, fitted.fit
    licence = Licence(backbone.licence, backbone.terms)
    named = BackboneRecord(
        backbone.name, backbone.identity, licence.name, licence.terms, licence.restriction, backbone.aligned
    )
    spec = config.backbone if config.backbone == "compact" else backbone.spec
    return RunRecord(
        notice=NOTICE,
        made_by={"mtclip_edge": __version__, "torch": torch.__version__, "python": platform.python_version()},
        config=ConfigRecord(config.bce, config.supcon, config.clip, config.seed, config.to_dict()),
        origins=origins,
        backbone=RunBackboneRecord(spec, named, backbone.weights_sha256),
        preprocessing=backbone.preprocessing.record(),
        shape=ShapeRecord(**fit.shape.to_dict()),
        data=data,
        device=fitted.device,
        best_epoch=fit.best_epoch,
        epochs_run=len(fit.history),
        validation=MetricsRecord.read(Fields(fit.history[fit.best_epoch - 1]["validation"])),
        calibration=fitted.calibration.record() if fitted.calibration else None,
        seconds=fitted.seconds,
    )


def _data_record(reading: Reading, sources: Sequence[str], fit: Fit) -> DataRecord:
    train, validation = fit.train_table, fit.validation
    return DataRecord(
        sources=tuple(absolute(spec) for spec in sources),
        studies={name: len(reading.split(name)) for name in ("train", "validation", "test")},
        films={"train": len(train.label), "validation": len(validation.label)},
        bad_rows=reading.bad_rows,
        unreadable_films=len(train.problems) + len(validation.problems),
    )
