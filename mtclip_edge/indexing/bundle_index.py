"""The searchable part of a bundle as one object: what ``mtclip index`` does, for a program.

index = Index.open("bundle")
index.add("march/manifest.csv")
print(index.stats()["reports"])
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..bundle.bundle import Bundle
from ..bundle.demo import WORD, check_changeable, resolve
from ..errors import WrongOption, not_among
from ..folders import user_path
from ..index.report_store import ReportStore
from ..progress import Progress, Say, silent
from ..sources.privacy import warning
from ..sources.source import Reading, open_source, with_map
from ..studies import SPLITS, Study
from . import update
from .build import rebuild
from .shards import EmbeddedFolder, KnownVectors, is_embedded
from .statistics import statistics

Reports = str | Path | Reading | Iterable[Study]


class Index:
    """The reports of a bundle, to be replaced, extended, thinned and counted. Use ``Index.open``.

    Each change is one new generation of the bundle, whole or not at all; a retriever that is open goes on
    with the generation that it opened. ``bundle`` is the bundle as it was opened or last changed here.
    """

    def __init__(self, path: Path, bundle: Bundle):
        self.path, self.bundle = path, bundle

    @classmethod
    def open(cls, bundle: str | Path) -> "Index":
        """The index of a bundle; ``"demo"`` is the one in the package, which can be read, not changed.

        Errors: NotABundle, ArtefactDamaged, ArtefactIncompatible, WrongOption.
        """
        path = resolve(Path(bundle))[0] if bundle == WORD else user_path(bundle)
        return cls(path, Bundle.open(path))

    def __repr__(self) -> str:
        held = self.bundle.index
        return f"<Index of {self.path}: {held.reports} distinct reports of {held.studies} studies>"

    def build(
        self,
        reports: Reports,
        *,
        split: str = "all",
        map: Sequence[str] = (),
        allow_bad_rows: bool = False,
        device: str = "auto",
        progress: Progress = silent,
        say: Say = silent,
    ) -> Bundle:
        """Replace all reports and films by those of a source, embedded by the bundle's own towers.

        ``reports`` is a source as on the command line (``KIND:PATH``, or a path), a folder that ``mtclip
        embed`` made (nothing is embedded again), what ``open_source`` gave, or studies. ``split`` takes
        train, validation, test or all of it; ``map`` names columns and values (``THEIRS=OURS``). ``say`` gets
        what a person should know, a line at a time; ``progress`` the name of a step, how much of it is done,
        and of how much. Gives the bundle as it is then.

        Errors: TextTowerMissing, SourceUnusable, WrongOption, Refused (the demo bundle, another writer, words
        that the text tower does not know), ArtefactDamaged, DeviceUnavailable, CacheUnusable.
        """
        check_changeable(self.path)
        reports, known = self._embedded(reports)
        studies = studies_of(reports, split, map, allow_bad_rows, say)
        how: dict[str, Any] = {"known": known, "device": device, "progress": progress, "say": say}
        return self._now(rebuild(self.path, studies, **how))

    def add(
        self,
        reports: Reports,
        *,
        split: str = "all",
        map: Sequence[str] = (),
        allow_bad_rows: bool = False,
        previews: bool = False,
        device: str = "auto",
        progress: Progress = silent,
        say: Say = silent,
    ) -> Bundle:
        """Add the reports and films of a source, given as for ``build``; what is there already stays, so that
        it can be run again. ``previews`` packs a small film of each of these reports that has none. Gives the
        bundle as it is then.

        Errors: as of ``build``; Refused where a study is there with another report too.
        """
        check_changeable(self.path)
        reports, known = self._embedded(reports)
        studies = studies_of(reports, split, map, allow_bad_rows, say, self._whose)
        how: dict[str, Any] = {"known": known, "device": device, "progress": progress, "say": say}
        return self._now(update.add(self.path, studies, previews=previews, **how))

    def _embedded(self, reports: Reports) -> "tuple[Reports, KnownVectors | None]":
        """Studies of a folder that ``mtclip embed`` made, with their vectors; anything else as it is.

        Errors: ArtefactIncompatible for vectors of another model, ArtefactDamaged, Refused where some are
        missing.
        """
        if not isinstance(reports, str | Path) or not is_embedded(user_path(reports)):
            return reports, None
        folder = EmbeddedFolder.open(user_path(reports))
        folder.check_model(self.bundle.model.model_id)
        return folder.read

    def _whose(self) -> list[tuple[str, str, str]]:
        bundle = Bundle.open(self.path)
        with ReportStore(bundle.file(bundle.index.store), bundle.model.model_id) as store:
            return store.whose()

    def remove(
        self,
        *,
        studies: Sequence[str] = (),
        patients: Sequence[str] = (),
        sources: Sequence[str] = (),
        missing_ok: bool = False,
        device: str = "auto",
        progress: Progress = silent,
        say: Say = silent,
    ) -> Bundle:
        """Take studies out for good, by their ids, their patients or their sources: their texts, words and
        vectors are in no file of the bundle when this returns. Gives the bundle as it is then.

        ``missing_ok`` passes over names that nothing here has. Errors: WrongOption (nothing named), Refused
        (nothing matches, nothing would be left, the demo bundle, another writer), ArtefactDamaged.
        """
        check_changeable(self.path)
        which = _named(studies, patients, sources, missing_ok)
        return self._now(update.remove(self.path, **which, device=device, progress=progress, say=say))

    def would_remove(
        self,
        *,
        studies: Sequence[str] = (),
        patients: Sequence[str] = (),
        sources: Sequence[str] = (),
        missing_ok: bool = False,
        say: Say = silent,
    ) -> dict[str, int]:
        """How many studies, patients, reports and films ``remove`` would take out; nothing is changed.

        Errors: as of ``remove``.
        """
        return update.count_removal(self.path, **_named(studies, patients, sources, missing_ok), say=say)

    def merge(self, other: "str | Path | Index", *, progress: Progress = silent, say: Say = silent) -> Bundle:
        """Add the studies of another bundle of the same model, with their vectors: nothing is embedded. The
        other stays as it is. Gives the bundle as it is then.

        Errors: ArtefactIncompatible (another model), Refused, ArtefactDamaged, NotABundle.
        """
        check_changeable(self.path)
        theirs = other.path if isinstance(other, Index) else Index.open(other).path
        return self._now(update.merge(self.path, theirs, progress=progress, say=say))

    def rebuild(self, *, progress: Progress = silent, say: Say = silent) -> Bundle:
        """Make the derived files anew, the graph and the words, from the stored reports and vectors.

        Errors: Refused, ArtefactDamaged.
        """
        check_changeable(self.path)
        return self._now(update.rebuild_index(self.path, progress=progress, say=say))

    def stats(self) -> dict[str, Any]:
        """What the bundle holds now, counted: the document of ``mtclip index stats --format json``.

        Errors: NotABundle, ArtefactDamaged.
        """
        return statistics(self.path)

    def _now(self, changed: Bundle) -> Bundle:
        self.bundle = changed
        return changed


def check_split(split: str) -> None:
    """Errors: WrongOption."""
    if split not in (*SPLITS, "all"):
        raise not_among("split", split, (*SPLITS, "all"))


def reading_of(source: str, split: str, map: Sequence[str]) -> Reading:
    """A source whose split is to be taken, read whole. Errors: WrongOption, SourceUnusable."""
    check_split(split)
    return open_source(with_map(source, map))


def studies_of(
    reports: Reports,
    split: str,
    map: Sequence[str],
    allow_bad_rows: bool,
    say: Say,
    held: Callable[[], Iterable[tuple[str, str, str]]] = tuple,
) -> Sequence[Study]:
    """The studies that are meant; what could not be read is said, and that patients' texts will be in the
    bundle, with those that it has already (``held``).

    Errors: WrongOption, SourceUnusable.
    """
    if isinstance(reports, str | Path):
        reports = reading_of(str(reports), split, map)
    elif map:
        raise WrongOption("map with studies that are read already", "expected a source by its name")
    check_split(split)
    if isinstance(reports, Reading):
        for line in reports.summary_lines():
            say(line)
        reports.refuse_bad_rows(allow_bad_rows)
        reports = reports.studies
    chosen = [study for study in reports if split in ("all", study.split)]
    for line in warning(chosen, held()):
        say(line)
    return chosen


def _named(
    studies: Sequence[str], patients: Sequence[str], sources: Sequence[str], missing_ok: bool
) -> dict[str, Any]:
    """Errors: WrongOption where nothing is named, or one name stands where several may: its letters are no
    names.
    """
    names = {"studies": studies, "patients": patients, "sources": sources}
    for name, given in names.items():
        if isinstance(given, str):
            raise WrongOption(f"{name} {given!r}", f"expected several, as [{given!r}]")
    if not any(map(len, names.values())):
        raise WrongOption("nothing to remove", "expected studies, patients or sources by their names")
    return {**names, "missing_ok": missing_ok}
