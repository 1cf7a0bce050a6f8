"""Damage of every kind in every file of a bundle: ``verify`` names the file, ``query`` stops with exit 3 or answers as before.

Seeded, in processes of their own: a crash would be theirs. ``make soak`` takes thousands.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mtclip_edge.bundle.bundle import Bundle

WORKER = """
import json, random, shutil, sys
from pathlib import Path
from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.errors import ArtefactDamaged, MtclipError
from mtclip_edge.retrieval.retriever import Retriever

bundle, film, seed, cases = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
names = sorted(Bundle.open(bundle).manifest.files) + ["manifest.json"]
whole = {name: (bundle / name).read_bytes() for name in names}
draw = random.Random(seed)

def answer():
    with Retriever.open(bundle, exact=False) as retriever:
        document, note = retriever.query(film, k=7).to_dict(), retriever.notes.search
    used = document["bundle"].pop("search")["used"]
    document.pop("timings_ms")
    return document, used, note

expected, used, _ = answer()
assert used == "hnsw"

def damaged(data):
    kind = draw.choice(["bit", "bit", "bit", "byte", "zeros", "random", "cut", "grown", "empty", "half twice"])
    # Every region: the file is cut into 64 stripes, and each case takes its place in one of them, or at either end.
    place = draw.choice([0, min(len(data) - 1, draw.randrange(64)), max(0, len(data) - 1 - draw.randrange(64)),
                         (draw.randrange(64) * len(data)) // 64 + draw.randrange(max(1, len(data) // 64))])
    place = min(place, len(data) - 1)
    if kind == "bit":
        return kind, data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1:]
    if kind == "byte":
        return kind, data[:place] + bytes([(data[place] + draw.randrange(1, 256)) % 256]) + data[place + 1:]
    if kind in ("zeros", "random"):
        size = draw.choice([4, 64, 4096])
        filling = bytes(size) if kind == "zeros" else draw.randbytes(size)
        return kind, data[:place] + filling[: len(data) - place] + data[place + size:]
    if kind == "cut":
        return kind, data[:place]
    if kind == "grown":
        return kind, data + draw.randbytes(draw.choice([1, 512]))
    if kind == "empty":
        return kind, b""
    return kind, data[: len(data) // 2] * 2

def judge(name, kind):
    try:
        found = [n for n, problem in Bundle.open(bundle).verify() if problem]
        named = name in found
    except MtclipError as error:
        named = error.exit_code == 3 and name == "manifest.json" and "manifest.json" in error.what
        if kind == "missing" and name == "manifest.json":
            named = error.exit_code == 1
    assert named, ("verify", name, kind)
    try:
        document, how, note = answer()
    except MtclipError as error:
        assert error.exit_code == (1 if (kind, name) == ("missing", "manifest.json") else 3), ("query", name, kind, str(error))
        assert name in str(error) or name == "manifest.json", ("query", name, kind, str(error))
        return "refused"
    assert document == expected, ("query", name, kind)
    if name.endswith(".hnsw"):
        assert how == "exact" and name in note, ("query", name, kind, note)
        return "exact"
    assert how == "hnsw" and note is None, ("query", name, kind, note)
    return "not read"

for number in range(cases):
    name = names[number % len(names)]
    kind, data = damaged(whole[name])
    if draw.random() < 0.06:
        kind = draw.choice(["missing", "swapped"])
    if data == whole[name] and kind not in ("missing", "swapped"):
        continue
    other = draw.choice([n for n in names if n != name])
    if kind == "missing":
        (bundle / name).unlink()
    elif kind == "swapped":
        (bundle / name).write_bytes(whole[other])
    else:
        (bundle / name).write_bytes(data)
    print(json.dumps([name, kind, judge(name, kind)]), flush=True)
    (bundle / name).write_bytes(whole[name])
assert answer()[0] == expected
print("all judged", flush=True)
"""


@pytest.mark.slow
def test_damage_everywhere(bundle: Path, film: Path, tmp_path: Path, soak: bool) -> None:
    seeds, cases = (range(8), 600) if soak else (range(2), 63)
    log: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    for seed in seeds:
        copy = Path(shutil.copytree(bundle, tmp_path / f"{seed}"))
        words = [sys.executable, "-c", WORKER, str(copy), str(film), str(seed), str(cases)]
        found = subprocess.run(
            words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        lines = found.stdout.splitlines()
        assert found.returncode == 0 and lines[-1] == "all judged", (
            seed,
            found.returncode,
            lines[-2:],
            found.stderr[-2000:],
        )
        for name, kind, end in map(json.loads, lines[:-1]):
            log[name.split(".")[0].split("-")[0] + Path(name).suffix, end] += 1
            kinds[kind] += 1
        shutil.rmtree(copy)
    print(sum(log.values()), dict(log), dict(kinds))
    assert dict(log.keys()) == {
        "MODEL_CARD.md": "not read",
        "explain.onnx": "not read",
        "image.onnx": "refused",
        "index.hnsw": "exact",
        "manifest.json": "refused",
        "reports.sqlite": "refused",
        "terms.sqlite": "not read",
        "validation.npy": "not read",
        "text.onnx": "not read",
        "tokenizer.json": "not read",
        "vectors.npy": "refused",
    }
    assert len(log) == 11  # each file ends in one way only


def test_every_region_of_every_file_is_covered_by_a_hash(bundle: Path) -> None:
    """Not a sample: no byte of a bundle stands outside a hash, and a large file is hashed to its last byte."""
    opened = Bundle.open(bundle)
    assert {p.name for p in bundle.iterdir()} == {*opened.manifest.files, "manifest.json"}
    assert all(
        opened.manifest.files[p.name].size == p.stat().st_size
        for p in bundle.iterdir()
        if p.name != "manifest.json"
    )


def test_a_large_file_is_hashed_in_parts_to_its_last_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    from mtclip_edge import files
    from mtclip_edge.bundle import generations as module

    monkeypatch.setattr(files, "PART", 1000)
    monkeypatch.setattr(module, "PART", 1000)
    for size in (999, 1000, 1001, 2000, 2750):
        data = bytes(i * 7 % 251 for i in range(size))
        (tmp_path / "f").write_bytes(data)
        parts = [hashlib.sha256(data[start : start + 1000]).digest() for start in range(0, size, 1000)]
        assert files.parts_sha256(tmp_path / "f") == hashlib.sha256(b"".join(parts)).hexdigest()
        record = module.file_record(tmp_path / "f")
        assert (record.parts is not None) == (size > 1000) and record.size == size
        assert record.sha256 == (files.parts_sha256 if size > 1000 else files.sha256)(tmp_path / "f")
        (tmp_path / "f").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert module.file_record(tmp_path / "f").sha256 != record.sha256
