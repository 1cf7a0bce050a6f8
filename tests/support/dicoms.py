"""DICOM files written by the tests: any pixels, any header field, any transfer syntax that something here can encode."""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.films.read import read_film

IMPLICIT, EXPLICIT, DEFLATED, BIG = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
RLE, BASELINE, EXTENDED, LOSSLESS, SV1 = (
    f"1.2.840.10008.1.2.{end}" for end in ("5", "4.50", "4.51", "4.57", "4.70")
)
JPEG_LS, JPEG_LS_NEAR, J2K, J2K_LOSSY = (f"1.2.840.10008.1.2.4.{end}" for end in (80, 81, 90, 91))
LOSSLESS_SYNTAXES = (IMPLICIT, EXPLICIT, DEFLATED, BIG, RLE, LOSSLESS, SV1, JPEG_LS, J2K)
CR = "1.2.840.10008.5.1.4.1.1.1"


def cr(pixels: np.ndarray, bits: int | None = None, **fields: Any) -> FileDataset:
    """A CR film of a frontal chest; ``fields`` by keyword overrule or add, None leaves one out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = (
        UID(CR),
        generate_uid(),
        ExplicitVRLittleEndian,
    )
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=bytes(128))
    allocated = 8 * pixels.dtype.itemsize
    bits = bits or allocated
    values: dict[str, Any] = {
        "SOPClassUID": CR,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientName": "",
        "PatientID": "",
        "SamplesPerPixel": 3 if pixels.ndim == 3 and pixels.shape[-1] == 3 else 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    for name, value in {**values, **fields}.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return dataset


def lut(first: int, entries: list[int], bits: int) -> Sequence:
    """A LUT sequence of one item."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


def written(dataset: FileDataset, syntax: str = EXPLICIT) -> bytes:
    """A file's bytes in a transfer syntax; the dataset is native and little endian."""
    if syntax in (EXTENDED, LOSSLESS, SV1, JPEG_LS_NEAR):
        return _by_gdcm(written(dataset), syntax)
    copy = FileDataset("", dataset, file_meta=dataset.file_meta, preamble=bytes(128))
    copy.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    if syntax in (RLE, JPEG_LS, J2K):
        copy.compress(UID(syntax), generate_instance_uid=False)
    elif syntax == J2K_LOSSY:
        copy.compress(UID(syntax), j2k_cr=[8], generate_instance_uid=False)
    elif syntax == BASELINE:
        _baseline(copy)
    elif syntax == BIG:
        copy.set_original_encoding(False, False, None)
        if dataset.BitsAllocated == 16:
            copy.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    copy.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    copy.save_as(
        buffer, enforce_file_format=True, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG
    )
    return buffer.getvalue()


def _baseline(dataset: FileDataset) -> None:
    from PIL import Image
    from pydicom.encaps import encapsulate

    buffer = io.BytesIO()
    Image.fromarray(dataset.pixel_array).save(buffer, "JPEG", quality=95)
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"


def _by_gdcm(data: bytes, syntax: str) -> bytes:
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source, target = str(Path(folder) / "a"), str(Path(folder) / "b")
        Path(source).write_bytes(data)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(source)
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
        change.SetInput(reader.GetImage())
        codec = gdcm.JPEGLSCodec()
        codec.SetLossless(False)
        codec.SetLossyError(2)
        if syntax == JPEG_LS_NEAR:
            change.SetUserCodec(codec)
        assert change.Change()
        writer.SetFileName(target)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return Path(target).read_bytes()


def grey(data: bytes, render: str = "voi") -> np.ndarray:
    return read_film(data, "x", render).grey


def refused(data: bytes) -> str:
    with pytest.raises(FilmUnreadable) as caught:
        read_film(data, "x")
    message = str(caught.value)
    assert message.startswith("x: ")
    assert "\n" not in message
    return message
