"""``mtclip data …``: parse, call one function, print; like cli.py, of which it is a part."""

from pathlib import Path
from typing import Annotated

import typer

from mtclip_edge.errors import not_among

data_app = typer.Typer(help="Sources of studies: what is in them, and any of them as a manifest.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(help="KIND:PATH, or a path that is recognised by what it holds; docs/data.md lists the kinds.")]
Abnormal = Annotated[
    str | None,
    typer.Option(help="Labels by Open-I's MeSH terms: mesh, or acute (chronic or benign alone is unknown).", show_default="mesh"),
]


@data_app.command("inspect", epilog="Example: mtclip data inspect openi:ecgen-radiology.zip --html inspected.html")
def inspect(
    source: Source,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="A page with a few films to look at.", show_default=False)] = None,
    films: Annotated[int, typer.Option(min=0, help="How many films are decoded at most; a sample where there are more.")] = 3000,
    show: Annotated[bool, typer.Option("--show", help="Print patient ids and the words that may be health information too.")] = False,
    abnormal: Abnormal = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Count what a source holds and look for what would spoil a training or give a patient away. No text is printed."""
    if format not in ("table", "json"):
        raise not_among("format", format, ("table", "json"))
    from mtclip_edge.display.answer_table import ProgressBars
    from mtclip_edge.display.formats import dumps
    from mtclip_edge.sources.inspection.inspection import inspect as look
    from mtclip_edge.sources.source import with_abnormal

    with ProgressBars() as bars:
        found, thumbnails = look(with_abnormal(source, abnormal), films=films, show=show, progress=bars)
        if html:
            from mtclip_edge.display.inspection_page import page
            from mtclip_edge.files import write_bytes

            write_bytes(html, page(found, thumbnails).encode())
            bars.say(f"{html}: as private as the films it shows")
    if format == "json":
        print(dumps(found, 2))
    else:
        from mtclip_edge.display.answer_table import print_pairs
        from mtclip_edge.display.inspection_page import lines

        print_pairs(lines(found))


@data_app.command("export", epilog="Example: mtclip data export kaggle-iu:indiana --to manifest.csv")
def export(
    source: Source,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The manifest to write: .csv or .parquet.")],
    abnormal: Abnormal = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write a source as a manifest, a row for each film; films stay where they are. Read back, it is the same studies."""
    from mtclip_edge.display.answer_table import ProgressBars
    from mtclip_edge.sources.manifest_writer import export_manifest
    from mtclip_edge.sources.source import with_abnormal

    with ProgressBars() as bars:
        for line in export_manifest(with_abnormal(source, abnormal), to, overwrite=overwrite, progress=bars):
            bars.say(line)
