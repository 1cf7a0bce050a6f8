"""``mtclip pull``: a backbone from the network into a folder."""

from . import options


def pull(backbone: options.BackboneName, out: options.FolderOut, sha256: options.WeightsHash = None) -> None:
    """Download all that a backbone needs into one folder, verified, for machines without a network."""
    from ..train.requirements import need_torch

    need_torch()
    from ..display.progress_bars import ProgressBars
    from ..train.backbones.pull import pull

    with ProgressBars() as bars:
        pull(backbone, out, wanted=sha256, say=bars.say, progress=bars)
