"""A film file as 8-bit grey pixels. Content decides what a file is, never its suffix.

Knows DICOM (see ``dicom``), and PNG, JPEG, TIFF, BMP and WebP through Pillow. A picture's grey deeper than 8 bits is scaled between its
smallest and largest value, never clipped. Colour is converted to luma, transparency is laid on black, an EXIF rotation is applied.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FilmUnreadable
from .archives import read_bytes
from .file_types import HEAD, head_of, is_dicom, is_film
from .film import MAX_PIXELS, DecodedFilm, FilmSource, has_colours
from .library_logs import quiet

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


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


def read_film(source: FilmSource, name: str | None = None, render: str = "voi") -> DecodedFilm:
    """Decode one film from a path or from its bytes; ``render`` (``preprocessing.RENDERS``) is how stored values become grey.

    Errors: FilmUnreadable, one line that names the file.
    """
    name = name or (str(source) if isinstance(source, Path) else "<bytes>")
    data = _bytes(source, name)
    if is_dicom(data[:HEAD]):
        from .dicom.reader import read_dicom

        return read_dicom(data, name, render, bare=data[128:132] != b"DICM")
    return _read_picture(data, name)


def missing_decoders() -> list[str]:
    """The packages to install before every compression of DICOM can be read, sorted; empty where all are here."""
    from .dicom.decoders import NEEDS, missing

    return sorted({package for decoder in NEEDS if (package := missing(decoder))})


def _read_picture(data: bytes, name: str) -> DecodedFilm:
    from PIL import Image

    try:
        with quiet(), Image.open(io.BytesIO(data), formats=FORMATS) as image:  # Pillow's bomb and EXIF warnings: the checks here are ours
            _check(image, name)
            return DecodedFilm(_grey(image), (image.format or "unknown").lower(), coloured=has_colours(image))
    except FilmUnreadable:
        raise
    except MemoryError:
        raise FilmUnreadable(f"{name}: too large for this machine's memory") from None
    except Image.DecompressionBombError:
        raise FilmUnreadable(f"{name}: its header claims more than {MAX_PIXELS / 1e6:.0f} million pixels") from None
    except Image.UnidentifiedImageError:
        raise FilmUnreadable(f"{name}: not a picture ({_guess(data)})") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, … on damaged data
        raise FilmUnreadable(f"{name}: damaged picture ({_reason(error)})") from None


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


def _check(image: "Image.Image", name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise FilmUnreadable(f"{name}: {width} x {height} pixels, more than {MAX_PIXELS / 1e6:.0f} million")
    if getattr(image, "n_frames", 1) > 1:
        raise FilmUnreadable(f"{name}: {image.n_frames} frames, expected one picture")  # type: ignore[attr-defined]


def _grey(image: Any) -> np.ndarray:
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in _WIDE_MODES:
        return scaled_to_8_bits(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("L"))


def scaled_to_8_bits(values: np.ndarray) -> np.ndarray:
    """Numbers of any depth [height, width] to uint8, smallest to 0 and largest to 255; a uniform picture becomes black."""
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.rint((values - low) * (255.0 / (high - low))).astype(np.uint8)


def _guess(data: bytes) -> str:
    if data.startswith(b"PK"):
        return "it is a zip; give it as a file of its own"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "it is a GIF; films are " + ", ".join(FORMATS)
    if b"\0" not in data[:512]:
        return "it looks like text"
    return "unknown format; films are " + ", ".join(FORMATS)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
