"""Places in a report that may name a person or a day: what a person should look at before a set of reports is
shared or carried away.

Patterns, not a model: they find what is written as such things usually are, miss what is not, and take some
harmless numbers for more. An empty list is no proof of anything. The kinds follow HIPAA's list of identifiers
(45 CFR 164.514(b)(2)).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_TITLE = r"(?:Dr|Drs|Mr|Mrs|Ms|Miss|Prof|Professor|Doctor|Herr|Frau|Nurse|Sister)"
_NAME = r"[A-ZÀ-ÖØ-Þ][\w'’-]+"
PATTERNS: dict[str, re.Pattern[str]] = {
    "date": re.compile(
        rf"\b(?:\d{{1,2}}[/.-]\d{{1,2}}[/.-](?:\d{{4}}|\d{{2}})|\d{{4}}[/.-]\d{{1,2}}[/.-]\d{{1,2}}"
        rf"|{_MONTH}\.?\s+\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s+\d{{4}})?|\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}\.?(?:,?\s+\d{{4}})?)\b",
        re.IGNORECASE,
    ),
    "phone": re.compile(
        r"(?<![\w.])(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\)\s?|\d{3}[ .-])\d{3}[ .-]\d{4}(?!\w)|(?<!\w)\+\d{2}[ "
        r".-]?\d[\d .-]{7,13}\d"
    ),
    "record number": re.compile(
        r"\b(?:MRN|medical record|record (?:no|number|#)|accession|patient id|case no|SSN|ID)\b"
        r"\.?\s*(?:no\.?|number|#|:)*\s*[A-Z]{0,3}\d[\dA-Z-]{3,}"
        r"|\b\d{3}-\d{2}-\d{4}\b|(?<![\w./-])\d{7,}\b",  # not the number of a DOI
        re.IGNORECASE,
    ),
    "name after a title": re.compile(
        rf"\b{_TITLE}\.?\s+(?!X{{3,}})(?:[A-Z]\.\s*)?{_NAME}(?:\s+(?!X{{3,}}){_NAME})?"
    ),
    "e-mail": re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b"),
    "age above 89": re.compile(
        r"\b(?:9\d|1[0-2]\d)(?:\s*|-)(?:years?|yrs?|y)(?:(?:\s*|-)old|/?o)\b", re.IGNORECASE
    ),
}


_DIGIT, _WITHOUT_DIGITS = re.compile(r"\d"), ("name after a title", "e-mail")


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One place: the kind, and where in the text it begins and ends, in characters."""

    kind: str
    start: int
    end: int


def suspicions(text: str) -> Iterator[Suspicion]:
    """Every match of every pattern, by kind; most of a report holds no digit, and most patterns need one."""
    digits = _DIGIT.search(text) is not None
    for kind, pattern in PATTERNS.items():
        if not digits and kind not in _WITHOUT_DIGITS:
            continue
        for match in pattern.finditer(text):
            yield Suspicion(kind, match.start(), match.end())
