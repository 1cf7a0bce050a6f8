"""Which public chest film sets a backbone saw in its training, as its publisher tells it.

Figures on films that a backbone has seen are too good. The table goes by a backbone's name; a folder that
somebody named otherwise, or a set that its publisher does not list, is unknown, and said to be.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

SETS = {
    "openi": "Open-I (Indiana University)",
    "mimic-cxr": "MIMIC-CXR",
    "chexpert": "CheXpert, CheXpert Plus",
    "nih": "NIH ChestX-ray14",
    "padchest": "PadChest",
    "phantom": "drawn films",
}
# A source's kind (what stands before the colon in a study's source), or words of a table's column source.
_KINDS = {
    "openi": "openi",
    "kaggle-iu": "openi",
    "mimic-cxr": "mimic-cxr",
    "chexpert-plus": "chexpert",
    "nih": "nih",
    "padchest": "padchest",
    "phantom": "phantom",
}
_WORDS = (
    (r"\bopen-?i\b|indiana university", "openi"),
    (r"\bmimic-?cxr", "mimic-cxr"),
    (r"\bchexpert", "chexpert"),
    (r"chest ?x-?ray-?14|chest ?x-?ray-?8|\bnih\b", "nih"),
    (r"\bpadchest", "padchest"),
)


@dataclass(frozen=True)
class Exposure:
    """``seen``: the sets of SETS that it was trained on; None where nobody says what it was trained on.

    ``trained_on`` is that in words, ``source`` who says so.
    """

    pattern: str  # of a backbone's name, in lower case
    seen: tuple[str, ...] | None
    trained_on: str
    source: str


TABLE = (
    Exposure(
        r"compact",
        (),
        "film tower: ImageNet; text tower: 1 billion pairs of sentences, none of radiology by name",
        "model cards of timm's EfficientNet-Lite0 and of all-MiniLM-L6-v2",
    ),
    Exposure(
        r"biomedclip.*",
        (),
        "PMC-15M: figures and captions of articles; single films of a public set may stand in an article",
        "its model card; arXiv:2303.00915",
    ),
    Exposure(
        r"whyxrayclip",
        ("mimic-cxr",),
        "MIMIC-CXR, from LAION-2B (whatever that holds of the web)",
        "its model card; arXiv:2405.14839",
    ),
    Exposure(
        r"eva-?_?x.*",
        ("chexpert", "mimic-cxr", "nih"),
        "520,000 films of ChestX-ray14, CheXpert and MIMIC-CXR, without reports",
        "EVA-X, arXiv:2405.05237 (its abstract and code; not looked up here again)",
    ),
    Exposure(
        r"pubmed-?clip.*",
        (),
        "ROCO: figures and captions of articles, from OpenAI's CLIP (whatever that holds of the web)",
        "its model card; arXiv:2112.13906",
    ),
    Exposure(
        r"xray(sig)?lip.*|xrayclip.*",
        None,
        "chest films of the CheXagent project; which for these towers, their cards do not say",
        "model cards of StanfordAIMI; arXiv:2401.12208",
    ),
    Exposure(
        r"medsiglip.*",
        None,
        "de-identified medical pictures, chest films among them; its card does not list the sets",
        "its model card",
    ),
    Exposure(
        r"clip-b(16|32)|vit-[bl]-(16|32|14).*|vit_.*_clip_.*|.*siglip.*|.*laion.*|clip",
        None,
        "pictures and captions of the web, not listed by set",
        "CLIP, arXiv:2103.00020; SigLIP, arXiv:2303.15343; LAION-5B, arXiv:2210.08402",
    ),
)
UNKNOWN = Exposure("", None, "not in our table", "nobody's word")


def exposure_of(backbone: str) -> Exposure:
    """What is known of a backbone by its name; ``UNKNOWN`` where the table has none."""
    name = backbone.lower().rpartition("/")[2]
    return next((row for row in TABLE if re.fullmatch(row.pattern, name)), UNKNOWN)


def public_set(words: Iterable[str]) -> str | None:
    """The set of SETS that a study's sources name: by kind (``nih:…``), else by the words of a table's column
    source; None where none is recognised, or several are.
    """
    words = tuple(words)
    kinds = {_KINDS[kind] for word in words if (kind := word.partition(":")[0]) in _KINDS and ":" in word}
    named = kinds or {name for pattern, name in _WORDS for word in words if re.search(pattern, word.lower())}
    return named.pop() if len(named) == 1 else None


def exposure_line(backbone: str) -> str:
    """What ``info`` says of a backbone's exposure, in one line."""
    known = exposure_of(backbone)
    if known is UNKNOWN:
        return "unknown: its name is not in docs/guide/backbones.md"
    seen = ", ".join(SETS[name] for name in known.seen or ())
    told = "unknown" if known.seen is None else seen or "none of the public chest film sets"
    return f"{told} ({known.trained_on}; {known.source})"


def exposure_note(backbone: str, sets: dict[str | None, int]) -> tuple[str, str]:
    """Of a backbone and the sets of some films (None: not recognised, with how many films each): ``seen``,
    ``unseen`` or ``unknown``, and a line that says why.
    """
    known, total = exposure_of(backbone), sum(sets.values())
    shared = {name: count for name, count in sets.items() if known.seen and name in known.seen}
    if shared:
        films = ", ".join(f"{count} of {total} films are of {SETS[str(n)]}" for n, count in shared.items())
        return "seen", f"{backbone} was trained on these: {films}; its figures are too good ({known.source})"
    if set(sets) == {"phantom"}:
        return "unseen", "drawn films, which no published backbone has seen"
    if known.seen is None:
        why = known.trained_on if known is not UNKNOWN else "its name is not in docs/guide/backbones.md"
        return "unknown", f"whether {backbone} has seen these films is unknown: {why}"
    if None in sets:
        return "unknown", (
            f"whether {backbone} has seen these films is unknown: {sets[None]} of the {total} are of a "
            "source that is not recognised as a public set"
        )
    films = ", ".join(SETS[str(name)] for name in sets)
    return "unseen", f"{backbone} was not trained on {films} ({known.source})"
