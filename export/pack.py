"""Makes a bundle of a finished run: export both towers, prove them, embed the reports with the bundle's
own text tower, publish.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256 as sha256_of
from pathlib import Path

import numpy as np

from mtclip_edge.bundle.bundle import MANIFEST, Bundle
from mtclip_edge.bundle.generations import (
    Change,
    commit,
    foreign_files,
    forget,
    locked,
    name_in,
    next_generation,
)
from mtclip_edge.bundle.licence import terms_of_use
from mtclip_edge.bundle.manifest import PURPOSES, TOWERS, Manifest, ModelPart, SitePart, ValidationRecord
from mtclip_edge.bundle.records import IndexRecord, PlacesRecord
from mtclip_edge.errors import MtclipError, Refused, SourceUnusable, WrongOption, not_among
from mtclip_edge.evidence.place_graph import Places
from mtclip_edge.export.fitted.heat_scale import heat_scale
from mtclip_edge.export.fitted.validation import fitted_on_validation
from mtclip_edge.files import private_dir, replace_with, sha256, write_bytes
from mtclip_edge.folders import user_path
from mtclip_edge.indexing.build import Built, build
from mtclip_edge.indexing.embedder import Embedder
from mtclip_edge.indexing.previews import check_longest, fresh_previews, preview_line
from mtclip_edge.inference.device import choose, open_session
from mtclip_edge.inference.encoders import FilmEncoder, TextEncoder
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.inference.tokenizer import Tokenizer
from mtclip_edge.notice import NOTICE, __version__
from mtclip_edge.progress import Progress, Say, silent, step
from mtclip_edge.sources.privacy import warning
from mtclip_edge.sources.source import Reading, open_source, open_sources
from mtclip_edge.studies import FRONTAL, Study
from mtclip_edge.train.backbones.backbone import Backbone
from mtclip_edge.train.run import Run, backbone_of, load_run

from .graphs.place_graph import export_places
from .graphs.towers import FilmGraph, TextGraph, export_film_tower, export_text_tower
from .model_card import model_card
from .parity.gate import Gate
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
        graphs = {
            (tower, p): name_in(generation, f"{tower}.{p}.onnx") for tower in TOWERS for p in PRECISIONS
        }
        return cls(
            graphs,
            name_in(generation, "tokenizer.json"),
            name_in(generation, "MODEL_CARD.md"),
            name_in(generation, EXPLAIN),
        )

    def all(self) -> list[str]:
        return [*self.graphs.values(), self.tokenizer, self.card, self.explain]


def export(
    run_path: str | Path,
    out: str | Path,
    *,
    reports: str | None = None,
    precision: Sequence[str] | None = None,
    budget: Mapping[str, float] | None = None,
    dim: int | None = None,
    text: bool = True,
    previews: int | None = None,
    purpose: str = "research",
    overwrite: bool = False,
    say: Say = silent,
    progress: Progress = silent,
) -> Bundle:
    """Write the bundle of a finished run to the folder ``out``.

    ``reports`` is the source whose reports are packed, None for the run's train reports; ``dim`` keeps the
    first numbers of each embedding only, ``budget`` changes the gate's limits (``limits_of``);
    ``previews``: the longest side in pixels of a film of each report, None for none.

    Every graph must pass the gate. Of the precisions named none may fail; without names, fp32 is packed and
    what is fastest on a CPU, if it passes. On any error what was written is removed.

    Errors: WrongOption, RunUnusable, BackboneUnusable, SourceUnusable, ParityFailed, Refused,
    ArtefactIncompatible.
    """
    _check_precision(precision)
    assert purpose in PURPOSES, purpose
    check_longest(previews)
    run, out = load_run(user_path(run_path)), user_path(out)
    dim = _dim(run, dim)
    _check_out(out, overwrite)
    with step(progress, "reading the run's sources"):
        trained_on = _sources(run)
        studies = _reports(trained_on, reports, say)
    for line in (*warning(studies), *terms_of_use(run.record.backbone.record)):
        say(line)
    with step(progress, "loading the backbone"):
        backbone = backbone_of(run)
    with locked(out), ExitStack() as cleanup:
        _check_out(out, overwrite)
        private_dir(out)
        job = Job.begun(run, backbone, dim, out, text, purpose, say, progress)
        cleanup.callback(forget, out, job.change.written)
        film_graph = _graphs(job)
        model = _model_part(job)
        proof, films, texts = _proven(job, model, trained_on, budget or {})
        built = build(job.change, model.model_id, Embedder(films, texts, dim=dim, progress=progress), studies)
        with step(progress, "fitting on validation films"):
            model, validation = fitted_on_validation(
                model, built.record, films, studies, proof.train, proof.validation, job.change, say
            )
        model, rows = _climbed(job, model, built.record, proof, precision)
        model = replace(model, explain=_explain(job, film_graph, films, proof.gate, built.record))
        built = _with_previews(job, built, studies, previews)
        bundle = _published(job, model, built, validation, rows)
        cleanup.pop_all()
    say(f"{out}: {_holds(built.record, model)}")
    return bundle


@dataclass(frozen=True)
class Job:
    """What one export is of, and the generation of ``out`` that it writes."""

    run: Run
    backbone: Backbone
    dim: int
    names: Names
    change: Change
    text: bool
    purpose: str
    say: Say
    progress: Progress

    @classmethod
    def begun(
        cls,
        run: Run,
        backbone: Backbone,
        dim: int,
        out: Path,
        text: bool,
        purpose: str,
        say: Say,
        progress: Progress,
    ) -> "Job":
        names = Names.of(generation := next_generation(out))
        change = Change(out, generation, names.all(), progress)
        return cls(run, backbone, dim, names, change, text, purpose, say, progress)

    @property
    def out(self) -> Path:
        return self.change.path

    def graph(self, tower: str, precision: str) -> Path:
        return self.out / self.names.graphs[tower, precision]


def _explain(
    job: Job, graph: FilmGraph, films: FilmEncoder, gate: Gate, index: IndexRecord
) -> PlacesRecord | None:
    """The graph for maps, and the colours of all maps by frontal validation films where there are enough."""
    with step(job.progress, "making the graph for maps"):
        record = export_places(graph, films, gate.films, job.out / job.names.explain, job.say)
    if record is None or not gate.real:
        return record
    pictures = [film for film, view in zip(gate.films, gate.views, strict=True) if view == FRONTAL]
    places = Places.of(open_session(job.out / record.file, choose("cpu"))[0], record)
    if films.takes_views:
        places = replace(places, view=FRONTAL)
    reports = np.load(job.out / index.vectors, mmap_mode="r", allow_pickle=False)[: index.reports]
    with step(job.progress, "fitting the colours of maps"):
        return replace(record, heat=heat_scale(places, films, pictures, np.asarray(reports)))


def _graphs(job: Job) -> FilmGraph:
    """Export both towers in fp32, from which every other precision is made; copy the tokenizer."""
    job.say("exporting the film tower")
    film_graph = FilmGraph(job.backbone, job.run.space, job.dim)
    with step(job.progress, "exporting the film tower"):
        export_film_tower(film_graph, job.run.preprocessing.size, job.graph("image", "fp32"))
    job.say("exporting the text tower")
    with step(job.progress, "exporting the text tower"):
        export_text_tower(
            TextGraph(job.backbone, job.run.space, job.dim), job.backbone, job.graph("text", "fp32")
        )
    replace_with(
        job.out / job.names.tokenizer, lambda file: shutil.copyfile(job.backbone.tokenizer_file, file)
    )
    return film_graph


def _model_part(job: Job) -> ModelPart:
    """What is known before anything is fitted: graphs, parity and what validation films decide come later."""
    record = job.run.record
    return ModelPart(
        purpose=job.purpose,
        notice=NOTICE,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        made_by={"mtclip_edge": __version__},
        features=("films", "reports", *(("text",) if job.text else ())),
        model_id=_model_id(job),
        backbone=record.backbone.record,
        preprocessing=record.preprocessing,
        dim=job.dim,
        abnormal_head=job.run.head_trained,
        graphs={},
        tokenizer=job.backbone.tokenizer.record(job.names.tokenizer),
        calibration=record.calibration,
        prefixes=tuple(width for width in job.run.space.shape.prefixes if width < job.dim),
        metrics=record.validation,
        views=("frontal", "lateral") if record.shape.views else (),
    )


def _model_id(job: Job) -> str:
    """What vectors belong to: weights of both towers and projectors, preprocessing, tokenizer.

    All precisions share it.
    """
    parts = [
        job.backbone.identity,
        job.run.record.weights_sha256,
        str(sorted(job.run.record.preprocessing.to_dict().items())),
        sha256(job.out / job.names.tokenizer),
        str(job.dim),
        *([job.backbone.words_sha256] if job.backbone.words_sha256 else []),
    ]
    return f"sha256:{sha256_of('|'.join(parts).encode()).hexdigest()}"


def _input_readers(job: Job, model: ModelPart) -> tuple[Preprocessing, Tokenizer]:
    """Preprocessing and tokenizer as they will be published, not the run's own."""
    return Preprocessing.of(model.preprocessing), Tokenizer.of(job.out / job.names.tokenizer, model.tokenizer)


def _climbed(
    job: Job, model: ModelPart, index: IndexRecord, proof: Proof, precision: Sequence[str] | None
) -> tuple[ModelPart, list[Row]]:
    """The model with the files of each tower's precisions that are packed, the fastest on a CPU first,
    and the gate's row of each.
    """
    reports = np.asarray(np.load(job.out / index.vectors, mmap_mode="r", allow_pickle=False)[: index.reports])
    graphs: dict[str, dict[str, str] | None] = dict.fromkeys(TOWERS)
    rows: list[Row] = []
    for tower in TOWERS if job.text else TOWERS[:1]:
        paths = {p: job.graph(tower, p) for p in PRECISIONS}
        passed = proof.climb(tower, precision, paths, reports)
        packed = sorted((row.precision for row in passed), key=CPU_ORDER[tower_kind(paths["fp32"])].index)
        graphs[tower] = {p: job.names.graphs[tower, p] for p in packed}
        rows += passed
    return replace(model, graphs=graphs, parity=tuple(row.record() for row in rows)), rows


def _proven(
    job: Job, model: ModelPart, trained_on: Reading | MtclipError, budget: Mapping[str, float]
) -> tuple[Proof, FilmEncoder, TextEncoder]:
    """The proof of this export, and the encoders of its fp32 graphs, which passed."""
    with step(job.progress, "reading validation films, asking torch"):
        parts = job.run, job.backbone, job.dim, trained_on, *_input_readers(job, model)
        proof = Proof(*parts, budget, job.say, job.progress)
        return proof, *proof.reference(*(job.graph(tower, "fp32") for tower in TOWERS))


def _holds(index: IndexRecord, model: ModelPart) -> str:
    """What a bundle holds, in words."""
    graphs = ", ".join(f"{tower} {'/'.join(names)}" for tower, names in model.graphs.items() if names)
    return f"{index.reports} distinct reports of {index.studies} studies; graphs: {graphs}"


def _with_previews(job: Job, built: Built, studies: Sequence[Study], longest: int | None) -> Built:
    """What was built, with a small film of each report where that was asked for."""
    if longest is None:
        return built
    render = job.run.record.preprocessing.render or "voi"
    previews = fresh_previews(job.change, studies, longest, render, job.progress)
    job.say(preview_line(None, previews))
    return replace(built, previews=previews)


def _published(
    job: Job, model: ModelPart, built: Built, validation: ValidationRecord | None, rows: Sequence[Row]
) -> Bundle:
    """Write the card and commit the generation."""
    write_bytes(job.out / job.names.card, model_card(job.run, job.purpose, rows).encode())
    for problem in built.problems:
        job.say(f"left out: {problem}")
    manifest = Manifest(model, SitePart(built.record, built.previews, validation), job.change.generation, {})
    return commit(job.out, manifest, {*manifest.named, job.names.card})


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
        raise SourceUnusable(
            trained_on.what, "the run's own reports cannot be read", "name others with --reports SOURCE"
        )
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
        raise Refused(
            f"{out}: holds files that are not a bundle's ({foreign[0]})", hint="give a new directory as --out"
        )
    if (out / MANIFEST).exists() and not overwrite:
        raise Refused(
            f"{out}: already holds a bundle", hint="add --overwrite to replace it, or give another --out"
        )
