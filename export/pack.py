"""A finished run to a bundle: export both towers, prove them, embed the reports with the bundle's own text tower, publish."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256 as sha256_of
from pathlib import Path

import numpy as np

from mtclip_edge.bundle.bundle import MANIFEST, Bundle
from mtclip_edge.bundle.generations import Change, commit, file_record, foreign_files, forget, locked, name_in, next_generation
from mtclip_edge.bundle.licence import terms_of_use
from mtclip_edge.bundle.manifest import PURPOSES, TOWERS, Manifest, ModelPart, SitePart
from mtclip_edge.bundle.records import (
    BackboneRecord,
    CalibrationRecord,
    EvidenceRecord,
    FilmGateRecord,
    FuseRecord,
    IndexRecord,
    MetricsRecord,
    PreprocessingRecord,
)
from mtclip_edge.errors import MtclipError, Refused, SourceUnusable, WrongOption, not_among
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.export.fitted.film_gate import films_in, layouts_of, spread, write_gate
from mtclip_edge.export.fitted.fusion_weight import tune
from mtclip_edge.export.fitted.verdicts import measure
from mtclip_edge.fields import Fields
from mtclip_edge.files import private_dir, replace_with, sha256, write_bytes
from mtclip_edge.index.report_store import ReportStore
from mtclip_edge.indexing.build import build
from mtclip_edge.indexing.embedder import Embedder
from mtclip_edge.inference.embed_films import FilmVectors, embed_films
from mtclip_edge.inference.encoders import FilmEncoder
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.tokenizer import Tokenizer
from mtclip_edge.notice import NOTICE, __version__
from mtclip_edge.progress import Progress, Say, silent
from mtclip_edge.sources.privacy import warning
from mtclip_edge.sources.source import Reading, open_source, open_sources
from mtclip_edge.studies import Study
from mtclip_edge.train.backbones.backbone import Backbone
from mtclip_edge.train.run import Run, backbone_of, load_run

from .graphs.place_graph import export_places
from .graphs.towers import FilmGraph, TextGraph, export_film_tower, export_text_tower
from .model_card import model_card
from .parity.limits import Row
from .proof import Proof
from .quantization.ladder import CPU_ORDER, PRECISIONS
from .quantization.quantize import tower_kind

EXPLAIN = "explain.onnx"


@dataclass(frozen=True)
class Names:
    """The model files of one generation: graphs by tower and precision, tokenizer, card."""

    graphs: dict[tuple[str, str], str]
    tokenizer: str
    card: str
    explain: str

    @classmethod
    def of(cls, generation: int) -> "Names":
        graphs = {(tower, p): name_in(generation, f"{tower}.{p}.onnx") for tower in TOWERS for p in PRECISIONS}
        return cls(graphs, name_in(generation, "tokenizer.json"), name_in(generation, "MODEL_CARD.md"), name_in(generation, EXPLAIN))

    def all(self) -> list[str]:
        return [*self.graphs.values(), self.tokenizer, self.card, self.explain]


def export(
    run_path: Path,
    out: Path,
    *,
    reports: str | None = None,
    precision: Sequence[str] | None = None,
    budget: Mapping[str, float] | None = None,
    dim: int | None = None,
    text: bool = True,
    purpose: str = "research",
    overwrite: bool = False,
    say: Say = silent,
    progress: Progress = silent,
) -> Bundle:
    """Write a bundle; ``dim`` keeps the first numbers of each embedding only, ``budget`` changes the gate's limits (``limits_of``).

    Every graph must pass the gate. Of the precisions named none may fail, or nothing is published. Without names, fp32 is packed and
    what is fastest on a CPU; that is left out, with a line, where it fails. On any error what was written is removed.

    Errors: WrongOption, RunUnusable, BackboneUnusable, SourceUnusable, ParityFailed, Refused, ArtefactIncompatible.
    """
    _check_precision(precision)
    assert purpose in PURPOSES, purpose
    run = load_run(run_path)
    dim = _dim(run, dim)
    _check_out(out, overwrite)
    trained_on = _sources(run)
    studies = _reports(trained_on, reports, say)
    for line in [*warning(studies), *terms_of_use(run.record["backbone"])]:
        say(line)
    backbone = backbone_of(run)
    with locked(out), ExitStack() as cleanup:
        _check_out(out, overwrite)
        private_dir(out)
        names = Names.of(generation := next_generation(out))
        written = names.all()
        cleanup.callback(forget, out, written)
        film_graph = _graphs(run, backbone, dim, out, names, say)
        model = _model_part(run, backbone, dim, out, names, text, purpose)
        shaped, tokenizer = Preprocessing.of(model.preprocessing), Tokenizer.of(out / names.tokenizer, model.tokenizer)
        proof = Proof(run, backbone, dim, trained_on, shaped, tokenizer, budget or {}, say)
        encoders = proof.reference(*(out / names.graphs[tower, "fp32"] for tower in TOWERS))
        embedder = Embedder(*encoders, dim=dim, progress=progress)
        built = build(change := Change(out, generation, written), model.model_id, embedder, studies)
        held_out = _held_out(encoders[0], dim, studies, proof.validation)
        fuse = _fusion(model, *held_out, out, built.record)
        evidence = _evidence(model, *held_out, out, built.record)
        film_gate = _film_gate(change, model, proof, say)
        graphs, rows = _climb(proof, names, out, built.record, precision, TOWERS if text else TOWERS[:1])
        explain = export_places(film_graph, encoders[0], proof.gate.films, out / names.explain, say)
        fitted = replace(model, fuse=fuse, evidence=evidence, film_gate=film_gate)
        model = replace(fitted, graphs=graphs, explain=explain, parity=tuple(row.record() for row in rows))
        write_bytes(out / names.card, model_card(run, purpose, rows).encode())
        for problem in built.problems:
            say(f"left out: {problem}")
        manifest = Manifest(model, SitePart(built.record), generation, {})
        bundle = commit(out, manifest, {*manifest.named, names.card})
        cleanup.pop_all()
    say(f"{out}: {built.record.reports} distinct reports of {built.record.studies} studies")
    return bundle


def _graphs(run: Run, backbone: Backbone, dim: int, out: Path, names: Names, say: Say) -> FilmGraph:
    """Export both towers in fp32, from which every other precision is made; copy the tokenizer."""
    say("exporting the film tower")
    film_graph = FilmGraph(backbone, run.space, dim)
    export_film_tower(film_graph, run.preprocessing.size, out / names.graphs["image", "fp32"])
    say("exporting the text tower")
    export_text_tower(TextGraph(backbone, run.space, dim), backbone, out / names.graphs["text", "fp32"])
    replace_with(out / names.tokenizer, lambda file: shutil.copyfile(backbone.tokenizer_file, file))
    return film_graph


def _climb(
    proof: Proof, names: Names, out: Path, index: IndexRecord, precision: Sequence[str] | None, towers: Sequence[str]
) -> tuple[dict[str, dict[str, str] | None], list[Row]]:
    """The files of each tower's precisions that are packed, the fastest on a CPU first, and the gate's row of each."""
    reports = np.asarray(np.load(out / index.vectors, mmap_mode="r", allow_pickle=False)[: index.reports])
    graphs: dict[str, dict[str, str] | None] = dict.fromkeys(TOWERS)
    rows: list[Row] = []
    for tower in towers:
        paths = {p: out / names.graphs[tower, p] for p in PRECISIONS}
        passed = proof.climb(tower, precision, paths, reports)
        packed = sorted((row.precision for row in passed), key=CPU_ORDER[tower_kind(paths["fp32"])].index)
        graphs[tower] = {p: names.graphs[tower, p] for p in packed}
        rows += passed
    return graphs, rows


def _model_part(run: Run, backbone: Backbone, dim: int, out: Path, names: Names, text: bool, purpose: str) -> ModelPart:
    """What is known before anything is fitted: graphs, parity and what validation films decide come later."""
    calibration = run.record["calibration"]
    return ModelPart(
        purpose=purpose,
        notice=NOTICE,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        made_by={"mtclip_edge": __version__},
        features=("films", "reports", *(("text",) if text else ())),
        model_id=_model_id(run, backbone, dim, out, names),
        backbone=BackboneRecord.read(Fields(run.record["backbone"])),
        preprocessing=PreprocessingRecord.read(Fields(run.record["preprocessing"])),
        dim=dim,
        abnormal_head=run.record["config"]["bce"] > 0,
        graphs={},
        tokenizer=backbone.tokenizer.record(names.tokenizer),
        calibration=calibration and CalibrationRecord.read(Fields(calibration)),
        prefixes=tuple(width for width in run.space.shape.prefixes if width < dim),
        metrics=MetricsRecord.read(Fields(run.record["validation"])),
    )


def _held_out(films: FilmEncoder, dim: int, studies: Sequence[Study], validation: Sequence[Study]) -> tuple[Cases, FilmVectors]:
    """The run's validation films that can be read, against the reports that are packed: what is chosen for a query is chosen on them."""
    cases = Cases.of(validation, studies)
    embedded = embed_films(films, [film.path for film in cases.films], dim, silent)
    return cases.only(embedded.read), embedded


def _evidence(model: ModelPart, cases: Cases, embedded: FilmVectors, out: Path, index: IndexRecord) -> EvidenceRecord:
    """What a film's evidence is measured by: what the validation films got in the index just built."""
    reports = np.load(out / index.vectors, mmap_mode="r", allow_pickle=False)[: index.reports]
    logits = embedded.logits if model.abnormal_head else None
    calibration = Calibration.of(model.calibration)
    return measure(cases, embedded.vectors, logits, reports, calibration, file_record(out / index.vectors).sha256)


def _fusion(model: ModelPart, cases: Cases, embedded: FilmVectors, out: Path, index: IndexRecord) -> FuseRecord | None:
    """The weight of ``query --fuse auto``, chosen on the run's validation films against the index just built; None without any."""
    if not len(embedded.read):
        return None
    vectors = np.load(out / index.vectors, mmap_mode="r", allow_pickle=False)
    with closing(ReportStore(out / index.store, model.model_id)) as store:
        owner = np.array([report for report, _ in store.films_of(range(index.reports))], np.int64)
    return tune(cases, embedded.vectors, vectors[: index.reports], vectors[index.reports :], owner).record()


def _film_gate(change: Change, model: ModelPart, proof: Proof, say: Say) -> FilmGateRecord | None:
    """What judges films, fitted on films of the run's train split."""
    how = Preprocessing.of(model.preprocessing)
    train = layouts_of(how, spread(films_in(proof.train)))
    return write_gate(change.file("film_gate"), train, layouts_of(how, films_in(proof.validation)), say)


def _model_id(run: Run, backbone: Backbone, dim: int, out: Path, names: Names) -> str:
    """What vectors belong to: weights of both towers and projectors, preprocessing, tokenizer. All precisions share it."""
    parts = [
        backbone.identity,
        run.record["weights_sha256"],
        str(sorted(run.record["preprocessing"].items())),
        sha256(out / names.tokenizer),
        str(dim),
    ]
    return f"sha256:{sha256_of('|'.join(parts).encode()).hexdigest()}"


def _sources(run: Run) -> Reading | MtclipError:
    """What the run was trained on, or why it cannot be read any more."""
    try:
        return open_sources(run.sources)
    except MtclipError as error:
        return error


def _reports(trained_on: Reading | MtclipError, source: str | None, say: Say) -> list[Study]:
    """The studies whose reports are packed: a source's, or those of the run's train split."""
    if source is not None:
        reading = open_source(source)
        for line in reading.summary_lines():
            say(line)
        return list(reading.studies)
    if isinstance(trained_on, MtclipError):
        raise SourceUnusable(trained_on.what, "the run's own reports cannot be read", "name others with --reports SOURCE")
    return trained_on.split("train")


def _dim(run: Run, wanted: int | None) -> int:
    """The width to export: the run's, or that of its first numbers. Errors: WrongOption."""
    whole = run.space.shape.dim
    if wanted is not None and not 2 <= wanted <= whole:
        raise WrongOption(f"--dim {wanted}", f"expected 2 to {whole}, the run's width")
    return wanted or whole


def _check_precision(precision: Sequence[str] | None) -> None:
    for name in precision or ():
        if name not in PRECISIONS:
            raise not_among("precision", name, PRECISIONS)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise Refused(f"{out}: is a file", hint="give a new directory as --out")
    if foreign := foreign_files(out):
        raise Refused(f"{out}: holds files that are not a bundle's ({foreign[0]})", hint="give a new directory as --out")
    if (out / MANIFEST).exists() and not overwrite:
        raise Refused(f"{out}: already holds a bundle", hint="add --overwrite to replace it, or give another --out")
