"""Writing generations: files first, then the one commit point, a renamed manifest; what no manifest names
is swept.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ArtefactDamaged, MtclipError, NotABundle, Refused
from ..files import PART, private_dir, write_bytes
from ..progress import Progress, silent
from .bundle import MANIFEST, Bundle, digest_of, read_manifest, self_hash, serialized
from .manifest import Manifest
from .records import FileRecord

# What a writer may remove when no manifest names it any more: our own names, nothing else.
_OURS = re.compile(
    r"(image|text)\.[a-z0-9-]+(\.\d+)?\.onnx|explain(\.\d+)?\.onnx|tokenizer(\.\d+)?\.json|MODEL_CARD(\.\d+)?\.md"
    r"|(reports|terms|previews)-\d+\.sqlite|(vectors|film-gate|validation)-\d+\.npy|index-\d+\.hnsw|manifest\.json|\..*\.tmp"
)


def file_record(path: Path) -> FileRecord:
    """Size and hash as the manifest holds them; ``parts`` is the size of the parts of a file that is
    hashed in parts.
    """
    size = path.stat().st_size
    return FileRecord(size, digest_of(path, size > PART), PART if size > PART else None)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the bundle's writer lock (a file beside it, released by the system if the process dies).

    Errors: Refused.
    """
    import filelock

    private_dir(path.parent)
    lock = filelock.FileLock(path.with_name(f"{path.name}.lock"), timeout=10)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise Refused(
            f"{path}: another process is writing to this bundle", hint="wait until it is done"
        ) from None


def commit(path: Path, manifest: Manifest, names: Iterable[str], *, strictly: bool = False) -> Bundle:
    """Publish a generation whose files lie in ``path`` already, then remove what no manifest names. Call it
    under ``locked``.

    ``manifest.files`` may hold the records of files that were published before, which never change; of
    ``names`` the others are hashed here. What cannot be removed now is removed by the next writer;
    ``strictly`` it is named (Refused) although the generation is published.
    """
    files = {name: manifest.files.get(name) or file_record(path / name) for name in sorted(names)}
    values = replace(manifest, files=files).to_dict()
    values["self_sha256"] = self_hash(values)
    write_bytes(path / MANIFEST, serialized(values))
    held = sweep(path, files)
    if held and strictly:
        raise Refused(
            f"{path / held[0]}: published without it, but this file of before cannot be removed",
            "what was taken out of the bundle is still in it",
            "close what holds it, then delete it or run the command again",
        )
    return Bundle.open(path)


def sweep(path: Path, files: Mapping[str, Any]) -> list[str]:
    """Remove our own files that the manifest does not name: an earlier generation's, or a killed writer's.

    Returns what cannot be.
    """
    leftovers = [
        p for p in path.iterdir() if p.name not in files and p.name != MANIFEST and _OURS.fullmatch(p.name)
    ]
    return [leftover.name for leftover in leftovers if not _removed(leftover)]


def _removed(path: Path) -> bool:
    with suppress(OSError):
        path.unlink()
    return not path.exists()


def forget(path: Path, names: Iterable[str]) -> None:
    """Remove what a failed writer wrote, but nothing that the manifest on disk names: it may have failed
    just after its commit.
    """
    try:
        kept = set(read_manifest(path)[0].files)
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
        numbers = [int(number) for name in path.iterdir() for number in re.findall(r"[-.](\d+)\.", name.name)]
        return max(numbers, default=0) + 1


def name_in(generation: int, name: str) -> str:
    """A model file's name: plain in the first generation, with its number before the suffix in a later
    one.
    """
    stem, dot, suffix = name.rpartition(".")
    return name if generation == 1 else f"{stem}.{generation}{dot}{suffix}"


def foreign_files(path: Path) -> list[str]:
    """Names in a directory that no bundle of ours would hold."""
    return sorted(p.name for p in path.iterdir() if not _OURS.fullmatch(p.name)) if path.is_dir() else []


class Change:
    """One new generation of the searchable part of a bundle, under its lock. Everything written is forgotten
    where it fails.

    ``progress`` hears of the graph, whose building takes half an hour at a million reports.
    """

    def __init__(self, path: Path, generation: int, written: list[str], progress: Progress = silent):
        self.path, self.generation, self.progress, self.written = path, generation, progress, written

    def file(self, kind: str) -> Path:
        """The path of this generation's ``store``, ``terms``, ``vectors``, ``graph``, ``film_gate``,
        ``previews`` or ``validation``."""
        name = {
            "store": f"reports-{self.generation}.sqlite",
            "terms": f"terms-{self.generation}.sqlite",
            "vectors": f"vectors-{self.generation}.npy",
            "graph": f"index-{self.generation}.hnsw",
            "film_gate": f"film-gate-{self.generation}.npy",
            "validation": f"validation-{self.generation}.npy",
            "previews": f"previews-{self.generation}.sqlite",
        }[kind]
        if name not in self.written:
            self.written.append(name)
        return self.path / name


@contextmanager
def changing(path: Path, progress: Progress = silent) -> Iterator[tuple[Bundle, Change]]:
    """The bundle and its next generation, for one writer.

    Errors: NotABundle, ArtefactDamaged, Refused (another writer).
    """
    Bundle.open(path)  # before the lock: a wrong path must not leave folders and a lock behind
    with locked(path):
        bundle = Bundle.open(path)
        # A writer killed after its commit left what it had replaced, a removed patient's texts perhaps.
        sweep(path, bundle.manifest.files)
        written: list[str] = []
        try:
            yield bundle, Change(path, next_generation(path), written, progress)
        except BaseException:
            forget(path, written)
            raise
