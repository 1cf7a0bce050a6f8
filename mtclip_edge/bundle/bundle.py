"""A bundle: one directory that holds all a query needs. Format 1.

Data files never change and carry their generation in their name. A change writes new files and then renames a new manifest.json into
place: that rename is the one commit point, so a reader sees the old or the new state. The manifest holds size and SHA-256 of every
file (of a large one, of the SHA-256 of its parts: they are computed on all cores) and a hash of itself; a file is hashed before any
parser sees a byte of it. Writers take the lock beside the directory.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ArtefactDamaged, ArtefactIncompatible, MtclipError, NotABundle, Refused
from ..files import PART, parts_sha256, private_dir, sha256, write_bytes
from ..inference.preprocessing import Preprocessing

FORMAT = 1
MANIFEST = "manifest.json"
# What every reader relies on; the rest is for people.
_REQUIRED: dict[str, type] = {
    "purpose": str,
    "generation": int,
    "model_id": str,
    "backbone": dict,
    "preprocessing": dict,
    "dim": int,
    "abnormal_head": bool,
    "graphs": dict,
    "index": dict,
    "files": dict,
}
# What a writer may remove when no manifest names it any more: our own names, nothing else.
_OURS = re.compile(
    r"(image|text)\.[a-z0-9-]+(\.\d+)?\.onnx|explain(\.\d+)?\.onnx|tokenizer(\.\d+)?\.json|MODEL_CARD(\.\d+)?\.md"
    r"|(reports|terms)-\d+\.sqlite|(vectors|film-gate)-\d+\.npy|index-\d+\.hnsw|manifest\.json|\..*\.tmp"
)


@dataclass(frozen=True)
class Bundle:
    """An open manifest. ``file`` gives paths whose bytes have been checked."""

    path: Path
    manifest: Mapping[str, Any]
    _checked: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Read and check the manifest. Errors: NotABundle, ArtefactDamaged, ArtefactIncompatible."""
        return cls(path, _read_manifest(path))

    @property
    def identity(self) -> str:
        return f"sha256:{self.manifest['self_sha256']}"

    @property
    def demo(self) -> bool:
        return self.manifest["purpose"] == "demo"

    @property
    def generation(self) -> int:
        return self.manifest["generation"]

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.from_dict(self.manifest["preprocessing"])

    @property
    def index(self) -> Mapping[str, Any]:
        return self.manifest["index"]

    def precisions(self, tower: str) -> list[str]:
        """The precisions packed of a tower, the one that ``auto`` takes first; none for a tower that was left out."""
        return list(self.manifest["graphs"].get(tower) or ())

    def graph(self, tower: str, precision: str) -> Path:
        """The checked ONNX file of a tower (``image`` or ``text``)."""
        return self.file(self.manifest["graphs"][tower][precision])

    def file(self, name: str) -> Path:
        """A file of the bundle whose size and SHA-256 are what the manifest says. Errors: ArtefactDamaged."""
        if name not in self._checked:
            self._check(name)
            self._checked[name] = self.path / name
        return self._checked[name]

    def verify(self) -> Iterator[tuple[str, ArtefactDamaged | None]]:
        """Read every file; yields each name with what is wrong with it, or None."""
        for name in self.manifest["files"]:
            try:
                self._check(name)
                yield name, None
            except ArtefactDamaged as damage:
                yield name, damage

    def _check(self, name: str) -> None:
        path, expected = self.path / name, self.manifest["files"][name]
        try:
            size = path.stat().st_size
            digest = _digest(path, "parts" in expected) if size == expected["size"] else f"{size} bytes"
        except OSError as error:
            raise ArtefactDamaged(f"{path}: cannot be read ({error.strerror})", hint=_REPAIR) from None
        if digest != expected["sha256"]:
            wanted = expected["sha256"][:16] if size == expected["size"] else f"{expected['size']} bytes"
            raise ArtefactDamaged(f"{path}: damaged", f"expected {wanted}, found {digest[:16]}", _REPAIR)


_REPAIR = "restore the bundle from a copy, or export it again"


def file_record(path: Path) -> dict[str, Any]:
    """Size and hash as the manifest holds them; ``parts`` is the size of the parts of a file that is hashed in parts."""
    parts = path.stat().st_size > PART
    return {"size": path.stat().st_size, "sha256": _digest(path, parts), **({"parts": PART} if parts else {})}


def _digest(path: Path, in_parts: bool) -> str:
    return parts_sha256(path) if in_parts else sha256(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the bundle's writer lock (a file beside it, released by the system if the process dies). Errors: Refused."""
    import filelock

    private_dir(path.parent)
    lock = filelock.FileLock(path.with_name(f"{path.name}.lock"), timeout=10)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise Refused(f"{path}: another process is writing to this bundle", hint="wait until it is done") from None


def commit(
    path: Path, manifest: Mapping[str, Any], names: list[str], *, known: Mapping[str, Any] | None = None, strictly: bool = False
) -> Bundle:
    """Publish a generation whose files lie in ``path`` already, then remove what no manifest names. Call it under ``writing``.

    ``known`` holds the records of files that were published before, which never change. What cannot be removed now is removed by the
    next writer; ``strictly`` it is named (Refused) although the generation is published.
    """
    known = known or {}
    files = {name: known.get(name) or file_record(path / name) for name in sorted(names)}
    content = {**manifest, "format": FORMAT, "files": files}
    content["self_sha256"] = _self_hash(content)
    write_bytes(path / MANIFEST, _serialized(content))
    held = sweep(path, files)
    if held and strictly:
        raise Refused(
            f"{path / held[0]}: published without it, but this file of before cannot be removed",
            "what was taken out of the bundle is still in it",
            "close what holds it, then delete it or run the command again",
        )
    return Bundle.open(path)


def sweep(path: Path, files: Mapping[str, Any]) -> list[str]:
    """Remove our own files that the manifest does not name: an earlier generation's, or a killed writer's. Returns what cannot be."""
    leftovers = [p for p in path.iterdir() if p.name not in files and p.name != MANIFEST and _OURS.fullmatch(p.name)]
    return [leftover.name for leftover in leftovers if not _removed(leftover)]


def _removed(path: Path) -> bool:
    with suppress(OSError):
        path.unlink()
    return not path.exists()


def forget(path: Path, names: Iterable[str]) -> None:
    """Remove what a failed writer wrote, but nothing that the manifest on disk names: it may have failed just after its commit."""
    try:
        kept = set(_read_manifest(path)["files"])
    except NotABundle:
        kept = set()
    except MtclipError:  # a manifest that cannot be read: whatever it names must stay
        return
    for name in set(names) - kept:
        (path / name).unlink(missing_ok=True)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def next_generation(path: Path) -> int:
    """The number a writer's files carry: one more than what is published, 1 in a new directory."""
    try:
        return Bundle.open(path).generation + 1
    except NotABundle:
        return 1
    except ArtefactDamaged:  # replaced by an export: later than anything that lies there
        found = [int(number) for name in path.iterdir() for number in re.findall(r"[-.](\d+)\.", name.name)]
        return max(found, default=0) + 1


def name_in(generation: int, name: str) -> str:
    """A model file's name: plain in the first generation, with its number before the suffix in a later one."""
    stem, dot, suffix = name.rpartition(".")
    return name if generation == 1 else f"{stem}.{generation}{dot}{suffix}"


def foreign_files(path: Path) -> list[str]:
    """Names in a directory that no bundle of ours would hold."""
    return sorted(p.name for p in path.iterdir() if not _OURS.fullmatch(p.name)) if path.is_dir() else []


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        raw = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        what = "no such directory" if not path.exists() else "not a bundle (no manifest.json)"
        raise NotABundle(f"{path}: {what}", hint="mtclip export RUN --out BUNDLE makes one") from None
    except OSError as error:
        raise ArtefactDamaged(f"{file}: cannot be read ({error.strerror})") from None
    try:
        manifest = json.loads(raw)
        newer = manifest["format"] > FORMAT
        # The second: a blank more or less changes no meaning, and is damage all the same.
        whole = manifest.get("self_sha256") == _self_hash(manifest) and raw == _serialized(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ArtefactDamaged(f"{file}: damaged (not a manifest)", hint=_REPAIR) from None
    if newer:
        raise ArtefactIncompatible(
            f"{path}: bundle format {manifest['format']}, this version reads up to {FORMAT}",
            hint="pip install --upgrade mtclip-edge",
        )
    if not whole:
        raise ArtefactDamaged(f"{file}: damaged (its own hash does not match)", hint=_REPAIR)
    if missing := [name for name, kind in _REQUIRED.items() if not isinstance(manifest.get(name), kind) or manifest[name] == {}]:
        raise ArtefactDamaged(f"{file}: damaged (no {missing[0]})", hint=_REPAIR)
    return manifest


def _serialized(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()


def _self_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest without its own hash, keys sorted, no white space."""
    content = {key: value for key, value in manifest.items() if key != "self_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
