"""Which layout a plain path has, and by what it was recognised.

Where two fit, neither is chosen: the person names one.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ..errors import SourceUnusable
from ..films.file_types import head_of, is_dicom
from .layouts import chexpert_plus, kaggle_iu, nih, openi, padchest, r2gen
from .layouts.manifest import NAMES

_LOOKED_AT = 200  # files of a folder whose first bytes are looked at for DICOM


def detect(path: Path) -> tuple[str, str]:
    """The kind, and the evidence as a sentence; empty for a table by its own name. Errors: SourceUnusable."""
    if not path.is_dir():
        return _file(path)
    if named := next((name for name in NAMES if (path / name).is_file() and _is_manifest(path / name)), None):
        beside = "; DICOM files beside it are read only where it names them" if _has_dicom(path) else ""
        return "manifest", "" if named == NAMES[
            0
        ] and not beside else f"read as manifest: it holds {named}{beside}"
    kinds = dict(_folder(path))
    if len(kinds) > 1:
        listed = "; ".join(f"{kind} ({evidence})" for kind, evidence in kinds.items())
        raise SourceUnusable(f"{path}: several layouts", listed, f"name one, e.g. {next(iter(kinds))}:{path}")
    if not kinds:
        return "manifest", ""  # which says that there is no manifest
    kind, evidence = next(iter(kinds.items()))
    return kind, f"read as {kind}: it holds {evidence}"


def _file(path: Path) -> tuple[str, str]:
    name = path.name.lower()
    if name == r2gen.FILE:
        return "r2gen", f"read as r2gen: it is {r2gen.FILE}"
    if path.is_file() and name.endswith((".zip", ".tgz", ".tar.gz")):
        if openi.holds_reports(path):
            return "openi", "read as openi: its first XML is a report of Open-I"
        raise SourceUnusable(
            f"{path}: an archive without Open-I's reports", hint="name its kind, e.g. wds:shard.tar"
        )
    if name.endswith(".tar"):
        return "wds", "read as wds: a tar"
    return "manifest", ""


def _is_manifest(path: Path) -> bool:
    """Whether a table's header has our columns; one that is no text is left to its reader."""
    if path.suffix not in (".csv", ".tsv"):
        return True
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline(1 << 16)
    except OSError:
        return True
    return not header.strip() or "study_id" in header or "filepath" in header or not _has_dicom(path.parent)


def _folder(folder: Path) -> Iterator[tuple[str, str]]:
    """Each layout whose files are there, with the files' names."""
    names = {entry.name for entry in folder.iterdir()}
    if {kaggle_iu.REPORTS, kaggle_iu.PROJECTIONS} <= names:
        yield "kaggle-iu", f"{kaggle_iu.REPORTS} and {kaggle_iu.PROJECTIONS}"
    if r2gen.FILE in names:
        yield "r2gen", r2gen.FILE
    if mimic := sorted(n for n in names if n.startswith(("mimic-cxr-2.", "cxr-record-list.csv"))):
        yield "mimic-cxr", mimic[0]
    for kind, pattern in (
        ("chexpert-plus", chexpert_plus.TABLE),
        ("padchest", padchest.TABLE),
        ("nih", nih.TABLE),
    ):
        if table := next(iter(sorted(folder.glob(pattern))), None):
            yield kind, table.name
    if shards := sorted(n for n in names if n.endswith(".tar") and _is_samples(folder / n)):
        yield "wds", f"{len(shards)} tars, the first {shards[0]}"
    if "mimic-cxr-reports.zip" not in names:
        with suppress(SourceUnusable):
            yield "openi", openi.documents_of(folder)[0]
    if _has_dicom(folder):
        yield "dicom", "DICOM files"


def _is_samples(path: Path) -> bool:
    """Whether a tar begins with a film, a text or JSON."""
    import tarfile

    from .layouts.webdataset import FILMS, TEXTS

    try:
        with tarfile.open(path, "r:") as tar:
            first = next((member.name for member in islice(tar, 20) if member.isreg()), "")
    except (tarfile.TarError, OSError, EOFError):
        return False
    return first.rpartition(".")[2].lower() in (*FILMS, *TEXTS, "json")


def _has_dicom(folder: Path) -> bool:
    for path in islice((p for p in folder.rglob("*") if p.is_file()), _LOOKED_AT):
        try:
            if is_dicom(head_of(path)):
                return True
        except OSError:
            continue
    return False
