"""``mtclip data``: what a source of studies holds, and any source as a manifest."""

import typer

from ..progress import say
from . import options

app = typer.Typer(
    help="Sources of studies: what is in them, and any of them as a manifest.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command(epilog="Example: mtclip data inspect openi:ecgen-radiology.zip --html inspected.html")
def inspect(
    source: options.Source,
    html: options.Html = None,
    films: options.MostFilms = 3000,
    show: options.Show = False,
    abnormal: options.Abnormal = None,
    map: options.Map = None,
    format: options.Format = "table",
) -> None:
    """Count what a source holds and look for what would spoil a training or give a patient away.

    No text is printed.
    """
    from ..display.inspection_page import page, summary_lines
    from ..display.progress_bars import ProgressBars
    from ..evidence.enough import too_small_for
    from ..files import write_bytes
    from ..index.finding_words import read_findings
    from ..sources.inspection.inspection import inspect
    from ..sources.source import with_abnormal, with_map

    with ProgressBars() as bars:
        spec = with_map(with_abnormal(source, abnormal), map)
        document, thumbnails = inspect(
            spec,
            films=films,
            show=show,
            read_findings=read_findings,
            too_small_for=too_small_for,
            progress=bars,
        )
        if html:
            write_bytes(html, page(document, thumbnails).encode())
            bars.say(f"{html}: as private as the films it shows")
    options.show(document, summary_lines, format)
    say(options.next_line(("train", "--data", source, "--out", "run")))


@app.command(epilog="Example: mtclip data export kaggle-iu:indiana --to manifest.csv")
def export(
    source: options.Source,
    to: options.ManifestOut,
    abnormal: options.Abnormal = None,
    map: options.Map = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a source as a manifest, a row for each film; films stay where they are.

    Read back, it is the same studies.
    """
    from ..display.progress_bars import ProgressBars
    from ..sources.manifest_writer import export_manifest
    from ..sources.source import with_abnormal, with_map

    with ProgressBars() as bars:
        for line in export_manifest(
            with_map(with_abnormal(source, abnormal), map), to, overwrite=overwrite, progress=bars
        ):
            bars.say(line)
        bars.say(options.next_line(("train", "--data", to, "--out", "run")))
