"""A large source, generated, and what reading it takes: ``python many_studies.py make FILE ROWS``, ``python many_studies.py WAY FILE``.

Reports are words drawn by seed, as long as MIMIC-CXR's are said to be: a median of 90 words, a tail to 600; gzipped, two rows (films) for
every second study, two film files for all.
"""

import gzip
import json
import resource
import sys
from pathlib import Path

import numpy as np

WORDS = [
    "lung",
    "clear",
    "effusion",
    "opacity",
    "left",
    "right",
    "base",
    "heart",
    "normal",
    "no",
    "the",
    "of",
    "tube",
    "mild",
    "stable",
    "unchanged",
]  # 6.3 letters with a space


def make(path: Path, rows: int, words: int = 90) -> None:
    random = np.random.default_rng(0)
    pool = " ".join(WORDS[i] for i in random.integers(0, len(WORDS), 200_000))
    for film in range(2):
        (path.parent / f"film-{film}.png").write_bytes(b"")
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        file.write("study_id,patient_id,image_path,view,report,label,split\n")
        row = study = 0
        while row < rows:
            study += 1
            length = int(min(7 * words, random.lognormal(np.log(words), 0.6)))
            start = int(random.integers(0, 1_000_000))
            text = f"{pool[start : start + 6 * length]} {study}"
            for film in range(1 + study % 2):
                file.write(f'{study},p{study // 3},film-{film}.png,PA,"{text}.",normal,train\n')
                row += 1


def run(way: str, path: Path) -> dict[str, float]:
    """Peak memory in MB of the process before and after, and the studies found."""
    from mtclip_edge.sources import manifest_writer, source
    from mtclip_edge.sources.entries import Entry
    from mtclip_edge.sources.inspection import inspection

    before = _peak()
    if way == "stream":
        studies = sum(isinstance(item, Entry) for item in source.stream_source(str(path)))
    elif way == "inspect":
        studies = inspection.inspect(str(path), films=0)[0]["studies"]
    elif way == "open":
        studies = len(source.open_source(str(path)).studies)
    else:
        target = path.with_name(f"out.{way}")
        studies = int(
            manifest_writer.export_manifest(str(path), target, overwrite=True)[0].split(": ")[1].split()[0]
        )
        target.unlink()
    return {"before": before, "after": _peak(), "studies": studies}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        print(json.dumps(run(sys.argv[1], Path(sys.argv[2]))))
