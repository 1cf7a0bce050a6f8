"""``eval`` of a run: its projectors on cached tower outputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.reporting import Progress, Say, silent
from mtclip_edge.settings import TrainConfig
from mtclip_edge.studies import Study

from .epochs import evaluate_table
from .run import backbone_of, load_run
from .tables import choose_device, tabulate


def evaluate_run(
    path: Path,
    studies: Sequence[Study],
    *,
    device: str = "auto",
    say: Say = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """All figures of a run on some studies. Errors: RunUnusable, ArtefactDamaged, ArtefactIncompatible, SourceUnusable."""
    run = load_run(path)
    backbone = backbone_of(run)
    used, _ = choose_device(device)
    table = tabulate(backbone, studies, progress, used)
    for problem in table.problems:
        say(f"left out: {problem}")
    if not len(table.label):
        raise SourceUnusable("no film can be read")
    return evaluate_table(run.space.to(used), table, TrainConfig(**run.record["config"]))
