"""The parts of a bundle made ready: encoders in the precision that suits the device, the index with its
graph where that can be used.
"""

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.manifest import Manifest
from ..bundle.records import GaussianRecord
from ..errors import Closed
from ..films import read
from ..films.gate import Admission, FilmGate
from ..index.bundle_library import BundleLibrary
from ..index.filters import Filters
from ..index.index import SearchChoice
from ..index.library import Library, Scope
from ..index.opening import choose_index_search, compares_all, open_index
from ..index.report_store import ReportStore
from ..index.rerank import NOT_ASKED, HeadWeight, Weights, choose_fusion, choose_head
from ..inference.device import choose
from ..inference.encoders import FilmEncoder, likely_precision, open_film_encoder
from ..inference.precision import Precision

if TYPE_CHECKING:
    from ..index.previews import Previews
    from ..index.report_details import Details


_NOT_CHECKED = "checked on frontal films only: too few validation films or studies of this view"


@dataclass(frozen=True)
class OpenOptions:
    """How a bundle is to be opened; what each means is said by ``Retriever.open``."""

    device: str
    precision: str
    exact: bool | None
    fuse: str
    rerank: bool
    filters: Filters
    queries: int | None
    force: bool
    invert: bool
    library: str | None


class LatePreviews:
    """The films that a bundle packed of its reports, opened when one is first asked for."""

    def __init__(self, bundle: Bundle, library: Library, filters: Filters):
        self._bundle, self._library, self._filters = bundle, library, filters
        self._lock = Lock()

    def of(self, report_id: str, only: Collection[str] | None, without: Collection[str]) -> bytes | None:
        """A grey WebP; None without, or where the study that it is of does not pass the filters, is none of
        ``only`` or one of ``without``.

        Errors: ArtefactDamaged.
        """
        with self._lock:
            found = self._open.of(report_id) if self._open else None
        if found is None or (only is not None and found[1] not in only) or found[1] in without:
            return None
        return found[0] if self._library.passes(found[1], self._filters) else None

    @cached_property
    def _open(self) -> "Previews | None":
        """None too where a writer has published the next generation and swept this file."""
        record = self._bundle.manifest.site.previews
        if record is None or not (self._bundle.path / record.file).exists():
            return None
        from ..index.previews import Previews  # for pages only

        return Previews(self._bundle.file(record.file))

    def close(self) -> None:
        with self._lock:
            if (previews := self.__dict__.get("_open")) is not None:
                previews.close()


@dataclass(frozen=True)
class Opened:
    """A bundle's parts, ready for queries, and the library that is asked."""

    bundle: Bundle
    options: OpenOptions
    films: FilmEncoder
    precision: Precision
    library: Library
    weights: Weights
    admission: Admission
    load_ms: float
    previews: LatePreviews

    @property
    def scope(self) -> Scope:
        """What the filters leave."""
        return Scope(self.options.filters)

    @property
    def measured(self) -> tuple[Manifest, str]:
        """What validation films got among the reports of the library (``Library.measured``)."""
        return self.library.measured(self.bundle.manifest)

    @cached_property
    def filter_facts(self) -> dict[str, Any]:
        """The filters as an answer tells them, with how many of the excluded patients have no study here."""
        excluded = self.options.filters.exclude_patient
        unknown = self.library.unknown_patients(excluded) if excluded else 0
        return self.options.filters.to_dict() | ({"unknown_patients": unknown} if unknown else {})

    def filtered(self, filters: Filters) -> "Opened":
        """The same parts, asked through other filters. Errors: WrongOption, Refused (no full-text search)."""
        options, model = replace(self.options, filters=filters), self.bundle.model
        self.library.check(filters)
        head = choose_head(options.rerank, model.rerank, model.abnormal_head, filters)
        weights = replace(self.weights, head=head)
        return replace(self, options=options, weights=weights)

    def weights_of(self, seen: str) -> Weights:
        """The weights in force for queries of a view (frontal, lateral, both): the head's by films of it."""
        model, record = self.bundle.model, self.bundle.model.rerank_of(seen)
        if seen == "frontal" or record is not None:
            head = choose_head(self.options.rerank, record, model.abnormal_head, self.options.filters)
        else:
            head = HeadWeight(0.0, None, _NOT_CHECKED)
        return replace(self.weights, head=head)


class Notes:
    """What a person should know of opened parts before the first answer: a line each, None where there is
    nothing to say.
    """

    def __init__(self, opened: Opened):
        self._opened = opened

    @property
    def fuse(self) -> str | None:
        """Where films do not count though that was asked for."""
        films = self._opened.weights.films
        return f"without films: {films.why}" if not films.weight and films.why != NOT_ASKED else None

    @property
    def search(self) -> str | None:
        """Where search is exact because the graph cannot be used."""
        choice, own = self._opened.library.choice, self._opened.options.library is None
        if choice.fallback:
            return f"searching exactly: {choice.why}"
        if own and choice.used == "exact" and choice.why != "asked for" and find_spec("hnswlib") is None:
            return "searching exactly: hnswlib is not installed"
        return None

    @property
    def filter(self) -> str | None:
        """Where filters leave nothing to find: which of them, and how many studies have what they ask
        about.
        """
        opened = self._opened
        if not opened.options.filters or opened.library.count(opened.scope):
            return None
        return opened.library.why_nothing_passes(opened.options.filters)

    @property
    def lacks(self) -> str | None:
        """What a bundle of an earlier version lacks for films, and how to get it; of the demo nothing."""
        bundle = self._opened.bundle
        if bundle.demo:
            return None
        by_cosine = _no_weight(bundle) if self._opened.options.rerank else None
        said = "; ".join(filter(None, (_not_kept(*self._opened.measured), by_cosine)))
        return f"a bundle of an earlier version: {said}" if said else None

    @property
    def words(self) -> str | None:
        """What is not known of the denials in the reports, where words were asked for."""
        return self._opened.library.words_note

    @property
    def library(self) -> str | None:
        """What is to be known of how another library than the bundle's own is read."""
        return "; ".join(self._opened.library.warnings) or None

    @property
    def patient(self) -> str | None:
        """Where excluded patients have no study here: a new one has no priors, a misspelt one keeps them."""
        excluded = self._opened.options.filters.exclude_patient
        unknown = self._opened.library.unknown_patients(excluded) if excluded else 0
        if not unknown:
            return None
        count = len(set(excluded))
        return (
            f"--exclude-patient: {unknown} of {count} {'has' if count == 1 else 'have'} no study in this "
            "bundle: nothing to leave out"
        )


def _not_kept(manifest: Manifest, searched: str) -> str | None:
    """Where a bundle was exported before there were percentiles, or keeps no validation films to measure them
    again: what a change of its reports does, or did.
    """
    record = manifest.evidence_of("frontal")
    if record is None:
        return "no percentiles and verdicts (export again)"
    if not record.best_scores or manifest.site.validation is not None:
        return None
    lost = record.searched != searched
    ends = "its reports changed, which ended" if lost else "a change of its reports ends"
    return f"no kept validation films: {ends} percentiles (mtclip refit, or export again)"


def _no_weight(bundle: Bundle) -> str | None:
    """Where the head has no say in the order, though there were validation films to check it by."""
    model = bundle.model
    measured = model.evidence is None or model.evidence.films > 0
    if not model.abnormal_head or model.rerank is not None or not measured:
        return None
    return "no weight of the abnormal head, so reports come by cosine alone (export again)"


class OpenBundle:
    """What an opened bundle tells of itself until it is closed."""

    def __init__(self, opened: Opened):
        self.bundle, self.device, self.weights = opened.bundle, opened.films.device, opened.weights
        self.filters, self._opened, self._precision = opened.options.filters, opened, opened.precision
        self._films, self._library = opened.films, opened.library
        self._closed = False

    @property
    def precision(self) -> str:
        """The precision that runs."""
        return self._precision.name

    @property
    def search_choice(self) -> SearchChoice:
        """What searches the reports, and why."""
        return self._library.choice

    @property
    def notes(self) -> Notes:
        """What a person should know of this bundle before its first answer."""
        return Notes(self._opened)

    def preview(
        self, report_id: str, *, only: Collection[str] | None = None, without: Collection[str] = ()
    ) -> bytes | None:
        """The film that the bundle packed of a report, a grey WebP; None without, or where its study does not
        pass the filters, is none of ``only`` or one of ``without`` (ids of studies).

        Errors: ArtefactDamaged, Closed.
        """
        self._check_open()
        return self._opened.previews.of(report_id, only, without)

    def report(self, name: str) -> "Details":
        """A report with its studies and films, by its own id or that of a study. Errors: Refused, Closed."""
        self._check_open()
        return self._library.details(name)

    def contents(self) -> dict[str, Any]:
        """What the index holds, counted (``Library.statistics``)."""
        self._check_open()
        return self._library.statistics()

    def nearest(self, vector: np.ndarray, k: int) -> tuple[int, ...]:
        """Rows of the k reports nearest to a unit vector float32 [dim]; filters have no part in it."""
        self._check_open()
        return self._library.nearest(vector, k, Scope()).rows

    def _check_open(self) -> None:
        if self._closed:
            raise Closed(
                f"{self.bundle.path}: this retriever is closed",
                hint="open its bundle again with Retriever.open",
            )

    def close(self) -> None:
        """Nothing is answered any more; closing twice is nothing."""
        self._closed = True
        self._library.close()
        self._opened.previews.close()


def open_now(path: Path, options: OpenOptions) -> Opened:
    """A bundle's parts of one generation, whatever a writer does meanwhile. Errors: as of ``open_parts``,
    and NotABundle.
    """
    while True:
        bundle = Bundle.open(path)
        try:
            return open_parts(bundle, options)
        except Exception:
            # A writer may have published the next generation in between and removed ours, before or after its
            # hash was checked.
            if Bundle.open(path).identity == bundle.identity:
                raise


def open_parts(bundle: Bundle, options: OpenOptions) -> Opened:
    """Every file that a query needs, hashed and then opened; much of it at the same time.

    Errors: ArtefactDamaged, ArtefactIncompatible, DeviceUnavailable, WrongOption, Refused, ExtraMissing;
    LibraryUnreachable.
    """
    started = time.perf_counter()
    model = bundle.model
    weights = Weights(
        choose_head(options.rerank, model.rerank, model.abnormal_head, options.filters),
        choose_fusion(options.fuse, model.fuse),
    )
    with ThreadPoolExecutor(
        4
    ) as pool:  # hashing releases the interpreter lock: it runs while onnxruntime is imported
        graph = pool.submit(
            bundle.graph, "image", likely_precision(bundle, options.precision, options.device)
        )
        searched = _library(pool, bundle, options)
        gate = pool.submit(open_film_gate, bundle)
        chosen = choose(options.device)  # imports onnxruntime
        graph.result()
        pool.submit(read.ready)  # onnxruntime lets go of the interpreter while it prepares the graph
        try:
            films, used = open_film_encoder(bundle, chosen, options.precision)
        except BaseException:
            with suppress(Exception):  # what was opened beside it goes
                searched().close()
            raise
        library = searched()
        try:
            if options.filters:
                library.check(options.filters)
            laterals = bundle.model.takes_laterals
            admission = Admission(gate.result(), options.force, options.invert, laterals)
        except BaseException:
            library.close()
            raise
    load_ms = 1000 * (time.perf_counter() - started)
    previews = LatePreviews(bundle, library, options.filters)
    return Opened(bundle, options, films, used, library, weights, admission, load_ms, previews)


def _library(pool: ThreadPoolExecutor, bundle: Bundle, options: OpenOptions) -> Callable[[], Library]:
    """Begin to open what is searched; what ends it, and gives it, is to be called in the main thread."""
    if options.library is not None:
        from ..index.postgres.opening import open_library  # for a database only

        found = pool.submit(
            open_library, options.library, bundle.model.model_id, bundle.model.dim, options.exact
        )
        return found.result
    record = bundle.index
    store, vectors = pool.submit(bundle.file, record.store), pool.submit(bundle.file, record.vectors)
    wanted = choose_index_search(bundle, options.exact, options.queries)
    graph_read = record.hnsw and not options.exact and (wanted.used == "hnsw" or compares_all(bundle))
    hnsw = pool.submit(bundle.file, record.hnsw.file) if graph_read and record.hnsw else None
    by_words = options.filters.match is not None or options.filters.match_any is not None
    terms = pool.submit(bundle.file, record.terms) if by_words and record.terms else None
    index = pool.submit(lambda: open_index(bundle, vectors.result(), hnsw, wanted))

    def opened() -> Library:
        found = index.result()
        if terms:
            terms.result()
        return BundleLibrary(bundle, ReportStore(store.result(), bundle.model.model_id), found)

    return opened


def open_film_gate(bundle: Bundle) -> FilmGate | None:
    """What judges films; None where the bundle has none. Errors: ArtefactDamaged."""
    record = bundle.model.film_gate
    if record is None:
        return None
    of_laterals = record.lateral
    lateral = (_shape(of_laterals.layout), of_laterals.thresholds) if of_laterals is not None else None
    return FilmGate.load(bundle.file(record.file), _shape(record.layout), record.thresholds, lateral)


def _shape(record: GaussianRecord) -> tuple[int, int, float]:
    return record.dim, record.axes, record.rest
