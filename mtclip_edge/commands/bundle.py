"""``mtclip info``, ``verify`` and ``bench``: what a bundle is, whether it is whole, how fast it answers
here.
"""

import os
from pathlib import Path

import typer

from ..progress import say
from . import options

DAMAGED = 3


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

    opened = Bundle.open(resolve(bundle)[0])
    damaged = 0
    for name, problem in opened.verify():
        damaged += problem is not None
        print(
            f"{'damaged' if problem else 'ok':8s}{name}"
            + (f"  {problem.detail or problem.what}" if problem else "")
        )
    if damaged:
        say(f"{opened.path}: {damaged} of {len(opened.manifest.files)} files are damaged")
        raise typer.Exit(DAMAGED)


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
