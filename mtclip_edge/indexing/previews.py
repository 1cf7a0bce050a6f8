"""Writing previews: of each report one small film, in a file that never changes after it is published.

A film that is taken out is left out of a new file, never deleted from an old one.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..bundle.bundle import Bundle
from ..bundle.generations import Change
from ..bundle.manifest import PreviewsRecord
from ..errors import FilmUnreadable, WrongOption
from ..files import replace_with
from ..films.read import read_film
from ..films.thumbnail import webp
from ..index.previews import SCHEMA, Previews
from ..progress import Progress
from ..studies import FRONTAL, Film, Study, view_code
from ..workers import batches
from .store_writer import new_database

LONGEST = 512  # pixels, where a bundle says nothing else
QUALITY = 80  # the least at which each of 100 films keeps SSIM 0.95 and PSNR 40 dB (docs/results/results.md)
LEAST, MOST = 64, 2048
_BATCH = 32
Preview = tuple[str, str, bytes]  # report_id, study_id, WebP


def check_longest(longest: int | None) -> None:
    """Errors: WrongOption."""
    if longest is not None and not LEAST <= longest <= MOST:
        raise WrongOption(f"--previews {longest}", f"expected {LEAST} to {MOST} pixels")


def previews_of(
    studies: Iterable[Study], without: set[str], longest: int, render: str, progress: Progress
) -> Iterator[Preview]:
    """A preview of each report that is not in ``without``: of its first study with a film that can be read,
    a frontal one before others. Reports without such a film give none.
    """
    films: dict[str, list[tuple[str, Film]]] = {}
    for study in sorted(studies, key=lambda study: study.study_id):
        if study.report_id and study.report_id not in without:
            films.setdefault(study.report_id, []).extend((study.study_id, film) for film in study.films)

    def made(report_id: str) -> Preview | None:
        for study_id, film in sorted(films[report_id], key=lambda pair: view_code(pair[1].view) != FRONTAL):
            try:
                grey = read_film(film.path, render=render).grey
            except FilmUnreadable:
                continue
            return report_id, study_id, webp(grey, longest, QUALITY)
        return None

    done = 0
    for batch in batches(sorted(films), made, _BATCH):
        yield from (preview for preview in batch if preview is not None)
        done += len(batch)
        progress("previews", done, len(films))


def fresh_previews(
    change: Change, studies: Iterable[Study], longest: int, render: str, progress: Progress
) -> PreviewsRecord | None:
    """Previews of a new index; None where no report has a film that can be read."""
    return write_previews(change, (), previews_of(studies, set(), longest, render, progress), longest, None)


def with_previews(
    bundle: Bundle, change: Change, studies: Sequence[Study], longest: int | None, progress: Progress
) -> PreviewsRecord | None:
    """What a bundle has, and those of some studies' reports; ``longest`` None: of the bundle's own size."""
    before = bundle.manifest.site.previews
    side = longest or (before.longest if before else LONGEST)
    with opened(bundle) as old:
        held = old.report_ids() if old else set()
        new = previews_of(studies, held, side, bundle.model.preprocessing.render or "voi", progress)
        return write_previews(change, _all(old, held), new, side, before)


def merged_previews(
    bundle: Bundle, theirs: Bundle, change: Change, reports: Iterable[str]
) -> PreviewsRecord | None:
    """What a bundle has, and another's of those of ``reports`` that have none here."""
    before, record = bundle.manifest.site.previews, theirs.manifest.site.previews
    if before is None or record is None:
        return before
    with opened(bundle) as old, opened(theirs) as other:
        held = old.report_ids() if old else set()
        new = _all(other, set(reports) - held)
        return write_previews(change, _all(old, held), new, max(before.longest, record.longest), before)


def previews_without(bundle: Bundle, change: Change, gone: Iterable[str]) -> PreviewsRecord | None:
    """What a bundle has, without films of some studies; the file is a new one."""
    before, left_out = bundle.manifest.site.previews, set(gone)
    with opened(bundle) as old:
        if before is None or old is None:
            return None
        kept = (preview for preview in _all(old, old.report_ids()) if preview[1] not in left_out)
        return write_previews(change, kept, (), before.longest, None)


@contextmanager
def opened(bundle: Bundle) -> Iterator[Previews | None]:
    """Those of a bundle, hashed, closed afterwards; None where it has none. Errors: ArtefactDamaged."""
    record = bundle.manifest.site.previews
    if record is None:
        yield None
        return
    with closing(Previews(bundle.file(record.file))) as previews:
        yield previews


def write_previews(
    change: Change,
    old: Iterable[Preview],
    new: Iterable[Preview],
    longest: int,
    before: PreviewsRecord | None,
) -> PreviewsRecord | None:
    """Write a file of old previews and new ones; ``before`` as it is where there is none to add to it."""
    new = iter(new)
    first = next(new, None)
    if first is None and before is not None:
        return before
    count = 0

    def write(file: Path) -> None:
        nonlocal count
        file.unlink(missing_ok=True)
        with new_database(file) as db:
            db.executescript(SCHEMA)
            for previews in (old, () if first is None else (first,), new):
                for preview in previews:
                    db.execute("INSERT INTO preview VALUES (?,?,?)", preview)
                    count += 1

    path = change.file("previews")
    replace_with(path, write)
    if count:
        return PreviewsRecord(path.name, count, longest, QUALITY)
    path.unlink()
    return None


def preview_line(before: PreviewsRecord | None, now: PreviewsRecord | None) -> str:
    """How many reports have a preview, and how many more or less that are."""
    count, held = now.reports if now else 0, before.reports if before else 0
    change = (
        f"{count - held} more" if count > held else f"{held - count} less" if count < held else "as before"
    )
    return f"previews: {count} reports have a film ({change})"


def _all(previews: Previews | None, report_ids: Iterable[str]) -> Iterator[Preview]:
    for report_id in sorted(report_ids) if previews else ():
        if previews and (found := previews.of(report_id)):
            yield report_id, found[1], found[0]
