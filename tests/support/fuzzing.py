"""Hostile films: real files' fields, lengths, fragments, chunks and segments changed so that the change gets past the header parsers.

Run as a program (``fuzzing.py FIRST COUNT``) it reads seeds from stdin (pickled by the test, no one else), makes case after case, each from
its own number, and gives each to ``read_film``. It prints one line of JSON at its end; whatever escapes ends it with a traceback.
"""

import io
import json
import pickle
import random
import struct
import sys
import time
import zlib
from collections import Counter

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    12,
    15,
    16,
    17,
    24,
    31,
    32,
    64,
    127,
    128,
    255,
    256,
    1023,
    4096,
    32767,
    32768,
    65534,
    65535,
)
WORDS = (
    *(
        b"",
        b"0",
        b"-1",
        b"1",
        b"1e308",
        b"-1e308",
        b"nan",
        b"inf",
        b"1e-300",
        b"0.5",
        b"65536",
        b"99999999999",
        b"abc",
        b"1\\2\\3",
        b"\\",
    ),
    *(
        b"MONOCHROME1",
        b"MONOCHROME2",
        b"RGB",
        b"YBR_FULL",
        b"YBR_FULL_422",
        b"PALETTE COLOR",
        b"ARGB",
        b"SIGMOID",
        b"LINEAR_EXACT",
    ),
    *(
        b"LINEAR",
        b"INVERSE",
        b"IDENTITY",
        b"YES",
        b"FOR PROCESSING",
        b"LATERAL",
        b"\xff\xfe\x00",
        b"1.2.840.10008.1.2.4.90",
    ),
    *(
        b"1.2.840.10008.1.2.5",
        b"1.2.840.10008.1.2.1.99",
        b"1.2.840.10008.1.2.4.100",
        b"1.2.840.10008.1.2.4.201",
        b"1.2.3",
    ),
)
LONG = (b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN", b"OD", b"OL", b"UC", b"UR", b"SV", b"UV", b"OV")


def elements(data: bytes, start: int = 132) -> list[tuple[int, int, int, bytes]]:
    """Explicit little endian elements as (start, value, end, VR); nested and encapsulated ones are walked into."""
    found, at = [], start
    while at + 8 <= len(data):
        group, _, vr = *struct.unpack_from("<HH", data, at), data[at + 4 : at + 6]
        if group == 0xFFFE:  # an item or a delimiter
            (length,) = struct.unpack_from("<I", data, at + 4)
            plain = length != 0xFFFFFFFF and data[at + 8 : at + 9] in (b"\xff", b"\0")  # a fragment
            value, end = at + 8, at + 8 + (length if plain else 0)
            vr = b"FF" if plain else b"IT"
        elif vr in LONG:
            (length,) = struct.unpack_from("<I", data, at + 8)
            value, end = at + 12, at + 12 + (0 if vr == b"SQ" or length == 0xFFFFFFFF else length)
        else:
            (length,) = struct.unpack_from("<H", data, at + 6)
            value, end = at + 8, at + 8 + length
        found.append((at, value, min(end, len(data)), vr))
        at = end
    return found


def change_field(r: random.Random, data: bytes) -> bytes:
    """One element: its value, its length as written, its VR, or it goes, comes twice, or comes elsewhere."""
    parts = [e for e in elements(data) if e[0] > 140]
    at, value, end, vr = r.choice(parts)
    kind = r.randrange(8)
    if kind < 4 and vr in (b"US", b"SS"):
        new = struct.pack("<H", r.choice(NUMBERS)) * max(1, (end - value) // 2)
        return data[:value] + new + data[value + len(new) :]
    if kind < 4 and vr not in (*LONG, b"FF", b"IT"):
        new = r.choice(WORDS)
        new += b" " * (len(new) % 2)
        return data[: at + 6] + struct.pack("<H", len(new)) + new + data[end:]
    if kind < 4:
        return change_stream(r, data, value, end)
    if kind == 4:
        width = 4 if vr in (*LONG, b"FF", b"IT") else 2
        length = struct.pack(
            "<I", r.choice((0, 1, 2, 255, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, 0xFFFFFFFE, 0xFFFFFFFF))
        )[:width]
        return data[: value - width] + length + data[value:]
    if kind == 5:
        return data[:at] + data[end:]
    if kind == 6:
        return data[:end] + data[at:end] * r.choice((1, 1, 3, 50)) + data[end:]
    return (
        data[: at + 4] + r.choice((b"US", b"SS", b"OB", b"OW", b"SQ", b"UN", b"DS", b"zz")) + data[at + 6 :]
    )


def change_stream(r: random.Random, data: bytes, start: int, end: int) -> bytes:
    """Pixel data: some bytes of them, most often near the front, where a codestream's own header is."""
    changed = bytearray(data)
    for _ in range(r.choice((1, 1, 2, 5, 20))):
        if end > start:
            at = start + r.randrange(min(end - start, 120 if r.random() < 0.7 else end - start))
            changed[at] = r.choice(
                (0, 1, 127, 128, 255, changed[at] ^ (1 << r.randrange(8)), r.randrange(256))
            )
    return bytes(changed)


def change_bytes(r: random.Random, data: bytes) -> bytes:
    """Any bytes anywhere: changed, cut off, cut out, put in."""
    kind, at = r.randrange(4), r.randrange(len(data))
    if kind == 0:
        return change_stream(r, data, 0, len(data))
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + data[at + r.choice((1, 2, 4, 100)) :]
    return data[:at] + r.randbytes(r.choice((1, 2, 4, 100))) + data[at:]


def change_png(r: random.Random, data: bytes) -> bytes:
    """One chunk's content, with its checksum put right again; pixel data also before compression."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    number = r.randrange(len(chunks))
    name, body = chunks[number]
    if name == b"IHDR":
        fields = list(struct.unpack(">IIBBBBB", body))
        place = r.randrange(7)
        fields[place] = (
            r.choice((*NUMBERS, 1 << 20, (1 << 31) - 1))
            if place < 2
            else r.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        )
        body = struct.pack(">IIBBBBB", *fields)
    elif name == b"IDAT" and r.random() < 0.5:
        raw = zlib.decompress(body)
        body = zlib.compress(
            r.choice((raw[: len(raw) // 2], raw * 200, change_stream(r, raw, 0, len(raw)), b""))
        )
    else:
        body = change_bytes(r, body) if body else r.randbytes(9)
    name = r.choice((name, name, name, b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"zTXt", b"acTL"))
    chunks[number] = (name, body)
    return data[:8] + b"".join(
        struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks
    )


def change_jpeg(r: random.Random, data: bytes) -> bytes:
    """One segment before the scan: a field of it, its length, or it goes or comes twice."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        segments.append((at, at + 2 + length))
        at += 2 + length
    start, end = r.choice([*segments, (at, min(len(data), at + 14))])
    kind = r.randrange(5)
    if kind < 3:
        return change_stream(r, data, start + 4, end)
    if kind == 3:
        return data[: start + 2] + struct.pack(">H", r.choice(NUMBERS)) + data[start + 4 :]
    return data[:start] + data[start:end] * r.choice((0, 2, 60)) + data[end:]


CHANGES = {"dicom": change_field, "png": change_png, "jpeg": change_jpeg}


def case(number: int, seeds: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """A seed changed once to four times, mostly by its own format's rules."""
    r = random.Random(number)  # noqa: S311
    kind, data = r.choice(seeds)
    for _ in range(r.choice((1, 1, 2, 4))):
        try:
            data = CHANGES[kind](r, data) if kind in CHANGES and r.random() < 0.75 else change_bytes(r, data)
        except (
            struct.error,
            zlib.error,
            IndexError,
            ValueError,
        ):  # what an earlier change left cannot be walked any more
            data = change_bytes(r, data or b"\0")
        data = data or b"\0"
    return kind, data


def main() -> None:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    limit_memory(int(sys.argv[3]))
    seeds = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the test that started this
    from mtclip_edge.errors import FilmUnreadable
    from mtclip_edge.films.read import read_film

    outcomes: Counter[str] = Counter()
    slowest, worst = 0.0, -1
    for number in range(first, first + count):
        kind, data = case(number, seeds)
        began = time.perf_counter()
        try:
            film = read_film(data, "film", ("voi", "percentile", "minmax")[number % 3])
            assert film.grey.dtype == "uint8" and film.grey.ndim == 2 and film.grey.size, number
            assert all("\n" not in note for note in film.notes), number
            outcomes[f"{kind} read"] += 1
        except FilmUnreadable as error:
            assert str(error).startswith("film: ") and "\n" not in str(error), (number, str(error))
            outcomes[f"{kind} refused"] += 1
            outcomes["crashes of a decoder"] += "crashed" in str(error)
            outcomes["decoders that did not end"] += "did not end" in str(error)
        except BaseException:
            print(f"case {number}", file=sys.stderr)
            raise
        if (seconds := time.perf_counter() - began) > slowest:
            slowest, worst = seconds, number
    print(json.dumps({"outcomes": outcomes, "slowest": slowest, "worst": worst}))


def limit_memory(gigabytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30, gigabytes << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def bare(data: bytes) -> bytes:
    """A DICOM file without preamble, magic and meta header."""
    length = int.from_bytes(data[140:144], "little")
    return data[144 + length :]


def png(pixels, **options: object) -> bytes:  # type: ignore[no-untyped-def]
    return picture(pixels, "PNG", **options)


def picture(pixels, kind: str, **options: object) -> bytes:  # type: ignore[no-untyped-def]
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
