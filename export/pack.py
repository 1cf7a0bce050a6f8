"""A finished run to a bundle: export both towers, prove them, embed the reports with the bundle's own text tower, publish."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

from mtclip_edge import NOTICE, __version__
from mtclip_edge.building import Progress, Say, build
from mtclip_edge.bundle import MANIFEST, Bundle, commit, foreign_files, name_in, next_generation, writing
from mtclip_edge.device import choose
from mtclip_edge.durable import private_dir, replace_with, sha256, write_bytes
from mtclip_edge.encoder import FilmEncoder, TextEncoder
from mtclip_edge.errors import MtclipError, Refused, SourceUnusable, WrongOption
from mtclip_edge.preprocess import Preprocessing
from mtclip_edge.sources import open_source, open_sources
from mtclip_edge.studies import Study
from mtclip_edge.tokens import Tokenizer
from mtclip_edge.train.backbone import Backbone
from mtclip_edge.train.run import Run, backbone_of, load_run

from .card import model_card
from .parity import Parity, Probes, film_parity, text_parity
from .towers import FilmGraph, TextGraph, export_film_tower, export_text_tower

PRECISIONS = ("fp32",)


@dataclass(frozen=True)
class Names:
    """The model files of one generation."""

    image: str
    text: str
    tokenizer: str
    card: str

    @classmethod
    def of(cls, generation: int) -> "Names":
        plain = ("image.fp32.onnx", "text.fp32.onnx", "tokenizer.json", "MODEL_CARD.md")
        return cls(*(name_in(generation, name) for name in plain))


def export(
    run_path: Path,
    out: Path,
    *,
    reports: str | None = None,
    precision: Sequence[str] = PRECISIONS,
    text: bool = True,
    overwrite: bool = False,
    say: Say = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Bundle:
    """Write a bundle. Nothing is published unless every graph passes its gate; on any error what was written is removed.

    Errors: WrongOption, RunUnusable, BackboneUnusable, SourceUnusable, ParityFailed, Refused, ArtefactIncompatible.
    """
    _check_precision(precision)
    run = load_run(run_path)
    studies = _reports(run, reports, say)
    _check_out(out, overwrite)
    backbone = backbone_of(run)
    with writing(out), ExitStack() as cleanup:
        _check_out(out, overwrite)
        private_dir(out)
        names = Names.of(generation := next_generation(out))
        written = [*vars(names).values()]
        cleanup.callback(_forget, out, written)
        manifest = _model(run, backbone, out, names, text, say)
        manifest["parity"] = [parity.to_dict() for parity in _prove(run, backbone, out, names, manifest, say)]
        films, texts = _encoders(out, names, manifest)
        built = build(out, generation, manifest["model_id"], films, texts, studies, progress, written)
        for problem in built.problems:
            say(f"left out: {problem}")
        kept = [names.image, names.card, *built.names, *([names.text, names.tokenizer] if text else [])]
        bundle = commit(out, {**manifest, "generation": generation, "index": built.record}, kept)
        cleanup.pop_all()
    say(f"{out}: {built.record['reports']} distinct reports of {built.record['studies']} studies")
    return bundle


def _model(run: Run, backbone: Backbone, out: Path, names: Names, text: bool, say: Say) -> dict[str, Any]:
    """Export both graphs, copy the tokenizer, write the card; the manifest without its index and parity."""
    say("exporting the film tower")
    export_film_tower(FilmGraph(backbone, run.space), run.preprocessing.size, out / names.image)
    say("exporting the text tower")
    export_text_tower(TextGraph(backbone, run.space), backbone, out / names.text)
    replace_with(out / names.tokenizer, lambda file: shutil.copyfile(backbone.tokenizer_file, file))
    write_bytes(out / names.card, model_card(run).encode())
    return {
        "purpose": "research",
        "notice": NOTICE,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": {"mtclip_edge": __version__},
        "features": ["films", "reports", *(["text"] if text else [])],
        "model_id": _model_id(run, backbone, out, names),
        "backbone": {key: run.record["backbone"][key] for key in ("name", "identity", "licence", "aligned")},
        "preprocessing": run.record["preprocessing"],
        "dim": run.record["shape"]["dim"],
        "abnormal_head": run.record["config"]["bce"] > 0,
        "graphs": {"image": {"fp32": names.image}, "text": {"fp32": names.text} if text else None},
        "tokenizer": {
            "file": names.tokenizer,
            "context_length": backbone.tokenizer.context_length,
            "pad_id": backbone.tokenizer.pad_id,
        },
        "calibration": None,
        "metrics": {"split": "validation", **run.record["validation"]},
    }


def _prove(run: Run, backbone: Backbone, out: Path, names: Names, manifest: dict[str, Any], say: Say) -> list[Parity]:
    """Both gates, through encoders made from the files and the manifest that will be published."""
    films, texts = _encoders(out, names, manifest)
    probes = Probes.of(_validation(run))
    film = film_parity(backbone, run.space, run.preprocessing, films, probes, "fp32")
    text = text_parity(backbone, run.space, texts, probes, "fp32")
    for parity in (film, text):
        say(f"{parity.tower} tower fp32: max abs {parity.max_abs:.1e}, cosine {parity.min_cosine:.7f} ({parity.inputs})")
    return [film.require(), text.require()]


def _encoders(out: Path, names: Names, manifest: dict[str, Any]) -> tuple[FilmEncoder, TextEncoder]:
    device, about = choose("cpu"), manifest["tokenizer"]
    films = FilmEncoder.load(out / names.image, Preprocessing.from_dict(manifest["preprocessing"]), device)
    tokenizer = Tokenizer.load(out / names.tokenizer, about["context_length"], about["pad_id"])
    return films, TextEncoder.load(out / names.text, tokenizer, device)


def _model_id(run: Run, backbone: Backbone, out: Path, names: Names) -> str:
    """What vectors belong to: weights of both towers and projectors, preprocessing, tokenizer. All precisions share it."""
    parts = [
        backbone.identity,
        run.record["weights_sha256"],
        str(sorted(run.record["preprocessing"].items())),
        sha256(out / names.tokenizer),
    ]
    return f"sha256:{sha256_of('|'.join(parts).encode()).hexdigest()}"


def _reports(run: Run, source: str | None, say: Say) -> list[Study]:
    """The studies whose reports are packed: a source's, or those of the run's train split."""
    if source is not None:
        reading = open_source(source)
        say(reading.summary())
        return list(reading.studies)
    try:
        return open_sources(run.sources).split("train")
    except SourceUnusable as error:
        raise SourceUnusable(error.what, "the run's own reports cannot be read", "name others with --reports SOURCE") from None


def _validation(run: Run) -> list[Study]:
    try:
        return open_sources(run.sources).split("validation")
    except MtclipError:
        return []


def _check_precision(precision: Sequence[str]) -> None:
    for name in precision:
        if name not in PRECISIONS:
            raise WrongOption(f"precision {name!r}", f"expected {', '.join(PRECISIONS)}")


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise Refused(f"{out}: is a file", hint="give a new directory as --out")
    if foreign := foreign_files(out):
        raise Refused(f"{out}: holds files that are not a bundle's ({foreign[0]})", hint="give a new directory as --out")
    if (out / MANIFEST).exists() and not overwrite:
        raise Refused(f"{out}: already holds a bundle", hint="add --overwrite to replace it, or give another --out")


def _forget(out: Path, names: Sequence[str]) -> None:
    for name in names:
        (out / name).unlink(missing_ok=True)
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
