"""The answer for people: one picture of film and reports, as Secondary Capture that every viewer shows."""

import io
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from ...retrieval.results import QueryResult
from .lines import BANNER, hit_line, said_lines
from .origin import Origin, items, plain

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.7"
SERIES_NUMBER = 9002
WIDTH, HEIGHT = 1240, 1754  # A4 at 150 dots an inch
CORNER = 460, 160  # pixels at the top right that viewers write name and id into
_EDGE, _FILM, _SMALL, _FOOT = 40, 520, 150, 190
_WHITE, _GREY, _WARN, _BLUE = (255, 255, 255), (165, 165, 165), (255, 200, 0), (150, 200, 255)


def page_picture(
    result: QueryResult, grey: np.ndarray, quoted: Mapping[str, str], previews: Mapping[str, bytes]
) -> Image.Image:
    """RGB, WIDTH wide and at most HEIGHT high; ``previews``: WebP films of reports by report id."""
    sheet = _Sheet()
    for place, line in enumerate(BANNER):
        sheet.write(line, _EDGE, 28 + 40 * place, 30, _WARN, WIDTH - CORNER[0] - 2 * _EDGE)
    film = ImageOps.contain(Image.fromarray(grey), (_FILM, _FILM), Image.Resampling.LANCZOS)
    sheet.picture.paste(film.convert("RGB"), (_EDGE, CORNER[1] + 10))
    top = CORNER[1] + 10
    for line in said_lines(result):
        top = sheet.write(line, 2 * _EDGE + _FILM, top, 24, _WHITE) + 10
    top = max(top, CORNER[1] + _FILM + 40)
    shown = 0
    for hit in result.reports:
        height, small = (
            _height(hit.report_id in previews, hit.report_id in quoted),
            previews.get(hit.report_id),
        )
        if top + height > HEIGHT - _FOOT:
            break
        left = _EDGE
        if small is not None:
            sheet.paste(small, left, top)
            left += _SMALL + 20
        below = sheet.write(hit_line(hit), left, top, 22, _BLUE)
        if words := quoted.get(hit.report_id):
            sheet.write(plain(words, 260), left + 20, below + 4, 20, _WHITE, most=3)
        top, shown = top + height, shown + 1
    if left_out := len(result.reports) - shown:
        top = sheet.write(f"and {left_out} more, in the measurements", _EDGE, top, 20, _GREY)
    facts = result.bundle
    foot = f"mtclip-edge · bundle {facts.identity[:23]} · {facts.reports} reports of {facts.studies} studies"
    top = sheet.write(foot, _EDGE, top + 20, 20, _GREY)
    sheet.write(" ".join(BANNER), _EDGE, top + 4, 20, _WARN)
    return sheet.picture.crop((0, 0, WIDTH, min(HEIGHT, top + 100)))  # its last lines are the viewer's


def _height(small: bool, quoted: bool) -> int:
    return _SMALL + 15 if small else 155 if quoted else 70


def capture(origin: Origin, picture: Image.Image) -> Dataset:
    """A picture as Secondary Capture, RLE."""
    made = origin.begun(SOP_CLASS, "page", "OT", SERIES_NUMBER)
    made.ConversionType, made.BurnedInAnnotation = "WSD", "YES"
    made.BodyPartExamined = "CHEST"
    made.PatientOrientation = ""
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = "page of similar reports"
    made.SourceImageSequence = items(origin.references())
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Rows, made.Columns = picture.height, picture.width
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation, made.LossyImageCompression = 7, 0, "00"
    made.PixelData = picture.tobytes()
    # gdcm: 30 times as fast as pydicom's own
    made.compress(RLELossless, encoding_plugin="gdcm", generate_instance_uid=False)
    return made


class _Sheet:
    def __init__(self) -> None:
        self.picture = Image.new("RGB", (WIDTH, HEIGHT), "black")
        self._draw = ImageDraw.Draw(self.picture)

    def write(
        self,
        words: str,
        left: int,
        top: int,
        size: int,
        colour: tuple[int, int, int],
        width: int | None = None,
        most: int = 6,
    ) -> int:
        """Wrapped lines; returns where the next may begin. No line reaches the corner that is kept free."""
        font = ImageFont.load_default(size)
        room = width or WIDTH - left - _EDGE
        for number, line in enumerate(self._wrapped(words, font, room)):
            if number == most:
                break
            self._draw.text((left, top), line, fill=colour, font=font)
            top += int(1.3 * size)
        return top

    def _wrapped(
        self, words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int
    ) -> Iterator[str]:
        line = ""
        for word in words.split():
            longer = f"{line} {word}".strip()
            if line and self._draw.textlength(longer, font=font) > room:
                yield line
                line = word
            else:
                line = longer
        if line:
            yield line

    def paste(self, film: bytes, left: int, top: int) -> None:
        with Image.open(io.BytesIO(film)) as small:
            small.thumbnail((_SMALL, _SMALL))
            self.picture.paste(small.convert("RGB"), (left, top))
