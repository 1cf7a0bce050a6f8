"""The program that decodes one compressed frame after the other for ``decoders``: stdin to stdout, until
stdin ends.

It is run by itself and imports nothing of the package: a decoder that damaged bytes bring down, or that never
returns, takes this process with it and no other. Each task is a line of JSON and the frame's bytes; the
answer is a line with a length and the pixels, little endian, or a line with -1.
"""

import json
import os
import sys
from typing import Any

MEMORY = 6 << 30  # bytes of address space: far more than the largest film needs


def jpeg(frame: bytes, task: dict[str, Any]) -> bytes:
    """JPEG lossless and 12-bit JPEG by GDCM, told the stream's own precision."""
    import gdcm

    for silence in (gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff, gdcm.Trace.DebugOff):
        silence()
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((task["columns"], task["rows"], 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(task["syntax"])))
    bits = task["precision"]
    image.SetPixelFormat(gdcm.PixelFormat(1, 16 if bits > 8 else 8, bits, bits - 1, 0))
    return image.GetBuffer().encode("utf-8", "surrogateescape")


def jpeg_ls(frame: bytes, _: dict[str, Any]) -> bytes:
    import jpeg_ls as charls

    return bytes(charls.decode_pixel_data(frame)[0])


def jpeg_2000(frame: bytes, _: dict[str, Any]) -> bytes:
    import openjpeg

    return bytes(openjpeg.decode_pixel_data(frame, version=2))


DECODERS = {"jpeg": jpeg, "jpeg_ls": jpeg_ls, "jpeg_2000": jpeg_2000}


def main() -> None:
    _limit_memory()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a decoder prints must not come between
    while line := sys.stdin.buffer.readline():
        task = json.loads(line)
        frame = sys.stdin.buffer.read(task["length"])
        try:
            pixels = DECODERS[task["decoder"]](frame, task)
        except Exception:
            answers.write(b"-1\n")
        else:
            answers.write(b"%d\n" % len(pixels))
            answers.write(pixels)
        answers.flush()


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):  # Windows has no limits, another system lower ones already
        pass


if __name__ == "__main__":
    main()
