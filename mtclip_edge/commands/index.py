"""``mtclip index …``: parse, call one function, print; like cli.py, of which it is a part."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtclip_edge.errors import WrongOption, not_among

if TYPE_CHECKING:
    from mtclip_edge.bundle.bundle import Bundle as Opened
    from mtclip_edge.display.answer_table import ProgressBars as Bars
    from mtclip_edge.studies import Study

index_app = typer.Typer(help="The searchable part of a bundle: its reports, vectors and HNSW graph.", no_args_is_help=True)

Bundle = Annotated[Path, typer.Argument(help="The bundle.")]
Device = Annotated[str, typer.Option(envvar="MTCLIP_DEVICE", help="auto, cpu or cuda.")]
Split = Annotated[str, typer.Option(help="train, validation, test or all.")]


@index_app.command("build", epilog="Example: mtclip index build bundle manifest:reports.csv")
def build(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a text tower.")],
    source: Annotated[str, typer.Argument(help="The source whose reports and films replace the bundle's.")],
    split: Split = "all",
    device: Device = "auto",
) -> None:
    """Replace a bundle's reports by those of a source, embedded by the bundle's own text tower."""
    from mtclip_edge.indexing.build import rebuild

    _embedded(rebuild, bundle, source, split, device)


@index_app.command("add", epilog="Example: mtclip index add bundle manifest:march.csv")
def add(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a text tower.")],
    source: Annotated[str, typer.Argument(help="The source whose reports and films are added.")],
    split: Split = "all",
    device: Device = "auto",
) -> None:
    """Add a source's reports and films. What is there already stays; a killed one goes on where it was when run again."""
    from mtclip_edge.indexing.update import add as add_to

    _embedded(add_to, bundle, source, split, device)


@index_app.command("remove", epilog="Example: mtclip index remove bundle --patient 4711")
def remove(
    bundle: Bundle,
    study: Annotated[list[str] | None, typer.Option(metavar="ID", help="A study. May repeat.")] = None,
    patient: Annotated[list[str] | None, typer.Option(metavar="ID", help="All studies of a patient. May repeat.")] = None,
    source: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="All studies of a source, as stats names it. May repeat.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Take studies out for good: their texts, words and vectors are in no file of the bundle when this returns."""
    if not (study or patient or source):
        raise WrongOption("index remove", "expected --study, --patient or --source", "mtclip index remove --help")
    from mtclip_edge.display.answer_table import ProgressBars
    from mtclip_edge.indexing.update import remove as remove_from

    with ProgressBars() as bars:
        done = remove_from(
            bundle, studies=study or (), patients=patient or (), sources=source or (), device=device, progress=bars, say=bars.say
        )
        _done(bars, done)


@index_app.command("merge", epilog="Example: mtclip index merge bundle other-bundle")
def merge(
    bundle: Annotated[Path, typer.Argument(help="The bundle that grows.")],
    other: Annotated[Path, typer.Argument(help="A bundle of the same model, or demo; it stays as it is.")],
) -> None:
    """Add the reports and films of another bundle of the same model; nothing is embedded."""
    from mtclip_edge.bundle.demo import resolve
    from mtclip_edge.display.answer_table import ProgressBars
    from mtclip_edge.indexing.update import merge as merge_into

    with ProgressBars() as bars:
        _done(bars, merge_into(bundle, resolve(other)[0], progress=bars, say=bars.say))


@index_app.command("rebuild", epilog="Example: mtclip index rebuild bundle")
def rebuild(bundle: Bundle) -> None:
    """Make the HNSW graph and the words for --match anew from the stored reports and vectors, and measure the recall."""
    from mtclip_edge.display.answer_table import ProgressBars
    from mtclip_edge.indexing.update import rebuild_index

    with ProgressBars() as bars:
        _done(bars, rebuild_index(bundle, progress=bars, say=bars.say))


@index_app.command("stats", epilog="Example: mtclip index stats bundle")
def stats(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or demo.")],
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Count what a bundle holds, by label, view, source and finding, and say how it is searched."""
    if format not in ("table", "json"):
        raise not_among("format", format, ("table", "json"))
    from mtclip_edge.bundle.demo import resolve
    from mtclip_edge.display.answer_table import print_pairs
    from mtclip_edge.display.formats import dumps
    from mtclip_edge.indexing.statistics import lines, statistics

    found = statistics(resolve(bundle)[0])
    print(dumps(found, 2)) if format == "json" else print_pairs(lines(found))


@index_app.command("export", epilog="Example: mtclip index export bundle --to folder")
def export(
    bundle: Bundle,
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for reports.parquet, studies.parquet and films.parquet.")],
) -> None:
    """Write reports, studies, films and their embeddings as Parquet."""
    from mtclip_edge.bundle.demo import resolve
    from mtclip_edge.indexing.parquet_export import export_parquet

    for line in export_parquet(resolve(bundle)[0], to):
        print(line, file=sys.stderr)


def _embedded(change: "Callable[..., Opened]", bundle: Path, source: str, split: str, device: str) -> None:
    """A change that embeds the studies of a source."""
    from mtclip_edge.display.answer_table import ProgressBars

    with ProgressBars() as bars:
        studies = _studies(source, split, bars)
        _done(bars, change(bundle, studies, device=device, progress=bars, say=bars.say))


def _studies(source: str, split: str, bars: "Bars") -> "Sequence[Study]":
    """The studies of a source; what could not be read is said, and that patients' texts will be in the bundle."""
    from mtclip_edge.sources.privacy import warning
    from mtclip_edge.sources.source import open_source
    from mtclip_edge.studies import SPLITS

    if split not in (*SPLITS, "all"):
        raise not_among("split", split, (*SPLITS, "all"))
    reading = open_source(source)
    studies = reading.studies if split == "all" else reading.split(split)
    for line in [*reading.lines(), *warning(studies)]:
        bars.say(line)
    return studies


def _done(bars: "Bars", bundle: "Opened") -> None:
    about = bundle.index
    bars.say(f"{bundle.path}: {about['reports']} distinct reports of {about['studies']} studies, generation {bundle.generation}")
