"""``mtclip pull``: a backbone from the network into a folder."""

from ..progress import say, step
from . import options


def pull(backbone: options.BackboneName, out: options.FolderOut, sha256: options.WeightsHash = None) -> None:
    """Download all that a backbone needs into one folder, verified, for machines without a network."""
    from ..train.requirements import need_torch

    need_torch()
    from ..display.progress_bars import ProgressBars

    with ProgressBars() as bars:
        with step(bars, "loading torch"):
            from ..train.backbones.pull import pull
        pull(backbone, out, wanted=sha256, say=bars.say, progress=bars)
    say(options.next_line(("train", "--data", "SOURCE", "--backbone", out)))
