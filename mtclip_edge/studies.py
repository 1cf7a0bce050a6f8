"""Studies, films and distinct reports: what every source yields and everything else consumes.

A label is never guessed: what is neither normal nor abnormal is unknown. Texts are kept verbatim;
``tower_text`` is what a text tower gets (without de-identification marks), ``folded`` is what decides whether
two reports are the same.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

LABELS = ("normal", "abnormal", "unknown")
LABEL_CODES = {"normal": 0, "abnormal": 1, "unknown": -1}  # in arrays; what is negative counts for nothing
SPLITS = ("train", "validation", "test")
# What a graph that was trained with lateral films is told; every view but lateral is taken for frontal.
FRONTAL, LATERAL = 0, 1
VIEWS = ("PA", "AP", "frontal", "lateral", "other", "unknown")

MARKS = re.compile(r"\bX{3,}\b|_{2,}")  # Open-I writes XXXX, MIMIC-CXR writes ___
_WORD = re.compile(r"[^\W_]+")
_NOT_WORD = re.compile(r"[\W_]+")
# What each word of a view position means, the gravest meaning first: "LATERAL DECUBITUS" is no lateral,
# "XTABLE LATERAL" is one. Header words (PS3.3 C.8.7.5.1.1, and what is seen in its place), tables of the data
# sets, DICOM's codes spelt out. Kept on the ground floor because sources and films both read them.
_SLANTED = frozenset(
    {
        "OBLIQUE",
        "OBL",
        "LAO",
        "RAO",
        "LPO",
        "RPO",
        "LLO",
        "RLO",
        "DECUBITUS",
        "DECUB",
        "DECUBITO",
        "LLD",
        "RLD",
        "LORDOTIC",
        "AXIAL",
    }
    | {"TANGENTIAL", "SWIMMERS", "OBLICUA"}
)
_LATERAL = frozenset({"LATERAL", "LAT", "LL", "RL", "LLAT", "RLAT"})
_FRONTAL = {
    "PA": "PA",
    "POSTERO": "PA",
    "POSTEROANTERIOR": "PA",
    "AP": "AP",
    "ANTERO": "AP",
    "ANTEROPOSTERIOR": "AP",
} | {
    "FRONTAL": "frontal",
    "FRONT": "frontal",
}


@dataclass(frozen=True, slots=True)
class Film:
    """One image file of a study.

    ``name`` is its path as the source spells it, ``path`` where it lies on this machine.
    """

    path: Path
    name: str
    view: str = "unknown"


@dataclass(frozen=True)
class Study:
    """One examination of one patient: 0..n films, 0..1 report (at least one of the two), a label; ``date`` is
    YYYY-MM-DD or empty.

    ``registries`` are the sets within which a patient id is one person, where that is not the source alone.
    """

    study_id: str
    patient_id: str
    films: tuple[Film, ...] = ()
    findings: str = ""
    impression: str = ""
    report: str = ""
    label: str = "unknown"
    finding_labels: tuple[str, ...] = ()
    split: str = "train"
    source: str = ""
    date: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    registries: tuple[str, ...] = field(default=(), compare=False)

    @property
    def text(self) -> str:
        """The report as a person reads it: the source's own, else findings and impression, verbatim."""
        return self.report or " ".join(part for part in (self.findings, self.impression) if part)

    @cached_property
    def tower_text(self) -> str:
        """The report as a text tower reads it: without de-identification marks, white space collapsed."""
        return tower_text(self.text)

    @cached_property
    def report_id(self) -> str | None:
        """The distinct report this study's text belongs to; None without text.

        16 hex digits of SHA-256 of the folded text.
        """
        key = folded(self.text)
        return hashlib.sha256(key.encode()).hexdigest()[:16] if key else None


@dataclass(frozen=True)
class DistinctReport:
    """All studies whose folded text is the same: one entry of an index."""

    report_id: str
    studies: tuple[Study, ...]

    @property
    def first(self) -> Study:
        """The study whose wording stands for all (the smallest study id, so that it does not depend on
        the order read).
        """
        return self.studies[0]

    @cached_property
    def counts(self) -> dict[str, int]:
        return {label: sum(study.label == label for study in self.studies) for label in LABELS}

    @property
    def label(self) -> str:
        return majority(self.counts["normal"], self.counts["abnormal"])


def majority(normal: int, abnormal: int) -> str:
    """The label of a distinct report: its studies vote, unknown ones abstain, a tie is unknown."""
    if normal == abnormal:
        return "unknown"
    return "normal" if normal > abnormal else "abnormal"


def distinct_reports(studies: Iterable[Study]) -> list[DistinctReport]:
    """Collapse twins; entries are ordered by report id, their studies by study id.

    Studies without text are left out.
    """
    groups: dict[str, list[Study]] = defaultdict(list)
    for study in studies:
        if study.report_id:
            groups[study.report_id].append(study)
    return [
        DistinctReport(key, tuple(sorted(groups[key], key=lambda s: s.study_id))) for key in sorted(groups)
    ]


def tower_text(text: str) -> str:
    return " ".join(MARKS.sub(" ", text).split())


def folded(text: str) -> str:
    """Case, punctuation, white space and de-identification marks folded away."""
    return _NOT_WORD.sub(" ", MARKS.sub(" ", text)).strip().lower()


def has_words(text: str) -> bool:
    """Whether anything is left of a text when it is folded: the first word tells, unless it is a mark."""
    first = _WORD.search(text)
    return bool(first and (first[0].strip("X") or folded(text)))


def split_of(patient_id: str) -> str:
    """The split of a patient where the source names none: a fixed hash, so that it is the same on every
    machine, 70/10/20.
    """
    bucket = int(hashlib.sha256(f"mtclip-split:{patient_id}".encode()).hexdigest(), 16) % 100
    return "train" if bucket < 70 else "validation" if bucket < 80 else "test"


def view_of(word: str) -> str:
    """The view a source's word means; a word we do not know is ``other``, an empty one ``unknown``."""
    return named_view(word)[0] or (
        "other" if word.strip(" _-") and word.strip().upper() != "UNKNOWN" else "unknown"
    )


def view_code(view: str) -> int:
    """``LATERAL`` for that view, ``FRONTAL`` for any other."""
    return LATERAL if view == "lateral" else FRONTAL


def named_view(words: str) -> tuple[str, str]:
    """The view (one of ``VIEWS``) that a header's or table's words name, and the word that says so; both
    empty where none is known.
    """
    named = frozenset(re.findall(r"[A-Z]+", words.upper()))
    if slanted := named & _SLANTED:
        return "other", min(slanted)
    if lateral := named & _LATERAL or (named if named == {"L"} else frozenset()):
        return "lateral", min(lateral)
    return next(((view, word) for word, view in _FRONTAL.items() if word in named), ("", ""))


def date_of(word: str) -> str:
    """``2024-03-05``, ``20240305`` or ``2024-03-05 10:12`` as ``2024-03-05``; empty stays empty.

    Errors: ValueError.
    """
    word = word.strip()
    if re.fullmatch(r"\d{8}", word):
        word = f"{word[:4]}-{word[4:6]}-{word[6:]}"
    return date.fromisoformat(re.split(r"[ T]", word)[0]).isoformat() if word else ""
