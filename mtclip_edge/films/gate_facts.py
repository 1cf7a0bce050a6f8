"""What header and picture say against a film, before any model is asked: each fact with its reason and how
much it weighs.

Numbers of Open-I's 5,169 DICOM headers: none of 2,647 frontal films is called lateral, so such a header
rejects; of 2,520 laterals 937 are called PA or AP and 962 nothing, so a header that says frontal proves
nothing. Empty or unknown words are never held against a film. A reason repeats only words that are known
here: a header field may hold anything, a name too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .film import DecodedFilm, Header

WARN, REJECT = "warn", "reject"

RADIOGRAPHS = frozenset(
    {"", "CR", "DX", "DR", "RG", "XR"}
)  # computed, digital and film radiography; DR and XR are seen, not standard
DIGITISED = frozenset({"OT", "SC", "HC"})  # secondary captures, scanned films: they may be anything
_CHEST = frozenset({"CHEST", "THORAX", "LUNG", "LUNGS", "PULMONARY"})
# Body Part Examined by DICOM PS3.16 CID 4 and as plain words; the beginning of a word counts, misspellings
# are common (EXTREMETY).
_ELSEWHERE = re.compile(
    r"(ABDOM|ANKLE|ARM$|ARMS$|BLADDER|BRAIN|BREAST|BUTTOCK|CALCANEUS|CALF|COCCYX|COLON|[CLT]{0,2}SPINE|EAR$|ELBOW|EXTREM|EYE|FACE|FACIAL|"
    r"FEMUR|FIBULA|FINGER|FOOT|FEET|FOREARM|HAND|HEAD|HEEL|HIP|HIPS|HUMERUS|JAW|KIDNEY|KNEE|KUB|LEG$|LEGS$|LUMBAR|MANDIBLE|MASTOID|MAXILLA|NASAL|"
    r"NECK|NOSE|ORBIT|PATELLA|PELVIS|RADIUS|SACRUM|SCAPULA|SCOLIOSIS|SHOULDER|SINUS|SKULL|SPINE|TEETH|THIGH|THUMB|TIBIA|TOE|TOES|TOOTH|ULNA|"
    r"WRIST|ZYGOMA)"
)
_SPELLED = {"ABDOM": "ABDOMEN", "EXTREM": "EXTREMITY"}

SMALLEST, SMALL = 32, 128  # pixels of the shorter side: below the one nothing is seen, below the other little
WIDEST = 1.8  # Open-I's frontal originals lie between 0.77 and 1.41
# grey values between the darkest and the brightest percent; the palest of 3,671 real frontal films has 68
LEAST_RANGE = 10


@dataclass(frozen=True)
class Fact:
    """A reason in plain words and what it does to the verdict: ``warn`` or ``reject``."""

    weight: str
    reason: str


def facts_of(film: DecodedFilm, laterals: bool = False) -> list[Fact]:
    """Everything that header and picture say against a film, the header first; empty where they say
    nothing. ``laterals``: that it is a lateral one is not against it.
    """
    return [*(header_facts(film.header, laterals) if film.header else ()), *picture_facts(film)]


def header_facts(header: Header, laterals: bool = False) -> Iterator[Fact]:
    """What a DICOM header says against a frontal chest film, or with ``laterals`` a lateral one."""
    if header.modality not in RADIOGRAPHS:
        yield _modality_fact(header.modality)
    if region := elsewhere(header.body_part):
        yield Fact(REJECT, f"the header's body part is {region}, not the chest")
    if header.projection == "other":
        yield Fact(WARN, f"the header's view is {header.view_word}, neither PA nor AP")
    elif header.projection == "lateral" and not laterals:
        yield Fact(REJECT, f"the header's view is {header.view_word}, not frontal")
    if header.frames > 1:
        yield Fact(REJECT, f"the file holds {header.frames} frames, expected one film")
    if header.intent == "FOR PROCESSING":
        yield Fact(WARN, "the file is meant for processing, not for reading: its grey values may differ")
    if header.burned_in:
        yield Fact(WARN, "the header says that writing is burned into the picture")


def _modality_fact(modality: str) -> Fact:
    if modality in DIGITISED:
        return Fact(WARN, f"the header's modality is {modality}, which may be anything")
    named = f"is {modality}, not" if re.fullmatch(r"[A-Z]{2}", modality) else "is not that of"
    return Fact(REJECT, f"the header's modality {named} a radiograph")


def elsewhere(body_part: str) -> str | None:
    """The word for another region; None where there is none, or one for the chest."""
    words = re.findall(r"[A-Z]+", body_part)
    if is_chest(body_part):
        return None
    part = next((match[0] for word in words if (match := _ELSEWHERE.match(word))), None)
    return _SPELLED.get(part, part) if part else None


def is_chest(words: str) -> bool:
    """Whether words in capitals name the chest."""
    return any(word in _CHEST or word.startswith("CHEST") for word in re.findall(r"[A-Z]+", words))


def picture_facts(film: DecodedFilm) -> Iterator[Fact]:
    """What decoded pixels say against any film, without a model."""
    height, width = film.grey.shape
    short, long = sorted((height, width))
    if short < SMALLEST:
        yield Fact(REJECT, f"the picture is {width} x {height} pixels: too small to see anything")
    elif short < SMALL:
        yield Fact(WARN, f"the picture is only {width} x {height} pixels")
    if long > WIDEST * short:
        yield Fact(WARN, f"the picture is {width} x {height} pixels: no film has that shape")
    if grey_range(film.grey) < LEAST_RANGE:
        yield Fact(REJECT, "the picture is nearly uniform")
    if film.coloured or (film.header and film.header.photometric.startswith(("RGB", "YBR", "PALETTE"))):
        yield Fact(WARN, "the picture is coloured")


def grey_range(grey: np.ndarray) -> int:
    """Grey values between the darkest and the brightest percent of uint8 [height, width]; a large film is
    sampled.
    """
    step = max(1, int((grey.size / 65_536) ** 0.5))
    share = np.cumsum(np.bincount(grey[::step, ::step].ravel(), minlength=256)) / grey[::step, ::step].size
    return int(np.searchsorted(share, 0.99) - np.searchsorted(share, 0.01))
