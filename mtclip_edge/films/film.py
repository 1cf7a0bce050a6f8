"""What a decoded film is, and what everything in this room shares: its header's facts, the limits, how
colours become grey.

Who the patient is stays in ``Ids``, which nothing shows unless asked.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..studies import named_view

MAX_PIXELS = (
    200_000_000  # the largest plain radiograph detectors give about 30 million; a bomb header claims billions
)
COLOURED = 24  # of 255: chroma subsampling of a grey JPEG stays far below
GREY_MODES = ("L", "1", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # of Pillow
LOW, HIGH = 0.005, 0.995  # robust percentiles of deep films: a label or a collimator's edge is less
MARKER = 0.05  # share of a film at most that one value far from all others takes
FilmSource = (
    Path | bytes | Callable[[], bytes]
)  # the last reads a member of an archive, and raises FilmUnreadable


@dataclass(frozen=True)
class Ids:
    """Whom and when: never shown, logged or written without ``--show-ids``.

    Empty where the header is silent.
    """

    patient_id: str = ""
    patient_name: str = ""
    accession: str = ""
    study_date: str = ""
    study_uid: str = ""


@dataclass(frozen=True)
class Header:
    """Facts as the header spells them, in capitals, empty where it is silent; ``burned_in`` is None where it
    does not say.

    ``intent`` is FOR PRESENTATION or FOR PROCESSING. ``study`` is an opaque key: equal for films of one
    study, and tells nothing else.
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    photometric: str = ""
    intent: str = ""
    frames: int = 1
    burned_in: bool | None = None
    transfer_syntax: str = ""
    study: str = ""
    ids: Ids = field(default=Ids(), repr=False)

    @property
    def projection(self) -> str:
        """What the view position means: one of ``studies.VIEWS``; ``other`` is oblique, decubitus or
        lordotic, an odd word is unknown.
        """
        return named_view(self.view)[0] or "unknown"

    @property
    def view_word(self) -> str:
        """The word of the view position that is known here, the only one to repeat: a header field may
        hold anything, a name too.
        """
        return named_view(self.view)[1]


@dataclass(frozen=True)
class DecodedFilm:
    """Decoded pixels: ``grey`` is uint8 [height, width]; ``kind`` is the file format in lower case.

    ``notes`` say what a reader should know of how it was decoded. ``header`` is a DICOM file's, None for a
    picture; ``coloured`` tells whether a picture had colours that grey loses.
    """

    grey: np.ndarray
    kind: str
    notes: tuple[str, ...] = ()
    header: Header | None = None
    coloured: bool = False


def luma(colours: np.ndarray) -> tuple[np.ndarray, bool]:
    """RGB uint8 [height, width, 3] as grey [height, width], and whether it had colours."""
    from PIL import Image

    image = Image.fromarray(colours)
    return np.asarray(image.convert("L")), has_colours(image)


def has_colours(image: Any) -> bool:
    """Whether a picture has colours: its channels differ by more than JPEG's rounding, seen on 64 x 64 of
    it.
    """
    if image.mode in GREY_MODES:
        return False
    small = np.asarray(image.convert("RGB").resize((64, 64))).astype(np.int16)
    return bool((small.max(axis=2) - small.min(axis=2)).max() > COLOURED)


def robust_limits(values: np.ndarray, count: np.ndarray) -> tuple[float, float]:
    """Two robust percentiles of values that occur so often, [n] in ascending order, each at least once.

    One value far from all others, as a marker burned into a film of fewer bits, takes no part: it would
    blacken the film.
    """
    first, last, total = 0, len(values), int(count.sum())
    half = (float(values[-1]) - float(values[0])) / 2
    if last > 2 and values[-1] - values[-2] > half and (1 - HIGH) * total < count[-1] <= MARKER * total:
        last -= 1
    elif last > 2 and values[1] - values[0] > half and LOW * total < count[0] <= MARKER * total:
        first += 1
    reached = np.cumsum(count[first:last])
    low, high = (
        float(values[first + np.searchsorted(reached, share * reached[-1])]) for share in (LOW, HIGH)
    )
    return low, high
