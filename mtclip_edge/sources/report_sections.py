"""Sections of a free-text radiology report: findings, impression, and the last paragraph where it has neither heading.

A heading is a line that begins with capitals and a colon. Of a section that occurs twice the last one counts (an addendum corrects
what was before); lines are joined, since their breaks are the typewriter's.
"""

import re
from dataclasses import dataclass

_HEADING = re.compile(r"^[ \t]*([A-Z][A-Z ,/()&-]{2,60}?)[ \t]*:", re.MULTILINE)
_FINDINGS = ("FINDING", "FINDINGS")
_IMPRESSION = ("IMPRESSION", "IMPRESSIONS", "IMPRESSSION", "IMPRESION", "CONCLUSION", "CONCLUSIONS")
_BOTH = ("FINDINGS AND IMPRESSION", "FINDINGS/IMPRESSION", "IMPRESSION AND FINDINGS")


@dataclass(frozen=True)
class Sections:
    findings: str = ""
    impression: str = ""
    last_paragraph: str = ""


def sections_of(text: str) -> Sections:
    """The last of each section that is not empty; ``FINDINGS AND IMPRESSION`` counts as the impression."""
    text = text.replace("\r\n", "\n")
    headings = list(_HEADING.finditer(text))
    found = {"findings": "", "impression": ""}
    for heading, after in zip(headings, [*headings[1:], None], strict=True):
        kind = _kind(heading[1])
        body = _joined(text[heading.end() : after.start() if after else len(text)])
        if kind and body:
            found[kind] = body
    return Sections(**found, last_paragraph=_last_paragraph(text))


def _kind(heading: str) -> str | None:
    name = " ".join(heading.split())
    if name in _IMPRESSION or name in _BOTH:
        return "impression"
    return "findings" if name in _FINDINGS else None


def _last_paragraph(text: str) -> str:
    """The last run of lines without a blank one between, after its own heading if it has one."""
    paragraphs = [part for part in re.split(r"\n[ \t]*\n", text) if part.strip()]
    return _joined(_HEADING.sub("", paragraphs[-1], count=1)) if paragraphs else ""


def _joined(text: str) -> str:
    return " ".join(text.split())
