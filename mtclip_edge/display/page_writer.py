"""``query --save``: the answers as they come, and at the end one page of them. Nothing is written before."""

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from ..errors import MtclipError, NothingToExplain, Refused
from ..files import write_bytes
from ..films.thumbnail import thumbnail
from ..notice import __version__
from ..retrieval.results import QueryResult
from ..retrieval.retriever import Retriever
from .answer_page import Answer, answer_page
from .answer_words import short_name
from .formats import Writer

SIDE = 512  # pixels of a film or map on a page; an answer with both is about half a megabyte
SMALL = 96  # of a film in the contents


class PageWriter:
    """Hands every answer on to another writer, and keeps it for a page that ``close`` writes, if there was
    any.

    ``films``: whether films are shown. A heat map is shown where one was asked for: that of an answer's
    ``explain``, or with ``maps`` one of each film's best hit.
    ``order``: the key that answers stand on the page by, None for as they came.
    """

    def __init__(
        self,
        out: Writer,
        path: Path,
        retriever: Retriever,
        films: bool = True,
        maps: bool = False,
        order: Callable[[QueryResult], Any] | None = None,
    ):
        self._order = order
        self._out, self._path, self._retriever, self._films, self._maps = out, path, retriever, films, maps
        self._answers: list[Answer] = []

    def add(self, result: QueryResult) -> None:
        film = thumbnail(result.grey, SIDE) if self._films and result.grey is not None else None
        small = thumbnail(result.grey, SMALL) if self._films and result.grey is not None else None
        heat = heat_of(self._retriever, result, self._maps) if self._films else None
        priors = prior_films(self._retriever, result) if self._films else {}
        own = own_films(self._retriever, result) if self._films else {}
        shown = replace(result, grey=None)
        self._answers.append(Answer(shown, film, heat, small, priors, own))
        self._out.add(shown)

    def failed(self, name: str, error: MtclipError) -> None:
        self._out.failed(name, error)

    def close(self) -> None:
        self._out.close()
        if self._answers:
            self.write()

    def write(self) -> None:
        """Write the page of the answers so far. Errors: Refused."""
        if self._order is not None:
            order = self._order
            self._answers.sort(key=lambda answer: order(answer.result))
        page = answer_page(self._answers, provenance(self._retriever, self._answers[0].result)).encode()
        try:
            write_bytes(self._path, page)
        except OSError as error:
            raise Refused(f"--save {self._path}: cannot be written ({error.strerror})") from None


class PageForEach:
    """Hands every answer on to another writer, and writes a page of each into a folder, named as its film."""

    def __init__(
        self, out: Writer, folder: Path, retriever: Retriever, films: bool = True, maps: bool = False
    ):
        self._out, self._folder, self._retriever = out, folder, retriever
        self._films, self._maps = films, maps

    def add(self, result: QueryResult) -> None:
        page = PageWriter(self._out, self._free(result), self._retriever, self._films, self._maps)
        page.add(result)
        page.write()

    def _free(self, result: QueryResult) -> Path:
        """A name that is not there yet: pages of before are kept."""
        stem = Path(short_name(result)).stem or "film"
        names = (f"{stem}.html" if number == 1 else f"{stem}-{number}.html" for number in count(1))
        return next(path for path in map(self._folder.joinpath, names) if not path.exists())

    def failed(self, name: str, error: MtclipError) -> None:
        self._out.failed(name, error)

    def close(self) -> None:
        self._out.close()


def prior_films(retriever: Retriever, result: QueryResult) -> dict[str, bytes]:
    """The films that a bundle packed of the reports of an answer, WebP bytes by report id; of a report that
    others share with the patient it may be the patient's own, which is not shown here.
    """
    own = result.own_priors.study_ids if result.own_priors else ()
    films = {hit.report_id: retriever.preview(hit.report_id, without=own) for hit in result.reports}
    return {name: film for name, film in films.items() if film is not None}


def own_films(retriever: Retriever, result: QueryResult) -> dict[str, bytes]:
    """The films that a bundle packed of the patient's own studies, WebP bytes by study id."""
    hits = result.own_priors.hits if result.own_priors else ()
    films = {hit.study_ids[0]: retriever.preview(hit.report_id, only=hit.study_ids) for hit in hits}
    return {name: film for name, film in films.items() if film is not None}


def heat_of(retriever: Retriever, answer: QueryResult, best_hit: bool) -> bytes | None:
    """The map that was asked for with an answer as a PNG, else with ``best_hit`` one of its first report;
    None where there is none: the report is normal, or the bundle has no graph for maps.
    """
    if answer.explain is not None:
        return answer.explain.png(SIDE)
    if not best_hit or answer.grey is None or not retriever.bundle.model.explain:
        return None
    try:
        return retriever.explain_grey(answer.grey, answer).png(SIDE)
    except NothingToExplain:
        return None


def provenance(retriever: Retriever, result: QueryResult) -> dict[str, str]:
    """What made an answer, by name."""
    manifest, facts, device = retriever.bundle.manifest, result.bundle, result.device
    prepared = ", ".join(
        f"{name} {value}"
        for name, value in manifest.model.preprocessing.to_dict().items()
        if name not in ("mean", "std")
    )
    fuse, head = (
        f"weight {part.weight} ({part.why})" if part.weight else "not used"
        for part in (facts.weights.films, facts.weights.head)
    )
    return {
        "answered": datetime.now().astimezone().isoformat(timespec="seconds"),
        "bundle": facts.identity,
        "bundle made": f"{manifest.model.created or 'unknown'}, generation {manifest.generation}",
        "model": f"{facts.backbone}, {manifest.model.model_id}",
        "searched": (
            f"{facts.reports} distinct reports of {facts.studies} studies: {facts.search.used}, "
            f"{facts.search.why}"
        ),
        "films of reports": fuse,
        "abnormal head in the order": head,
        "preprocessing": prepared,
        "precision": f"{facts.precision.name}: {facts.precision.why}",
        "device": f"{device.used}, {device.provider}: {device.why}",
        "software": (
            f"mtclip-edge {__version__}, onnxruntime {_onnxruntime()}, Python {sys.version.split()[0]}"
        ),
    }


def _onnxruntime() -> str:
    loaded = sys.modules.get("onnxruntime")
    return str(getattr(loaded, "__version__", "unknown"))
