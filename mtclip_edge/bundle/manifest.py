"""What a bundle's ``manifest.json`` says, as types: one reader that checks every value, one writer.

Two parts. The **model part** is what the maker of the model wrote: graphs, tokenizer, preprocessing,
calibration, card; a signature covers it. The **site part** is what the site changes: reports, vectors, index.
In the file both lie flat, as they did in 0.1.0.

No record but the one that answers carry on compares or prints itself: making those two methods costs every
cold query half a millisecond a class.
"""

from collections.abc import Mapping
from dataclasses import asdict, field, replace
from typing import Any

from ..fields import Fields, Mistyped, is_plain_name, record
from .records import (
    MOST_DIM,
    BackboneRecord,
    CalibrationRecord,
    EvidenceRecord,
    FileRecord,
    FilmGateRecord,
    FuseRecord,
    IndexRecord,
    MetricsRecord,
    ParityRecord,
    PlacesRecord,
    PreprocessingRecord,
    RerankRecord,
    TokenizerRecord,
    ViewRecord,
)

FORMAT = 1
PURPOSES = ("research", "demo")
TOWERS = ("image", "text")


@record(frozen=True, eq=False, repr=False)
class ModelPart:
    """What the maker of the model wrote. ``graphs``: of each tower the file of each precision, the one
    ``auto`` takes first; None for a tower that was left out. ``abnormal_head``: whether the head was trained.
    ``metrics`` are of validation films.
    """

    purpose: str
    notice: str
    created: str
    made_by: Mapping[str, str]
    features: tuple[str, ...]
    model_id: str
    backbone: BackboneRecord
    preprocessing: PreprocessingRecord
    dim: int
    abnormal_head: bool
    graphs: Mapping[str, Mapping[str, str] | None]
    tokenizer: TokenizerRecord
    metrics: MetricsRecord | None
    explain: PlacesRecord | None = None
    calibration: CalibrationRecord | None = None
    prefixes: tuple[int, ...] = ()
    fuse: FuseRecord | None = None
    rerank: RerankRecord | None = None
    evidence: EvidenceRecord | None = None
    film_gate: FilmGateRecord | None = None
    parity: tuple[ParityRecord, ...] = ()
    # Of a model that was trained with lateral films: which views it is told, and what queries that are not of
    # frontal films alone are measured by, `lateral` and `both`.
    views: tuple[str, ...] = ()
    by_view: Mapping[str, ViewRecord] = field(default_factory=dict)

    @property
    def takes_laterals(self) -> bool:
        return "lateral" in self.views

    def calibration_of(self, seen: str) -> CalibrationRecord | None:
        """Of the abnormal head's outputs on films of a view; what was fitted on frontal films is no measure
        for others.
        """
        if seen == "frontal":
            return self.calibration
        return self.by_view[seen].calibration if seen in self.by_view else None

    def rerank_of(self, seen: str) -> RerankRecord | None:
        """The weight of the head in the order of reports for films of a view, as such films bore it out."""
        if seen == "frontal":
            return self.rerank
        return self.by_view[seen].rerank if seen in self.by_view else None

    @classmethod
    def read(cls, f: Fields) -> "ModelPart":
        return cls(
            purpose=f.one_of("purpose", PURPOSES),
            notice=f.text("notice", ""),
            created=f.text("created", "", most=100),
            made_by=f.texts_by_name("made_by", 20, default={}),
            features=f.texts("features", 100, default=()),
            model_id=f.text("model_id", most=500),
            backbone=f.inside("backbone", BackboneRecord.read),
            preprocessing=f.inside("preprocessing", PreprocessingRecord.read),
            dim=f.integer("dim", 1, MOST_DIM),
            abnormal_head=f.flag("abnormal_head"),
            graphs=f.inside("graphs", _graphs),
            tokenizer=f.inside("tokenizer", TokenizerRecord.read),
            metrics=f.inside_or_none("metrics", MetricsRecord.read),
            explain=f.inside_or_none("explain", PlacesRecord.read),
            calibration=f.inside_or_none("calibration", CalibrationRecord.read),
            prefixes=f.integers("prefixes", 100, 1, MOST_DIM, default=()),
            fuse=f.inside_or_none("fuse", FuseRecord.read),
            rerank=f.inside_or_none("rerank", RerankRecord.read),
            evidence=f.inside_or_none("evidence", EvidenceRecord.read),
            film_gate=f.inside_or_none("film_gate", FilmGateRecord.read),
            parity=f.objects("parity", ParityRecord.read, 200, default=()),
            views=f.texts("views", 20, default=()),
            by_view=f.named("by_view", ViewRecord.read, 20) if f.given("by_view") else {},
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "purpose": self.purpose,
            "notice": self.notice,
            "created": self.created,
            "made_by": dict(self.made_by),
            "features": list(self.features),
            "model_id": self.model_id,
            "backbone": self.backbone.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "dim": self.dim,
            "abnormal_head": self.abnormal_head,
            "graphs": {tower: files and dict(files) for tower, files in self.graphs.items()},
            "explain": self.explain and self.explain.to_dict(),
            "tokenizer": self.tokenizer.to_dict(),
            "calibration": self.calibration and self.calibration.to_dict(),
            "prefixes": list(self.prefixes),
            "metrics": self.metrics and {"split": "validation", **self.metrics.to_dict()},
            "fuse": self.fuse and self.fuse.to_dict(),
            "rerank": self.rerank and self.rerank.to_dict(),
            "evidence": self.evidence and self.evidence.to_dict(),
            "film_gate": self.film_gate and self.film_gate.to_dict(),
            "parity": [row.to_dict() for row in self.parity],
            **({"views": list(self.views)} if self.views else {}),
            **(
                {"by_view": {name: part.to_dict() for name, part in self.by_view.items()}}
                if self.by_view
                else {}
            ),
        }


def _graphs(f: Fields) -> dict[str, Mapping[str, str] | None]:
    """The film tower is always there; every graph is a plain file name."""
    graphs = {tower: f.texts_by_name(tower, 40) if f.given(tower) else None for tower in TOWERS}
    if not graphs["image"]:
        raise Mistyped("no graphs.image")
    for tower, files in graphs.items():
        if files is not None and not all(is_plain_name(name) for name in files.values()):
            raise Mistyped(f"graphs.{tower} is not file names by precision")
    return dict(graphs)


@record(frozen=True, eq=False, repr=False)
class PreviewsRecord:
    """The file of small films, of how many reports it has one, and how they were made: ``longest`` side in
    pixels at most, WebP ``quality``.
    """

    file: str
    reports: int
    longest: int
    quality: int

    @classmethod
    def read(cls, f: Fields) -> "PreviewsRecord":
        counts = f.integer("reports", 1), f.integer("longest", 16, 16_383), f.integer("quality", 1, 100)
        return cls(f.file_name("file"), *counts)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@record(frozen=True, eq=False, repr=False)
class ValidationRecord:
    """The validation films that are kept to measure evidence again, and the salt of their pseudonyms."""

    file: str
    films: int
    salt: str

    @classmethod
    def read(cls, f: Fields) -> "ValidationRecord":
        return cls(f.file_name("file"), f.integer("films", 1), f.text("salt", most=100))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


_REFITTED = ("layout_warn", "layout_reject", "mirror_warn")


@record(frozen=True, eq=False, repr=False)
class RefitRecord:
    """What a site fitted with its own films: ``calibration`` and the thresholds of the film gate, None where
    the maker's hold; how many films, how many of them normal and abnormal.
    """

    made: str
    films: int
    normal: int
    abnormal: int
    calibration: CalibrationRecord | None
    film_gate: Mapping[str, float | None] | None

    @classmethod
    def read(cls, f: Fields) -> "RefitRecord":
        counts = f.integer("films", 1), f.integer("normal"), f.integer("abnormal")
        calibration = f.inside_or_none("calibration", CalibrationRecord.read)
        gate = f.inside_or_none("film_gate", lambda g: {name: g.number_or_none(name) for name in _REFITTED})
        return cls(f.text("made", most=100), *counts, calibration, gate)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@record(frozen=True, eq=False, repr=False)
class SitePart:
    """What the site changes: the reports with their vectors and index, and previews where they were asked
    for.

    ``evidence``: what was measured since reports changed, by frontal, lateral and both; it holds instead of
    the model's. ``refit``: what holds instead of the model's calibration and thresholds.
    """

    index: IndexRecord
    previews: PreviewsRecord | None = None
    validation: ValidationRecord | None = None
    evidence: Mapping[str, EvidenceRecord] = field(default_factory=dict)
    refit: RefitRecord | None = None

    @classmethod
    def read(cls, f: Fields) -> "SitePart":
        return cls(
            f.inside("index", IndexRecord.read),
            f.inside_or_none("previews", PreviewsRecord.read),
            f.inside_or_none("validation", ValidationRecord.read),
            f.named("evidence_now", EvidenceRecord.read, 20) if f.given("evidence_now") else {},
            f.inside_or_none("refit", RefitRecord.read),
        )

    @property
    def files(self) -> set[str]:
        """The names of the files of this part."""
        return self.index.files | {part.file for part in (self.previews, self.validation) if part}

    def to_dict(self) -> dict[str, Any]:
        """JSON as in the file; what is not there stays away, as before it could be."""
        parts = {"previews": self.previews, "validation": self.validation, "refit": self.refit}
        there = {name: part.to_dict() for name, part in parts.items() if part is not None}
        now = {name: part.to_dict() for name, part in self.evidence.items()}
        return {"index": self.index.to_dict(), **there, **({"evidence_now": now} if now else {})}


@record(frozen=True, eq=False, repr=False)
class Manifest:
    """``files`` are all that the bundle holds but the manifest. ``more``: top-level fields that this version
    does not know, kept as they are when a change writes the manifest again.
    """

    model: ModelPart
    site: SitePart
    generation: int
    files: Mapping[str, FileRecord]
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, values: Any) -> "Manifest":
        """From parsed JSON. Errors: Mistyped, naming the field."""
        f = Fields(values)
        f.integer("format", 1, FORMAT)
        f.given("self_sha256")
        model, site = ModelPart.read(f), SitePart.read(f)
        files = f.named("files", FileRecord.read, 10_000)
        if wrong := next((name for name in files if not is_plain_name(name)), None):
            raise Mistyped(f"files: {wrong[:80]!r} is not a plain file name")
        manifest = cls(model, site, f.integer("generation", 1), files, f.rest())
        if missing := sorted(manifest.named - set(files)):
            raise Mistyped(f"no files.{missing[0]}")
        return manifest

    @property
    def named(self) -> set[str]:
        """The files that the parts name and a reader would open."""
        model = self.model
        graphs = {name for files in model.graphs.values() if files for name in files.values()}
        tokenizer = {model.tokenizer.file} if model.graphs.get("text") else set()
        others = {part.file for part in (model.explain, model.film_gate) if part is not None}
        return graphs | tokenizer | others | self.site.files

    @property
    def in_force(self) -> ModelPart:
        """The model as queries use it: with what the site has fitted instead of the maker's."""
        refit, model = self.site.refit, self.model
        if refit is None:
            return model
        gate = model.film_gate
        if gate is not None and refit.film_gate is not None:
            films = {**gate.films, "validation": refit.films}
            told = {**gate.thresholds, **refit.film_gate}
            gate = replace(gate, thresholds=told, films=films, folds=None)
        return replace(model, calibration=refit.calibration or model.calibration, film_gate=gate)

    @property
    def searched(self) -> str:
        """What stands for the set of reports: the hash of their vectors' file."""
        return self.files[self.site.index.vectors].sha256

    def evidence_of(self, seen: str) -> EvidenceRecord | None:
        """What queries of a view (frontal, lateral, both) are measured by: since reports changed, else as at
        export.
        """
        if seen in self.site.evidence:
            return self.site.evidence[seen]
        if seen == "frontal":
            return self.model.evidence
        return self.model.by_view[seen].evidence if seen in self.model.by_view else None

    def to_dict(self) -> dict[str, Any]:
        """JSON as in the file, without the file's hash of itself."""
        files = {name: self.files[name].to_dict() for name in sorted(self.files)}
        parts = {**self.model.to_dict(), **self.site.to_dict()}
        return {**parts, "generation": self.generation, "format": FORMAT, "files": files, **self.more}
