"""What ``mtclip index`` does where a library's URL stands in place of a bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import WrongOption
from ..progress import say, step
from . import options
from .library import checked, shown


def push_to_library(source: Path, url: str, site: str, maker: Path | None) -> None:
    """A bundle, or a folder of shards."""
    from ..bundle.demo import resolve
    from ..display.progress_bars import ProgressBars
    from ..folders import user_path
    from ..indexing.push import push_bundle, push_embedded
    from ..indexing.shards import EmbeddedFolder, is_embedded

    checked(url)
    path = user_path(source)
    with ProgressBars() as bars:
        if is_embedded(path):
            push_embedded(EmbeddedFolder.open(path), maker, url, site, progress=bars, say=bars.say)
        else:
            push_bundle(resolve(source)[0], url, site, progress=bars, say=bars.say)
        bars.say(_next(url, source if not is_embedded(path) else maker or "BUNDLE"))


def add_to_library(
    url: str,
    source: str,
    site: str,
    maker: Path | None,
    split: str,
    map: Sequence[str] | None,
    allow_bad_rows: bool,
    device: str,
) -> None:
    """A source, embedded by the towers of ``maker``; or a folder of shards."""
    from ..bundle.demo import resolve
    from ..display.progress_bars import ProgressBars
    from ..folders import user_path
    from ..indexing.bundle_index import reading_of, studies_of
    from ..indexing.push import add
    from ..indexing.shards import is_embedded

    checked(url)
    if is_embedded(user_path(source)):
        push_to_library(Path(source), url, site, maker)
        return
    if maker is None:
        raise WrongOption("index add to a library", "expected --bundle BUNDLE: its towers embed")
    with ProgressBars() as bars:
        with step(bars, "reading the source"):
            read = reading_of(source, split, map or ())
        studies = studies_of(read, split, (), allow_bad_rows, bars.say)
        add(resolve(maker)[0], studies, url, site, device=device, progress=bars, say=bars.say)
        bars.say(_next(url, maker))


def remove_from_library(
    url: str,
    which: Mapping[str, Sequence[str] | bool],
    site: str,
    maker: Path | None,
    dry_run: bool,
    scrub: bool,
) -> None:
    """Studies by their ids, patients or sources."""
    from ..index.postgres import removing
    from ..index.postgres.writing import Writer

    checked(url)
    with Writer(url, site) as writer:
        if scrub and not dry_run:
            removing.check_scrub(writer)
        keys = removing.meant(writer, **which, say=say)  # type: ignore[arg-type]
        if dry_run:
            counts = removing.would_remove(writer, keys).to_dict()
            told = ", ".join(f"{count} {name}" for name, count in counts.items())
            say(f"{shown(url)}: would remove {told}; nothing was changed")
            return
        if keys:
            gone = removing.remove(writer, keys)
            say(f"{gone.studies} studies removed, {gone.reports} reports, {gone.films} films")
        if scrub:
            removing.scrub(writer)
        said = "" if scrub else "; its pages hold it until the database cleans up: --scrub does that now"
        say(f"no query finds it any more; {removing.BEYOND}{said}")
    if keys and maker is not None:
        from ..bundle.bundle import Bundle
        from ..indexing.push import measure_evidence

        measure_evidence(Bundle.open(maker), url, site, say)
    elif keys:
        say(f"percentiles end: mtclip library verify {shown(url)} --bundle BUNDLE measures them again")


def export_library(url: str, to: Path, site: str) -> None:
    """Parquet of one site."""
    from ..indexing.library_export import export_library as export

    for line in export(checked(url), to, site):
        say(line)


def _next(url: str, bundle: Path | str) -> str:
    return options.next_line(("query", "FILM", "--bundle", bundle, "--library", shown(url)))
