"""The stored values of a DICOM film: what its transfer syntax says, checked before a decoder sees it.

Needs pydicom, within ``quiet()``.
"""

import io
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...errors import FilmUnreadable
from .codestream import MOST_TILES, Codestream, as_rgb, colours_unsaid, describe
from .decoders import DecodeFailed, decode, missing
from .sample_depth import Samples, Stated, read_samples

if TYPE_CHECKING:
    from pydicom import Dataset

_ROOT = "1.2.840.10008.1.2"
NATIVE = (_ROOT, f"{_ROOT}.1", f"{_ROOT}.1.99", f"{_ROOT}.2")  # implicit, explicit, deflated, big endian
DEFLATED, RLE = NATIVE[2], f"{_ROOT}.5"
_BASELINE, _EXTENDED = f"{_ROOT}.4.50", f"{_ROOT}.4.51"
_LOSSLESS_JPEG = (f"{_ROOT}.4.57", f"{_ROOT}.4.70")
_JPEG_LS = (f"{_ROOT}.4.80", f"{_ROOT}.4.81")
_JPEG_2000 = tuple(f"{_ROOT}.4.{number}" for number in (90, 91, 201, 202, 203))  # the last three: HTJ2K
_LOSSY = (_BASELINE, _EXTENDED, _JPEG_LS[1], _JPEG_2000[1], _JPEG_2000[4])
_BY_DECODER = {"jpeg": (_EXTENDED, *_LOSSLESS_JPEG), "jpeg_ls": _JPEG_LS, "jpeg_2000": _JPEG_2000}
_DECODERS = {uid: decoder for decoder, uids in _BY_DECODER.items() for uid in uids}
READ = (*NATIVE, RLE, _BASELINE, *_DECODERS)
_MOST_INFLATED = 1 << 30  # bytes: deflate makes a thousand of one


@dataclass(frozen=True)
class Layout:
    """What the header says of the pixels, checked: 8 or 16 bits allocated, grey or three samples of 8
    bits.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    bits: int
    high_bit: int
    signed: bool
    frames: int
    syntax: str
    syntax_name: str
    kind: str = ""  # the photometric interpretation
    padding: tuple[int, int] | None = None
    overlays: int = 0  # the bits of a native sample that old overlays use

    @property
    def stated(self) -> Stated:
        return Stated(self.bits, self.signed, self.padding)

    @property
    def bytes(self) -> int:
        """Of one frame, not compressed."""
        return self.rows * self.columns * self.samples * self.allocated // 8


def check_inflated(data: bytes, name: str) -> None:
    """Refuse a deflated file that would fill the memory. Errors: FilmUnreadable."""
    start = 144 + int.from_bytes(data[140:144], "little")  # behind the meta header, by its group length
    inflater, left, size = zlib.decompressobj(-zlib.MAX_WBITS), data[start:], 0
    try:
        while left and not inflater.eof:
            size += len(inflater.decompress(left, 1 << 20))
            left = inflater.unconsumed_tail
            if size > _MOST_INFLATED:
                raise FilmUnreadable(f"{name}: deflated DICOM of more than {_MOST_INFLATED >> 20} MB")
    except zlib.error:
        raise FilmUnreadable(f"{name}: damaged DICOM (its deflated data cannot be inflated)") from None
    if not inflater.eof:
        raise FilmUnreadable(f"{name}: damaged DICOM (its deflated data end early)")


def stored_values(dataset: "Dataset", layout: Layout, name: str) -> Samples:
    """The first frame. Errors: FilmUnreadable, MemoryError."""
    if not dataset.PixelData:
        raise _damaged(name, "its pixel data are empty")
    if layout.syntax in NATIVE:
        if layout.samples == 1 and len(dataset.PixelData) < layout.bytes * layout.frames:
            raise _damaged(
                name,
                f"its pixel data end early: {len(dataset.PixelData)} of {layout.bytes * layout.frames} bytes",
            )
        return _native(_by_pydicom(dataset, layout, name, ""), layout)
    frame = _frame(dataset, layout, name)
    if layout.syntax == RLE:
        if len(frame) > 2 * layout.bytes + 1024:
            raise _damaged(name, f"{len(frame)} bytes of RLE for {layout.bytes} bytes of pixels")
        if (
            layout.allocated == 16 and frame[:4] == b"\1\0\0\0"
        ):  # one plane of bytes: some writers pack what fits
            dataset.BitsAllocated, layout = 8, replace(layout, allocated=8, high_bit=7)
        return _native(_by_pydicom(dataset, layout, name, "pydicom"), layout)
    frame = frame.rstrip(b"\0")  # some writers fill up more than the standard's one byte
    stream = _checked(describe(frame), layout, name)
    other = f"its stream has {stream.samples} samples a pixel, its header says {layout.samples}"
    if stream.precision == 8 and layout.syntax in (_BASELINE, _EXTENDED):
        values = _by_pillow(frame, stream, layout, name)
    else:
        values = _by_process(frame, stream, layout, name)
    samples = _of_stream(values, stream, layout)
    return samples if stream.samples == layout.samples else replace(samples, notes=(other, *samples.notes))


def _damaged(name: str, why: str) -> FilmUnreadable:
    return FilmUnreadable(f"{name}: damaged DICOM ({why})")


def _by_pydicom(dataset: "Dataset", layout: Layout, name: str, plugin: str) -> np.ndarray:
    from pydicom.pixels import get_decoder

    how = {"raw": layout.samples == 1, "decoding_plugin": plugin, "correct_unused_bits": False}
    try:
        values = get_decoder(layout.syntax).as_array(dataset, index=0, **how)[0]  # type: ignore[arg-type]
    except MemoryError:
        raise
    except Exception:  # whatever pydicom raises on damaged data; its words may quote them
        raise _damaged(name, f"its {layout.syntax_name} data cannot be decoded") from None
    if values.shape[:2] != (layout.rows, layout.columns):
        raise _damaged(name, "its pixel data are of another size than its header says")
    return values


def _frame(dataset: "Dataset", layout: Layout, name: str) -> bytes:
    """The first frame's bytes, put together from its fragments."""
    from pydicom.encaps import get_frame

    try:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=layout.frames)
    except MemoryError:
        raise
    except Exception:
        raise _damaged(name, "its fragments of pixel data make no sense") from None
    if not frame:
        raise _damaged(name, "its pixel data are empty")
    return frame


def _checked(stream: Codestream | None, layout: Layout, name: str) -> Codestream:
    """A stream that is what the header says.

    Decoders crash, or fill the memory, on much of what is refused here.
    """
    if stream is None:
        raise _damaged(name, f"its pixel data are no {layout.syntax_name} stream")
    if (stream.rows, stream.columns) != (layout.rows, layout.columns):
        size = f"{stream.columns} x {stream.rows}"
        raise _damaged(name, f"its stream is {size} pixels, its header says {layout.columns} x {layout.rows}")
    if stream.samples not in (1, 3) or stream.tiles > MOST_TILES or not 2 <= stream.precision <= 16:
        raise _damaged(
            name,
            f"its stream has {stream.samples} samples of {stream.precision} bits in {stream.tiles} tiles",
        )
    if not stream.complete:
        raise _damaged(name, f"its {layout.syntax_name} data end early")
    if layout.syntax in (_BASELINE, _EXTENDED) and stream.precision > 8:
        return replace(
            stream, precision=12
        )  # the process knows 8 and 12 bits; a common writer says 16 and codes 12
    return stream


def _by_pillow(frame: bytes, stream: Codestream, layout: Layout, name: str) -> np.ndarray:
    """JPEG of 8 bits: grey, or RGB by what the stream says of its colours, which many a header
    contradicts.
    """
    from PIL import Image

    if stream.samples == 3 and layout.kind == "RGB" and colours_unsaid(frame):
        frame = as_rgb(frame)
    try:
        with Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
            return np.asarray(image.convert("RGB" if stream.samples == 3 else "L"))
    except MemoryError:
        raise
    except Exception:  # Pillow's words may quote the data
        raise _damaged(name, f"its {layout.syntax_name} data cannot be decoded") from None


def _by_process(frame: bytes, stream: Codestream, layout: Layout, name: str) -> np.ndarray:
    """Samples of the stream's precision as unsigned numbers [rows, columns], or colours uint8 [rows,
    columns, 3].
    """
    syntax = _EXTENDED if layout.syntax == _BASELINE else layout.syntax
    decoder = _DECODERS[syntax]
    if stream.samples != 1 and (decoder != "jpeg_2000" or stream.precision != 8):
        what = f"{stream.samples} samples of {stream.precision} bits"
        raise FilmUnreadable(f"{name}: {layout.syntax_name} with {what} is not read")
    if package := missing(decoder):
        raise FilmUnreadable(
            f"{name}: {layout.syntax_name} ({layout.syntax}) needs {package}: pip install {package}"
        )
    task = {"rows": stream.rows, "columns": stream.columns, "precision": stream.precision, "syntax": syntax}
    try:
        pixels = decode(decoder, frame, task)
    except DecodeFailed as error:
        raise _damaged(name, f"its {layout.syntax_name} data cannot be decoded: {error}") from None
    kind = "<u2" if stream.precision > 8 else "u1"
    size = stream.rows * stream.columns * stream.samples
    if len(pixels) != size * np.dtype(kind).itemsize:
        raise _damaged(name, "its pixel data are of another size than its header says")
    shape = (stream.rows, stream.columns, stream.samples)[: 3 if stream.samples > 1 else 2]
    values = np.frombuffer(pixels, kind).reshape(shape)
    return (
        _rgb(values)
        if stream.samples == 3 and layout.kind.startswith("YBR_FULL") and not stream.mixed
        else values
    )


def _rgb(values: np.ndarray) -> np.ndarray:
    """YBR_FULL uint8 [rows, columns, 3] as RGB."""
    from PIL import Image

    return np.asarray(Image.fromarray(values, "YCbCr").convert("RGB"))


def _of_stream(values: np.ndarray, stream: Codestream, layout: Layout) -> Samples:
    if values.ndim == 3:
        return Samples(values, 8)
    signed = layout.signed or stream.signed
    raw = values.view(f"u{values.dtype.itemsize}")
    samples = read_samples(
        raw, stream.precision, replace(layout.stated, signed=signed), lossy=layout.syntax in _LOSSY
    )
    if signed == layout.signed or samples.notes:
        return samples
    return replace(samples, notes=("its stream is signed, its header says unsigned; the stream is followed",))


def _native(values: np.ndarray, layout: Layout) -> Samples:
    """Samples as they lie in the file, without the bits below those stored, and those of overlays that
    the header names.
    """
    if layout.samples > 1:
        return Samples(values, 8)
    raw = values.astype(values.dtype.newbyteorder("=")).view(f"u{layout.allocated // 8}")
    below = layout.high_bit + 1 - layout.bits
    raw = (raw & ~raw.dtype.type(layout.overlays)) >> below if layout.overlays or below else raw
    return read_samples(raw, layout.allocated - below, layout.stated)
