"""``mtclip export``: one run into one bundle, with the precisions and limits that the options name."""

from ..errors import WrongOption
from ..progress import say, step
from . import options


def export(
    run: options.Run,
    out: options.BundleOut,
    reports: options.PackedReports = None,
    map: options.Map = None,
    precision: options.Precisions = None,
    budget: options.Budget = None,
    dim: options.KeptDim = None,
    no_text: options.NoText = False,
    previews: options.Previews = None,
    overwrite: options.OverwriteBundle = False,
) -> None:
    """Turn a run into a bundle: ONNX graphs, proven against torch, with reports, vectors and index."""
    from ..train.requirements import need_torch

    if map and reports is None:
        raise WrongOption("--map", "it names columns of --reports, which is not given")
    need_torch()
    from ..display.progress_bars import ProgressBars
    from ..sources.source import with_map

    names = (
        list(dict.fromkeys(name.strip() for name in precision.split(","))) if precision is not None else None
    )
    with ProgressBars() as bars:
        with step(bars, "loading torch"):
            from ..export import pack
            from ..export.parity.limits import parse_budget
            from ..export.quantization.ladder import PRECISIONS
        limits = parse_budget(budget or (), PRECISIONS)
        pack.export(
            run,
            out,
            reports=with_map(reports, map) if reports is not None else None,
            precision=names,
            budget=limits,
            dim=dim,
            text=not no_text,
            previews=previews,
            overwrite=overwrite,
            say=bars.say,
            progress=bars,
        )
    say(options.next_line(("query", "FILM", "--bundle", out), ("eval", out, "--data", "SOURCE")))
