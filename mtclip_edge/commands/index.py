"""``mtclip index``: the searchable part of a bundle, made, changed, counted and written as Parquet."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import WrongOption
from ..progress import say, step
from . import options

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from ..display.progress_bars import ProgressBars
    from ..indexing.bundle_index import Index
    from ..sources.source import Reading

app = typer.Typer(
    help="The searchable part of a bundle: its reports, vectors and HNSW graph.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command(epilog="Example: mtclip index build bundle manifest:reports.csv")
def build(
    bundle: options.TextBundle,
    source: options.NewReports,
    split: options.Split = "all",
    map: options.Map = None,
    allow_bad_rows: options.AllowBadRows = False,
    device: options.Device = "auto",
) -> None:
    """Replace a bundle's reports by those of a source, embedded by the bundle's own text tower."""
    read = _read(bundle, source, split, map)
    how: dict[str, Any] = {"split": split, "allow_bad_rows": allow_bad_rows, "device": device}
    _change(bundle, lambda index, bars: index.build(read, **how, progress=bars, say=bars.say))


@app.command(epilog="Example: mtclip index add bundle manifest:march.csv")
def add(
    bundle: options.BundleOrLibrary,
    source: options.MoreReports,
    split: options.Split = "all",
    map: options.Map = None,
    allow_bad_rows: options.AllowBadRows = False,
    previews: options.AddPreviews = False,
    device: options.Device = "auto",
    maker: options.Maker = None,
    site: options.Site = "main",
) -> None:
    """Add a source's reports and films.

    What is there already stays; a killed one goes on where it was when run again.
    """
    if isinstance(bundle, str):
        from .library_changes import add_to_library

        if previews:
            raise WrongOption("--previews and a library", "a library keeps no films")
        add_to_library(bundle, source, site, maker, split, map, allow_bad_rows, device)
        return
    read = _read(bundle, source, split, map)
    how: dict[str, Any] = {"split": split, "allow_bad_rows": allow_bad_rows, "device": device}
    how["previews"] = previews
    _change(bundle, lambda index, bars: index.add(read, **how, progress=bars, say=bars.say))


@app.command(epilog="Example: mtclip index remove bundle --patient 4711")
def remove(
    bundle: options.BundleOrLibrary,
    study: options.Studies = None,
    patient: options.Patients = None,
    source: options.Sources = None,
    missing_ok: options.MissingOk = False,
    dry_run: options.DryRun = False,
    device: options.Device = "auto",
    maker: options.Maker = None,
    site: options.Site = "main",
    scrub: options.Scrub = False,
) -> None:
    """Take studies out for good: their texts, words and vectors are in no file of the bundle when this
    returns. Of a library no query finds them from then on.
    """
    if not (study or patient or source):
        raise WrongOption(
            "index remove", "expected --study, --patient or --source", "see: mtclip index remove --help"
        )
    which: dict[str, Any] = {
        "studies": study or (),
        "patients": patient or (),
        "sources": source or (),
        "missing_ok": missing_ok,
    }
    if isinstance(bundle, str):
        from .library_changes import remove_from_library

        remove_from_library(bundle, which, site, maker, dry_run, scrub)
        return
    if scrub:
        raise WrongOption("--scrub and a bundle", "a bundle's files are written anew each time")
    if dry_run:
        from ..indexing.bundle_index import Index

        counts = Index.open(named(bundle)).would_remove(**which, say=say)
        say(
            f"{bundle}: would remove {', '.join(f'{count} {name}' for name, count in counts.items())}; "
            "nothing was changed"
        )
        return
    _change(bundle, lambda index, bars: index.remove(**which, device=device, progress=bars, say=bars.say))


@app.command(epilog="Example: mtclip index merge bundle other-bundle")
def merge(bundle: options.GrowingBundle, other: options.OtherBundle) -> None:
    """Add the reports and films of another bundle of the same model; nothing is embedded."""
    _change(bundle, lambda index, bars: index.merge(named(other), progress=bars, say=bars.say))


@app.command(epilog="Example: mtclip index rebuild bundle")
def rebuild(bundle: options.Bundle) -> None:
    """Make the HNSW graph and the words for --match anew from the stored reports and vectors, and measure
    the recall.
    """
    _change(bundle, lambda index, bars: index.rebuild(progress=bars, say=bars.say))


@app.command(epilog="Example: mtclip index stats bundle")
def stats(bundle: options.BundleOrLibrary, format: options.Format = "table") -> None:
    """Count what a bundle or a library holds, by label, view, source and finding, and say how it is
    searched.
    """
    if isinstance(bundle, str):
        from .library import stats as library_stats

        library_stats(bundle, format)
        return
    from ..indexing.bundle_index import Index
    from ..indexing.statistics import summary_lines

    options.show(Index.open(named(bundle)).stats(), summary_lines, format)


@app.command(epilog="Example: mtclip index export bundle --to folder")
def export(bundle: options.BundleOrLibrary, to: options.ParquetOut, site: options.Site = "main") -> None:
    """Write reports, studies, films and their embeddings as Parquet."""
    if isinstance(bundle, str):
        from .library_changes import export_library

        export_library(bundle, to, site)
        return
    from ..bundle.demo import resolve
    from ..indexing.parquet_export import export_parquet

    for line in export_parquet(resolve(bundle)[0], to):
        say(line)


@app.command(epilog="Example: mtclip index push bundle postgresql://db.example/reports")
def push(
    source: options.Pushed,
    library: options.LibraryUrl,
    site: options.Site = "main",
    maker: options.Maker = None,
) -> None:
    """Copy the reports and vectors of a bundle, or of a folder that mtclip embed made, to a library.

    What is there already stays; a killed one goes on where it was when run again.
    """
    from .library_changes import push_to_library

    push_to_library(source, library, site, maker)


def _read(bundle: Path, source: str, split: str, map: list[str] | None) -> "Reading | Path":
    """A source for a bundle that may be changed: what is wrong with it is said before the bundle is opened.
    A folder that ``mtclip embed`` made stays a path.

    Errors: Refused for the demo bundle; WrongOption, SourceUnusable.
    """
    from ..bundle.demo import check_changeable
    from ..display.progress_bars import ProgressBars
    from ..folders import user_path
    from ..indexing.bundle_index import reading_of
    from ..indexing.shards import is_embedded

    _check_bundle(bundle)
    check_changeable(bundle)
    if is_embedded(user_path(source)):
        return user_path(source)
    with ProgressBars() as bars, step(bars, "reading the source"):
        return reading_of(source, split, map or ())


def _check_bundle(bundle: Path) -> None:
    """Errors: WrongOption for the URL of a library, where only a bundle makes sense."""
    if str(bundle).startswith(("postgresql:/", "postgres:/", "service=")):  # a path has lost a slash
        raise WrongOption(
            "a library", "expected a bundle", "a library is filled by mtclip index push and add"
        )


def named(bundle: Path) -> str | Path:
    """A bundle as the options name it: ``demo`` is the one in the package, as for every command."""
    return "demo" if str(bundle) == "demo" else bundle


def _change(bundle: Path, change: "Callable[[Index, ProgressBars], Bundle]") -> None:
    """Change a bundle with progress shown, and say what it holds then.

    Errors: Refused for the demo bundle.
    """
    from ..display.progress_bars import ProgressBars
    from ..indexing.bundle_index import Index

    _check_bundle(bundle)
    with ProgressBars() as bars:
        changed = change(Index.open(named(bundle)), bars)
        counts = changed.index
        bars.say(
            f"{changed.path}: {counts.reports} distinct reports of {counts.studies} studies, generation "
            f"{changed.generation}"
        )
        bars.say(options.next_line(("query", "FILM", "--bundle", bundle)))
