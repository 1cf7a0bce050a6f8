"""``mimic-cxr:DIR``: MIMIC-CXR and MIMIC-CXR-JPG as PhysioNet lays them out.

``mimic-cxr-2.*-metadata.csv.gz`` (or ``cxr-record-list.csv.gz``) names the films, ``-split.csv.gz`` their
split, ``-chexpert.csv.gz`` or ``-negbio.csv.gz`` the labels; reports are
``files/p10/p10000032/s50414267.txt``, in DIR or in ``mimic-cxr-reports.zip``, or the rows of
``mimic_cxr_sectioned.csv``. ``reports=PATH`` names another folder, zip or table for them, ``labels=negbio``
the other labeller.

Written from PhysioNet's documentation and public code: no file of the set was at hand.
"""

import zipfile
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from ...errors import SourceUnusable, WrongOption
from ...films.archives import MARK, read_bytes
from ...folders import user_path
from ...studies import SPLITS, Film, Study, date_of, split_of, view_of
from .. import chexpert_labels, tables
from ..chexpert_labels import Positives
from ..entries import BadRow, Layout, Problem, Row, joined, usable
from ..report_sections import Sections, sections_of
from .manifest import split_word

LABELLERS = ("chexpert", "negbio")
REPORTS_ZIP = "mimic-cxr-reports.zip"
SECTIONED = ("mimic_cxr_sectioned.csv", "mimic_cxr_sectioned.csv.gz")
MAX_REPORT = 1 << 20  # bytes of a report file
FILM_SUFFIXES = (".jpg", ".dcm", ".png")
ReportOf = Callable[[str, str], Sections | None]  # of subject and study; None where there is none


def layout(rest: str, options: Mapping[str, str]) -> Layout:
    """Errors: SourceUnusable where neither table of films is there; WrongOption for an unknown labeller."""
    folder = user_path(rest)
    films = _table(folder, "metadata") or _first(folder, "cxr-record-list.csv.gz", "cxr-record-list.csv")
    if films is None:
        raise SourceUnusable(
            f"{folder}: no table of films",
            "expected mimic-cxr-2.0.0-metadata.csv.gz or cxr-record-list.csv.gz",
        )
    labeller = options.get("labels")
    if labeller is not None and labeller not in LABELLERS:
        raise WrongOption(f"labels={labeller}", f"expected one of {', '.join(LABELLERS)}")
    labels = next(
        (t for name in ((labeller,) if labeller else LABELLERS) if (t := _table(folder, name))), None
    )
    split = _table(folder, "split")
    where, open_reports = _reports(user_path(options["reports"]) if "reports" in options else folder)
    notes = (
        f"films from {films.name}",
        f"splits from {split.name}" if split else "no table of splits: by the hash of the subject",
        f"labels from {labels.name}" if labels else "no table of labels: all are unknown",
        f"reports from {where}",
    )
    name = f"mimic-cxr:{folder.resolve().name}"
    return Layout(
        name, lambda: joined(_Tables(folder, films, split, labels, open_reports(), name).rows), notes
    )


def _table(folder: Path, kind: str) -> Path | None:
    """The table of the newest version that is there."""
    paths = [path for end in (".csv.gz", ".csv") for path in folder.glob(f"mimic-cxr-2.*-{kind}{end}")]
    return max(paths, key=lambda path: path.name) if paths else None


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


class _Tables:
    """Splits and labels by study in a few bytes each; films and reports are read when their turn comes."""

    def __init__(
        self,
        folder: Path,
        films: Path,
        split: Path | None,
        labels: Path | None,
        report: ReportOf,
        source: str,
    ):
        self._folder, self._films, self._report, self._source = folder, films, report, source
        self._labels = (
            Positives((row.get("study_id", ""), row) for _, row in tables.csv_rows(labels))
            if labels
            else None
        )
        self._split = _splits(split) if split else None
        self._cached = lru_cache(1)(self._study)

    def rows(self) -> Iterator[Row | Problem]:
        for place, row in tables.csv_rows(self._films):
            if problem := row.get(tables.MISFIT):
                yield Problem(place, problem, kind="another number of fields")
            elif not (row.get("study_id", "").isdecimal() and row.get("subject_id", "").isdecimal()):
                yield Problem(place, "study_id or subject_id is no number")
            else:
                yield Row(place, row["study_id"], partial(self._build, row, place))

    def _build(self, row: Mapping[str, str], place: int | str) -> tuple[Study, tuple[Problem, ...]]:
        study = self._cached(row["subject_id"], row["study_id"])
        problems: tuple[Problem, ...] = ()
        if film := self._film(row):
            study = replace(study, films=(film,))
        else:
            problems = (Problem(place, f"film not found: {row.get('dicom_id', '')[:80]}", "film"),)
        if word := row.get("StudyDate", ""):
            try:
                study = replace(study, date=date_of(word))
            except ValueError:
                problems = (*problems, Problem(place, f"date {word[:40]!r}", "date", "a date that is none"))
        return usable(study, problems)

    def _study(self, subject: str, study: str) -> Study:
        """The study without its films; the last one is kept, since its films' rows follow each other."""
        sections = self._report(subject, study) or Sections()
        positive = self._labels.of(study) if self._labels else None
        split = self._split.get(int(study)) if self._split else None
        return Study(
            study_id=study,
            patient_id=subject,
            findings=sections.findings,
            impression=sections.impression,
            report="" if sections.findings or sections.impression else sections.unheaded,
            label=chexpert_labels.label_of(positive or ()),
            finding_labels=chexpert_labels.findings_of(positive or ()),
            split=split or split_of(subject),
            source=self._source,
        )

    def _film(self, row: Mapping[str, str]) -> Film | None:
        name = row.get("dicom_id", "")
        if not name or "/" in name or "\\" in name:
            return None
        inside = f"files/p{row['subject_id'][:2]}/p{row['subject_id']}/s{row['study_id']}/{name}"
        for suffix in FILM_SUFFIXES:
            if (path := self._folder / (inside + suffix)).is_file():
                return Film(path, inside + suffix, view_of(row.get("ViewPosition", "")))
        return None


class _Splits:
    """Study numbers to splits, 9 bytes each."""

    def __init__(self, studies: "array[int]", codes: "array[int]"):
        numbers = np.frombuffer(studies or array("q", [-1]), np.int64)
        order = np.argsort(numbers, kind="stable")
        self._numbers, self._codes = numbers[order], np.frombuffer(codes or array("b", [0]), np.int8)[order]

    def get(self, study: int) -> str | None:
        at = int(np.searchsorted(self._numbers, study))
        return SPLITS[self._codes[at]] if at < len(self._numbers) and self._numbers[at] == study else None


def _splits(path: Path) -> _Splits:
    studies, codes = array("q"), array("b")
    for place, row in tables.csv_rows(path):
        try:
            number, code = int(row.get("study_id", "")), SPLITS.index(split_word(row.get("split", "")))
        except (ValueError, BadRow) as error:
            raise SourceUnusable(f"{path}: line {place}: {error}") from None
        studies.append(number)
        codes.append(code)
    return _Splits(studies, codes)


def _reports(where: Path) -> tuple[str, Callable[[], ReportOf]]:
    """Where reports are, and a function that opens them."""
    if where.is_dir() and (table := _first(where, *SECTIONED)):
        where = table
    elif where.is_dir() and not (where / "files").is_dir() and (where / REPORTS_ZIP).is_file():
        where = where / REPORTS_ZIP
    if where.is_dir():
        zipped = where / REPORTS_ZIP
        return "files/*.txt", lambda: lambda subject, study: _text(where, zipped, subject, study)
    if not where.is_file():
        raise SourceUnusable(f"{where}: no such file or folder")
    if where.suffix.lower() == ".zip":
        return where.name, lambda: lambda subject, study: _text(None, where, subject, study)
    return where.name, lambda: _sectioned(where)


def _text(folder: Path | None, zipped: Path, subject: str, study: str) -> Sections | None:
    name = f"files/p{subject[:2]}/p{subject}/s{study}.txt"
    candidates = [folder / name] if folder else []
    if zipped.is_file():
        candidates += [Path(f"{zipped}{MARK}{name}"), Path(f"{zipped}{MARK}mimic-cxr-reports/{name}")]
    for path in candidates:
        try:
            return sections_of(read_bytes(path)[:MAX_REPORT].decode("utf-8", "replace"))
        except (OSError, zipfile.BadZipFile):
            continue
    return None


def _sectioned(path: Path) -> ReportOf:
    """The table of MIT-LCP's create_section_files.py.

    Its texts are held: a row cannot be found again in a CSV without reading it all.
    """
    held: dict[str, tuple[str, str, str]] = {}
    for _, row in tables.csv_rows(path):
        study = row.get("study", "").removeprefix("s")
        held[study] = (row.get("findings", ""), row.get("impression", ""), row.get("last_paragraph", ""))
    return lambda _, study: (
        Sections(*(" ".join(part.split()) for part in held[study])) if study in held else None
    )
