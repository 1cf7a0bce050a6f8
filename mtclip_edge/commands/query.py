"""``mtclip query``: the question is checked first, then films are found, the bundle is opened, and
answers are written.
"""

import os
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Refused, WrongOption, not_among
from ..progress import say
from . import query_options

ORDERS = ("verdict", "abnormal", "name")

if TYPE_CHECKING:
    from ..display.formats import Writer
    from ..retrieval.retriever import Retriever
    from .film_arguments import Named, Passed


def query(
    images: query_options.Images = None,
    text: query_options.Text = None,
    files_from: query_options.FilesFrom = None,
    watch: query_options.Watch = None,
    recursive: query_options.Recursive = True,
    isolated: query_options.Isolated = False,
    force: query_options.Force = False,
    invert: query_options.Invert = False,
    bundle: query_options.Searched = None,
    library: query_options.OfLibrary = None,
    k: query_options.HowMany = 5,
    exact: query_options.Exact = False,
    fuse: query_options.Fuse = "off",
    rerank: query_options.Rerank = True,
    device: query_options.Device = "auto",
    precision: query_options.Precision = "auto",
    view: query_options.View = None,
    label: query_options.Label = None,
    finding: query_options.Finding = None,
    source: query_options.OfSource = None,
    since: query_options.Since = None,
    until: query_options.Until = None,
    match: query_options.Match = None,
    match_any: query_options.MatchAny = None,
    exclude_patient: query_options.ExcludePatient = None,
    own_priors: query_options.OwnPriors = None,
    min_percentile: query_options.MinPercentile = None,
    strict: query_options.Strict = False,
    explain: query_options.Explain = None,
    format: query_options.Format = None,
    json_: query_options.Json = False,
    full: query_options.Full = False,
    bom: query_options.Bom = False,
    sort: query_options.Sort = None,
    save: query_options.Save = None,
    no_film: query_options.NoFilm = False,
    maps: query_options.Maps = False,
    by: query_options.By = "film",
    render: query_options.Render = None,
    show_ids: query_options.ShowIds = False,
) -> None:
    """Find the prior reports most similar to films, or to a text."""
    words, form = tuple(images or ()), _chosen_format(format, json_, full)
    question = Question(
        words, files_from, text, watch, recursive, by, k, form, explain, save, no_film, strict, isolated, maps
    )
    question = replace(question, listing=Listing(full, bom, sort, min_percentile), own=own_priors)
    question.check()
    from ..index.filters import Filters

    barred = tuple(exclude_patient or ())
    filters = Filters(view, label, finding, source, since, until, barred, match, match_any)
    how: dict[str, Any] = {"device": device, "precision": precision, "exact": exact or None, "fuse": fuse}
    how |= {"rerank": rerank, "filters": filters, "render": render, "show_ids": show_ids, "force": force}
    how |= {"invert": invert, "library": given_library(library)}
    if code := _answer(question, bundle, how):
        raise typer.Exit(code)


def given_library(url: str | None) -> str | None:
    """The library that is asked for. Errors: WrongOption for what is no URL, Refused for a password that
    stands in the command (in MTCLIP_LIBRARY it may).
    """
    if url is None or url == os.environ.get("MTCLIP_LIBRARY"):
        return url
    from .library import checked

    return checked(url)


@dataclass(frozen=True)
class Listing:
    """How the answers to many films are listed, as the options of those names say."""

    full: bool = False
    bom: bool = False
    sort: str | None = None
    min_percentile: float | None = None

    def check(self, format: str, films: bool) -> None:
        """``films``: whether films are named, so that there is an end. Errors: WrongOption."""
        if self.full and format != "table":
            raise WrongOption(f"--full and --format {format}", "it is for tables; the others are whole")
        if self.bom and format != "csv":
            raise WrongOption(f"--bom and --format {format}", "it is for --format csv")
        if self.sort is not None and self.sort not in ORDERS:
            raise not_among("sort", self.sort, ORDERS)
        if self.sort is not None and not films:
            raise WrongOption("--sort", "it orders films that are given by name")
        least = self.min_percentile
        if least is not None and not 0 <= least <= 100:
            raise WrongOption(f"--min-percentile {least:g}", "expected 0 to 100")


@dataclass(frozen=True)
class Question:
    """What is asked, of which films, and where the answers go, as the options of those names say."""

    images: tuple[str, ...]
    files_from: str | None
    text: str | None
    watch: Path | None
    recursive: bool
    by: str
    k: int
    format: str
    explain: Path | None
    save: Path | None
    no_film: bool
    strict: bool = False
    isolated: bool = False
    maps: bool = False
    listing: Listing = Listing()
    own: str | None = None

    @property
    def names_films(self) -> bool:
        return bool(self.images) or self.files_from is not None

    def check(self) -> None:
        """Errors: WrongOption where the options do not go together."""
        by_text = self.text is not None and (self.explain is None or not self.names_films)
        if self.names_films + by_text + (self.watch is not None) != 1:
            raise WrongOption(
                "query", "expected one of films, --text and --watch", "see: mtclip query --help"
            )
        if self.own is not None and not self.names_films:
            hint = "mtclip query FILM --own-priors ID"
            raise WrongOption("--own-priors", "it is of one patient, whose films are given by name", hint)
        if self.maps and (self.save is None or self.no_film):
            hint = "mtclip query FILM --save PAGE.html --maps"
            raise WrongOption("--maps", "maps stand on a page, beside the film", hint)
        if self.watch and self.format == "json":
            raise WrongOption("--watch and --format json", "an array has no end here", "use --format jsonl")
        self.listing.check(self.format, self.names_films)
        if self.listing.min_percentile is not None and self.text is not None:
            raise WrongOption("--min-percentile and --text", "percentiles are of films")
        if self.by not in ("film", "study"):
            raise not_among("by", self.by, ("film", "study"))
        if self.by == "study" and not self.names_films:
            raise WrongOption(
                "--by study", "it groups films that are given by name", "mtclip query FOLDER --by study"
            )


def _chosen_format(format: str | None, json_: bool, full: bool) -> str:
    from ..display.formats import choose_format

    chosen = choose_format("json" if json_ and format is None else "table" if full and not format else format)
    if json_ and chosen != "json":
        raise WrongOption("--json and --format", f"expected one of them, found --json and --format {format}")
    return chosen


def _answer(question: Question, bundle: Path | None, how: dict[str, Any]) -> int:
    """Find the films, open the bundle as ``how`` says, answer. Gives the exit code."""
    from ..bundle.demo import resolve
    from .film_arguments import Passed

    path, unasked = resolve(bundle)
    if question.explain is not None:
        _check_explain(question.explain, question.names_films and question.by == "film")
    passed: Passed = Passed()
    levels: dict[str, str] = {}
    films = _films(question, passed, levels, unasked)
    endless = question.watch is not None
    if question.save is not None:
        (_check_save_folder if endless else _check_save)(question.save)
    from ..retrieval.retriever import Retriever

    how |= {
        "evidence": question.format != "ids" or question.save is not None or question.listing != Listing(),
        "queries": None if endless else max(1, len(films)),
    }
    how |= {"keep_films": question.save is not None and not question.no_film, "isolated": question.isolated}
    with Retriever.open(path, **how) as retriever:
        if question.strict and retriever.notes.patient:
            raise Refused(retriever.notes.patient, hint="leave --strict out where a patient may be new")
        return _written(question, retriever, films, (levels, passed), demo_unasked=unasked)


def _films(question: Question, passed: "Passed", levels: dict[str, str], demo_unasked: bool) -> "list[Named]":
    """The films that are named; with ``--isolated`` another process opens zips and DICOMDIRs."""
    from .film_arguments import Expansion, expand, without_dicom

    if not question.isolated:
        how = Expansion(question.recursive, passed, levels=levels)
        films = expand(question.images, how, files_from=question.files_from)
        return without_dicom(films) if demo_unasked else films
    from ..films.worker import DecodeWorkers

    with closing(DecodeWorkers()) as workers:
        how = Expansion(question.recursive, passed, workers.films_in, levels)
        films = expand(question.images, how, files_from=question.files_from)
        return without_dicom(films, workers.head) if demo_unasked else films


def _written(
    question: Question,
    retriever: "Retriever",
    films: "list[Named]",
    found: "tuple[dict[str, str], Passed]",
    demo_unasked: bool,
) -> int:
    """Write the answers, each way of asking by its own loop; ``found``: the level of each film, and what was
    no film. Gives the exit code.
    """
    levels, passed = found
    from . import query_loop as loop
    from .film_arguments import passed_over, without_dicom

    out = _writer(question, retriever, len(films) > 1, demo_unasked)
    if question.explain is not None:
        wanted = loop.Map(question.explain, question.text)
        code = loop.answer_explained(retriever, films, question.k, wanted, out, say, own=question.own)
        if line := passed_over(passed):
            say(line)
        return code
    if question.text is not None:
        out.add(retriever.query_text(question.text, question.k))
        out.close()
        return 0
    if question.watch is not None:
        allowed = without_dicom if demo_unasked else list
        loop.answer_arrivals(retriever, question.watch, question.recursive, question.k, out, say, allowed)
        return 0
    if question.by == "study":
        return loop.answer_studies(retriever, films, question.k, out, say, levels, passed, own=question.own)
    held = question.listing.sort is not None
    return loop.answer_films(retriever, films, question.k, out, say, passed, own=question.own, held=held)


def _writer(question: Question, retriever: "Retriever", many: bool, demo_unasked: bool) -> "Writer":
    """Where answers go; what is to be known of the bundle is said before the first of them, and not
    before an error.
    """
    from ..bundle.demo import LOUD
    from ..display.formats import writer
    from .query_loop import SayFirst

    listing = question.listing
    out = writer(question.format, many=many, full=listing.full, bom=listing.bom)
    if listing != Listing():
        from ..display.film_order import order_of
        from ..display.listing import Near, Sorted

        out = Sorted(out, order_of(listing.sort)) if listing.sort else out
    if question.save is not None:
        from ..display.page_writer import PageForEach, PageWriter

        if question.watch is not None:
            out = PageForEach(out, question.save, retriever, films=not question.no_film, maps=question.maps)
        else:
            order = order_of(listing.sort) if listing.sort else None
            out = PageWriter(
                out, question.save, retriever, not question.no_film, maps=question.maps, order=order
            )
    if listing.min_percentile is not None:
        out = Near(out, listing.min_percentile)
    of_text = retriever.text_note(question.text) if question.text else None
    of_filters = (retriever.notes.filter, retriever.notes.patient)
    of_words = (of_text, retriever.notes.words)
    of_age = None if question.text is not None else retriever.notes.lacks
    of_search = (of_age, retriever.notes.library, retriever.notes.search, retriever.notes.fuse)
    notes = (LOUD if demo_unasked else None, *of_search, *of_filters, *of_words)
    return SayFirst(filter(None, notes), out, say)


def _check_explain(file: Path, one_film: bool) -> None:
    """Before anything is computed. Errors: WrongOption."""
    if not one_film:
        raise WrongOption(f"--explain {file}", "a map is of one film", "mtclip query FILM --explain PNG")
    if file.suffix.lower() != ".png":
        raise WrongOption(f"--explain {file}", "expected a name that ends in .png")


def _check_save(path: Path) -> None:
    """Before anything is computed: whether a page can be saved there.

    Errors: WrongOption; Refused where the folder is missing or the path is one.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise WrongOption(f"--save {path}", "expected a name that ends in .html")
    if path.is_dir() or not path.parent.is_dir():
        raise Refused(f"--save {path}: {'is a folder' if path.is_dir() else f'no folder {path.parent}'}")


def _check_save_folder(path: Path) -> None:
    """Before anything is watched: whether pages can be saved there. Errors: WrongOption."""
    if not path.is_dir():
        raise WrongOption(f"--watch and --save {path}", "expected a folder, for a page of each film")
