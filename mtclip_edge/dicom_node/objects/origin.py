"""Whose study a result belongs to: patient and study attributes of the film, each checked, and references.

A value that is none for its VR (a hash in the place of a date) becomes empty: it would make the result
invalid. What a header says goes into the result and nowhere else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.config import RAISE
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM, validate_value

from ...errors import FilmUnreadable
from ...films.library_logs import quiet
from ...notice import __version__
from ..uids import made_uid

MANUFACTURER = "mtclip-edge"
SERIES = "mtclip: similar reports of OTHER patients, research"
SCHEME = "99MTCLIP"
# Of type 2, so that they stand there even empty (PS3.3 C.7.1.1, C.7.2.1), and those that are worth keeping.
_ALWAYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
_WHERE_SAID = ("IssuerOfPatientID", "PatientAge", "StudyDescription")
_FILM = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_TAGS = [
    *_ALWAYS,
    *_WHERE_SAID,
    *_FILM,
    "SpecificCharacterSet",
    "Modality",
    "BodyPartExamined",
    "Manufacturer",
]
_ENUMERATED = {"PatientSex": ("M", "F", "O")}


@dataclass(frozen=True)
class FilmHead:
    """What a film's header says that its result needs; ``patient`` holds the checked attributes."""

    uid: str
    sop_class: str
    study: str
    series: str
    patient_id: str
    modality: str
    body_part: str
    manufacturer: str
    patient: Dataset


@dataclass(frozen=True)
class Origin:
    """``films``: those that an answer is of; ``received``: the clock when the last came in. What is made of
    an origin is the same bytes however often it is made.
    """

    films: tuple[FilmHead, ...]
    received: float
    bundle: str

    @property
    def first(self) -> FilmHead:
        return self.films[0]

    def uid(self, *words: str) -> str:
        """Of something of this answer."""
        return made_uid(*sorted(film.uid for film in self.films), self.bundle, *words)

    @property
    def when(self) -> datetime:
        """In this machine's own time, as a film's header tells its."""
        return datetime.fromtimestamp(self.received)

    def date_it(self, dataset: Dataset, *names: str) -> None:
        """Set dates and times, by the beginnings of their names, to when the film came in."""
        for name in names:
            setattr(dataset, f"{name}Date", self.when.strftime("%Y%m%d"))
            setattr(dataset, f"{name}Time", self.when.strftime("%H%M%S"))

    def evidence(self) -> list[Dataset]:
        """The films as a measurement report refers to them."""
        found = []
        for film in self.films:
            dataset = Dataset()
            dataset.update(film.patient)
            dataset.SOPClassUID, dataset.SOPInstanceUID = film.sop_class, film.uid
            dataset.SeriesInstanceUID = film.series
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            found.append(dataset)
        return found

    def references(self) -> list[Dataset]:
        """Items that name the films."""
        return [reference(film.sop_class, film.uid) for film in self.films]

    def begun(self, sop_class: str, kind: str, modality: str, series: int) -> Dataset:
        """A new object of the study: patient, study, series, equipment and identity, dated."""
        dataset = Dataset()
        dataset.update(self.first.patient)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, self.uid(kind)
        dataset.SeriesInstanceUID = self.uid(kind, "series")
        dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, series, 1
        dataset.SeriesDescription = SERIES
        dataset.Manufacturer = dataset.ManufacturerModelName = MANUFACTURER
        dataset.SoftwareVersions, dataset.DeviceSerialNumber = __version__, bundle_number(self.bundle)
        self.date_it(dataset, "Content", "InstanceCreation")
        return with_meta(dataset)


def with_meta(dataset: Dataset) -> Dataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    return dataset


def reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def own_scheme() -> Dataset:
    """Who answers for the codes of ours."""
    item = Dataset()
    item.CodingSchemeDesignator, item.CodingSchemeUID = SCHEME, made_uid("coding scheme")
    item.CodingSchemeName, item.CodingSchemeVersion = "mtclip-edge local codes", "1"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item


def bundle_number(bundle: str) -> str:
    """The hash of a bundle, short enough for a serial number."""
    return bundle.removeprefix("sha256:")[:16]


def read_head(path: Path) -> FilmHead:
    """The header of a film in the spool. Errors: FilmUnreadable, in words that quote nothing of it; OSError,
    MemoryError.
    """
    try:
        with quiet():
            read = dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=False)
            return _head(read)
    except FileNotFoundError:
        raise FilmUnreadable("its file is gone") from None
    except (OSError, MemoryError):  # not the film's fault
        raise
    except Exception as error:  # pydicom's words quote values
        raise FilmUnreadable(f"its header cannot be read ({type(error).__name__})") from None


def _head(read: Dataset) -> FilmHead:
    patient = Dataset()
    for name in (*_ALWAYS, *_WHERE_SAID):
        value = _checked(read, name)
        if value or name in _ALWAYS:
            setattr(patient, name, value)
    study = _word(read, "StudyInstanceUID")
    uid = _word(read, "SOPInstanceUID")
    patient.StudyInstanceUID = study or made_uid(uid, "study")
    return FilmHead(
        uid,
        _word(read, "SOPClassUID"),
        str(patient.StudyInstanceUID),
        _word(read, "SeriesInstanceUID") or made_uid(uid, "series"),
        _word(read, "PatientID"),
        _word(read, "Modality").upper(),
        _word(read, "BodyPartExamined").upper(),
        _word(read, "Manufacturer"),
        patient,
    )


def _word(read: Dataset, name: str) -> str:
    value = _value(read, name)
    return str(value if not isinstance(value, MultiValue) else value[0] if value else "").strip("\0 ")


def _checked(read: Dataset, name: str) -> Any:
    """A value that its VR allows, else an empty one."""
    value = _value(read, name)
    if isinstance(value, MultiValue):
        value = value[0] if value else ""
    word = str(value or "").strip("\0 ")
    if not word or word not in _ENUMERATED.get(name, (word,)):
        return ""
    try:
        vr = read[name].VR
        validate_value(vr, word, RAISE)
        {"DA": DA, "TM": TM}.get(vr, str)(word)
    except Exception:
        return ""
    return word


def _value(read: Dataset, name: str) -> Any:
    try:
        return read[name].value if name in read else ""
    except Exception:
        return ""


def plain(text: str, most: int) -> str:
    """Text on one line of at most so many letters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def items(datasets: Iterable[Dataset]) -> Any:
    """As the value of a sequence."""
    return Sequence(list(datasets))
