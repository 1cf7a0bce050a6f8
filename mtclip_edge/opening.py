"""The parts of a bundle made ready: encoders in the precision that suits the device, the index with its graph where that can be used."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle
from .device import Device
from .encoder import FilmEncoder, TextEncoder
from .errors import ArtefactDamaged, ArtefactIncompatible, TextTowerMissing
from .index import Choice, Index, load_graph
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


def open_index(bundle: Bundle, vectors: Path, hnsw: "Future[Path] | None", exact: bool) -> Index:
    about = bundle.index
    array = np.load(vectors, mmap_mode="r", allow_pickle=False)
    expected = (about["reports"] + about["films"], bundle.manifest["dim"])
    if array.shape != expected or array.dtype != np.float32:
        raise ArtefactIncompatible(f"{vectors}: {array.dtype} {array.shape}", f"expected float32 {expected}")
    graph, choice = None, Choice("exact", "asked for")
    if not exact:
        graph, choice = _graph(bundle, hnsw)
    return Index(np.asarray(array), about["reports"], graph, (about["hnsw"] or {}).get("ef", 0), choice)


def _graph(bundle: Bundle, hnsw: "Future[Path] | None") -> tuple[Any, Choice]:
    """The HNSW graph where it can be used, and the choice with its reason."""
    about = bundle.index["hnsw"]
    if hnsw is None:
        return None, Choice("exact", "the bundle holds no HNSW index")
    try:
        graph = load_graph(hnsw.result(), bundle.manifest["dim"], bundle.index["reports"])
    except ArtefactDamaged as damage:
        return None, Choice("exact", f"the HNSW index is unusable: {damage.what}")
    except ImportError:
        return None, Choice("exact", "hnswlib is not installed")
    except RuntimeError as error:
        return None, Choice("exact", f"the HNSW index is unusable: {error}")
    return graph, Choice("hnsw", f"recall@10 against exact search was {about['recall@10']} when it was built")
