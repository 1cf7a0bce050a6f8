"""mtclip-edge: query chest X-ray films against prior reports, offline.

    from mtclip_edge import Retriever

    with Retriever.open("bundle") as retriever:
        result = retriever.query("film.png", k=5)
        if result.best:
            print(result.abnormal, result.best.impression)
        else:  # a film that was rejected, and why
            print(result.input.reasons)

Research use only; retrieved prior reports are not a diagnosis.

All that is public stands in ``__all__``, with ``mtclip_edge.train`` (``train``, ``TrainConfig``) and
``mtclip_edge.export`` (``export``); docs/guide/python.md shows it at work.

The rooms, each above those before it; the first lines of a room's ``__init__`` say what goes in and what
comes out:

    films        a file to grey pixels
    bundle       one hashed directory
    sources      folders and tables to studies
    inference    grey values or text to vectors
    index        which reports are nearest
    indexing     build, add, remove, merge
    evidence     what an answer rests on
    retrieval    a film in, ranked evidence out: start here
    evaluation   figures with intervals
    display      what a person or a program sees
    diagnostics  doctor, bench, info
    server       the page in the browser
    dicom_node   films in from a PACS, results back
    train, export, commands: studies to a bundle, and the command line
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
    "Abnormal": "evidence.calibration",
    "Agreement": "evidence.evidence",
    "ArtefactDamaged": "errors",
    "ArtefactIncompatible": "errors",
    "BackboneUnusable": "errors",
    "Bundle": "bundle.bundle",
    "BundleFacts": "retrieval.results",
    "CacheUnusable": "errors",
    "Closed": "errors",
    "Contrast": "evidence.evidence",
    "Device": "inference.device",
    "DeviceUnavailable": "errors",
    "Evidence": "evidence.evidence",
    "Explained": "evidence.heat_map",
    "ExtraMissing": "errors",
    "Film": "studies",
    "FilmHit": "index.hits",
    "FilmUnreadable": "errors",
    "Filters": "index.filters",
    "FindingVote": "evidence.evidence",
    "HeadWeight": "index.rerank",
    "HeatRecord": "bundle.records",
    "Ids": "films.film",
    "Index": "indexing.bundle_index",
    "Input": "retrieval.results",
    "Judgement": "evidence.verdict",
    "LeakFound": "errors",
    "LibraryTooSlow": "errors",
    "LibraryUnreachable": "errors",
    "MapMissing": "errors",
    "Measured": "bundle.records",
    "MtclipError": "errors",
    "NoFilms": "errors",
    "NotABundle": "errors",
    "NothingToExplain": "errors",
    "OwnPriors": "index.own_priors",
    "ParityFailed": "errors",
    "Precision": "inference.precision",
    "Problem": "sources.entries",
    "QueryResult": "retrieval.results",
    "Reading": "sources.source",
    "Refused": "errors",
    "ReportHit": "index.hits",
    "Retriever": "retrieval.retriever",
    "RunUnusable": "errors",
    "SearchChoice": "index.index",
    "SimilarityFacts": "evidence.evidence",
    "SourceUnusable": "errors",
    "Study": "studies",
    "StudyFilm": "retrieval.results",
    "StudyUnanswered": "errors",
    "Tally": "sources.entries",
    "Target": "evidence.heat_map",
    "TextTowerMissing": "errors",
    "Weight": "index.rerank",
    "Weights": "index.rerank",
    "WrongOption": "errors",
    "ZeroQuery": "errors",
    "evaluate": "train.evaluation.evaluate",
    "open_source": "sources.source",
}
__all__ = ["NOTICE", "__version__", *_HOMES]

if TYPE_CHECKING:  # "as" itself: what a type checker takes as handed on
    from .bundle.bundle import Bundle as Bundle
    from .bundle.records import HeatRecord as HeatRecord
    from .bundle.records import Measured as Measured
    from .errors import ArtefactDamaged as ArtefactDamaged
    from .errors import ArtefactIncompatible as ArtefactIncompatible
    from .errors import BackboneUnusable as BackboneUnusable
    from .errors import CacheUnusable as CacheUnusable
    from .errors import Closed as Closed
    from .errors import DeviceUnavailable as DeviceUnavailable
    from .errors import ExtraMissing as ExtraMissing
    from .errors import FilmUnreadable as FilmUnreadable
    from .errors import LeakFound as LeakFound
    from .errors import LibraryTooSlow as LibraryTooSlow
    from .errors import LibraryUnreachable as LibraryUnreachable
    from .errors import MapMissing as MapMissing
    from .errors import MtclipError as MtclipError
    from .errors import NoFilms as NoFilms
    from .errors import NotABundle as NotABundle
    from .errors import NothingToExplain as NothingToExplain
    from .errors import ParityFailed as ParityFailed
    from .errors import Refused as Refused
    from .errors import RunUnusable as RunUnusable
    from .errors import SourceUnusable as SourceUnusable
    from .errors import StudyUnanswered as StudyUnanswered
    from .errors import TextTowerMissing as TextTowerMissing
    from .errors import WrongOption as WrongOption
    from .errors import ZeroQuery as ZeroQuery
    from .evidence.calibration import Abnormal as Abnormal
    from .evidence.evidence import Agreement as Agreement
    from .evidence.evidence import Contrast as Contrast
    from .evidence.evidence import Evidence as Evidence
    from .evidence.evidence import FindingVote as FindingVote
    from .evidence.evidence import SimilarityFacts as SimilarityFacts
    from .evidence.heat_map import Explained as Explained
    from .evidence.heat_map import Target as Target
    from .evidence.verdict import Judgement as Judgement
    from .films.film import Ids as Ids
    from .index.filters import Filters as Filters
    from .index.hits import FilmHit as FilmHit
    from .index.hits import ReportHit as ReportHit
    from .index.index import SearchChoice as SearchChoice
    from .index.own_priors import OwnPriors as OwnPriors
    from .index.rerank import HeadWeight as HeadWeight
    from .index.rerank import Weight as Weight
    from .index.rerank import Weights as Weights
    from .indexing.bundle_index import Index as Index
    from .inference.device import Device as Device
    from .inference.precision import Precision as Precision
    from .retrieval.results import BundleFacts as BundleFacts
    from .retrieval.results import Input as Input
    from .retrieval.results import QueryResult as QueryResult
    from .retrieval.results import StudyFilm as StudyFilm
    from .retrieval.retriever import Retriever as Retriever
    from .sources.entries import Problem as Problem
    from .sources.entries import Tally as Tally
    from .sources.source import Reading as Reading
    from .sources.source import open_source as open_source
    from .studies import Film as Film
    from .studies import Study as Study
    from .train.evaluation.evaluate import evaluate as evaluate


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    if name in ("Retriever", "QueryResult"):
        vars(importlib.import_module(".retrieval.results", __name__))["drawn"] = _drawn
    return value


def _drawn(result: "QueryResult") -> str:
    """How a notebook shows an answer: retrieval may not know display, so the door brings them together."""
    from .display.notebook import fragment

    return fragment(result)


def __dir__() -> list[str]:
    return sorted(__all__)
