"""A bundle: one directory that holds all a query needs. Format 1.

Data files never change and carry their generation in their name. A change writes new files and then renames a
new manifest.json into place: that rename is the one commit point, so a reader sees the old or the new state.
The manifest holds size and SHA-256 of every file (of a large one, of the SHA-256 of its parts: they are
computed on all cores) and a hash of itself; a file is hashed before any parser sees a byte of it. Writers
take the lock beside the directory.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ArtefactDamaged, ArtefactIncompatible, NotABundle
from ..fields import Mistyped
from ..files import parts_sha256, sha256
from .manifest import FORMAT, Manifest, ModelPart
from .records import IndexRecord

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """An open manifest. ``file`` gives paths whose bytes have been checked."""

    path: Path
    manifest: Manifest
    self_sha256: str
    _checked: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Read and check the manifest. Errors: NotABundle, ArtefactDamaged, ArtefactIncompatible."""
        return cls(path, *read_manifest(path))

    @property
    def identity(self) -> str:
        return f"sha256:{self.self_sha256}"

    @property
    def demo(self) -> bool:
        return self.manifest.model.purpose == "demo"

    @property
    def generation(self) -> int:
        return self.manifest.generation

    @property
    def model(self) -> ModelPart:
        """What the maker of the model wrote, with what the site has refitted."""
        return self.manifest.in_force

    @property
    def index(self) -> IndexRecord:
        """What is searched."""
        return self.manifest.site.index

    def precisions(self, tower: str) -> list[str]:
        """The precisions packed of a tower, the one that ``auto`` takes first; none for a tower that was
        left out.
        """
        return list(self.model.graphs.get(tower) or ())

    def graph(self, tower: str, precision: str) -> Path:
        """The checked ONNX file of a tower (``image`` or ``text``)."""
        files = self.model.graphs[tower]
        assert files is not None, tower
        return self.file(files[precision])

    def file(self, name: str) -> Path:
        """A file of the bundle whose size and SHA-256 are what the manifest says. Errors: ArtefactDamaged."""
        if name not in self._checked:
            self._check(name)
            self._checked[name] = self.path / name
        return self._checked[name]

    def verify(self) -> Iterator[tuple[str, ArtefactDamaged | None]]:
        """Read every file; yields each name with what is wrong with it, or None."""
        for name in self.manifest.files:
            try:
                self._check(name)
                yield name, None
            except ArtefactDamaged as damage:
                yield name, damage

    def _check(self, name: str) -> None:
        path, expected = self.path / name, self.manifest.files[name]
        try:
            size = path.stat().st_size
            digest = digest_of(path, expected.parts is not None) if size == expected.size else f"{size} bytes"
        except OSError as error:
            raise ArtefactDamaged(f"{path}: cannot be read ({error.strerror})", hint=_REPAIR) from None
        if digest != expected.sha256:
            wanted = expected.sha256[:16] if size == expected.size else f"{expected.size} bytes"
            raise ArtefactDamaged(f"{path}: damaged", f"expected {wanted}, found {digest[:16]}", _REPAIR)


_REPAIR = "restore the bundle from a copy, or export it again"


def digest_of(path: Path, in_parts: bool) -> str:
    return parts_sha256(path) if in_parts else sha256(path)


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """The manifest in a directory, and its hash of itself."""
    file = path / MANIFEST
    try:
        raw = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        what = "no such directory" if not path.exists() else "not a bundle (no manifest.json)"
        raise NotABundle(f"{path}: {what}", hint="mtclip export RUN --out BUNDLE makes one") from None
    except OSError as error:
        raise ArtefactDamaged(f"{file}: cannot be read ({error.strerror})") from None
    try:
        values = json.loads(raw)
        newer = values["format"] > FORMAT
        # The second: a blank more or less changes no meaning, and is damage all the same.
        whole = values.get("self_sha256") == self_hash(values) and raw == serialized(values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ArtefactDamaged(f"{file}: damaged (not a manifest)", hint=_REPAIR) from None
    if newer:
        from ..installation import upgrade_hint

        what = f"{path}: bundle format {values['format']}, this version reads up to {FORMAT}"
        raise ArtefactIncompatible(what, hint=upgrade_hint())
    if not whole:
        raise ArtefactDamaged(f"{file}: damaged (its own hash does not match)", hint=_REPAIR)
    try:
        return Manifest.read(values), values["self_sha256"]
    except Mistyped as wrong:
        raise ArtefactDamaged(f"{file}: damaged ({wrong})", hint=_REPAIR) from None


def serialized(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()


def self_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest without its own hash, keys sorted, no white space."""
    content = {key: value for key, value in manifest.items() if key != "self_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
