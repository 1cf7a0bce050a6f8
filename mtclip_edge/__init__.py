"""mtclip-edge: query chest X-ray films against prior reports, offline.

    from mtclip_edge import Retriever

    with Retriever.open("bundle") as retriever:
        result = retriever.query("film.png", k=5)
        print(result.abnormal, result.hits[0].text)

Research use only; retrieved prior reports are not a diagnosis.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Official onnxruntime builds since 1.29 send telemetry unless this is set before the library is first loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# So does huggingface_hub, which `mtclip pull` uses: who runs it and under what.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
NOTICE = "Research use only. Retrieved prior reports, not a diagnosis."

# Where each public name lives. They are imported when first used, so that `mtclip --help` loads neither numpy nor onnxruntime.
_HOMES = {
    "Agreement": "evidence.evidence",
    "Bundle": "bundle.bundle",
    "Contrast": "evidence.evidence",
    "Device": "inference.device",
    "Evidence": "evidence.evidence",
    "FilmHit": "retrieval.results",
    "FindingVote": "evidence.evidence",
    "Judgement": "evidence.verdict",
    "MtclipError": "errors",
    "QueryResult": "retrieval.results",
    "ReportHit": "retrieval.results",
    "Retriever": "retrieval.retriever",
    "SimilarityFacts": "evidence.evidence",
    "Study": "studies",
    "open_source": "sources.source",
}
__all__ = [
    "NOTICE",
    "Agreement",
    "Bundle",
    "Contrast",
    "Device",
    "Evidence",
    "FilmHit",
    "FindingVote",
    "Judgement",
    "MtclipError",
    "QueryResult",
    "ReportHit",
    "Retriever",
    "SimilarityFacts",
    "Study",
    "__version__",
    "open_source",
]

if TYPE_CHECKING:
    from .bundle.bundle import Bundle
    from .errors import MtclipError
    from .evidence.evidence import Agreement, Contrast, Evidence, FindingVote, SimilarityFacts
    from .evidence.verdict import Judgement
    from .inference.device import Device
    from .retrieval.results import FilmHit, QueryResult, ReportHit
    from .retrieval.retriever import Retriever
    from .sources.source import open_source
    from .studies import Study


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
