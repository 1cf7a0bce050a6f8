"""What a DICOM header says: words, numbers and ids, each read so that a damaged value is no value, and
never an error that quotes it.
"""

import hashlib
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..film import Header, Ids

if TYPE_CHECKING:
    from pydicom import Dataset

_WORD = re.compile(
    r"[A-Z0-9 _./-]{0,32}"
)  # what a code string may hold, and slashes; anything else is no fact of ours
_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+([eE][-+]?[0-9]+)?")
_SALT = os.urandom(16)  # keys of studies mean something within this process only
# CID 4010, in SNOMED RT and CT, as View Position spells the same.
_VIEWS = {
    code: view
    for view, codes in {
        "AP": "R-10206 399348003",
        "PA": "R-10214 R-40888 272479007",
        "FRONTAL": "R-10202 399033003",
        "LL": "R-10236 399173006",
        "RL": "R-10232 399198007",
        "LATERAL": "R-102CD R-10224 R-10228 399067008 399260004 399352003",
        "LAO": "R-10220 399135007",
        "RAO": "R-40985 399356000",
        "LPO": "R-10212 399006002",
        "RPO": "R-10210 399038007",
        "OBLIQUE": "R-102C1 R-10204 R-10208 R-10216 R-10234 R-10238 R-10246 R-40783 399182000 399160007 "
        "399312000 399059000 "
        "399236003 399184004 399004004 260427002",
        "AXIAL": "R-10241 399061009",
        "TANGENTIAL": "R-102C2 399110001",
    }.items()
    for code in codes.split()
}


def header(dataset: "Dataset", frames: int, syntax_name: str) -> Header:
    """The facts of a header that a query needs, with the number of frames and the syntax as the pixels
    were read.
    """
    burned = {"YES": True, "NO": False}.get(word(dataset, "BurnedInAnnotation"))
    study = str(safe(lambda: dataset.StudyInstanceUID) or "").strip()
    return Header(
        modality=word(dataset, "Modality"),
        body_part=word(dataset, "BodyPartExamined"),
        view=word(dataset, "ViewPosition") or _view_code(dataset),
        photometric=word(dataset, "PhotometricInterpretation"),
        intent=word(dataset, "PresentationIntentType"),
        frames=frames,
        burned_in=burned,
        transfer_syntax=syntax_name,
        study=study_key(study),
        ids=_ids(dataset, study),
    )


def study_key(uid: str) -> str:
    """An opaque key of a study within this process; empty without a UID."""
    return hashlib.blake2b(uid.encode(errors="replace"), key=_SALT, digest_size=8).hexdigest() if uid else ""


def _ids(dataset: "Dataset", study: str) -> Ids:
    who = ("PatientID", "PatientName", "AccessionNumber", "StudyDate")
    words = [str(safe(lambda field=field: dataset.get(field)) or "").strip() for field in who]  # type: ignore[misc]
    return Ids(words[0], words[1], words[2], words[3], study)


def _view_code(dataset: "Dataset") -> str:
    return _VIEWS.get(str(safe(lambda: dataset.ViewCodeSequence[0].CodeValue) or ""), "")


def safe(read: Callable[[], Any]) -> Any:
    """What reading gives, None where the header's value cannot be read."""
    try:
        return read()
    except MemoryError:
        raise
    except Exception:
        return None


def word(dataset: "Dataset", field: str) -> str:
    """A code string in capitals; empty where it is absent or no code."""
    value = safe(lambda: dataset.get(field))
    first = (
        value[0]
        if isinstance(value, list | tuple) or (type(value).__name__ == "MultiValue" and value)
        else value
    )
    code = str(first or "").strip("\0 ").upper()
    return code if _WORD.fullmatch(code) else ""


def number(dataset: "Dataset", field: str) -> float | None:
    """A finite number, the first of several."""
    value = safe(lambda: dataset.get(field))
    read = safe(lambda: float(value))
    if read is None and not isinstance(value, str | bytes):
        read = safe(lambda: float(value[0]))
    return read if read is not None and np.isfinite(read) else None


def decimal(dataset: "Dataset", field: str, notes: list[str]) -> float | None:
    """A decimal string as a number.

    A comma in the place of the point is read as one; that, and what cannot be read, is noted.
    """
    value = number(dataset, field)
    if value is not None:
        return value
    raw = safe(lambda: dataset.get_item(field).value)
    text = raw.decode("latin-1") if isinstance(raw, bytes) else str(raw or "")
    first = text.split("\\")[0].strip("\0 ")
    if not first:
        return None
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", field)
    if not _COMMA.fullmatch(first):
        notes.append(f"{spelled} cannot be read; ignored")
        return None
    notes.append(f"{spelled} has a decimal comma: read as a point")
    return float(first.replace(",", "."))


def integer(dataset: "Dataset", field: str) -> int | None:
    read = number(dataset, field)
    return None if read is None else int(read)
