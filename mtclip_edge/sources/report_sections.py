"""Finds findings and impression in a free-text radiology report, so that nothing a radiologist wrote of the
film is lost.

A heading is a line that begins with capitals and a colon; ``Findings:`` and the like count in small letters,
misspelt, behind a full stop, and alone on a line. What stands under a heading of its own (``LUNGS:``,
``CHEST, TWO VIEWS:``) belongs to the section it stands in, with its name before it. Of a heading that occurs
twice the last one counts (an addendum corrects what was before); lines are joined, since their breaks are the
typewriter's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

_CAPITALS = re.compile(r"^[ \t]*([A-Z][A-Z0-9 ,/()&'-]{2,60}?)[ \t]*:(?!\d)", re.MULTILINE)
_NAMES = "findings?|impress?ions?|conclusions?"
_SMALL = re.compile(
    rf"(?:^[ \t]*|(?<=[.!?])[ \t]+)((?i:{_NAMES}))[ \t]*:|^[ \t]*((?i:{_NAMES}))[ \t]*$", re.MULTILINE
)
_SMALL_OTHER = re.compile(
    r"^[ \t]*((?i:(?:clinical )?(?:indications?|history|information)|technique|comparisons?|exam(?:ination)?"
    r"|reason for (?:the )?exam(?:ination)?|recommendations?|notification|addendum))[ \t]*:",
    re.MULTILINE,
)
_FINDINGS, _IMPRESSION = ("FINDING", "FINDINGS"), ("IMPRESSION", "IMPRESSIONS", "CONCLUSION", "CONCLUSIONS")
_WHOLE = frozenset({"REPORT", "NARRATIVE"})
_OPINION = frozenset(
    {"SUMMARY", "INTERPRETATION", "OPINION", "RECOMMENDATION", "RECOMMENDATIONS", "ADDENDUM"}
)
# Headings of what is said before and beside the film; with one of the second kind a heading may still name
# the film itself.
_BESIDE = frozenset(
    {
        "INDICATION",
        "INDICATIONS",
        "HISTORY",
        "REASON",
        "CLINICAL",
        "TECHNIQUE",
        "COMPARISON",
        "COMPARISONS",
        "NOTIFICATION",
        "WET",
        "DOSE",
    }
    | {
        "CONTRAST",
        "MEDICATION",
        "MEDICATIONS",
        "PATIENT",
        "ACCESSION",
        "PHYSICIAN",
        "ATTENDING",
        "DICTATED",
        "SIGNED",
        "COMMUNICATION",
    }
    | {"DIAGNOSIS", "READ", "INFORMATION", "REQUISITION"}
)
_OCCASION = frozenset(
    {"EXAM", "EXAMINATION", "EXAMINATIONS", "EXAMS", "STUDY", "PROCEDURE", "DATE", "TIME", "TYPE"}
)
_FILM = frozenset(
    {
        "CHEST",
        "VIEW",
        "VIEWS",
        "RADIOGRAPH",
        "RADIOGRAPHS",
        "PORTABLE",
        "FRONTAL",
        "LATERAL",
        "CXR",
        "FILM",
        "FILMS",
    }
)
_TITLE = re.compile(r"^\W*(?:FINAL|PRELIMINARY|ADDENDUM)?\s*REPORT\W*$", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<=[.!?])\s+")
_TOLD = (
    r"(?:informed|notified|paged|called|telephoned|aware|discussed|communicated|conveyed|relayed|reported)"
)
_NOTIFICATION = re.compile(
    rf"\W*(?:(?:drs?|doctor|nurse|mr|mrs|ms)\b.*\b{_TOLD}\b"
    r"|(?:(?:the|these|this|above|critical|preliminary|important)\s+)*(?:findings?|results?|report|impressions?|recommendations?)"
    rf"\s+(?:was|were|is|are|have been|has been)\s+(?:\w+\s+)?{_TOLD}\b"
    rf"|{_TOLD}\s+(?:with|to|by)\b)",
    re.IGNORECASE | re.DOTALL,
)
_NOTHING = frozenset({"", "none", "n/a"})


@dataclass(frozen=True)
class Sections:
    """``unheaded`` is what stands outside every section where a report has neither findings nor an
    impression.
    """

    findings: str = ""
    impression: str = ""
    unheaded: str = ""


@dataclass(frozen=True)
class _Part:
    """A heading as written, what it is (findings, impression, own, beside), and the text to the next one."""

    name: str
    kind: str
    text: str


def sections_of(text: str) -> Sections:
    """A report of neither heading keeps its paragraphs, without those under ``HISTORY:`` and the like and
    without notifications.
    """
    parts = list(_parts(text.replace("\r\n", "\n")))
    held: dict[str, list[tuple[str, str]]] = {"findings": [], "impression": []}
    into, stray = "findings", list[str]()
    for part in parts:
        if part.kind == "beside":
            stray += _paragraphs(part.text)[
                1:
            ]  # a history is one paragraph; what follows it without a heading is the report
        elif part.kind == "preamble":
            stray += _paragraphs(part.text)
        else:
            into = part.kind if part.kind in held else into
            _add(held[into], part)
    findings, impression = (" ".join(text for _, text in held[name]) for name in ("findings", "impression"))
    left = " ".join(filter(None, map(_without_notifications, stray)))
    if not findings and impression:
        return Sections(left, impression)
    if findings or impression:
        return Sections(findings, impression)
    return Sections(unheaded=left)


def _parts(text: str) -> Iterator[_Part]:
    by_start = {match.start(1) if match[1] else match.start(2): match for match in _SMALL.finditer(text)}
    for pattern in (_SMALL_OTHER, _CAPITALS):
        by_start |= {match.start(1): match for match in pattern.finditer(text)}
    headings = [by_start[start] for start in sorted(by_start)]
    yield _Part("", "preamble", text[: headings[0].start()] if headings else text)
    ends = [match.start() for match in headings[1:]] + [len(text)]
    for match, end in zip(headings, ends, strict=False):
        name = " ".join((match[1] or match[2]).upper().split())
        yield _Part(name, _kind(name), text[match.end() : end])


def _kind(name: str) -> str:
    words = re.findall(r"[A-Z]+", name)
    if any(word in _OPINION or _is_like(word, _IMPRESSION) for word in words):
        return "impression"
    if any(_is_like(word, _FINDINGS) or word in _WHOLE for word in words):
        return "findings"
    beside = not _BESIDE.isdisjoint(words) or (not _OCCASION.isdisjoint(words) and _FILM.isdisjoint(words))
    return "beside" if beside else "own"


def _is_like(word: str, names: tuple[str, ...]) -> bool:
    """Whether a word is one of the names, or one of them misspelt: ``FINDNGS``, ``IMPRESSSION``."""
    return len(word) > 5 and bool(get_close_matches(word, names, 1, 0.85))


def _add(held: list[tuple[str, str]], part: _Part) -> None:
    """A heading that comes again replaces what stood under it; one of its own keeps its name."""
    body = _joined(part.text)
    if body.strip(" .").lower() in _NOTHING:
        return
    held[:] = [(name, text) for name, text in held if name != part.name]
    held.append((part.name, f"{part.name}: {body}" if part.kind == "own" else body))


def _paragraphs(text: str) -> list[str]:
    return [
        joined
        for part in re.split(r"\n[ \t]*\n", text)
        if (joined := _joined(part)) and not _TITLE.match(joined)
    ]


def _without_notifications(text: str) -> str:
    """Sentences that tell of the film: who was told of it, and when, is no report."""
    return " ".join(sentence for sentence in _SENTENCE.split(text) if not _NOTIFICATION.match(sentence))


def _joined(text: str) -> str:
    return " ".join(text.split())
