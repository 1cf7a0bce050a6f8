"""``phantom:N@SEED``: N drawn studies of a seed.

Films are drawn once into the cache folder and read from there like any others.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ...errors import SourceUnusable
from ...files import private_dir
from ...folders import cache_dir
from ...studies import Film, Study, split_of
from ...workers import threads
from ..entries import Entry, Layout
from ..phantoms.make import VERSION, Phantom, make, save

_ALONE = 64  # fewer films than this are drawn in this process: starting others takes longer


def layout(rest: str) -> Layout:
    """Errors: SourceUnusable for anything but N or N@SEED, or where the cache folder cannot be written."""
    match = re.fullmatch(r"(\d{1,7})(?:@(\d{1,9}))?", rest)
    if not match or int(match[1]) < 1:
        raise SourceUnusable(
            f"phantom:{rest}: not a number of phantoms",
            "expected phantom:N or phantom:N@SEED, e.g. phantom:200@7",
        )
    count, seed = int(match[1]), int(match[2] or 0)
    return Layout(f"phantom:@{seed}", lambda: _entries(count, seed))


def _entries(count: int, seed: int) -> Iterator[Entry]:
    folder = cache_dir() / "phantoms" / f"{VERSION}-{seed}"
    try:
        private_dir(folder)
        _draw_missing(folder, seed, count)
    except OSError as error:
        raise SourceUnusable(
            f"phantom:{count}@{seed}: films cannot be drawn into {folder} ({error.strerror})",
            hint="set MTCLIP_HOME",
        ) from None
    for number in range(count):
        yield Entry(f"phantom {number}", number, _study(make(seed, number), folder, f"phantom:@{seed}"))


def _study(phantom: Phantom, folder: Path, source: str) -> Study:
    name = _name(phantom.number)
    return Study(
        study_id=phantom.patient_id,
        patient_id=phantom.patient_id,
        films=(Film(folder / name, name, "PA"),),
        findings=phantom.report.findings,
        impression=phantom.report.impression,
        label=phantom.label,
        finding_labels=tuple(finding.label for finding in phantom.findings),
        split=split_of(phantom.patient_id),
        source=source,
    )


def _draw_missing(folder: Path, seed: int, count: int) -> None:
    there = {path.name for path in folder.iterdir()}
    missing = [number for number in range(count) if _name(number) not in there]
    if len(missing) < _ALONE or not _others_may_start():
        return _draw(folder, seed, missing)
    parts = [missing[start::8] for start in range(8)]
    with ProcessPoolExecutor(threads(), mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(_draw, folder, seed, part) for part in parts]:
            done.result()
    return None


def _others_may_start() -> bool:
    """Whether other processes can be started: each loads the main module again, and a plain script that does
    not guard its lines would run as a whole in each.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    return file is None or main.__spec__ is not None or Path(file).stem == "mtclip"


def _draw(folder: Path, seed: int, numbers: Sequence[int]) -> None:
    for number in numbers:
        save(make(seed, number), folder / _name(number))


def _name(number: int) -> str:
    return f"{number:06d}.png"
