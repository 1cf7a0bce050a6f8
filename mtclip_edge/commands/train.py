"""``mtclip train``: settings from options, variables and a file into one training."""

from pathlib import Path
from typing import Any

from ..errors import WrongOption
from ..progress import say
from . import options


def train(
    data: options.Data,
    out: options.RunOut = Path("run"),
    backbone: options.Backbone = None,
    config: options.Config = None,
    text_side: options.TextSide = None,
    lexical: options.Lexical = False,
    views: options.Views = None,
    unfreeze: options.Unfreeze = None,
    size: options.Size = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    lr: options.LearningRate = None,
    batch_size: options.BatchSize = None,
    bce: options.Bce = None,
    supcon: options.SupCon = None,
    clip: options.Clip = None,
    dim: options.Dim = None,
    abnormal: options.TrainAbnormal = None,
    map: options.Map = None,
    allow_bad_rows: options.AllowBadRows = False,
    resume: options.Resume = False,
    device: options.TrainDevice = None,
) -> None:
    """Fit projectors on a backbone's features with three losses: normal/abnormal, supervised contrastive,
    CLIP.
    """
    from ..train.requirements import need_torch

    need_torch()
    from ..display.progress_bars import ProgressBars
    from ..progress import step
    from ..sources.source import with_abnormal, with_maps
    from ..train.settings import resolve

    given = {"backbone": backbone, "epochs": epochs, "seed": seed, "lr": lr, "batch_size": batch_size}
    given |= {
        "bce": bce,
        "supcon": supcon,
        "clip": clip,
        "dim": dim,
        "device": device,
        "unfreeze": unfreeze,
        "size": size,
        "views": views,
    }
    given["text_side"] = _text_side(text_side, lexical)
    settings, origins = resolve(given, config)
    sources = with_maps([with_abnormal(source, abnormal) for source in data], map)
    with ProgressBars() as bars:
        with step(bars, "loading torch"):
            from ..train import training
        how: dict[str, Any] = {"resume": resume, "allow_bad_rows": allow_bad_rows, "origins": origins}
        training.train(settings, sources, out, **how, say=bars.say, progress=bars)
    say(options.next_line(("eval", out, "--data", sources[0]), ("export", out, "--out", "BUNDLE")))


def _text_side(named: str | None, lexical: bool) -> str | None:
    """Errors: WrongOption where both are given and differ."""
    if lexical and named not in (None, "both"):
        raise WrongOption(f"--lexical and --text-side {named}", "--lexical means --text-side both")
    return "both" if lexical else named
