"""Exchanges left and right in a report: a text that is wrong about its film in nothing but the side.

English words and abbreviations alone. What has no counterpart (lingula, right middle lobe's RML) stays as it
is.
"""

import re

_PAIRS = (
    ("left", "right"),
    ("leftward", "rightward"),
    ("leftwards", "rightwards"),
    ("lt", "rt"),
    ("lul", "rul"),
    ("lll", "rll"),
    ("levoscoliosis", "dextroscoliosis"),
    ("levocurvature", "dextrocurvature"),
    ("levoconvex", "dextroconvex"),
)
_OTHER = {**dict(_PAIRS), **{right: left for left, right in _PAIRS}}
_LEFT = frozenset(left for left, _ in _PAIRS)
# "left-sided" and "right." are found too; "rightly", "cleft" and "bright" are other words.
_WORD = re.compile(rf"\b({'|'.join(sorted(_OTHER, key=len, reverse=True))})\b", re.IGNORECASE)


def exchanged(text: str) -> str:
    """The text with left and right exchanged, in the case of each word: "Left" gives "Right", "RLL" "LLL"."""
    return _WORD.sub(lambda match: _in_case_of(match[0], _OTHER[match[0].lower()]), text)


def sides_named(text: str) -> tuple[int, int]:
    """How often a text names the left and the right."""
    words = [match[0].lower() in _LEFT for match in _WORD.finditer(text)]
    return sum(words), len(words) - sum(words)


def only_side(text: str) -> str:
    """``left`` or ``right`` where a text names that side and never the other, else empty."""
    left, right = sides_named(text)
    return ("left" if left else "right") if bool(left) != bool(right) else ""


def leans(text: str) -> bool:
    """Whether a text names one side more often than the other, so that its exchange says something else.

    "Clear on the left and right" exchanged is the same; "left effusion, right clear" is left alone too, for a
    bag of words cannot tell it from its exchange.
    """
    left, right = sides_named(text)
    return left != right


def _in_case_of(word: str, other: str) -> str:
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
