"""English names of findings and their synonyms, and which of them a typed text or a label names.

A synonym is words in their order; one with ``~`` is words near each other in either order ("enlarged heart",
"the heart is mildly enlarged"). Full-text search stems words, so that one number of each is enough.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from .denial import AFFIRMED, DENIED, passages

_SYNONYMS = {
    "pericardial effusion": ("pericardial effusion", "pericardial fluid"),
    "subcutaneous emphysema": ("subcutaneous emphysema", "subcutaneous air", "subcutaneous gas"),
    "effusion": (
        "pleural effusion",
        "effusion",
        "effusions",
        "pleural fluid",
        "hydrothorax",
        "hydropneumothorax",
    ),
    "pneumothorax": ("pneumothorax", "pneumothoraces", "hydropneumothorax"),
    "consolidation": (
        "consolidation",
        "consolidations",
        "consolidated",
        "airspace disease",
        "air space disease",
    ),
    "pneumonia": ("pneumonia", "pneumonias", "bronchopneumonia", "infectious process", "infection"),
    "infiltrate": ("infiltrate", "infiltrates", "infiltration"),
    "opacity": ("opacity", "opacities", "opacification", "opacified"),
    "edema": ("edema", "oedema"),
    "congestion": ("congestion", "congested", "vascular engorgement", "cephalization"),
    "heart failure": ("heart failure", "cardiac failure", "chf", "decompensation"),
    "cardiomegaly": (
        "cardiomegaly",
        "heart~enlarged",
        "heart~enlargement",
        "cardiac~enlarged",
        "cardiac~enlargement",
        "cardiomediastinal~enlarged",
    ),
    "atelectasis": ("atelectasis", "atelectases", "atelectatic"),
    "nodule": ("nodule", "nodules", "nodular"),
    "mass": ("mass", "masses", "tumor", "tumour", "neoplasm", "malignancy"),
    "metastasis": ("metastasis", "metastases", "metastatic"),
    "lesion": ("lesion", "lesions"),
    "fracture": ("fracture", "fractures", "fractured"),
    "hyperinflation": (
        "hyperinflation",
        "hyperinflated",
        "hyperexpansion",
        "hyperexpanded",
        "hyperaerated",
        "hyperdistention",
        "overinflation",
    ),
    "emphysema": ("emphysema", "emphysematous", "bullae", "bullous"),
    "copd": ("copd", "chronic obstructive"),
    "hypoinflation": ("hypoinflation", "hypoinflated", "low lung volumes", "hypoventilation", "hypoaeration"),
    "scarring": ("scarring", "scar", "scars", "cicatrix"),
    "fibrosis": ("fibrosis", "fibrotic"),
    "interstitial lung disease": ("interstitial lung disease", "interstitial disease"),
    "granuloma": ("granuloma", "granulomas", "granulomatous", "granulomata"),
    "calcification": ("calcification", "calcifications", "calcified", "calcinosis"),
    "cavity": ("cavity", "cavities", "cavitation", "cavitary"),
    "tuberculosis": ("tuberculosis", "tuberculous"),
    "bronchiectasis": ("bronchiectasis", "bronchiectatic"),
    "bronchitis": ("bronchitis", "peribronchial cuffing", "bronchial wall thickening"),
    "adenopathy": ("adenopathy", "lymphadenopathy", "lymph~enlarged"),
    "pleural thickening": ("pleural thickening", "thickened pleura", "pleural~thickening"),
    "hernia": ("hernia", "hernias", "herniation"),
    "scoliosis": (
        "scoliosis",
        "scoliotic",
        "dextroscoliosis",
        "levoscoliosis",
        "dextrocurvature",
        "levocurvature",
    ),
    "kyphosis": ("kyphosis", "kyphotic", "kyphoscoliosis"),
    "degenerative change": (
        "degenerative",
        "spondylosis",
        "osteophyte",
        "osteophytes",
        "arthritic",
        "arthritis",
    ),
    "osteopenia": ("osteopenia", "osteopenic", "osteoporosis", "demineralization", "demineralized"),
    "tortuous aorta": (
        "aorta~tortuous",
        "aorta~tortuosity",
        "aortic~tortuosity",
        "aorta~ectatic",
        "aortic~ectasia",
    ),
    "atherosclerosis": ("atherosclerosis", "atherosclerotic", "aortic~calcification", "aorta~calcified"),
    "aneurysm": ("aneurysm", "aneurysms", "aneurysmal"),
    "pneumomediastinum": ("pneumomediastinum", "mediastinal air"),
    "pneumoperitoneum": ("pneumoperitoneum", "free air", "free intraperitoneal air"),
    "elevated diaphragm": (
        "diaphragm~elevated",
        "hemidiaphragm~elevated",
        "diaphragm~elevation",
        "hemidiaphragm~elevation",
        "diaphragm~eventration",
    ),
    "widened mediastinum": ("mediastinum~widened", "mediastinal~widening", "mediastinum~enlarged"),
    "pacemaker": ("pacemaker", "pacer", "icd", "defibrillator"),
    "embolism": ("embolism", "embolus", "emboli"),
}
_NEAR = 4  # words between two that stand near each other
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
MOST_FINDINGS, MOST_WORDS = 4, 4
# Words that name nothing by themselves.
_IDLE = frozenset(
    """
    a an and any are as at be by chest film films for from has have in is it lung lungs of on or
    patient patients seen show shows shown side study that the there this to was were with within
    acute chronic mild moderate severe small large left right bilateral upper lower lobe lobes base
    apex new old stable suspicious
    """.split()  # noqa: SIM905
)

_DENYING = frozenset(("no", "not", "without", "evidence", "negative", "free"))


@dataclass(frozen=True)
class TypedFinding:
    """What a typed text or a label names: a finding's name, an expression that finds it in FTS5's
    language, and whether the text denies it.
    """

    name: str
    expression: str
    denied: bool = False


def _pattern(synonym: str) -> str:
    if "~" in synonym:
        first, second = map(re.escape, synonym.split("~"))
        between = rf"\W+(?:\w+\W+){{0,{_NEAR}}}?"
        return rf"{first}{between}{second}|{second}{between}{first}"
    return r"\s+".join(map(re.escape, synonym.split()))


def _expression(name: str) -> str:
    """A finding in FTS5's query language."""
    words = _any_of(_SYNONYMS[name])
    if name not in _APART:
        return words
    other, sure = _APART[name]
    return f"(({words}) NOT {other}) OR {_any_of(tuple(sure.split(', ')))}"


def _any_of(synonyms: tuple[str, ...]) -> str:
    return " OR ".join(
        f"NEAR({synonym.replace('~', ' ')}, {_NEAR})" if "~" in synonym else f'"{synonym}"'
        for synonym in synonyms
    )


# A word before a synonym that makes it another finding.
_OTHER_AFTER = {"effusion": r"(?<!pericardial )", "emphysema": r"(?<!subcutaneous )"}
# Full-text search cannot look back: a report that has that other finding counts by these words alone.
_APART = {
    "effusion": (
        '"pericardial effusion"',
        "pleural effusion, left effusion, right effusion, bilateral effusions, small effusion, pleural fluid",
    ),
    "emphysema": ('"subcutaneous emphysema"', "emphysematous, bullous, bullae, pulmonary emphysema"),
}


@cache
def pattern_of(name: str) -> "re.Pattern[str]":
    """What finds a finding of the list in a report, by any of its synonyms."""
    words = "|".join(map(_pattern, _SYNONYMS[name]))
    return re.compile(rf"\b{_OTHER_AFTER.get(name, '')}(?:{words})\b", re.IGNORECASE)


def listed(text: str) -> list[tuple[int, str]]:
    """Place and name of each finding of the list that a text names, in their order, each once."""
    places = ((match.start(), name) for name in _SYNONYMS if (match := pattern_of(name).search(text)))
    return sorted(places)


def findings_named(text: str) -> tuple[TypedFinding, ...]:
    """The findings that a text names, in their order, each once; without any, its few words as they stand.

    Nothing for a text of more than four findings, or of more than four words that are no finding's: such a
    text is a description, not a name.
    """
    denied = [(part.start, part.end) for part in passages(text) if part.stance == DENIED]
    named: dict[str, TypedFinding] = {}
    for place, name in listed(text):
        is_denied = any(start <= place < end for start, end in denied)
        named[name] = TypedFinding(name, _expression(name), is_denied)
    if named:
        return tuple(named.values()) if len(named) <= MOST_FINDINGS else ()
    words = _telling_words(text, bool(denied))
    if not 0 < len(words) <= MOST_WORDS:
        return ()
    return (TypedFinding(" ".join(words), " AND ".join(f'"{word}"' for word in words), bool(denied)),)


def any_word(text: str) -> str | None:
    """What finds a report by any telling word of a text, in FTS5's language; None without one."""
    words = dict.fromkeys(_telling_words(text, True))
    return " OR ".join(f'"{word}"' for word in words) or None


def _telling_words(text: str, denied: bool) -> list[str]:
    """The words of a text that name something, of a denial without its own."""
    words = [word.lower() for word in _WORD.findall(text)]
    return [word for word in words if word not in _IDLE and not (denied and word in _DENYING)]


def denies(text: str, label: str) -> bool:
    """Whether a report names a label's finding only to deny it. An organ, or a word that no list holds,
    is never denied.
    """
    names = _names_of(label)
    if not names:
        return False
    stances = {
        part.stance
        for part in passages(text)
        if any(pattern_of(name).search(text, part.start, part.end) for name in names)
    }
    return stances == {DENIED}


@lru_cache(4096)
def _names_of(label: str) -> tuple[str, ...]:
    return tuple(name for _, name in listed(label))


def read_findings(text: str) -> tuple[bool, bool]:
    """Whether a report names any finding of the list, and whether it affirms one."""
    stances = {part.stance for part in passages(text) if _any_finding().search(text, part.start, part.end)}
    return bool(stances), AFFIRMED in stances


@cache
def _any_finding() -> "re.Pattern[str]":
    words = "|".join(_pattern(synonym) for synonyms in _SYNONYMS.values() for synonym in synonyms)
    return re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
