"""``mtclip eval``: runs, bundles and backbones measured on one source, as a table or JSON."""

from typing import Any

from . import options


def evaluate(
    data: options.EvalData,
    artefacts: options.Artefacts = None,
    split: options.Split = "test",
    reports: options.SearchedReports = None,
    map: options.Map = None,
    out: options.EvalOut = None,
    backbone: options.ZeroShot = None,
    ablate: options.Ablate = False,
    seeds: options.Seeds = 5,
    allow_leaks: options.AllowLeaks = False,
    allow_bad_rows: options.AllowBadRows = False,
    format: options.Format = "table",
    device: options.Device = "auto",
) -> None:
    """Measure retrieval in both directions and the abnormal head, with intervals, beside chance and
    ceiling.
    """
    from ..display.evaluation_table import exposure_lines, print_eval
    from ..display.formats import dumps
    from ..display.progress_bars import ProgressBars
    from ..sources.source import with_maps
    from ..train.evaluation.evaluate import EvaluationRequest, ablation, assess

    of_films, *others = with_maps([data, *([reports] if reports else [])], map)
    request = EvaluationRequest(
        of_films,
        tuple(artefacts or ()),
        tuple(backbone or ()),
        split,
        others[0] if others else None,
        out,
        allow_leaks,
        device,
        allow_bad_rows,
    )
    with ProgressBars() as bars:
        how: dict[str, Any] = {"say": bars.say, "progress": bars}
        document = ablation(request, seeds, **how) if ablate else assess(request, **how)
        if format == "json":  # the table says it on stdout
            for line in exposure_lines(document["models"]):
                bars.say(line)
    print(dumps(document, 2)) if format == "json" else print_eval(document)
