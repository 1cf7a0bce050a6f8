"""Where studies come from: ``KIND:PATH``, with options behind commas (``openi:PATH,abnormal=acute``), or a
plain path.

Each kind is one module with ``layout(path[, options]) -> Layout``. Nothing is copied: films are read in
place. A plain path is recognised by what it holds, and the evidence is said. ``open_source`` reads all
studies into memory, ``stream_source`` one at a time.
"""

import importlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from ..errors import SourceUnusable, WrongOption
from ..folders import user_path
from ..studies import LABELS, Study, has_words
from .entries import SHARED, Entry, Item, Layout, Problem, Tally

# Each kind: its module, and the options it takes. An option with a path behind it is in PATHS.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "manifest": ("manifest", ("abnormal", "map")),
    "phantom": ("phantom", ()),
    "openi": ("openi", ("abnormal", "films", "views")),
    "kaggle-iu": ("kaggle_iu", ("abnormal",)),
    "r2gen": ("r2gen", ()),
    "mimic-cxr": ("mimic_cxr", ("labels", "reports")),
    "chexpert-plus": ("chexpert_plus", ("labels",)),
    "padchest": ("padchest", ()),
    "nih": ("nih", ()),
    "wds": ("webdataset", ()),
    "dicom": ("dicom_folder", ("reports",)),
}
PATHS = ("films", "views", "reports")
ABNORMAL = ("mesh", "acute")
MOST_BAD = 0.05  # of the rows: more are a table read wrongly, not a few slips
_OPTION = re.compile(r",([a-z]+)=([^,=]*)$")
_KIND = re.compile(r"([a-z][a-z0-9-]+):(?![/\\]{2})(.+)", re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """A source as it was asked for; ``why`` says how its kind was recognised, empty where it was named."""

    kind: str
    rest: str
    options: Mapping[str, str] = field(default_factory=dict)
    why: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.rest}" + "".join(
            f",{name}={value}" for name, value in self.options.items()
        )


@dataclass(frozen=True)
class Reading:
    """What a source gave: its studies in the source's order, and what was left out: every reason counted,
    the first rows by place.
    """

    spec: str
    studies: tuple[Study, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    tally: Tally = field(default_factory=Tally)

    def split(self, name: str) -> list[Study]:
        """The studies of one split: train, validation or test."""
        return [study for study in self.studies if study.split == name]

    @property
    def bad_rows(self) -> int:
        return self.tally.bad_rows

    def summary(self) -> str:
        """One line: how many studies, films and reports, and how many rows were left out."""
        return self.tally.summary(self.spec)

    def refuse_bad_rows(self, allow: bool) -> None:
        """Before anything is made of it; a lost date spoils no row.

        Errors: SourceUnusable: more than ``MOST_BAD`` of its rows are bad.
        """
        bad = self.tally.unusable
        rows = self.tally.rows + bad
        if not allow and bad > MOST_BAD * rows:
            reasons = Counter(
                {
                    why: count
                    for why, count in self.tally.skipped.items()
                    if not why.endswith("(date left out)")
                }
            )
            raise SourceUnusable(
                f"{self.spec}: {bad} of {rows} rows are bad, more than {100 * MOST_BAD:.0f} %",
                f"most of them: {reasons.most_common(1)[0][0]}",
                "mend them, name columns and values by --map, or add --allow-bad-rows",
            )

    def summary_lines(self, most: int = 20) -> list[str]:
        """The summary, labels, notes, and the first bad rows by line."""
        return self.tally.summary_lines(self.spec, self.notes, most)


@dataclass(frozen=True)
class Stream:
    """A source that gives its studies one at a time, as often as asked; ``notes`` hold the evidence for
    its layout.
    """

    spec: Spec
    layout: Layout

    @property
    def notes(self) -> tuple[str, ...]:
        return (*filter(None, (self.spec.why,)), *self.layout.notes)

    def __iter__(self) -> Iterator[Item]:
        return self.layout.entries()


def parse_spec(word: str) -> Spec:
    """A source as written on a command line.

    Errors: SourceUnusable (no such kind, nothing recognised), WrongOption.
    """
    options, rest = _options(word)
    match = _KIND.fullmatch(rest)
    if match and match[1] in KINDS:
        kind, rest, why = match[1], match[2], ""
    elif match and not user_path(rest).exists():
        close = get_close_matches(match[1], KINDS, 1, 0.5)
        hint = f"did you mean {close[0]}:{match[2]}?" if close else None
        raise SourceUnusable(
            f"{word}: no kind of source {match[1]!r}", f"expected one of {', '.join(KINDS)}, or a path", hint
        )
    else:
        from .detect import detect

        kind, why = detect(user_path(rest))
    for name, value in options.items():
        _check_option(kind, name, value)
    return Spec(kind, rest, options, why)


def _options(word: str) -> tuple[dict[str, str], str]:
    """Options at the end of a source, first to last, and what stands before them; a comma that begins
    none of ours is the path's own.
    """
    option_names = {name for _, names in KINDS.values() for name in names}
    options: dict[str, str] = {}
    while (match := _OPTION.search(word)) and match[1] in option_names:
        options[match[1]] = match[2]
        word = word[: match.start()]
    return dict(reversed(options.items())), word


def _check_option(kind: str, name: str, value: str) -> None:
    if name not in KINDS[kind][1]:
        takes = [n for n, (_, names) in KINDS.items() if name in names]
        raise WrongOption(f"{kind} takes no option {name}", f"{name} is for {', '.join(takes)}")
    if name == "abnormal" and value not in ABNORMAL:
        raise WrongOption(f"abnormal={value}", f"expected one of {', '.join(ABNORMAL)}")


def with_abnormal(word: str, rule: str | None) -> str:
    """A source with the rule of ``--abnormal`` for its labels.

    Errors: WrongOption where the source has no MeSH terms.
    """
    if rule is None:
        return word
    spec = parse_spec(word)
    _check_option(spec.kind, "abnormal", rule)
    return str(Spec(spec.kind, spec.rest, {**spec.options, "abnormal": rule}))


def with_map(word: str, pairs: Sequence[str] | None) -> str:
    """A source with the words of ``--map`` for its columns; a map of its own is kept.

    Errors: WrongOption where it is no table of other people's columns.
    """
    if not pairs:
        return word
    from .column_names import encoded

    spec = parse_spec(word)
    _check_option(spec.kind, "map", "")
    return str(Spec(spec.kind, spec.rest, {"map": encoded(pairs), **spec.options}))


def with_maps(words: Sequence[str], pairs: Sequence[str] | None) -> list[str]:
    """Several sources of one command: the words of ``--map`` are for those that are tables.

    Errors: WrongOption where none is.
    """
    tables = {word for word in words if "map" in KINDS[parse_spec(word).kind][1]} if pairs else set[str]()
    return [with_map(word, pairs) if word in tables or not tables else word for word in words]


def absolute(word: str) -> str:
    """A source as it can be opened again from another folder, its kind named."""
    spec = parse_spec(word)
    if spec.kind == "phantom":
        return word
    options = {
        name: str(user_path(value).resolve()) if name in PATHS else value
        for name, value in spec.options.items()
    }
    return str(Spec(spec.kind, str(user_path(spec.rest).resolve()), options))


def stream_source(word: str) -> Stream:
    """A source to be read one study at a time, in memory that does not grow with it.

    Errors: SourceUnusable, also while reading.
    """
    spec = parse_spec(word)
    module = importlib.import_module(f".layouts.{KINDS[spec.kind][0]}", __package__)
    takes = (spec.rest, spec.options) if KINDS[spec.kind][1] else (spec.rest,)
    return Stream(spec, module.layout(*takes))


def open_source(source: str | Path) -> Reading:
    """Read one source whole: ``KIND:PATH``, or a path that is recognised by what it holds.

    Errors: SourceUnusable when nothing in it can be used, WrongOption.
    """
    word = str(source)
    stream, tally = stream_source(word), Tally()
    entries: list[Entry] = []
    for item in stream:
        tally.add(item)
        if isinstance(item, Entry):
            entries.append(item)
    tally.refuse_empty(word)
    entries.sort(key=lambda entry: entry.number)
    return Reading(word, tuple(entry.study for entry in entries), tuple(tally.problems), stream.notes, tally)


def open_sources(specs: Sequence[str]) -> Reading:
    """Several sources as one.

    A study whose films lie in several, a table of frontal and one of lateral films for example, is one study.
    Errors: SourceUnusable where a study id that two share is not the same study: it would be two patients
    under one name.
    """
    readings = [open_source(spec) for spec in specs]
    if len(readings) == 1:
        return readings[0]
    studies, again = _joined_studies(readings)
    tally = _sum([reading.tally for reading in readings])
    for study in again:
        tally.studies -= 1
        tally.reports -= has_words(study.text)
        tally.labels[study.label] -= 1
    joined = (f"{len(again)} studies have films in several of these sources",) if again else ()
    return Reading(
        " + ".join(specs),
        studies,
        tuple(problem for reading in readings for problem in reading.problems),
        (*(f"{reading.spec}: {note}" for reading in readings for note in reading.notes), *joined),
        tally,
    )


def _sum(tallies: Sequence[Tally]) -> Tally:
    labels = Counter({name: sum(tally.labels[name] for tally in tallies) for name in LABELS})
    skipped: Counter[str] = sum((tally.skipped for tally in tallies), Counter())
    passed_over: Counter[str] = sum((tally.passed_over for tally in tallies), Counter())
    studies, films, reports = (
        sum(getattr(tally, name) for tally in tallies) for name in ("studies", "films", "reports")
    )
    rows, unusable = sum(tally.rows for tally in tallies), sum(tally.unusable for tally in tallies)
    problems = [problem for tally in tallies for problem in tally.problems]
    return Tally(studies, films, reports, rows, unusable, labels, skipped, passed_over, problems)


def _joined_studies(readings: Sequence[Reading]) -> tuple[tuple[Study, ...], list[Study]]:
    """The studies of all, those of one id as one, and what was joined to an earlier one.

    Errors: SourceUnusable.
    """
    studies: dict[str, Study] = {}
    position: dict[str, int] = {}
    again = []
    for number, reading in enumerate(readings):
        for study in reading.studies:
            earlier = studies.get(study.study_id)
            if earlier is None:
                studies[study.study_id], position[study.study_id] = study, number
                continue
            if why := _not_the_same(earlier, study):
                raise SourceUnusable(
                    f"{reading.spec}: study {study.study_id} is in {readings[position[study.study_id]].spec} "
                    f"too, {why}",
                    hint="give each source once, and study ids of its own",
                )
            studies[study.study_id] = replace(earlier, films=(*earlier.films, *study.films))
            again.append(study)
    return tuple(studies.values()), again


def _not_the_same(one: Study, other: Study) -> str | None:
    """Why two of one id are not films of one study; None where they are: one person by a registry that both
    are of, nothing said differently, and films of their own.
    """
    if not set(one.registries or (one.source,)) & set(other.registries or (other.source,)):
        return "which is not of the same set"
    if different := next((name for name in SHARED if getattr(one, name) != getattr(other, name)), None):
        return f"with another {different}"
    if not other.films or {film.path for film in one.films} & {film.path for film in other.films}:
        return "with no film of its own"
    return None
