"""``mtclip eval``: runs, bundles and backbones measured on one source, or recipes of training out of fold; as
a table or JSON.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WrongOption
from ..progress import say
from . import options, query_options
from .query import given_library

if TYPE_CHECKING:
    from ..train.evaluation.evaluate import EvaluationRequest


def evaluate(
    data: options.EvalData,
    artefacts: options.Artefacts = None,
    split: options.SplitOrFolds = None,
    reports: options.SearchedReports = None,
    map: options.Map = None,
    out: options.EvalOut = None,
    backbone: options.ZeroShot = None,
    ablate: options.Ablate = False,
    folds: options.Folds = None,
    recipe: options.Recipes = None,
    seeds: options.Seeds = None,
    fold_seed: options.FoldSeed = 0,
    allow_leaks: options.AllowLeaks = False,
    allow_bad_rows: options.AllowBadRows = False,
    format: options.Format = "table",
    full: options.AllFindings = False,
    device: options.Device = "auto",
    library: query_options.OfLibrary = None,
) -> None:
    """Measure retrieval in both directions and the abnormal head, with intervals, beside chance and
    ceiling.
    """
    from ..display.evaluation_table import exposure_lines, print_eval
    from ..display.formats import dumps
    from ..display.progress_bars import ProgressBars
    from ..sources.source import with_maps
    from ..train.evaluation.evaluate import EvaluationRequest, ablation, assess, out_of_fold

    if full and format != "table":
        raise WrongOption(f"--full and --format {format}", "it is for tables; json is whole")
    _check_folds(folds, ablate, split, recipe)
    of_films, *others = with_maps([data, *([reports] if reports else [])], map)
    request = EvaluationRequest(
        of_films,
        tuple(artefacts or ()),
        tuple(backbone or ()),
        split or "test",
        others[0] if others else None,
        out,
        allow_leaks,
        device,
        allow_bad_rows,
        given_library(library),
    )
    with ProgressBars() as bars:
        how: dict[str, Any] = {"say": bars.say, "progress": bars}
        if folds is not None:
            trainings, recipes = 1 if seeds is None else seeds, tuple(recipe or ())
            document = out_of_fold(request, folds, recipes, trainings, fold_seed, split == "all", **how)
        elif ablate:
            document = ablation(request, 5 if seeds is None else seeds, **how)
        else:
            document = assess(request, **how)
        if format == "json":  # the table says it on stdout
            for line in exposure_lines(document["models"]):
                bars.say(line)
    print(dumps(document, 2)) if format == "json" else print_eval(document, full=full)
    for line in _closing(request, folds is not None):
        say(line)


def _closing(request: "EvaluationRequest", folds: bool) -> list[str]:
    """Whether an evaluation left nothing behind, and what to type next."""
    runs = [path for path in request.artefacts if (path / "run.json").is_file()]
    bundles = [path for path in request.artefacts if path not in runs]
    beside_a_run = bool(runs) and request.artefacts[0] == runs[0]
    lines = []
    if request.out is None and not folds and not beside_a_run:
        lines.append("nothing was written: --out DIR keeps figures, a page and a row a film")
    if bundles:
        command: tuple[str | Path, ...] = ("query", "FILM", "--bundle", bundles[0])
    elif runs:
        command = ("export", runs[0] if len(runs) == 1 else "RUN", "--out", "BUNDLE")
    else:
        command = ("train", "--data", request.data, "--out", "run")
    return [*lines, options.next_line(command)]


def _check_folds(folds: int | None, ablate: bool, split: str | None, recipe: list[str] | None) -> None:
    """Errors: WrongOption where options do not go together."""
    if folds is None:
        if recipe:
            raise WrongOption("--recipe is for --folds", hint="add --folds 5")
        return
    if ablate:
        raise WrongOption("--ablate and --folds are two ways", "expected one of them")
    if split not in (None, "all"):
        raise WrongOption(
            f"--folds with --split {split}",
            "expected --split all, which takes the test split in, or none: train and validation",
        )
