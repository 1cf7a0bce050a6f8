"""Hostile bytes, thousands of them: no hang, no crash, no traceback, one line each. What changes them is in fuzzing.py."""

import json
import pickle
import subprocess
import sys
from collections import Counter

import dicoms
import fuzzing
import numpy as np
import pytest
from fuzzing import bare, picture

GIGABYTES = (
    3  # of address space: what onnxruntime's libraries and a film need, and far less than a bomb claims
)
PER_PROCESS, SAMPLE, SOAK = 500, 500, 20_000
SLOWEST = 20.0  # seconds for one film of 40 x 36 pixels: the time after which a decoder is ended, and some


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Small films of every kind we read, pickled for the programs that change them."""
    random = np.random.default_rng(0)
    deep = (np.add.outer(np.arange(40), np.arange(36)) * 50 + random.integers(0, 40, (40, 36))).astype(
        np.uint16
    )
    flat = (deep >> 4).astype(np.uint8)
    colours = np.stack([flat, flat[::-1], 255 - flat], axis=-1)
    rich = dicoms.cr(
        deep,
        12,
        ModalityLUTSequence=dicoms.lut(0, list(range(4096)), 12),
        VOILUTSequence=dicoms.lut(100, list(range(255)), 8),
        PixelPaddingValue=0,
        PixelPaddingRangeLimit=20,
        PresentationLUTShape="INVERSE",
        NumberOfFrames=1,
    )
    windowed = dicoms.cr(
        deep,
        12,
        WindowCenter=[2000, 100],
        WindowWidth=[3000, 50],
        VOILUTFunction="SIGMOID",
        RescaleSlope=2,
        RescaleIntercept=-5,
    )
    frames = dicoms.cr(np.stack([flat, flat]).reshape(80, 36), Rows=40, NumberOfFrames=2)
    rgb = dicoms.cr(colours, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    found = [("dicom", dicoms.written(d)) for d in (rich, windowed, frames, rgb)]
    compressed = (dicoms.RLE, dicoms.SV1, dicoms.JPEG_LS, dicoms.J2K, dicoms.JPEG_LS_NEAR, dicoms.J2K_LOSSY)
    found += [("dicom", dicoms.written(dicoms.cr(deep, 12), syntax)) for syntax in compressed]
    found += [
        ("dicom", dicoms.written(dicoms.cr(flat), syntax)) for syntax in (dicoms.BASELINE, dicoms.EXTENDED)
    ]
    found += [("bytes", dicoms.written(windowed, s)) for s in (dicoms.IMPLICIT, dicoms.DEFLATED, dicoms.BIG)]
    found += [("bytes", bare(dicoms.written(windowed)))]
    found += [("png", picture(p, "PNG")) for p in (flat, deep, colours)] * 2
    found += [
        ("jpeg", picture(p, "JPEG", **how))
        for p, how in ((flat, {}), (flat, {"progressive": True}), (colours, {}))
    ] * 2
    return pickle.dumps(found)


def run(seeds: bytes, first: int, count: int) -> dict:
    command = [sys.executable, fuzzing.__file__, str(first), str(count), str(GIGABYTES)]
    done = subprocess.run(command, input=seeds, capture_output=True, timeout=count * 2)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert not done.stderr, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_hostile_films(seeds: bytes, soak: bool, capsys: pytest.CaptureFixture[str]) -> None:
    total: Counter[str] = Counter()
    slowest, worst = 0.0, -1
    for first in range(0, SOAK if soak else SAMPLE, PER_PROCESS):
        found = run(seeds, first, PER_PROCESS)
        total.update(found["outcomes"])
        slowest, worst = max((slowest, worst), (found["slowest"], found["worst"]))
    if soak:
        with capsys.disabled():
            print(
                f"\n{sum(n for name, n in total.items() if name.endswith(('read', 'refused')))} films: {dict(total)}, slowest {slowest:.1f} s"
            )
    assert slowest < SLOWEST, f"case {worst}"
    for kind in ("dicom", "png", "jpeg"):
        assert total[f"{kind} read"] > 10 and total[f"{kind} refused"] > 10, total
