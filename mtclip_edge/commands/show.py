"""``mtclip show``: one report of a bundle with its studies and films."""

from contextlib import closing
from typing import Annotated, Any

from typer import Argument, Option

from . import options, query_options

SCHEMA = "mtclip.show/1"
Id = Annotated[str, Argument(metavar="ID", help="A report_id, or a study_id.")]
Json = Annotated[bool, Option("--json", help="Print JSON.")]


def show(
    bundle: options.BundleOrDemo, id: Id, library: query_options.OfLibrary = None, json: Json = False
) -> None:
    """Print one report with its studies and films."""
    from ..bundle.bundle import Bundle
    from ..bundle.demo import resolve
    from ..index.report_store import ReportStore
    from ..notice import NOTICE
    from .query import given_library

    opened = Bundle.open(resolve(bundle)[0])
    model = opened.model
    if url := given_library(library):
        from ..index.postgres.opening import open_library

        with closing(open_library(url, model.model_id, model.dim)) as other:
            found = other.details(id).to_dict()
    else:
        with ReportStore(opened.file(opened.index.store), model.model_id) as store:
            found = store.details(id).to_dict()
    document = {"schema": SCHEMA, "notice": NOTICE, "bundle": opened.identity, "demo": opened.demo, **found}
    options.show(document, _lines, "json" if json else "table")


def _lines(document: dict[str, Any]) -> list[tuple[str, str]]:
    """A name and a value each; the report first, then its studies with their films."""
    from ..notice import DEMO

    report = [
        ("report", document["report_id"] or "none: this study has films only"),
        ("label", document["label"]),
        ("findings named", ", ".join(document["finding_labels"])),
        *(
            [("impression", document["impression"]), ("findings", document["findings"])]
            if document["impression"] or document["findings"]
            else [("text", document["text"])]
        ),
    ]
    studies = [pair for study in document["studies"] for pair in _study_lines(study)]
    heading = [("", DEMO)] if document["demo"] else []
    return [*heading, *((name, value) for name, value in report if value), *studies, ("", document["notice"])]


def _study_lines(study: dict[str, Any]) -> list[tuple[str, str]]:
    told = [study["study_id"], study["date"] or "date not told", study["label"], study["source"]]
    films = [("film", f"{film['film']}, view {film['view']}") for film in study["films"]]
    return [("study", ", ".join(told)), *([("worded", study["text"])] if study["text"] else []), *films]
