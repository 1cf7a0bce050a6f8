"""Reads what an English report affirms, what it denies and what it only asks about, clause by clause.

A cue such as "no" or "free of" denies what follows to the end of its clause; one such as "is not seen" or
"has resolved" what stands before it. A clause ends where a new statement begins: at "but", at "there is", at
a comma or "and" before words with a verb of their own. "No change in" and "cannot be excluded" deny nothing.
The rules are ours, after the idea of NegEx (Chapman et al., J Biomed Inform 2001: a cue and its scope); how
well they read real reports stands in docs/results/denial.md. Other languages are not read: ``is_english``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from .denial_cues import (
    ALTERNATIVE,
    CLAUSE_END,
    CUE,
    OWN_VERB,
    SEGMENT_END,
    SENTENCE_END,
    SHARED_VERB,
    STATES,
    STATES_STRONGLY,
    SUBJECT_IS_FINDING,
    events,
)

AFFIRMED, DENIED, ASKED = "affirmed", "denied", "asked"


@dataclass(frozen=True)
class Passage:
    """A part ``text[start:end]`` of a report and what is said of all that it names."""

    start: int
    end: int
    stance: str


@lru_cache(256)  # the labels of a study each ask of the same report
def passages(text: str) -> tuple[Passage, ...]:
    """All of a report in parts, in their order, without gaps; a report without a cue is one affirmed part."""
    parts: list[Passage] = []
    for start, end in _sentences(text):
        for passage in _sentence(text[start:end]):
            first, last, stance = start + passage.start, start + passage.end, passage.stance
            if parts and parts[-1].stance == stance:
                first = parts.pop().start
            parts.append(Passage(first, last, stance))
    return tuple(parts)


# Stands where words were taken out, so that a phrase does not find words that were apart: a letter of the
# private use area, which full-text search takes for a word and nobody types.
_GAP = " \ue000 "


def by_stance(text: str) -> tuple[str, str, str] | None:
    """The words of a report that are affirmed, denied and asked about; None where it is not English."""
    if not is_english(text):
        return None
    parts = passages(text)
    affirmed, denied, asked = (
        _GAP.join(text[part.start : part.end] for part in parts if part.stance == stance)
        for stance in (AFFIRMED, DENIED, ASKED)
    )
    return affirmed, denied, asked


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for end in SENTENCE_END.finditer(text):
        yield start, end.end()
        start = end.end()
    if start < len(text):
        yield start, len(text)


def _sentence(text: str) -> list[Passage]:
    """The passages of one sentence."""
    if not CUE.search(text):
        return [Passage(0, len(text), AFFIRMED)]
    return _covering(text, list(_scopes(text)))


def _scopes(text: str) -> Iterator[Passage]:
    """What is denied or asked about; a later scope may lie in an earlier one, and counts."""
    clause = 0  # where the statement began that a cue behind it denies
    begun: tuple[int, str] | None = None
    for event in events(text):
        kind, start, end = event.lastgroup, event.start(), event.end()
        if kind == "joint":
            if begun is not None and _states_anew(text, end):
                yield Passage(begun[0], start, begun[1])
                begun, clause = None, end
            elif begun is None and OWN_VERB.search(text, clause, start):
                clause = end
            continue
        if begun is not None:
            yield Passage(begun[0], start, begun[1])
        begun = None
        if kind == "breaks":
            clause = end
        elif kind == "post":
            yield Passage(clause, end, DENIED)
        elif kind == "doubt":
            yield Passage(clause, end, ASKED)
        elif kind == "predicate":
            begun = (start if SUBJECT_IS_FINDING.search(text, clause, start) else clause, DENIED)
        elif kind in ("pre", "ask"):
            begun = (start, DENIED if kind == "pre" else ASKED)
    if begun is not None:
        yield Passage(begun[0], len(text), begun[1])


def _states_anew(text: str, at: int) -> bool:
    """Whether what follows a comma or an "and" in a denial is a statement of its own, no further item of its
    list.
    """
    rest = text[at:]
    if STATES_STRONGLY.match(rest):
        return True
    ends = SEGMENT_END.search(rest)
    segment = rest[: ends.start()] if ends else rest
    if OWN_VERB.search(SHARED_VERB.sub("", segment)):
        return True
    clause_ends = CLAUSE_END.search(rest)
    clause = rest[: clause_ends.start()] if clause_ends else rest
    return bool(STATES.match(rest)) and not ALTERNATIVE.search(clause)


def _covering(text: str, scopes: list[Passage]) -> list[Passage]:
    """Scopes made into passages that cover a sentence: of two that overlap the later one counts."""
    bounds = sorted({0, len(text), *(scope.start for scope in scopes), *(scope.end for scope in scopes)})
    parts: list[Passage] = []
    for start, end in pairwise(bounds):
        stance = next((s.stance for s in reversed(scopes) if s.start <= start and end <= s.end), AFFIRMED)
        if parts and parts[-1].stance == stance:
            start = parts.pop().start
        parts.append(Passage(start, end, stance))
    return parts


_OTHER_LETTERS = re.compile(r"[^\W\d_a-zA-Z]")
_LETTERS = re.compile(r"[^\W\d_]")
_ENGLISH_WORDS = re.compile(
    r"\b(?:the|of|is|are|and|with|there|seen|without|evidence|normal|clear|right|left|lungs?|heart|size"
    r"|chest|within|limits"
    r"|has|have|been|this|that|from|for|which|unchanged|stable|mild|small|acute|disease|pleural|lobe|base"
    r"|no|or)\b",
    re.IGNORECASE,
)
_OTHER_WORDS = re.compile(
    r"\b(?:el|la|los|las|del|sin|con|se|en|por|y|una?|der|die|das|und|ohne|mit|kein\w*|nicht|ist|sind"
    r"|eine?|im|bei|keine?r?"
    r"|le|les|des|du|sans|avec|est|sont|et|une|pas|aux?|dans|sem|com|não|nao|da|do|dos|das|il|di|della"
    r"|dei|con|senza|non"
    r"|è|gli|nella|een|van|het|geen|niet|och|utan|ikke|uden|og|bez|nie|jest|brak|oraz)\b",
    re.IGNORECASE,
)


def is_english(text: str) -> bool:
    """Whether a text may be read as English: nothing speaks for another language more than for English.

    A few words that stand in many languages ("cardiomegaly, normal") pass; they deny nothing.
    """
    if not text.isascii() and len(_OTHER_LETTERS.findall(text)) > 0.1 * len(_LETTERS.findall(text)):
        return False
    others = len(_OTHER_WORDS.findall(text))
    return not others or others < len(_ENGLISH_WORDS.findall(text))
