"""A film file as 8-bit grey pixels. Content decides what a file is, never its suffix.

Knows DICOM (see ``dicom``), and PNG, JPEG, TIFF, BMP and WebP through Pillow. A picture's grey deeper than 8
bits is scaled between robust percentiles (``deep_pictures``). Colour is converted to luma, transparency is
laid on black, an EXIF rotation is applied. Of a phone's picture with others behind it, and of a TIFF with
thumbnails, the first is taken.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FilmUnreadable
from .archives import read_bytes
from .file_types import HEAD, head_of, is_dicom, is_film
from .film import MAX_PIXELS, DecodedFilm, FilmSource, has_colours
from .library_logs import quiet

if TYPE_CHECKING:
    from PIL import Image

    from .values import FilmValues

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_MOST_PAGES = 16  # of a TIFF that are looked at
# Where a mark stands, the mark, and what has it: people drop these in too.
_OTHERS = (
    (0, (b"GIF87a", b"GIF89a"), "a GIF"),
    (0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "JPEG 2000 outside of DICOM"),
    (0, (b"\0\0\0\x0cJXL ", b"\xff\x0a"), "JPEG XL"),
    (4, (b"ftypavif", b"ftypavis"), "an AVIF"),
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "a HEIF, as phones save pictures"),
    (0, (b"%PDF",), "a PDF"),
    (0, (b"\x1f\x8b",), "packed by gzip"),
    (0, (b"7z\xbc\xaf", b"Rar!"), "a 7z or RAR archive"),
    (257, (b"ustar",), "a tar archive"),
)
_GREY_MODES = ("L", "RGB", "RGBA", "LA", "PA", "P", "RGBa", "La", "RGBX", "CMYK", "YCbCr")


def ready() -> None:
    """Load Pillow's decoders: 15 ms that another thread can spend while a session is made."""
    from PIL import Image, ImageOps  # noqa: F401

    Image.preinit()


def looks_like_film(path: Path) -> bool:
    """Whether a file's first bytes are those of a film we read; used to pick films out of a folder.

    A file that cannot be opened may be one: it is not passed over in silence.
    """
    try:
        return is_film(head_of(path))
    except OSError:
        return True


def dicom_syntaxes() -> tuple[str, ...]:
    """UIDs of the transfer syntaxes that are read, for those who tell a sender which to use."""
    from .dicom.pixel_data import READ

    return READ


def read_film(source: FilmSource, name: str | None = None, render: str = "voi") -> DecodedFilm:
    """Decode one film from a path or from its bytes; ``render`` (``preprocessing.RENDERS``) is how stored
    values become grey.

    Errors: FilmUnreadable, one line that names the file.
    """
    name = name or (str(source) if isinstance(source, Path) else "<bytes>")
    data = _bytes(source, name)
    if is_dicom(data[:HEAD]):
        from .dicom.reader import read_dicom

        return read_dicom(data, name, render, bare=data[128:132] != b"DICM")
    return _read_picture(data, name)


def read_values(source: FilmSource, name: str) -> "FilmValues":
    """What a DICOM film, or a picture deeper than 8 bits, stores behind its 8-bit grey.

    Errors: FilmUnreadable, also where a film holds no more than its grey (colours, pictures of 8 bits).
    """
    from .values import spread

    data = _bytes(source, name)
    if is_dicom(data[:HEAD]):
        from .dicom.window_values import read_dicom_values

        return read_dicom_values(data, name)
    try:
        with quiet():
            found = _deep_values(data, name)
    except FilmUnreadable:
        raise
    except Exception as error:  # as of any picture
        raise FilmUnreadable(f"{name}: damaged picture ({_reason(error)})") from None
    if found is None:
        raise FilmUnreadable(f"{name}: holds no more than its 8-bit grey")
    values, inverse = found
    return spread(values.astype(np.float64), inverse)


def _deep_values(data: bytes, name: str) -> tuple[np.ndarray, bool] | None:
    """The numbers [height, width] of a picture deeper than 8 bits, and whether the least of them is white;
    None for any other picture.
    """
    from . import deep_pictures, tiff_samples

    image, turned = _opened(data)
    with image:
        _check(image, name)
        if image.format == "TIFF":
            tiff_samples.prepare(image, name)
        if not _may_be_deep(image) or not deep_pictures.is_deep(image):
            return None
        deep = deep_pictures.deep_values(image, data)
        return deep.values, deep.white != turned


def missing_decoders() -> list[str]:
    """The packages to install before every compression of DICOM can be read, sorted; empty where all are
    here.
    """
    from .dicom.decoders import NEEDS, missing

    return sorted({package for decoder in NEEDS if (package := missing(decoder))})


def _read_picture(data: bytes, name: str) -> DecodedFilm:
    from PIL import Image

    try:
        with quiet():  # Pillow's bomb and EXIF warnings: the checks here are ours
            return _picture(data, name)
    except FilmUnreadable:
        raise
    except MemoryError:
        raise FilmUnreadable(f"{name}: too large for this machine's memory") from None
    except Image.DecompressionBombError:
        raise FilmUnreadable(
            f"{name}: its header claims more than {MAX_PIXELS / 1e6:.0f} million pixels"
        ) from None
    except Image.UnidentifiedImageError:
        raise FilmUnreadable(f"{name}: not a picture ({_guess(data)})") from None
    except (
        Exception
    ) as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, … on damaged data
        raise FilmUnreadable(f"{name}: damaged picture ({_reason(error)})") from None


def _picture(data: bytes, name: str) -> DecodedFilm:
    image, turned = _opened(data)
    with image:
        notes = _check(image, name)
        kind = "jpeg" if image.format == "MPO" else str(image.format).lower()
        if image.format == "TIFF":
            from . import tiff_samples

            tiff_samples.prepare(image, name)
        if _may_be_deep(image):
            from . import deep_pictures  # few films are

            if deep_pictures.is_deep(image):
                grey, coloured, said = deep_pictures.deep_grey(image, data)
                return DecodedFilm(255 - grey if turned else grey, kind, notes + said, coloured=coloured)
        if image.mode not in _GREY_MODES:
            what = {"1": "one bit a pixel"}.get(image.mode, f"{image.mode} colours")
            raise FilmUnreadable(f"{name}: a picture of {what}; expected grey or RGB")
        coloured = has_colours(image)
        grey = _grey(image)
        grey = tiff_samples.of_signed_bytes(grey, image) if image.format == "TIFF" else grey
        return DecodedFilm(255 - grey if turned else grey, kind, notes, coloured=coloured)


def _opened(data: bytes) -> "tuple[Image.Image, bool]":
    """The picture, and whether its grey must be turned: 16-bit big-endian TIFFs in which white is zero
    open as their contrary only.
    """
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data), formats=FORMATS), False
    except Image.UnidentifiedImageError:
        if not data.startswith((b"II", b"MM")):
            raise
        from .tiff_samples import min_is_black

        contrary = min_is_black(data)
        if contrary is None:
            raise
        return Image.open(io.BytesIO(contrary), formats=FORMATS), True


def _may_be_deep(image: "Image.Image") -> bool:
    return image.mode[:1] in "IF" or (
        image.format in ("PNG", "TIFF") and ";16" in str(getattr(image, "tile", ""))
    )


def _bytes(source: FilmSource, name: str) -> bytes:
    if callable(source):
        source = source()
    if isinstance(source, Path):
        try:
            source = read_bytes(source)
        except FileNotFoundError:
            raise FilmUnreadable(f"{name}: no such file") from None
        except OSError as error:
            raise FilmUnreadable(f"{name}: cannot be read ({error.strerror})") from None
        except ValueError:
            raise FilmUnreadable(f"{name}: not a file name") from None
    if not source:
        raise FilmUnreadable(f"{name}: empty file")
    return source


def _check(image: "Image.Image", name: str) -> tuple[str, ...]:
    """What is to be said of a picture that can be read.

    Errors: FilmUnreadable where it is too large, or no picture of its own.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise FilmUnreadable(f"{name}: {width} x {height} pixels, more than {MAX_PIXELS / 1e6:.0f} million")
    frames = getattr(image, "n_frames", 1)
    if frames == 1:
        return ()
    if image.format != "MPO" and not (image.format == "TIFF" and _others_are_smaller(image, frames)):
        raise FilmUnreadable(f"{name}: {frames} frames, expected one picture")
    return (f"the first of {frames} pictures in the file",)


def _others_are_smaller(image: "Image.Image", frames: int) -> bool:
    """Whether what follows in a TIFF are thumbnails of its first page."""
    width, height = image.size
    smaller = True
    for page in range(1, min(frames, _MOST_PAGES)):
        image.seek(page)
        smaller = smaller and image.size[0] < width and image.size[1] < height
    image.seek(0)
    return smaller and frames <= _MOST_PAGES


def _grey(image: "Image.Image") -> np.ndarray:
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("L"))


def _guess(data: bytes) -> str:
    if data.startswith(b"PK"):
        return "it is a zip; give it as a file of its own"
    if what := next((what for at, mark, what in _OTHERS if data.startswith(mark, at)), None):
        return f"it is {what}; films are {', '.join(FORMATS)}"
    if data.startswith((b"II*\0", b"MM\0*")):
        from .tiff_samples import described

        return described(data)
    if b"\0" not in data[:512]:
        return "it looks like text"
    return "unknown format; films are " + ", ".join(FORMATS)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
