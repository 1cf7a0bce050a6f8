"""``mtclip embed``: films and reports to vectors in bulk, by processes and machines, into a folder."""

from pathlib import Path
from typing import Annotated

from typer import Option

from ..progress import step
from . import options

Towers = Annotated[Path, Option("--bundle", help="The bundle whose towers embed.")]
Out = Annotated[Path, Option(help="The folder to make or to go on with.")]
Shard = Annotated[
    str | None, Option(metavar="I/N", help="Only the I-th of N parts, as 1/8 to 8/8 on eight machines.")
]
Workers = Annotated[
    int | None, Option(min=1, max=256, help="Processes.", show_default="one for each processor")
]
Engine = Annotated[
    str, Option(metavar="local|ray", help="Processes here, or Ray: here too, or where RAY_ADDRESS says.")
]


def embed(
    source: options.Source,
    bundle: Towers,
    out: Out,
    shard: Shard = None,
    workers: Workers = None,
    engine: Engine = "local",
    split: options.Split = "all",
    map: options.Map = None,
    allow_bad_rows: options.AllowBadRows = False,
) -> None:
    """Embed a source's films and reports into a folder, which index build and index add take as a source.

    A killed one goes on where it was when run again; several machines may fill one folder.
    """
    from ..bundle.demo import resolve
    from ..display.progress_bars import ProgressBars
    from ..indexing.bundle_index import reading_of, studies_of
    from ..indexing.embed import Part, check_engine
    from ..indexing.embed import embed as embed_studies

    part = Part.read(shard) if shard else None
    check_engine(engine)
    path = resolve(bundle)[0]
    with ProgressBars() as bars:
        with step(bars, "reading the source"):
            read = reading_of(source, split, map or ())
        studies = studies_of(read, split, (), allow_bad_rows, bars.say)
        made = embed_studies(
            path, studies, out, part=part, workers=workers, engine=engine, progress=bars, say=bars.say
        )
        bars.say(f"{out}: {made} shards made")
        bars.say(options.next_line(("index", "add", "BUNDLE", out)))
