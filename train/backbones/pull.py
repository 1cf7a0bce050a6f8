"""Does ``mtclip pull``: with a network, fetches all that a later run without one needs of a backbone into one
folder.

Weights as safetensors, tokenizer, the text tower's configuration, preprocessing, licence, golden embeddings,
the hash of every file. The folder is made beside its place and renamed there when it is whole and loads.
Nothing that was downloaded is executed.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mtclip_edge.errors import BackboneUnusable, Refused, WrongOption
from mtclip_edge.files import private_dir, sha256
from mtclip_edge.folders import user_path
from mtclip_edge.progress import Progress, Say, silent, step

from . import eva_x, film_tower_folder, golden, hugging_face_folder, open_clip_folder
from .backbone import CARD, load_backbone
from .folder import convert, copied, read_json
from .hub import Repository, fetch, look_up
from .licence import Licence, of_card

# The small names and what they stand for: a hub id, or open_clip's name of a model and of its weights.
NAMES = {
    "biomedclip": "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    "clip-b16": "ViT-B-16:openai",
    "clip-b32": "ViT-B-32:openai",
    "whyxrayclip": "yyupenn/whyxrayclip",
    "eva-x-ti": "MapleF/eva_x",
}
FILM_TOWERS = {"eva-x-ti": eva_x.TI}  # those of NAMES that have no text tower
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
VOCABULARY = ("vocab.json", "merges.txt")
KEPT = (
    "README.md",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "LICENCE",
    "NOTICE",
    "NOTICE.md",
    "USE_POLICY.md",
)


@dataclass(frozen=True)
class Source:
    """Where a name leads: a repository, perhaps its weights' file, and what open_clip's registry says
    beyond the repository's files; ``film_tower`` for one of FILM_TOWERS.
    """

    model_id: str
    revision: str | None = None
    weights: str | None = None
    registered: dict[str, Any] = field(default_factory=dict)
    film_tower: eva_x.FilmTower | None = None


@dataclass(frozen=True)
class Fetching:
    """One pull's downloads; ``folder`` is what is being made, ``wanted`` the SHA-256 that the published
    weights must have, None where any will do.
    """

    downloads: Path
    folder: Path
    say: Say
    progress: Progress
    wanted: str | None = None
    published: dict[str, str] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)

    def take(self, repository: Repository, name: str) -> Path:
        """A file of a repository into the folder."""
        fetched = fetch(repository, name, self.downloads, self.progress)
        self.commits[repository.id] = repository.commit
        return copied(fetched, self.folder / name)

    def take_any(self, repository: Repository, names: Iterable[str]) -> None:
        for name in names:
            if name in repository.files:
                self.take(repository, name)

    def take_weights(self, repository: Repository, names: Sequence[str], target: str) -> None:
        """The first of some files of weights, as safetensors. Errors: BackboneUnusable."""
        name, fetched = self.fetch_weights(repository, names)
        if name.endswith(".safetensors"):
            copied(fetched, self.folder / target)
        else:
            with step(self.progress, "converting the weights"):
                convert(fetched, self.folder / target)

    def fetch_weights(self, repository: Repository, names: Sequence[str]) -> tuple[str, Path]:
        """The first of some files of weights, as it is published, and its name. Errors: BackboneUnusable."""
        name = next((name for name in names if name in repository.files), None)
        if name is None:
            raise BackboneUnusable(f"{repository.id}: no weights", f"expected one of {', '.join(names)}")
        self._check_wanted(repository.id, name, repository.files[name].sha256)  # before it is fetched
        fetched = fetch(repository, name, self.downloads, self.progress)
        self.commits[repository.id] = repository.commit
        self.published[name] = sha256(fetched)
        self._check_wanted(repository.id, name, self.published[name])
        self.say(f"{name}: SHA-256 {self.published[name]}")
        return name, fetched

    def _check_wanted(self, repository_id: str, name: str, digest: str | None) -> None:
        if self.wanted and digest and digest != self.wanted:
            raise BackboneUnusable(
                f"{repository_id}: {name} is not the file that --sha256 names",
                f"expected {self.wanted[:16]}…, found {digest[:16]}…",
            )


def pull(
    name: str, out: Path, *, wanted: str | None = None, say: Say = silent, progress: Progress = silent
) -> Path:
    """Make the folder ``out`` of a backbone: ``compact``, one of NAMES, an open_clip name (``ViT-B-32:TAG``)
    or a hub id.

    ``@COMMIT`` after a name pins what is pulled, ``wanted``, a SHA-256 in hexadecimal, the file of weights as
    it is published. A pull that was cut goes on where it was when it is asked for again.

    Errors: BackboneUnusable, ExtraMissing, Refused, WrongOption; OSError with its number (a full disk).
    """
    if wanted is not None and (
        name == "compact" or not re.fullmatch("[0-9a-f]{64}", wanted := wanted.lower())
    ):
        raise WrongOption(
            f"--sha256 {wanted}",
            "compact has its packages' hashes" if name == "compact" else "expected 64 hexadecimal digits",
        )
    out = user_path(out).resolve()
    if out.is_mount():  # it could not be put in place by a rename
        raise Refused(f"{out}: a disk is mounted there", hint=f"give a folder in it: --out {out / 'NAME'}")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise Refused(f"{out}: is there already", hint="give another --out")
    source = None if name == "compact" else resolve(name)
    with _workplace(out) as work:
        folder, downloads = private_dir(work / "folder"), private_dir(work / "downloads")
        card = (
            _compact(folder, progress)
            if source is None
            else _from_hub(source, Fetching(downloads, folder, say, progress, wanted))
        )
        with step(progress, "loading it as a run will"):
            _finish(folder, {"name": name.partition("@")[0].rpartition("/")[2], **card})
        if out.is_dir():
            out.rmdir()
        folder.rename(out)
        shutil.rmtree(downloads)
    for line in _summary(out):
        say(line)
    return out


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A folder beside ``out``, for one pull at a time; what was downloaded stays in it until a pull is done.

    Errors: Refused.
    """
    work = private_dir(out.with_name(f".{out.name}.pull"))
    lock = FileLock(work / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise Refused(f"{out}: another pull into this folder is at work") from None
    shutil.rmtree(work / "folder", ignore_errors=True)  # of a pull that was killed
    try:
        yield work
    finally:
        shutil.rmtree(work / "folder", ignore_errors=True)
        done = not any((work / "downloads").glob("*"))
        lock.release()
        if done:
            shutil.rmtree(work, ignore_errors=True)


def resolve(name: str) -> Source:
    """Where a name leads. Errors: BackboneUnusable."""
    short, _, revision = name.removeprefix("hf-hub:").partition("@")
    wanted = NAMES.get(short, short)
    if short == "compact":
        raise BackboneUnusable(
            f"{name}: compact has no commits", "it is made of installed packages", "say: compact"
        )
    if film_tower := FILM_TOWERS.get(short):
        return Source(wanted, revision or None, film_tower.file, film_tower=film_tower)
    if "/" in wanted:
        return Source(wanted, revision or None)
    import open_clip

    model, _, tag = wanted.partition(":")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not tags:
        names = ", ".join(["compact", *NAMES])
        raise BackboneUnusable(
            f"backbone {name!r} is not known",
            f"expected {names}, an open_clip name or a hub id",
            "see: mtclip pull --help",
        )
    if not tag and len(tags) > 1:
        raise BackboneUnusable(
            f"{model}: has several weights", f"expected {model}: and one of {', '.join(tags)}"[:300]
        )
    registered = open_clip.get_pretrained_cfg(model, tag or tags[0])
    model_id, _, file = str(registered.get("hf_hub") or "").rpartition("/")
    if not registered or not model_id:
        raise BackboneUnusable(
            f"{model}:{tag}: not on the hub" if registered else f"{model} has no weights {tag!r}",
            f"it has {', '.join(tags)}"[:300],
        )
    return Source(
        model_id,
        revision or None,
        file or None,
        {"model_cfg": open_clip.get_model_config(model), **registered},
    )


def _from_hub(source: Source, fetching: Fetching) -> dict[str, Any]:
    if source.film_tower:
        return _film_tower(source.film_tower, source, fetching)
    repository = look_up(source.model_id, source.revision)
    if open_clip_folder.CONFIG in repository.files or source.registered:
        _open_clip(source, repository, fetching)
    elif hugging_face_folder.CONFIG in repository.files and any(
        name in repository.files for name in hugging_face_folder.PREPROCESSORS
    ):
        _hugging_face(repository, fetching)
    else:
        expected = (
            f"expected {open_clip_folder.CONFIG}, or {hugging_face_folder.CONFIG} with "
            f"{hugging_face_folder.PREPROCESSORS[0]}"
        )
        named = next((short for short in FILM_TOWERS if NAMES[short] == source.model_id), None)
        raise BackboneUnusable(
            f"{source.model_id}: neither an open_clip model nor a CLIP or SigLIP",
            expected,
            f"mtclip pull {named} takes a film tower from there" if named else None,
        )
    fetching.take_any(repository, KEPT)
    licence = of_card(fetching.folder / "README.md", source.model_id, repository.gated)
    return {**licence.to_dict(), "sources": fetching.commits, "published_sha256": fetching.published}


def _open_clip(source: Source, repository: Repository, fetching: Fetching) -> None:
    config = _open_clip_config(source, repository, fetching)
    text = config["model_cfg"]["text_cfg"]
    bert, tokenizer = text.get("hf_model_name"), text.get("hf_tokenizer_name") or text.get("hf_model_name")
    if bert:
        _text_config(bert, repository, fetching)
    if tokenizer:
        holds = (
            repository
            if "tokenizer.json" in repository.files or tokenizer in (".", repository.id)
            else look_up(tokenizer)
        )
        fetching.take_any(holds, TOKENIZER_FILES)
        text["hf_tokenizer_name"] = "."
    else:  # CLIP's own; a tokenizer.json in such a repository is for another library
        from .clip_tokenizer import clip_tokenizer

        copied(clip_tokenizer(), fetching.folder / "tokenizer.json")
    if bert:
        text["hf_model_name"] = "."
    _write(fetching.folder / open_clip_folder.CONFIG, config)
    names = [source.weights] if source.weights else open_clip_folder.WEIGHT_FILES
    fetching.take_weights(repository, names, open_clip_folder.WEIGHT_FILES[0])


def _open_clip_config(source: Source, repository: Repository, fetching: Fetching) -> dict[str, Any]:
    """The repository's, or the registry's, with every number of its preprocessing written out."""
    registered = source.registered
    if open_clip_folder.CONFIG in repository.files:
        fetching.take(repository, open_clip_folder.CONFIG)
        config = open_clip_folder.read_config(fetching.folder)
    else:
        config = {"model_cfg": registered["model_cfg"], "preprocess_cfg": {}}
    for name in ("mean", "std", "interpolation", "resize_mode"):
        if registered.get(name) is not None:
            config["preprocess_cfg"].setdefault(name, registered[name])
    shape = open_clip_folder.preprocessing(fetching.folder, config)
    for name, value in (
        ("mean", list(shape.mean)),
        ("std", list(shape.std)),
        ("interpolation", shape.interpolation),
    ):
        config["preprocess_cfg"].setdefault(name, value)
    if registered.get("quick_gelu"):  # weights trained with it give other embeddings without
        config["model_cfg"]["quick_gelu"] = True
    return config


def _text_config(name: str, repository: Repository, fetching: Fetching) -> None:
    """The text tower's ``config.json``, from the repository that the configuration names."""
    holds = repository if name in (".", repository.id) else look_up(name)
    if hugging_face_folder.CONFIG not in holds.files:
        raise BackboneUnusable(
            f"{holds.id}: no {hugging_face_folder.CONFIG}", f"{repository.id} has its text tower from there"
        )
    fetching.take(holds, hugging_face_folder.CONFIG)


def _hugging_face(repository: Repository, fetching: Fetching) -> None:
    hugging_face_folder.check_kind(
        fetching.folder, read_json(fetching.take(repository, hugging_face_folder.CONFIG))
    )
    fetching.take_any(repository, [*hugging_face_folder.PREPROCESSORS, *TOKENIZER_FILES])
    if "tokenizer.json" not in repository.files:
        fetching.take_any(repository, VOCABULARY)
    fetching.take_weights(repository, hugging_face_folder.WEIGHT_FILES, hugging_face_folder.WEIGHT_FILES[0])


def _film_tower(tower: eva_x.FilmTower, source: Source, fetching: Fetching) -> dict[str, Any]:
    """A film tower without a text tower, with the word pieces of compact for its lexical text side."""
    package = film_tower_folder.write_tokenizer(fetching.folder)
    repository = look_up(source.model_id, source.revision)
    _, fetched = fetching.fetch_weights(repository, [tower.file])
    eva_x.convert(fetched, tower, fetching.folder / film_tower_folder.WEIGHTS)
    _write(fetching.folder / film_tower_folder.CONFIG, tower.config)
    fetching.take_any(repository, KEPT)
    stated = of_card(fetching.folder / "README.md", source.model_id, repository.gated)
    elsewhere = (
        None if stated.name else f"{tower.licence} by the README of its code; its model card names none"
    )
    terms = "; ".join(words for words in (elsewhere, stated.terms) if words)
    licence = Licence(f"{stated.name or tower.licence}; {film_tower_folder.TOKENIZER_LICENCE}", terms or None)
    sources = {**fetching.commits, **package}
    return {**licence.to_dict(), "sources": sources, "published_sha256": fetching.published}


def _compact(folder: Path, progress: Progress) -> dict[str, Any]:
    """A copy of what the installed packages give; needs no network."""
    from .compact import CARD as ABOUT
    from .compact import assemble

    with step(progress, "putting it together"):
        for file in assemble().iterdir():
            if file.name != CARD:
                copied(file, folder / file.name)
    return {"licence": ABOUT["licence"], "terms": None, "restriction": None, "sources": ABOUT["sources"]}


def _finish(folder: Path, card: dict[str, Any]) -> None:
    """Load what was made, as a later run will; store what its towers give, and every file's hash.

    Errors: BackboneUnusable.
    """
    golden.draw(folder)
    backbone = load_backbone(str(folder))
    outputs = golden.embed(
        folder, backbone.film_tower, backbone.text_tower, backbone.preprocessing, backbone.tokenizer
    )
    files = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    card |= {"weights_sha256": backbone.weights_sha256, "files": files, "golden": golden.stored(outputs)}
    _write(folder / CARD, card)
    for file in folder.iterdir():
        _settle(file)


def _settle(file: Path) -> None:
    """On the disk, and readable by its owner only."""
    file.chmod(0o600)
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _summary(out: Path) -> list[str]:
    card = read_json(out / CARD)
    licence = Licence(card["licence"], card["terms"])
    size = sum(file.stat().st_size for file in out.iterdir())
    lines = [
        f"{out}: {card['name']}, {size / 1e6:.0f} MB in {len(card['files']) + 1} files, weights SHA-256 "
        f"{card['weights_sha256']}"
    ]
    lines.append(f"licence: {licence.name or 'not stated'}" + (f"; {licence.terms}" if licence.terms else ""))
    return lines + ([f"note: {licence.restriction}"] if licence.restriction else [])
