"""``mtclip info``, ``verify`` and ``bench``: what a bundle is, whether it is whole, how fast it answers
here.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import typer

from ..progress import Progress, say
from . import options

DAMAGED = 3
Item = TypeVar("Item")


def info(
    artefact: options.Artefact = None,
    config: options.ShowConfig = False,
    config_file: options.ConfigFile = None,
    format: options.Format = "table",
) -> None:
    """Describe a bundle or a run, or the settings in force."""
    if config:
        from ..train.settings import in_force

        options.show(in_force(config_file), _settings, format)
        return
    from ..bundle.demo import resolve
    from ..diagnostics.info import describe, summary_lines

    if artefact is None and (named := os.environ.get("MTCLIP_BUNDLE")):
        artefact = Path(named)
    if artefact is None or not (artefact / "run.json").exists():
        artefact = resolve(artefact)[0]
    options.show(describe(artefact), summary_lines, format)


def _settings(settings: dict[str, dict[str, object]]) -> list[tuple[str, str]]:
    return [(name, f"{setting['value']}  ({setting['origin']})") for name, setting in settings.items()]


def verify(bundle: options.BundleOrDemo) -> None:
    """Read every file of a bundle and compare its hash. Exit 3 if one is damaged."""
    from ..bundle.bundle import Bundle
    from ..bundle.demo import resolve
    from ..display.progress_bars import ProgressBars

    opened = Bundle.open(resolve(bundle)[0])
    with ProgressBars() as bars:  # what was found is printed when the bars are gone
        found = list(_counted(opened.verify(), len(opened.manifest.files), bars))
    damaged = 0
    for name, problem in found:
        damaged += problem is not None
        print(
            f"{'damaged' if problem else 'ok':8s}{name}"
            + (f"  {problem.detail or problem.what}" if problem else "")
        )
    if damaged:
        say(f"{opened.path}: {damaged} of {len(opened.manifest.files)} files are damaged")
        raise typer.Exit(DAMAGED)
    say(options.next_line(("query", "FILM", "--bundle", bundle)))


def _counted(items: Iterable[Item], total: int, progress: Progress) -> Iterator[Item]:
    """The items as they come, each told as one of ``total`` files."""
    progress("files", 0, total)
    for done, item in enumerate(items, 1):
        yield item
        progress("files", done, total)


def bench(
    bundle: options.BundleOrDemo, films: options.Films = None, format: options.Format = "table"
) -> None:
    """Measure how fast a bundle answers here: cold and warm, by batch, each precision on each device."""
    from ..bundle.demo import resolve
    from ..diagnostics.bench import bench, summary_lines
    from ..display.progress_bars import ProgressBars

    with ProgressBars() as bars:
        figures = bench(resolve(bundle)[0], films, say=bars.say)
    options.show(figures, summary_lines, format)
