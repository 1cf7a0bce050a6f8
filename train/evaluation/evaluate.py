"""Does ``eval`` as a whole: sources, leaks, every model on the same cases, and the files of the result.

torch is imported only where a run or a backbone is judged, matplotlib only where pictures are drawn: a bundle
is judged without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mtclip_edge.bundle.bundle import MANIFEST, Bundle
from mtclip_edge.bundle.demo import WORD, resolve
from mtclip_edge.display.evaluation_page import Picture, page
from mtclip_edge.display.formats import dumps
from mtclip_edge.errors import LeakFound, Refused, SourceUnusable, WrongOption
from mtclip_edge.evaluation.bundle_models import (
    Model,
    Task,
    bundle_models,
    check_split,
    evaluate_model,
    of_split,
)
from mtclip_edge.evaluation.document import document
from mtclip_edge.evaluation.film_rows import write_rows
from mtclip_edge.evaluation.leaks import between_splits, same_numbers, with_training
from mtclip_edge.files import private_dir, write_bytes
from mtclip_edge.folders import user_path
from mtclip_edge.progress import Progress, Say, silent, step
from mtclip_edge.sources.source import Reading, open_source, open_sources, with_maps
from mtclip_edge.studies import Study
from mtclip_edge.train.requirements import need_torch

from .examples import examples_of

METRICS, PAGE = "metrics.json", "report.html"


@dataclass(frozen=True)
class EvaluationRequest:
    """What ``eval`` is told."""

    data: str
    artefacts: tuple[Path, ...] = ()
    backbones: tuple[str, ...] = ()
    split: str = "test"
    reports: str | None = None  # the source whose reports are searched; None: those of the studies themselves
    out: Path | None = None
    allow_leaks: bool = False
    device: str = "auto"
    allow_bad_rows: bool = False
    library: str | None = None  # whose reports a bundle searches and asks for votes; None: its own

    def check(self) -> None:
        """What can be told before a source is read, which may take minutes.

        Errors: WrongOption (split, folder), Refused (a bundle as the folder), NotABundle.
        """
        check_split(self.split)
        if self.out and self.out.exists() and not self.out.is_dir():
            raise WrongOption(f"--out {self.out}: is no folder", "expected a folder, new or old")
        if self.out and (self.out / MANIFEST).is_file():
            raise Refused(f"--out {self.out}: is a bundle, which eval does not write to")
        for path in self.artefacts:
            if not _is_run(path):
                Bundle.open(resolve(path)[0])


def assess(request: EvaluationRequest, *, say: Say = silent, progress: Progress = silent) -> dict[str, Any]:
    """Judge every model and write the result's files (``_write``) where they are wanted; gives the document.

    Errors: LeakFound, WrongOption, SourceUnusable, ExtraMissing (torch), and those of whatever is judged.
    """
    if not request.artefacts and not request.backbones:
        raise WrongOption("nothing to evaluate", "expected a run, a bundle, --backbone or --ablate")
    request.check()
    if request.backbones or any(map(_is_run, request.artefacts)):
        need_torch()
    with step(progress, "reading the source"):
        reading = open_source(request.data)
    for line in reading.summary_lines():
        say(line)
    reading.refuse_bad_rows(request.allow_bad_rows)
    studies = of_split(reading, request.split)
    with step(progress, "looking for leaks"):
        leaks = find_leaks(reading, studies, request.artefacts, say)
    if leaks and not request.allow_leaks:
        raise LeakFound(
            "; ".join(leaks[:2]),
            "every figure would be too good",
            "mend the splits, or add --allow-leaks to see them marked",
        )
    searched, named = _searched(request, studies, say)
    how = {"device": request.device, "library": request.library, "say": say, "progress": progress}
    models = _models(request, Task.of(studies, searched, **how))
    seen_reports = frozenset(study.report_id for study in reading.split("train") if study.report_id)
    results = []
    for model in models:
        with step(progress, f"figures and intervals of {model.name} {model.precision or ''}".rstrip()):
            results.append(evaluate_model(model, seen_reports if request.split != "train" else frozenset()))
    judged = document(results, models[0].cases, request.data, request.split, named, leaks)
    if out := request.out or _beside(request):
        with step(progress, "drawing the report"):
            _write(out, judged, models, say=say)
    return judged


def evaluate(
    *artefacts: str | Path,
    data: str | Path,
    split: str = "test",
    reports: str | Path | None = None,
    map: Sequence[str] = (),
    backbones: Sequence[str] = (),
    out: str | Path | None = None,
    allow_leaks: bool = False,
    allow_bad_rows: bool = False,
    device: str = "auto",
    say: Say = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Runs and bundles, and ``backbones`` zero-shot, measured on one source: retrieval both ways with
    intervals, beside chance, and the abnormal head. Gives the document of ``mtclip eval --format json``.

    ``data`` is the source of films and reports, ``reports`` another whose reports are searched; ``map`` names
    columns and values of both (``THEIRS=OURS``). ``out`` gets metrics.json, report.html and the films' rows;
    None keeps a run's in its own folder and writes nothing of a bundle. A bundle is judged without torch.
    ``say`` gets what a person should know, a line at a time.

    Errors: LeakFound, WrongOption, SourceUnusable, ExtraMissing (torch), NotABundle, and those of whatever is
    judged.
    """
    of_films, *others = with_maps([str(data), *([str(reports)] if reports else [])], map)
    request = EvaluationRequest(
        of_films,
        tuple(user_path(path) if str(path) != WORD else Path(WORD) for path in artefacts),
        tuple(backbones),
        split,
        others[0] if others else None,
        user_path(out) if out is not None else None,
        allow_leaks,
        device,
        allow_bad_rows,
    )
    return assess(request, say=say, progress=progress)


def ablation(
    request: EvaluationRequest, seeds: int, *, say: Say = silent, progress: Progress = silent
) -> dict[str, Any]:
    """The loss ablation of one backbone on the source; artefacts have no part in it.

    Errors: WrongOption, LeakFound.
    """
    if request.artefacts or len(request.backbones) > 1 or request.reports:
        raise WrongOption(
            "--ablate trains its own models",
            "expected no run or bundle, no --reports and one --backbone at most",
        )
    request.check()
    if seeds < 1:
        raise WrongOption(f"--seeds {seeds}", "expected 1 or more")
    need_torch()
    from mtclip_edge.train.settings import TrainConfig

    with step(progress, "loading torch"):
        from .ablation import ablate

    config = TrainConfig(
        backbone=request.backbones[0] if request.backbones else "compact", device=request.device
    )
    judged = ablate(
        request.data,
        config,
        split=request.split,
        seeds=seeds,
        allow_leaks=request.allow_leaks,
        say=say,
        progress=progress,
    )
    if request.out:
        with step(progress, "drawing the report"):
            _write(request.out, judged, say=say)
    return judged


def out_of_fold(
    request: EvaluationRequest,
    count: int,
    recipes: tuple[str, ...],
    trainings: int,
    seed: int,
    with_test: bool,
    *,
    say: Say = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Recipes side by side, each film judged by what never saw it, with ``metrics.json`` and ``report.html``
    beside what was trained; artefacts have no part in it.

    Errors: WrongOption, and those of ``cross_validate``.
    """
    if request.artefacts or len(request.backbones) > 1 or request.reports:
        raise WrongOption(
            "--folds trains its own models",
            "expected no run or bundle, no --reports and one --backbone at most",
        )
    request.check()
    need_torch()
    with step(progress, "loading torch"):
        from .out_of_fold import FoldsRequest, cross_validate

    backbone = {"backbone": request.backbones[0]} if request.backbones else {}
    base = {"device": request.device, **backbone}
    asked = FoldsRequest(request.data, count, seed, recipes, base, trainings, with_test)
    asked = replace(asked, out=request.out or asked.out, allow_bad_rows=request.allow_bad_rows)
    judged = cross_validate(asked, say=say, progress=progress)
    with step(progress, "drawing the report"):
        _write(asked.out, judged, say=say)
    return judged


def find_leaks(
    reading: Reading, studies: Sequence[Study], artefacts: Sequence[Path], say: Say = silent
) -> list[str]:
    """Leaks between the source's splits, and between what is evaluated and what each run was trained on."""
    leaks = between_splits(reading)
    for path in artefacts:
        if _is_run(path):
            from ..run import load_run

            try:
                trained = open_sources(load_run(path).sources).split("train")
            except SourceUnusable:
                continue  # sources that are gone cannot be compared
            leaks += with_training(studies, trained, str(path))
            if same := same_numbers(studies, trained):
                say(f"{same} patient ids are in a source of {path} too: its patients are taken for others")
    return list(dict.fromkeys(leaks))


def _write(out: Path, judged: dict[str, Any], models: Sequence[Model] = (), *, say: Say) -> None:
    """``metrics.json``, ``report.html`` and, of models, a row a film into a folder of the user's own;
    pictures and examples are those of one model.
    """
    private_dir(out)
    write_bytes(out / METRICS, (dumps(judged, 1) + "\n").encode())
    tables = write_rows(out, models) if models else ()
    model = next((model for model in models if model.kind != "backbone"), models[0] if models else None)
    pictures: Sequence[Picture] = ()
    if model and find_spec("matplotlib") and find_spec("sklearn"):
        from .pictures import pictures_of

        pictures = pictures_of(model, say)
    elif model:
        say("report.html is without pictures: matplotlib or scikit-learn is not installed")
    write_bytes(out / PAGE, page(judged, pictures, examples_of(model) if model else ()).encode())
    say(f"{out}: {', '.join((METRICS, *tables))} and {PAGE}")


def _models(request: EvaluationRequest, task: Task) -> list[Model]:
    """Every model in order: baselines first, since all others are compared with the first."""
    judged: list[Model] = []
    for spec in request.backbones:
        with step(task.progress, "loading torch"):
            from .models import backbone_models

        judged += backbone_models(spec, task)
    for path in request.artefacts:
        if _is_run(path):
            with step(task.progress, "loading torch"):
                from .models import run_model

            judged.append(run_model(path, task))
        else:
            judged += [replace(model, name=str(path)) for model in bundle_models(resolve(path)[0], task)]
    return judged


def _searched(
    request: EvaluationRequest, studies: Sequence[Study], say: Say
) -> tuple[Sequence[Study] | None, str | None]:
    """Whose reports are searched, and how that is told: a source's, or those of the studies themselves,
    or a run's train reports.
    """
    if request.reports:
        reading = open_source(request.reports)
        for line in reading.summary_lines():
            say(line)
        return reading.studies, request.reports
    if any(study.report_id for study in studies):
        return None, None
    for path in request.artefacts:
        if _is_run(path):
            from ..run import load_run

            return open_sources(load_run(path).sources).split("train"), f"the train reports of {path}"
    say("these studies have no reports and --reports names no others: only the abnormal head is judged")
    return None, None


def _beside(request: EvaluationRequest) -> Path | None:
    """Without --out a run keeps its evaluation beside its weights; a bundle is never written to."""
    first = request.artefacts[0] if request.artefacts else None
    return first / f"eval-{request.split}" if first and _is_run(first) else None


def _is_run(path: Path) -> bool:
    """Also an unfinished one, so that it is told as that."""
    return any((path / name).exists() for name in ("run.json", "checkpoint.safetensors"))
