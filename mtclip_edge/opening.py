"""The parts of a bundle made ready: encoders in the precision that suits the device, the index with its graph where that can be used."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from . import index
from .bundle import Bundle
from .device import Device
from .encoder import FilmEncoder, TextEncoder
from .errors import ArtefactDamaged, ArtefactIncompatible, TextTowerMissing
from .film_gate import FilmGate
from .graph import load_graph
from .index import Choice, Index, choose_search
from .precision import Precision, choose_precision, most_exact
from .tokens import Tokenizer


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
