"""The parts that a manifest is made of, each with its own reader, which checks every value by type and
bounds.

No record but the one that answers carry on compares or prints itself: those two methods cost every cold query
half a millisecond a class.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..fields import Fields, record

VERDICTS = ("confident", "uncertain", "abstain")
_MOST_ROWS = 10**10  # reports, films, studies
MOST_DIM = 65_536


@record(frozen=True, eq=False, repr=False)
class FileRecord:
    """Size in bytes and SHA-256; of a file hashed in parts (on all cores) ``parts`` is their size and the
    hash is of their hashes.
    """

    size: int
    sha256: str
    parts: int | None = None

    @classmethod
    def read(cls, f: Fields) -> "FileRecord":
        parts = f.integer("parts", 1 << 20) if f.given("parts") else None
        return cls(f.integer("size"), f.sha256("sha256"), parts)

    def to_dict(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "sha256": self.sha256,
            **({} if self.parts is None else {"parts": self.parts}),
        }


@record(frozen=True, eq=False, repr=False)
class HnswRecord:
    """The graph file, how it was built, and what it was measured to find of what exact search finds."""

    file: str
    m: int
    ef_construction: int
    ef: int
    recall: float
    queries: int

    @classmethod
    def read(cls, f: Fields) -> "HnswRecord":
        return cls(
            f.file_name("file"),
            f.integer("M", 1, 4096),
            f.integer("ef_construction", 1, 1 << 20),
            f.integer("ef", 1, 1 << 20),
            f.number("recall@10", 0, 1),
            f.integer("queries"),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "M": self.m,
            "ef_construction": self.ef_construction,
            "ef": self.ef,
            "recall@10": self.recall,
            "queries": self.queries,
        }


@record(frozen=True, eq=False, repr=False)
class IndexRecord:
    """What is searched: counts, and the files of one generation.

    ``terms`` is None in bundles of before full-text search.
    """

    reports: int
    films: int
    studies: int
    store: str
    vectors: str
    terms: str | None = None
    hnsw: HnswRecord | None = None

    @classmethod
    def read(cls, f: Fields) -> "IndexRecord":
        counts = (
            f.integer("reports", 1, _MOST_ROWS),
            f.integer("films", 0, _MOST_ROWS),
            f.integer("studies", 1, _MOST_ROWS),
        )
        terms = f.file_name("terms") if f.given("terms") else None
        return cls(
            *counts,
            f.file_name("store"),
            f.file_name("vectors"),
            terms,
            f.inside_or_none("hnsw", HnswRecord.read),
        )

    @property
    def files(self) -> set[str]:
        """The names of the files of this part."""
        named = {self.store, self.vectors, self.terms, self.hnsw and self.hnsw.file}
        return {name for name in named if name}

    def to_dict(self) -> dict[str, Any]:
        terms = {} if self.terms is None else {"terms": self.terms}
        files = {
            "store": self.store,
            **terms,
            "vectors": self.vectors,
            "hnsw": self.hnsw and self.hnsw.to_dict(),
        }
        return {"reports": self.reports, "films": self.films, "studies": self.studies, **files}


@record(frozen=True, eq=False, repr=False)
class BackboneRecord:
    """Whose weights these are: name, hash of what was loaded, licence as its publisher states it,
    ``restriction`` of use if any.
    """

    name: str
    identity: str
    licence: str | None = None
    terms: str | None = None
    restriction: str | None = None
    aligned: bool | None = None

    @classmethod
    def read(cls, f: Fields) -> "BackboneRecord":
        words = f.text_or_none("licence"), f.text_or_none("terms"), f.text_or_none("restriction")
        return cls(f.text("name", most=500), f.text("identity", most=500), *words, f.flag_or_none("aligned"))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@record(frozen=True, eq=False, repr=False)
class PreprocessingRecord:
    """What ``inference.preprocessing.Preprocessing`` is made of."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    geometry: str
    via: int = 0
    render: str | None = None

    @classmethod
    def read(cls, f: Fields) -> "PreprocessingRecord":
        return cls(
            f.integer("size", 1, 4096),
            f.numbers("mean", 3, -1000, 1000),
            f.numbers("std", 3, 1e-6, 1000),
            f.text("interpolation", most=40),
            f.text("geometry", most=40),
            f.integer("via", 0, 16_384, default=0),
            f.text("render", None, most=40),
        )

    def to_dict(self) -> dict[str, Any]:
        """As it was written: a ``render`` that was not there stays away."""
        values = {**asdict(self), "mean": list(self.mean), "std": list(self.std)}
        return {name: value for name, value in values.items() if value is not None}


@record(frozen=True, eq=False, repr=False)
class TokenizerRecord:
    """The tokenizer's file, and what the tower takes of it.

    ``pieces``: those that a lexical text side knows, as ``inference.tokenizer.pack_pieces`` writes them; None
    for a transformer, which knows all.
    """

    file: str
    context_length: int
    pad_id: int
    fixed_length: bool = False
    pieces: str | None = None

    @classmethod
    def read(cls, f: Fields) -> "TokenizerRecord":
        limits = f.integer("context_length", 1, 65_536), f.integer("pad_id", 0, 1 << 31)
        pieces = f.text_or_none("pieces", 1_000_000)
        return cls(f.file_name("file"), *limits, f.flag("fixed_length", default=False), pieces)

    def to_dict(self) -> dict[str, Any]:
        """JSON as in the file; without ``pieces`` as before there were any."""
        return {name: value for name, value in asdict(self).items() if name != "pieces" or value is not None}


@record(frozen=True, eq=False, repr=False)
class PlacesRecord:
    """The graph for maps, and how the film graph's features lie: ``grid`` rows and columns, ``before``
    tokens that are no place.
    """

    file: str
    layout: str
    grid: tuple[int, int]
    before: int
    pooling: str
    heat: "HeatRecord | None" = None  # bundles of before it was fitted have none

    @classmethod
    def read(cls, f: Fields) -> "PlacesRecord":
        rows, columns = (int(side) for side in f.numbers("grid", 2, 1, 4096))
        ways = f.one_of("layout", ("image", "tokens")), f.one_of("pooling", ("average", "first", "halves"))
        heat = f.inside_or_none("heat", HeatRecord.read)
        return cls(f.file_name("file"), ways[0], (rows, columns), f.integer("before", 0, 4096), ways[1], heat)

    def to_dict(self) -> dict[str, Any]:
        told = {
            "file": self.file,
            "layout": self.layout,
            "grid": list(self.grid),
            "before": self.before,
            "pooling": self.pooling,
        }
        return told | ({"heat": self.heat.to_dict()} if self.heat else {})


@record(frozen=True, eq=False, repr=False)
class HeatRecord:
    """The colours of all maps of a bundle, in cosine: nothing is drawn up to ``floor``, below which 95 of
    100 places of maps of random reports stay; the last colour is ``full``; of so many validation films.
    """

    floor: float
    full: float
    films: int

    @classmethod
    def read(cls, f: Fields) -> "HeatRecord":
        floor = f.number("floor", 0, 2)
        return cls(floor, f.number("full", floor, 4), f.integer("films", 1))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@record(frozen=True, eq=False, repr=False)
class CalibrationRecord:
    """Temperature of the abnormal head, and its operating point (a logit) with the specificity it has on
    so many validation films.
    """

    temperature: float
    threshold: float
    specificity: float
    films: int

    @classmethod
    def read(cls, f: Fields) -> "CalibrationRecord":
        numbers = f.number("temperature", 1e-6, 1e6), f.number("threshold"), f.number("specificity", 0, 1)
        return cls(*numbers, f.integer("films"))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@record(frozen=True, eq=False, repr=False)
class RecallRecord:
    """Recall@K beside chance and ceiling; ``lift`` is the value over chance."""

    value: float | None
    chance: float | None
    lift: float | None
    ceiling: float | None

    @classmethod
    def read(cls, f: Fields) -> "RecallRecord":
        return cls(*(f.number_or_none(name, 0) for name in ("value", "chance", "lift", "ceiling")))


@record(frozen=True, eq=False, repr=False)
class MetricsRecord:
    """The few figures of validation films; None for what could not be computed.

    ``precision`` is P@10 by class, macro first.
    """

    films: int
    reports: int
    auroc: float | None
    precision: Mapping[str, float | None] | None
    film_to_report: Mapping[str, RecallRecord | None] | None
    report_to_film: Mapping[str, RecallRecord | None] | None

    @classmethod
    def read(cls, f: Fields) -> "MetricsRecord":
        counts = f.integer("films"), f.integer("reports")
        precision = f.inside_or_none("precision@10", _class_precision)
        both = (f.inside_or_none(name, _recalls) for name in ("film_to_report", "report_to_film"))
        return cls(*counts, f.number_or_none("auroc", 0, 1), precision, *both)

    def to_dict(self) -> dict[str, Any]:
        return {
            "films": self.films,
            "reports": self.reports,
            "auroc": self.auroc,
            "precision@10": self.precision and dict(self.precision),
            "film_to_report": self.film_to_report
            and {k: v and asdict(v) for k, v in self.film_to_report.items()},
            "report_to_film": self.report_to_film
            and {k: v and asdict(v) for k, v in self.report_to_film.items()},
        }


def _class_precision(f: Fields) -> dict[str, float | None]:
    return {name: f.number_or_none(name, 0, 1) for name in ("macro", "normal", "abnormal")}


def _recalls(f: Fields) -> dict[str, RecallRecord | None]:
    return {name: f.inside_or_none(name, RecallRecord.read) for name in ("recall@1", "recall@5", "recall@10")}


@record(frozen=True, eq=False, repr=False)
class FuseRecord:
    """The weight of films in ``query --fuse auto``, and why it is that."""

    weight: float
    why: str

    @classmethod
    def read(cls, f: Fields) -> "FuseRecord":
        return cls(f.number("weight", 0, 1), f.text("why"))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@record(frozen=True, eq=False, repr=False)
class RerankRecord:
    """The weight of the abnormal head in the order of reports, and why it is that; ``prior`` is the share of
    abnormal among the films that the head was trained on.
    """

    weight: float
    prior: float
    why: str

    @classmethod
    def read(cls, f: Fields) -> "RerankRecord":
        return cls(f.number("weight", 0, 1), f.number("prior", 0, 1), f.text("why"))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """What a verdict was worth on validation films: the share of decisions that were wrong (None of
    none), and its share of all films.
    """

    films: int
    risk: float | None
    coverage: float

    @classmethod
    def read(cls, f: Fields) -> "Measured":
        return cls(f.integer("films"), f.number_or_none("risk", 0, 1), f.number("coverage", 0, 1))


@record(frozen=True, eq=False, repr=False)
class TrustRecord:
    """Thresholds on the trust in a decision, None where none keeps its promise, and what each verdict was
    worth.
    """

    confident: float | None
    abstain: float | None
    validation: Mapping[str, Measured]

    @classmethod
    def read(cls, f: Fields) -> "TrustRecord":
        validation = f.inside(
            "validation", lambda g: {name: g.inside(name, Measured.read) for name in VERDICTS}
        )
        return cls(f.number_or_none("confident", 0, 2), f.number_or_none("abstain", -1, 1), validation)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@record(frozen=True, eq=False, repr=False)
class EvidenceRecord:
    """What validation films got: 101 quantiles of the best cosine, temperature of the vote, trust;
    ``searched`` names the vectors.
    """

    films: int
    searched: str
    temperature: float | None
    best_scores: tuple[float, ...] | None
    best_scores_why: str
    trust: TrustRecord | None
    trust_why: str

    @classmethod
    def read(cls, f: Fields) -> "EvidenceRecord":
        measured = f.integer("films"), f.sha256("searched"), f.number_or_none("temperature", 1e-9, 10)
        best = f.numbers("best_scores", 101, -1.01, 1.01) if f.given("best_scores") else None
        return cls(
            *measured,
            best,
            f.text("best_scores_why"),
            f.inside_or_none("trust", TrustRecord.read),
            f.text("trust_why"),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "films": self.films,
            "searched": self.searched,
            "temperature": self.temperature,
            "best_scores": self.best_scores and list(self.best_scores),
            "best_scores_why": self.best_scores_why,
            "trust": self.trust and self.trust.to_dict(),
            "trust_why": self.trust_why,
        }


@record(frozen=True, eq=False, repr=False)
class ViewRecord:
    """What a query of laterals, or of both views together, is measured by: its own calibration, evidence and
    weight of the head, from validation films.
    """

    calibration: CalibrationRecord | None
    evidence: EvidenceRecord
    rerank: RerankRecord | None = None

    @classmethod
    def read(cls, f: Fields) -> "ViewRecord":
        calibration = f.inside_or_none("calibration", CalibrationRecord.read)
        evidence = f.inside("evidence", EvidenceRecord.read)
        return cls(calibration, evidence, f.inside_or_none("rerank", RerankRecord.read))

    def to_dict(self) -> dict[str, Any]:
        return {
            "calibration": self.calibration and self.calibration.to_dict(),
            "evidence": self.evidence.to_dict(),
            "rerank": self.rerank and self.rerank.to_dict(),
        }


@record(frozen=True, eq=False, repr=False)
class GaussianRecord:
    """The shape of one distribution in the film gate's file, and the variance along the axes that are not
    in it.
    """

    dim: int
    axes: int
    rest: float

    @classmethod
    def read(cls, f: Fields) -> "GaussianRecord":
        return cls(f.integer("dim", 1, MOST_DIM), f.integer("axes", 0, MOST_DIM), f.number("rest", 1e-300))


@record(frozen=True, eq=False, repr=False)
class LateralGateRecord:
    """What judges lateral films, in bundles that were trained with them: its numbers stand behind those of
    frontal films.
    """

    layout: GaussianRecord
    thresholds: Mapping[str, float | None]
    films: Mapping[str, int]

    @classmethod
    def read(cls, f: Fields) -> "LateralGateRecord":
        return cls(
            f.inside("layout", GaussianRecord.read),
            f.inside(
                "thresholds",
                lambda g: {name: g.number_or_none(name) for name in _GATE_THRESHOLDS if g.has(name)},
            ),
            f.inside("films", lambda g: {name: g.integer(name) for name in ("train", "validation")}),
        )

    def to_dict(self) -> dict[str, Any]:
        numbers = {"thresholds": dict(self.thresholds), "films": dict(self.films)}
        return {"layout": asdict(self.layout), **numbers}


_GATE_THRESHOLDS = ("layout_warn", "layout_reject", "embedding_warn", "mirror_warn")


@record(frozen=True, eq=False, repr=False)
class FilmGateRecord:
    """What judges films: file, thresholds (None: too few films for one), the shares they were chosen for, how
    many films they are from; ``folds``: all of train and validation were judged, by so many folds, and give
    the thresholds; None: validation films alone.

    ``embedding`` is in bundles of 0.1.0 only, whose gate asked the embedding too.
    """

    file: str
    layout: GaussianRecord
    thresholds: Mapping[str, float | None]
    shares: Mapping[str, float | None]
    films: Mapping[str, int]
    embedding: GaussianRecord | None = None
    lateral: LateralGateRecord | None = None
    folds: int | None = None

    @classmethod
    def read(cls, f: Fields) -> "FilmGateRecord":
        return cls(
            f.file_name("file"),
            f.inside("layout", GaussianRecord.read),
            f.inside(
                "thresholds",
                lambda g: {name: g.number_or_none(name) for name in _GATE_THRESHOLDS if g.has(name)},
            ),
            f.inside(
                "shares",
                lambda g: {name: g.number_or_none(name, 0, 1) for name in _GATE_THRESHOLDS if g.has(name)},
            ),
            f.inside("films", lambda g: {name: g.integer(name) for name in ("train", "validation")}),
            f.inside_or_none("embedding", GaussianRecord.read),
            f.inside_or_none("lateral", LateralGateRecord.read),
            f.integer("folds", 2, 1000) if f.given("folds") else None,
        )

    def to_dict(self) -> dict[str, Any]:
        embedding = {} if self.embedding is None else {"embedding": asdict(self.embedding)}
        numbers = {
            "thresholds": dict(self.thresholds),
            "shares": dict(self.shares),
            "films": dict(self.films),
        }
        lateral = {} if self.lateral is None else {"lateral": self.lateral.to_dict()}
        folds = {} if self.folds is None else {"folds": self.folds}
        return {"file": self.file, "layout": asdict(self.layout), **embedding, **numbers, **lateral, **folds}


@record(frozen=True, eq=False, repr=False)
class ParityRecord:
    """One graph against torch fp32, as the export gate measured it; None for what could not be asked."""

    tower: str
    precision: str
    inputs: str
    count: int
    max_abs: float
    min_cosine: float
    cosine: float | None
    batch: float | None
    overlap: float | None
    max_logit: float | None
    decisions: float | None
    precision_at_10: float | None
    recall_at_10: float | None
    recall_interval: tuple[float, ...] | None
    how: str | None
    note: str | None
    batches: tuple[int, ...]

    @classmethod
    def read(cls, f: Fields) -> "ParityRecord":
        return cls(
            tower=f.text("tower", most=40),
            precision=f.text("precision", most=40),
            inputs=f.text("inputs", most=200),
            count=f.integer("count", default=0),
            max_abs=f.number("max_abs"),
            min_cosine=f.number("min_cosine", -1.01, 1.01),
            cosine=f.number_or_none("cosine"),
            batch=f.number_or_none("batch"),
            overlap=f.number_or_none("overlap"),
            max_logit=f.number_or_none("max_logit"),
            decisions=f.number_or_none("decisions"),
            precision_at_10=f.number_or_none("precision_at_10"),
            recall_at_10=f.number_or_none("recall_at_10"),
            recall_interval=f.numbers("recall_interval", 2) if f.given("recall_interval") else None,
            how=f.text_or_none("how"),
            note=f.text_or_none("note"),
            batches=f.integers("batches", 100, default=()),
        )

    def to_dict(self) -> dict[str, Any]:
        interval = self.recall_interval
        return {**asdict(self), "recall_interval": interval and list(interval), "batches": list(self.batches)}
