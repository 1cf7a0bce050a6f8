"""mtclip-edge: query chest X-ray films against prior reports, offline.

    from mtclip_edge import Retriever

    with Retriever.open("bundle") as retriever:
        result = retriever.query("film.png", k=5)
        print(result.abnormal, result.hits[0].text)

Research use only; retrieved prior reports are not a diagnosis.

The rooms, each above those before it; the first lines of a room's ``__init__`` say what goes in and what
comes out:

    films       a file to grey pixels            bundle      one hashed directory sources     folders and
    tables to studies    inference   grey values or text to vectors index       which reports are nearest
    indexing    build, add, remove, merge evidence    what an answer rests on          retrieval   a film in,
    ranked evidence out: start here evaluation  figures with intervals           display     what a person or
    a program sees diagnostics doctor, bench, info              train, export, commands: studies to a bundle,
    and the command line
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from .notice import NOTICE, __version__

# Official onnxruntime builds since 1.29 send telemetry unless this is set before the library is first loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# So does huggingface_hub, which `mtclip pull` uses: who runs it and under what.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Where each public name lives. They are imported when first used, so that `mtclip --help` loads neither numpy
# nor onnxruntime.
_HOMES = {
    "Agreement": "evidence.evidence",
    "Bundle": "bundle.bundle",
    "Contrast": "evidence.evidence",
    "Device": "inference.device",
    "Evidence": "evidence.evidence",
    "FilmHit": "index.hits",
    "FindingVote": "evidence.evidence",
    "Judgement": "evidence.verdict",
    "MtclipError": "errors",
    "QueryResult": "retrieval.results",
    "ReportHit": "index.hits",
    "Retriever": "retrieval.retriever",
    "SimilarityFacts": "evidence.evidence",
    "Study": "studies",
    "open_source": "sources.source",
}
__all__ = ["NOTICE", "__version__", *_HOMES]

if TYPE_CHECKING:  # "as" itself: what a type checker takes as handed on
    from .bundle.bundle import Bundle as Bundle
    from .errors import MtclipError as MtclipError
    from .evidence.evidence import Agreement as Agreement
    from .evidence.evidence import Contrast as Contrast
    from .evidence.evidence import Evidence as Evidence
    from .evidence.evidence import FindingVote as FindingVote
    from .evidence.evidence import SimilarityFacts as SimilarityFacts
    from .evidence.verdict import Judgement as Judgement
    from .index.hits import FilmHit as FilmHit
    from .index.hits import ReportHit as ReportHit
    from .inference.device import Device as Device
    from .retrieval.results import QueryResult as QueryResult
    from .retrieval.retriever import Retriever as Retriever
    from .sources.source import open_source as open_source
    from .studies import Study as Study


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
