"""The result objects that can be fetched, found by study, series, UID or attribute."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset

from ...films.library_logs import quiet
from ..journal import Journal
from ..spool import Spool

# What a search answers with (PS3.18 10.6.3), by level.
_STUDY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID"),
    *("PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID"),
)
_SERIES = (*_STUDY, "Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber")
_INSTANCE = (*_SERIES, "SOPClassUID", "SOPInstanceUID", "InstanceNumber")
LEVELS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "studies": ("StudyInstanceUID", _STUDY),
    "series": ("SeriesInstanceUID", _SERIES),
    "instances": ("SOPInstanceUID", _INSTANCE),
}
BULK = ("PixelData", "EncapsulatedDocument")


@dataclass(frozen=True)
class Result:
    """A result on disk; ``head`` holds what it says but for pixels and document."""

    uid: str
    kind: str
    path: Path
    head: Dataset


class Results:
    def __init__(self, journal: Journal, spool: Spool):
        self._journal, self._spool = journal, spool

    def of(
        self, study: str | None = None, series: str | None = None, uid: str | None = None
    ) -> Iterator[Result]:
        """The newest first."""
        for found in self._journal.found(study, uid):
            path = self._spool.result(found.uid)
            try:
                with quiet():
                    head = dcmread(path, defer_size=1024)
                    for name in BULK:
                        if name in head:
                            del head[name]
            except FileNotFoundError:  # it is not kept any more
                continue
            if series in (None, str(head.SeriesInstanceUID)):
                yield Result(found.uid, found.kind, path, head)

    def search(
        self, level: str, study: str | None, series: str | None, asked: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """DICOM JSON of what a level has, each once. ``asked``: values by keyword or tag; others are passed
        over.
        """
        key, names = LEVELS[level]
        wanted = {name: value for word, value in asked.items() if (name := _keyword(word))}
        found: dict[str, dict[str, Any]] = {}
        for result in self.of(study or wanted.get("StudyInstanceUID"), series):
            if all(_matches(result.head, name, value) for name, value in wanted.items()):
                found.setdefault(str(result.head[key].value), _part(result.head, names))
        return list(found.values())


def _keyword(word: str) -> str | None:
    if tag_for_keyword(word) is not None:
        return word
    try:
        return keyword_for_tag(int(word, 16)) or None if len(word) == 8 else None
    except ValueError:
        return None


def _matches(head: Dataset, name: str, value: str) -> bool:
    """Whole values only; an empty one and ``*`` match all."""
    if value in ("", "*"):
        return True
    return name in head and str(head[name].value) in value.split(",")


def _part(head: Dataset, names: tuple[str, ...]) -> dict[str, Any]:
    part = Dataset()
    for name in names:
        if name in head:
            part[name] = head[name]
    with quiet():
        return part.to_json_dict()
