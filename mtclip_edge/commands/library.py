"""``mtclip library``: reports in a PostgreSQL database, for many rooms."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from ..errors import WrongOption
from ..progress import say
from . import options

app = typer.Typer(
    help="Reports in a PostgreSQL database, for many rooms.", no_args_is_help=True, add_completion=False
)
Role = Annotated[str, Argument(help="A role of the database server, which a reading room logs in as.")]
Write = Annotated[bool, Option("--write", help="May add and remove reports too.")]
Model = Annotated[str, Argument(metavar="MODEL", help="The beginning of its id, as stats prints it.")]
ByBundle = Annotated[Path, Argument(help="A bundle of the model.")]
Measured = Annotated[
    Path | None,
    Option(
        "--bundle", help="Measure percentiles again with the films that a bundle keeps.", show_default=False
    ),
]
DAMAGED = 3


@app.command(epilog="Example: mtclip library create postgresql://db.example/reports")
def create(url: options.LibraryUrl) -> None:
    """Make a library in a database, with the site main; or bring one of an earlier release up to date."""
    from ..index.postgres.administration import create_library

    say(f"{shown(url)}: {create_library(url)}")
    say(options.next_line(("index", "push", "BUNDLE", shown(url))))


@app.command(epilog="Example: mtclip library stats postgresql://db.example/reports")
def stats(url: options.LibraryUrl, format: options.Format = "table") -> None:
    """Count what this login may read, by site and by model."""
    from ..index.postgres.administration import library_statistics

    checked(url)
    options.show(library_statistics(url), _lines, format)


def _lines(document: dict[str, Any]) -> list[tuple[str, str]]:
    server = document["server"]
    pairs = [
        ("library", f"{document['url']}, version {document['version']}"),
        ("server", f"PostgreSQL {server // 10000}.{server % 10000}, pgvector {document['pgvector']}"),
    ]
    for site in document["sites"]:
        told = f"{site['studies']} studies, {site['reports']} reports, {site['films']} films"
        pairs.append(
            (f"site {site['name']}", f"{told}; {site['normal']} normal, {site['abnormal']} abnormal")
        )
    for model in document["models"]:
        recall = "not measured" if model["recall"] is None else f"{model['recall']:.4f}"
        told = f"{model['reports']} reports, {model['films']} films, {model['bytes'] / 1e6:.0f} MB"
        how = f"HNSW, ef {model['ef']}, recall@10 {recall}" if model["index"] else "no HNSW index"
        pairs.append(
            (f"model {model['id'][:23]}…", f"{told}; {how}{'; current' if model['current'] else ''}")
        )
    return pairs


@app.command(epilog="Example: mtclip library verify postgresql://db.example/reports")
def verify(url: options.LibraryUrl, bundle: Measured = None, site: options.Site = "main") -> None:
    """Compare counts with rows, look at every vector, measure the recall. Exit 3 if something is wrong."""
    from ..index.postgres.administration import verified

    checked(url)
    wrong = 0
    for what, problem in verified(url, say):
        print(f"{what}: {problem}" if problem else f"{what}: ok")
        wrong += problem is not None
    if bundle is not None:
        from ..bundle.bundle import Bundle
        from ..indexing.push import measure_evidence

        measure_evidence(Bundle.open(bundle), url, site, say)
    if wrong:
        raise typer.Exit(DAMAGED)


@app.command(epilog="Example: mtclip library grant postgresql://db.example/reports room4 --site main")
def grant(url: options.LibraryUrl, role: Role, site: options.Site, write: Write = False) -> None:
    """Let a login of the database read one site, which is made where it is not there."""
    from ..index.postgres import administration

    checked(url)
    for line in administration.grant(url, role, site, write):
        say(line)


@app.command(epilog="Example: mtclip library switch postgresql://db.example/reports new-bundle")
def switch(url: options.LibraryUrl, bundle: ByBundle) -> None:
    """Make the model of a bundle the library's current one; the one of before stays until it is dropped."""
    from ..bundle.bundle import Bundle
    from ..index.postgres import administration

    checked(url)
    model = Bundle.open(bundle).model.model_id
    administration.switch(url, model)
    say(f"{shown(url)}: {model[:23]}… is the current model")


@app.command("drop-model", epilog="Example: mtclip library drop-model postgresql://db.example/reports 4f1a")
def drop_model(url: options.LibraryUrl, model: Model) -> None:
    """Delete the vectors of a model that is no longer the current one."""
    from ..index.postgres import administration

    checked(url)
    found = administration.model_named(url, model)
    administration.drop_model(url, found)
    say(f"{shown(url)}: the vectors of {found[:23]}… are gone")


def checked(url: str) -> str:
    """A URL that may be connected to. Errors: WrongOption, Refused (a password in a command)."""
    from ..folders import is_url
    from ..index.postgres.connect import check_no_password, without_password

    if not is_url(url):
        raise WrongOption(
            f"library {without_password(url)!r}", "expected postgresql://host/database, or service=name"
        )
    check_no_password(url)
    return url


def shown(url: str) -> str:
    from ..index.postgres.connect import without_password

    return without_password(checked(url))
