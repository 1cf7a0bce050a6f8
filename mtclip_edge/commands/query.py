"""``mtclip query``: parse, call one function, print; like cli.py, of which it is a part."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mtclip_edge.errors import WrongOption, not_among
from mtclip_edge.progress import say


def query(
    images: Annotated[list[str] | None, typer.Argument(metavar="[IMAGE|DIR|GLOB|-]...", help="Films; - reads one from stdin.")] = None,
    text: Annotated[str | None, typer.Option(help="Search reports and films by a text instead.")] = None,
    files_from: Annotated[str | None, typer.Option(metavar="FILE|-", help="A list of films, one path a line.")] = None,
    bundle: Annotated[Path | None, typer.Option(envvar="MTCLIP_BUNDLE", help="The bundle to search.", show_default="demo")] = None,
    k: Annotated[int, typer.Option("-k", help="How many reports.")] = 5,
    format: Annotated[
        str | None, typer.Option(help="table, json, jsonl or ids; a table on a terminal, else jsonl.", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    device: Annotated[str, typer.Option(envvar="MTCLIP_DEVICE", help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(envvar="MTCLIP_PRECISION", help="auto, or one that the bundle holds.")] = "auto",
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every report instead of the HNSW index.")] = False,
    fuse: Annotated[str, typer.Option(help="How much the reports' own films count: off, auto, or a weight up to 1.")] = "off",
    view: Annotated[str | None, typer.Option(help="Only reports with a film of this view: PA, AP, frontal, lateral.")] = None,
    label: Annotated[str | None, typer.Option(help="Only normal, abnormal or unknown reports.")] = None,
    finding: Annotated[str | None, typer.Option(help="Only reports with this finding.")] = None,
    source: Annotated[str | None, typer.Option(help="Only studies of this source, as index stats names it.")] = None,
    since: Annotated[str | None, typer.Option(metavar="DATE", help="Only studies from this day, month or year on.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DATE", help="Only studies up to this day, month or year.")] = None,
    match: Annotated[str | None, typer.Option(metavar="WORDS", help="Only reports with these words: effusion NOT left.")] = None,
    exclude_patient: Annotated[list[str] | None, typer.Option(metavar="ID", help="No study of this patient. May repeat.")] = None,
    watch: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Answer films as they arrive in a folder, until Ctrl-C.", show_default=False)
    ] = None,
    explain: Annotated[Path | None, typer.Option(metavar="PNG", help="Write where one film resembles the best hit, or --text.")] = None,
    explain_method: Annotated[str, typer.Option(help="map: one pass; occlusion: slow, covers the film piece by piece.")] = "map",
    recursive: Annotated[bool, typer.Option(help="Look into subfolders.")] = True,
    by: Annotated[str, typer.Option(help="film, or study: one answer for the frontal films of each DICOM study.")] = "film",
    render: Annotated[
        str | None, typer.Option(help="Grey values of DICOM films: voi, percentile or minmax.", show_default="the bundle's")
    ] = None,
    show_ids: Annotated[bool, typer.Option("--show-ids", help="Say whose film it is: the ids, name and date of a DICOM header.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="HTML", help="Write the answers with their evidence to one page.", show_default=False)
    ] = None,
    no_film: Annotated[bool, typer.Option("--no-film", help="With --save: leave the films out of the page.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Answer films that are rejected all the same.")] = False,
    invert: Annotated[bool, typer.Option("--invert", help="Take the films' grey values the other way round.")] = False,
) -> None:
    """Find the prior reports most similar to films, or to a text."""
    from mtclip_edge.display.formats import choose_format, writer

    chosen = choose_format("json" if json_ and format is None else format)
    if json_ and chosen != "json":
        raise WrongOption("--json and --format", f"expected one of them, found --json and --format {format}")
    named = bool(images) or files_from is not None
    _one_kind_of_query(named, text is not None and (explain is None or not named), watch is not None, chosen)
    _films_or_studies(by, named)
    from mtclip_edge.bundle.demo import LOUD, resolve
    from mtclip_edge.commands.film_arguments import expand, without_dicom
    from mtclip_edge.index.filters import Filters

    filters = Filters(view, label, finding, source, since, until, tuple(exclude_patient or ()), match)
    path, unasked = resolve(bundle)
    if unasked:
        say(LOUD)
    if explain is not None:
        _check_explain(explain, explain_method, named and by == "film")
    films = expand(images or [], files_from=files_from, recursive=recursive)
    films = without_dicom(films) if unasked else films
    if save is not None:
        from mtclip_edge.display.page_writer import check_save

        check_save(save, None if watch is not None else len(films))
    from mtclip_edge.commands import query_loop
    from mtclip_edge.retrieval.retriever import Retriever

    how: dict[str, Any] = {"device": device, "precision": precision, "exact": exact or None, "fuse": fuse, "filters": filters}
    how |= {"render": render, "show_ids": show_ids, "force": force, "invert": invert}
    how |= {"evidence": chosen != "ids" or save is not None, "keep_films": save is not None and not no_film}
    how |= {"queries": None if watch is not None else max(1, len(films))}
    with Retriever.open(path, **how) as retriever:
        for note in filter(None, (retriever.search_note, retriever.fuse_note, retriever.filter_note)):
            say(note)
        out = writer(chosen, many=len(films) > 1)
        if save is not None:
            from mtclip_edge.display.page_writer import PageWriter

            out = PageWriter(out, save, retriever, films=not no_film)
        code = 0
        if explain is not None:
            code = query_loop.answer_explained(retriever, films, k, query_loop.Map(explain, explain_method, text), out, say)
        elif text is not None:
            out.add(retriever.query_text(text, k))
            out.close()
        elif watch is not None:
            query_loop.answer_arrivals(retriever, watch, recursive, k, out, say, without_dicom if unasked else list)
        else:
            code = (query_loop.answer_studies if by == "study" else query_loop.answer_films)(retriever, films, k, out, say)
    if code:
        raise typer.Exit(code)


def _one_kind_of_query(films: bool, text: bool, watch: bool, format: str) -> None:
    if films + text + watch != 1:
        raise WrongOption("query", "expected one of films, --text and --watch", "mtclip query --help")
    if watch and format == "json":
        raise WrongOption("--watch and --format json", "an array has no end here", "use --format jsonl")


def _films_or_studies(by: str, films: bool) -> None:
    if by not in ("film", "study"):
        raise not_among("by", by, ("film", "study"))
    if by == "study" and not films:
        raise WrongOption("--by study", "it groups films that are given by name", "mtclip query FOLDER --by study")


def _check_explain(file: Path, method: str, one_film: bool) -> None:
    """Before anything is computed. Errors: WrongOption."""
    from mtclip_edge.evidence.heat_map import check_method

    if not one_film:
        raise WrongOption(f"--explain {file}", "a map is of one film", "mtclip query FILM --explain PNG")
    check_method(method)
