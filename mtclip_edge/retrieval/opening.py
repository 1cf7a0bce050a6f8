"""The parts of a bundle made ready: encoders in the precision that suits the device, the index with its graph where that can be used."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..errors import ArtefactDamaged, ArtefactIncompatible, TextTowerMissing
from ..films import read
from ..films.gate import Admission, FilmGate
from ..index import index
from ..index.filters import Allowed, Filters
from ..index.fusion import Fusion, choose_fusion
from ..index.hnsw import load_graph
from ..index.index import Choice, Index, choose_search
from ..index.report_store import ReportStore
from ..inference.device import Device, choose
from ..inference.encoders import FilmEncoder, TextEncoder
from ..inference.precision import Precision, choose_precision, most_exact
from ..inference.tokenizer import Tokenizer


@dataclass(frozen=True)
class Wishes:
    """How a bundle is to be opened; what each means is said by ``Retriever.open``."""

    device: str
    precision: str
    exact: bool | None
    fuse: str
    filters: Filters
    queries: int | None
    force: bool
    invert: bool


@dataclass(frozen=True)
class Opened:
    """A bundle's parts, ready for queries; ``passing`` are the rows that the filters leave, None without any."""

    bundle: Bundle
    wishes: Wishes
    films: FilmEncoder
    precision: Precision
    store: ReportStore
    index: Index
    fusion: Fusion
    passing: Allowed | None
    admission: Admission
    load_ms: float


def open_parts(bundle: Bundle, wishes: Wishes) -> Opened:
    """Every file that a query needs, hashed and then opened; much of it at the same time.

    Errors: ArtefactDamaged, ArtefactIncompatible, DeviceUnavailable, WrongOption, Refused, ExtraMissing.
    """
    started = time.perf_counter()
    about, match = bundle.index, wishes.filters.match
    fusion = choose_fusion(wishes.fuse, bundle.manifest.get("fuse"))
    with ThreadPoolExecutor(4) as pool:  # hashing releases the interpreter lock: it runs while onnxruntime is imported
        graph = pool.submit(bundle.graph, "image", likely_precision(bundle, wishes.precision, wishes.device))
        store = pool.submit(bundle.file, about["store"])
        vectors = pool.submit(bundle.file, about["vectors"])
        wanted = choose_index_search(bundle, wishes.exact, wishes.queries)
        graph_read = about["hnsw"] and not wishes.exact and (wanted.used == "hnsw" or compares_all(bundle))
        hnsw = pool.submit(bundle.file, about["hnsw"]["file"]) if graph_read else None
        terms = pool.submit(bundle.file, about["terms"]) if match is not None and about.get("terms") else None
        gate = pool.submit(open_film_gate, bundle)
        chosen = choose(wishes.device)  # imports onnxruntime
        graph.result()
        pool.submit(read.ready)  # onnxruntime lets go of the interpreter while it prepares the graph
        searching = pool.submit(lambda: open_index(bundle, vectors.result(), hnsw, wanted))
        films, used = open_film_encoder(bundle, chosen, wishes.precision)
        found = searching.result()
        reports = ReportStore(store.result(), bundle.manifest["model_id"])
        passing = reports.allowed(wishes.filters, terms.result() if terms else None) if wishes.filters else None
        admission = Admission(gate.result(), wishes.force, wishes.invert)
    load_ms = 1000 * (time.perf_counter() - started)
    return Opened(bundle, wishes, films, used, reports, found, fusion, passing, admission, load_ms)


def likely_precision(bundle: Bundle, requested: str, device: str) -> str:
    """What will probably run, known before onnxruntime is imported, so that its file can be hashed meanwhile.

    Errors: WrongOption for a precision that the bundle does not hold; DeviceUnavailable.
    """
    return choose_precision(bundle.precisions("image"), requested, "cpu" if device in ("auto", "cpu") else device).name


def open_film_encoder(bundle: Bundle, device: Device, requested: str = "auto") -> tuple[FilmEncoder, Precision]:
    """The bundle's film tower on a device, in the precision asked for or the fastest.

    Errors: ArtefactDamaged, DeviceUnavailable, WrongOption.
    """
    precision = choose_precision(bundle.precisions("image"), requested, device.used)
    encoder = FilmEncoder.load(bundle.graph("image", precision.name), bundle.preprocessing, device, precision.name)
    if encoder.device.used == device.used:
        return encoder, precision
    # The device could not be had after all: what is fastest elsewhere need not be what suits this one.
    fallback = choose_precision(bundle.precisions("image"), requested, encoder.device.used)
    if fallback.name == precision.name:
        return encoder, fallback
    return FilmEncoder.load(bundle.graph("image", fallback.name), bundle.preprocessing, encoder.device, fallback.name), fallback


def open_text_encoder(bundle: Bundle, device: Device, requested: str = "auto") -> tuple[TextEncoder, Precision]:
    """The bundle's own text tower and its precision; one that only the film tower has gives way to ``auto``.

    Errors: TextTowerMissing, ArtefactDamaged, DeviceUnavailable.
    """
    packed = bundle.precisions("text")
    if not packed:
        raise TextTowerMissing(
            f"{bundle.path}: this bundle has no text tower, so it cannot embed text",
            hint="export the run without --no-text",
        )
    precision = choose_precision(packed, requested if requested in packed else "auto", device.used)
    about = bundle.manifest["tokenizer"]
    tokenizer = Tokenizer.of(bundle.file(about["file"]), about)
    return TextEncoder.load(bundle.graph("text", precision.name), tokenizer, device, precision.name), precision


def open_exact_encoders(bundle: Bundle, device: Device) -> tuple[FilmEncoder, TextEncoder]:
    """Both towers as near to the trained model as the bundle has them: what an index is built with."""
    texts, _ = open_text_encoder(bundle, device, most_exact(bundle.precisions("text") or ["fp32"]))
    return open_film_encoder(bundle, device, most_exact(bundle.precisions("image")))[0], texts


def open_film_gate(bundle: Bundle) -> FilmGate | None:
    """What judges films; None where the bundle has none. Errors: ArtefactDamaged."""
    about = bundle.manifest.get("film_gate")
    return FilmGate.load(bundle.file(about["file"]), about) if about else None


def choose_index_search(bundle: Bundle, exact: bool | None, queries: int | None) -> Choice:
    """Whether the graph is wanted, known before any file is read; ``exact`` None leaves it to the sizes."""
    if exact:
        return Choice("exact", "asked for")
    if not bundle.index["hnsw"]:
        return Choice("exact", "the bundle holds no HNSW index", fallback=not compares_all(bundle))
    if exact is False:
        return Choice("hnsw", "asked for")
    return choose_search(bundle.index["reports"], bundle.manifest["dim"], queries)


def compares_all(bundle: Bundle) -> bool:
    """Whether the bundle is so small that all reports are compared; its graph is checked all the same, to tell of damage early."""
    return bool(bundle.index["reports"] * bundle.manifest["dim"] <= index.EXACT_NUMBERS)


def open_index(bundle: Bundle, vectors: Path, hnsw: "Future[Path] | None", wanted: Choice) -> Index:
    """The mapped vectors and, where ``wanted``, the graph; ``hnsw`` gives its checked file. Errors: ArtefactIncompatible."""
    array = open_vectors(bundle, vectors)
    graph, choice = None, wanted
    if hnsw is not None:
        try:
            checked = hnsw.result()
            graph = _load(bundle, checked) if wanted.used == "hnsw" else None
        except (ArtefactDamaged, ImportError, RuntimeError) as error:
            if not isinstance(error, ImportError) and Bundle.open(bundle.path).identity != bundle.identity:
                raise  # not damaged, but removed by a writer
            graph, choice = None, Choice("exact", _why_not(error), fallback=True)
    if graph is not None:
        choice = Choice("hnsw", f"recall@10 against exact search was {bundle.index['hnsw']['recall@10']} when it was last measured")
    return Index(array, bundle.index["reports"], graph, (bundle.index["hnsw"] or {}).get("ef", 0), choice)


def _load(bundle: Bundle, path: Path) -> Any:
    return load_graph(path, bundle.manifest["dim"], bundle.index["reports"])


def _why_not(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "hnswlib is not installed"
    return f"the HNSW index is unusable: {error.what if isinstance(error, ArtefactDamaged) else error}"


def open_vectors(bundle: Bundle, path: Path) -> np.ndarray:
    """A bundle's vectors from their checked file, mapped. Errors: ArtefactIncompatible."""
    about = bundle.index
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    expected = (about["reports"] + about["films"], bundle.manifest["dim"])
    if array.shape != expected or array.dtype != np.float32:
        raise ArtefactIncompatible(f"{path}: {array.dtype} {array.shape}", f"expected float32 {expected}")
    return np.asarray(array)
