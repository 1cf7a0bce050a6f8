"""Films that another program holds: an open file, a Pillow image, a NumPy array, a pydicom dataset.

What has a file's bytes is read as a file is; an image and an array are decoded here.
"""

import copy
import io
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FilmUnreadable
from .film import MAX_PIXELS, DecodedFilm, FilmSource
from .library_logs import quiet

if TYPE_CHECKING:
    from PIL import Image
    from pydicom.dataset import Dataset

_EXPECTED = (
    "expected a path, a file's bytes, a function that gives them, a file opened with 'rb', a Pillow image, "
    "an array or a pydicom dataset"
)


def taken(film: Any, name: str) -> FilmSource | DecodedFilm:
    """What ``read_film`` reads, or a film that needs no reading: ``kind`` is then ``array``, or the format
    that a Pillow image was opened from (``image``: none).

    An open file is read from where it stands. Errors: FilmUnreadable.
    """
    if isinstance(film, bytearray | memoryview):
        return bytes(film)
    if isinstance(film, np.ndarray):
        return _of_array(film, name)
    if _is(film, "PIL.Image", "Image"):
        return _of_image(film, name)
    if _is(film, "pydicom.dataset", "Dataset"):
        return _of_dataset(film, name)
    if hasattr(film, "read"):
        return _of_file(film, name)
    raise FilmUnreadable(f"{name}: not a film", f"{_EXPECTED}, found {type(film).__name__}")


def _is(film: Any, module: str, name: str) -> bool:
    """Whether something is of a library's class: who has one has loaded the library."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(film, getattr(loaded, name))


def _of_file(file: Any, name: str) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # ValueError: the file is closed
        raise FilmUnreadable(f"{name}: cannot be read ({error})") from None
    if not isinstance(data, bytes):
        raise FilmUnreadable(f"{name}: a file of text", "expected one that was opened with 'rb'")
    return data


def _of_array(array: np.ndarray, name: str) -> DecodedFilm:
    """uint8 as it is; what is deeper between robust percentiles, as a deep picture is."""
    if array.ndim != 2 or array.dtype.kind not in "uif" or not array.size:
        raise FilmUnreadable(
            f"{name}: an array {array.dtype} of shape {list(array.shape)}",
            "expected grey values [height, width], uint8 or deeper",
        )
    _check_size(array.shape[1], array.shape[0], name)
    if array.dtype == np.uint8:
        return DecodedFilm(np.array(array), "array")  # a copy: its owner may change it
    from .deep_pictures import scaled_to_8_bits

    broken = array.dtype.kind == "f" and not np.isfinite(array).all()
    notes = ("values that are no numbers became black",) if broken else ()
    return DecodedFilm(scaled_to_8_bits(np.asarray(array)), "array", notes)


def _of_image(image: "Image.Image", name: str) -> DecodedFilm:
    """Through an uncompressed TIFF in memory, so that every mode is read, or refused, as that of a file."""
    from PIL import ImageOps

    from .read import read_film

    _check_size(*image.size, name)
    kind, buffer = (image.format or "image").lower(), io.BytesIO()
    try:
        with quiet():
            upright = ImageOps.exif_transpose(image)
            if "transparency" in upright.info or upright.mode in ("PA", "La", "RGBa"):
                upright = upright.convert("RGBA")
            upright.save(buffer, "TIFF")
    except KeyError:
        raise FilmUnreadable(f"{name}: a picture of {image.mode} colours; expected grey or RGB") from None
    except Exception as error:  # a file that is decoded only now may be damaged, closed or gone
        why = " ".join(str(error).split())[:120]
        if "cannot write mode" in why:
            why = f"a picture of {image.mode} colours; expected grey or RGB"
        raise FilmUnreadable(f"{name}: cannot be read ({why})") from None
    return replace(read_film(buffer.getvalue(), name), kind="jpeg" if kind == "mpo" else kind)


def _of_dataset(dataset: "Dataset", name: str) -> bytes:
    """The file that it would be: what its header says of the pixels is then followed as that of any film."""
    from pydicom.filewriter import dcmwrite

    buffer, copied = io.BytesIO(), copy.copy(dataset)
    if hasattr(dataset, "file_meta"):
        copied.file_meta = copy.deepcopy(dataset.file_meta)  # writing completes it
    try:
        with quiet():
            if getattr(copied, "file_meta", None) and "TransferSyntaxUID" in copied.file_meta:
                dcmwrite(buffer, copied)
            else:
                dcmwrite(buffer, copied, implicit_vr=True, little_endian=True)
    except Exception as error:  # of many kinds, and their words quote the header, which may name a patient
        what = type(error).__name__
        raise FilmUnreadable(f"{name}: a dataset that cannot be written as a file ({what})") from None
    return buffer.getvalue()


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise FilmUnreadable(f"{name}: {width} x {height} pixels, more than {MAX_PIXELS / 1e6:.0f} million")
