"""``openi:PATH``: Open-I as NLM gives it: one XML file for each report (a folder, a zip or a tgz), with or
without the PNG folder.

XML is read by events, one report at a time: no tree, no entity and no document type is accepted, and no file
above 4 MB. The view is not in the XML: it comes from ``indiana_projections.csv`` or the table of DICOM
headers where one of them lies beside it, else it is unknown. ``articleDate`` is when the set was published,
not when anybody was examined, so there is no date.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from xml.parsers import expat

from ...errors import SourceUnusable
from ...folders import user_path
from ...studies import Film, Study, split_of, view_of
from .. import mesh_labels, tables
from ..entries import BadRow, Entry, Item, Layout, Problem, usable

MAX_XML = 4 << 20  # bytes: the longest of 2,737 has 8,367
MAX_DEPTH = 64
_LOOKED_AT = 20  # members of a tar, to tell what it is: a tgz of films has gigabytes
FILM_FOLDERS = ("", "images", "NLMCXR_png", "png")
PROJECTIONS, HEADERS = (
    "indiana_projections.csv",
    ("nlmcxr_dicom_metadata.csv.gz", "nlmcxr_dicom_metadata.csv"),
)
ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar")
_FILM = re.compile(r"CXR(\d+)_(?:\1_)?(IM-[\w-]+)")
Documents = Callable[[], Iterator[tuple[str, bytes | Problem]]]


def layout(rest: str, options: Mapping[str, str]) -> Layout:
    """Errors: SourceUnusable where no XML of Open-I is found."""
    path = user_path(rest)
    if not path.exists():
        raise SourceUnusable(f"{path}: no such file or folder")
    where, documents = documents_of(path)
    base = path if path.is_dir() else path.parent
    films = user_path(options["films"]) if "films" in options else _film_folder(base)
    views, from_what = _views(user_path(options["views"]) if "views" in options else base)
    notes = (
        f"reports from {where}",
        f"films from {films}" if films else "no folder of PNG films beside it: reports without films",
        f"views from {from_what}" if from_what else "no table of views beside it: views are unknown",
    )
    rule = options.get("abnormal", "mesh")
    name = f"openi:{path.resolve().name}"
    return Layout(name, lambda: _entries(documents, films, views, rule, name), notes)


def documents_of(path: Path) -> tuple[str, Documents]:
    """Where the XML files are, and a function that reads them one by one in the order of their numbers.

    Errors: SourceUnusable.
    """
    if path.is_file():
        return path.name, (lambda: _from_zip(path)) if path.suffix.lower() == ".zip" else (
            lambda: _from_tar(path)
        )
    for folder in (path / "ecgen-radiology", path):
        if folder.is_dir() and (paths := sorted(folder.glob("*.xml"), key=_number)):
            return f"{len(paths)} files in {folder.name}", lambda: _from_files(paths)
    archives = sorted(p for p in path.iterdir() if p.name.lower().endswith(ARCHIVES) and holds_reports(p))
    if not archives:
        raise SourceUnusable(
            f"{path}: no XML report of Open-I",
            "expected a folder, a zip or a tgz of them, e.g. ecgen-radiology.zip",
        )
    return documents_of(archives[0])


def holds_reports(archive: Path) -> bool:
    """Whether the first XML of a zip or tar is one of Open-I."""
    documents = _from_zip(archive) if archive.suffix.lower() == ".zip" else _from_tar(archive, _LOOKED_AT)
    try:
        _, first = next(documents, ("", b""))
        return isinstance(first, bytes) and b"<eCitation" in first
    except SourceUnusable:
        return False


def _from_files(paths: list[Path]) -> Iterator[tuple[str, bytes | Problem]]:
    for path in paths:
        try:
            with path.open("rb") as file:
                yield path.name, file.read(MAX_XML + 1)
        except OSError as error:
            yield path.name, Problem(path.name, f"cannot be read: {error.strerror}")


def _from_zip(path: Path) -> Iterator[tuple[str, bytes | Problem]]:
    import zipfile

    from ...films.archives import unreadable_member

    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = Path(info.filename).name
                if not name.lower().endswith(".xml"):
                    continue
                try:
                    with archive.open(info) as member:
                        yield name, member.read(MAX_XML + 1)
                except unreadable_member() as error:
                    yield name, Problem(name, f"cannot be read: {str(error)[:80]}")
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceUnusable(f"{path}: not a readable zip ({error})") from None


def _from_tar(path: Path, most: int | None = None) -> Iterator[tuple[str, bytes | Problem]]:
    """Members of a tar, plain or compressed, in one pass from its beginning; of the first ``most`` only
    where that is said.
    """
    import tarfile

    try:
        with tarfile.open(path, "r|*") as archive:
            for member in islice(archive, most):
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps every header
                name = Path(member.name).name
                if member.isreg() and name.lower().endswith(".xml") and (file := archive.extractfile(member)):
                    yield name, file.read(MAX_XML + 1)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise SourceUnusable(f"{path}: not a readable tar ({error})") from None


def _entries(
    documents: Documents, films: Path | None, views: Mapping[str, str], rule: str, source: str
) -> Iterator[Item]:
    seen: set[str] = set()
    for number, (name, data) in enumerate(documents()):
        if isinstance(data, Problem):
            yield data
            continue
        try:
            report = parse(data)
            if report.uid in seen:
                raise BadRow(f"study {report.uid[3:]} again", "study again")
            seen.add(report.uid)
            study, problems = usable(*_study(report, name, films, views, rule, source))
        except BadRow as bad:
            yield Problem(name, str(bad), kind=bad.kind)
            continue
        yield Entry(name, number, study)
        yield from problems


@dataclass
class Report:
    """What one XML file says; texts with white space collapsed."""

    uid: str = ""
    sections: dict[str, str] = field(default_factory=dict)
    terms: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


def parse(data: bytes) -> Report:
    """One ``eCitation``.

    Errors: BadRow: too large, too deep, not XML, a document type or an entity of its own, not of Open-I.
    """
    if len(data) > MAX_XML:
        raise BadRow(f"more than {MAX_XML >> 20} MB of XML")
    report, path, text = Report(), [""], [""]
    parser = expat.ParserCreate()

    def refuse(*_: Any) -> None:
        raise BadRow("a document type of its own, which no report has")

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(path) > MAX_DEPTH:
            raise BadRow("XML nested too deep")
        path.append(f"AbstractText {attributes.get('Label', '')}" if tag == "AbstractText" else tag)
        text.append("")
        if path[1] != "eCitation":
            raise BadRow(f"not a report of Open-I: {path[1][:40]!r}", "not a report of Open-I")
        if tag == "uId":
            report.uid = attributes.get("id", "")
        elif tag == "parentImage" and attributes.get("id"):
            report.images.append(attributes["id"])

    def end(tag: str) -> None:
        words = " ".join(text.pop().split())
        name = path.pop()
        if tag == "AbstractText":
            report.sections[name.removeprefix("AbstractText ")] = words
        elif path[-1] == "MeSH" and tag == "major" and words:
            report.terms.append(words)

    def characters(data: str) -> None:
        text[-1] += data

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise BadRow(f"not XML: {error}", "not XML") from None
    except (ValueError, LookupError) as error:  # an encoding that expat does not know
        raise BadRow(f"not XML: {error}", "not XML") from None
    if not re.fullmatch(r"CXR\d+", report.uid):
        raise BadRow("no uId of the form CXR1", "no uId")
    return report


def _study(
    report: Report, place: str, films: Path | None, views: Mapping[str, str], rule: str, source: str
) -> tuple[Study, tuple[Problem, ...]]:
    present, problems = [], []
    for image in dict.fromkeys(report.images) if films else ():
        assert films is not None
        path = next(
            (p for name in (image, f"CXR{film_key(image)}") if (p := films / f"{name}.png").is_file()), None
        )
        if path is None or "/" in image or "\\" in image:
            problems.append(Problem(place, f"film not found: {image[:80]}.png", "film"))
        else:
            present.append(Film(path, path.name, views.get(film_key(image), "unknown")))
    uid = report.uid.removeprefix("CXR")
    extra = {
        "indication": report.sections.get("INDICATION", ""),
        "comparison": report.sections.get("COMPARISON", ""),
    }
    study = Study(
        study_id=uid,
        patient_id=uid,  # Open-I tells of no patient beyond the study
        films=tuple(present),
        findings=report.sections.get("FINDINGS", ""),
        impression=report.sections.get("IMPRESSION", ""),
        label=mesh_labels.label_of(report.terms, rule),
        finding_labels=mesh_labels.findings_of(report.terms),
        split=split_of(uid),
        source=source,
        extra={**extra, "mesh": ";".join(report.terms)},
    )
    return study, tuple(problems)


def film_key(name: str) -> str:
    """One name for a film in NLM's spelling (``CXR1_1_IM-0001-3001``), Kaggle's
    (``1_IM-0001-3001.dcm.png``) and the headers' table.
    """
    stem = re.sub(r"(\.dcm)?\.png$", "", name)
    match = _FILM.fullmatch(stem)
    return f"{match[1]}_{match[2]}" if match else stem


def _film_folder(base: Path) -> Path | None:
    roots = (base, base.parent) if base.name == "ecgen-radiology" else (base,)
    for folder in (root / name for root in roots for name in FILM_FOLDERS):
        if folder.is_dir() and next(folder.glob("CXR*_IM-*.png"), None):
            return folder
    return None


def _views(where: Path) -> tuple[dict[str, str], str]:
    """The view of each film by ``film_key``, and the tables they are from. Kaggle's says frontal or lateral,
    which a frontal film's DICOM header makes PA or AP; the headers alone call some lateral films PA, so they
    never overrule Kaggle's.
    """
    roots = (
        [where] if where.is_file() else [where, *([where.parent] if where.name == "ecgen-radiology" else [])]
    )
    views: dict[str, str] = {}
    used = []
    headers = next((p for p in _named(roots, HEADERS) if p.is_file()), None)
    if headers:
        views = {
            film_key(row["imageid"]): view_of(row.get("View Position", ""))
            for _, row in tables.csv_rows(headers)
            if "imageid" in row
        }
        used.append(headers.name)
    projections = next((p for p in _named(roots, (PROJECTIONS,)) if p.is_file()), None)
    if projections:
        for _, row in tables.csv_rows(projections):
            key, view = film_key(row.get("filename", "")), view_of(row.get("projection", ""))
            views[key] = views[key] if view == "frontal" and views.get(key) in ("PA", "AP") else view
        used.append(projections.name)
    return views, " and ".join(reversed(used))


def _named(roots: list[Path], names: tuple[str, ...]) -> Iterator[Path]:
    for root in roots:
        yield from [root] if root.name in names else [root / name for name in names]


def _number(path: Path) -> tuple[int, str]:
    return int(path.stem) if path.stem.isdecimal() else 1 << 60, path.name
