"""What Open-I's MeSH terms say of a study: its label by one of two rules, and its findings.

``mesh``: exactly ``normal`` is normal, ``No Indexing`` or no term is unknown, everything else is abnormal. So
a healed rib and a pneumothorax are both abnormal.

``acute``: as ``mesh``, but a study whose every term is chronic or benign is unknown: it serves the CLIP loss
and retrieval, and neither the normal/abnormal loss nor SupCon. It is not normal: a report that tells of
scoliosis would be shown as a normal one, and SupCon would pull its film to the clean ones. Whether a term is
chronic was decided by what radiologists conclude where it stands alone: of the 2,737 reports in
``../shared/data``, in each group below most conclude that nothing is acute (docs/guide/data.md has the
shares).
"""

import re
from collections.abc import Iterable, Sequence

_NO_TERM = ("no indexing",)
# Terms that say by their first word alone that nothing is new, in the groups of docs/guide/data.md.
_SKELETON = (
    "Scoliosis",
    "Kyphosis",
    "Spondylosis",
    "Osteophyte",
    "Arthritis",
    "Osteoporosis",
    "Bone Diseases, Metabolic",
    "Hyperostosis, Diffuse Idiopathic Skeletal",
    "Sclerosis",
    "Funnel Chest",
    "Pectus Carinatum",
)
_OLD_INFECTION = (
    "Calcified Granuloma",
    "Granulomatous Disease",
    "Calcinosis",
    "Cicatrix",
)  # a granuloma not called calcified may be a nodule
_VESSELS = ("Atherosclerosis",)
_AFTER_SURGERY = (
    "Surgical Instruments",
    "Sutures",
    "Spinal Fusion",
    "Breast Implants",
    "Mastectomy",
)  # clips and staples, not lines
_VARIANTS = (
    "Hernia, Hiatal",
    "Diaphragmatic Eventration",
    "Epicardial Fat",
    "Adipose Tissue",
    "Nipple Shadow",
    "Colonic Interposition",
)
_AIRWAYS = ("Pulmonary Disease, Chronic Obstructive", "Emphysema", "Pulmonary Emphysema", "Lung, Hyperlucent")
CHRONIC = frozenset(
    term.lower()
    for group in (_SKELETON, _OLD_INFECTION, _VESSELS, _AFTER_SURGERY, _VARIANTS, _AIRWAYS)
    for term in group
)
# Terms that are chronic with one of these words behind them only: an aorta is tortuous for years, an enlarged
# one may dissect.
_BONES = (
    "thoracic vertebrae",
    "lumbar vertebrae",
    "cervical vertebrae",
    "spine",
    "shoulder",
    "bone and bones",
    "ribs",
    "humerus",
)
CHRONIC_WHEN: dict[str, frozenset[str]] = {
    **{bone: frozenset({"degenerative"}) for bone in _BONES},
    "fractures, bone": frozenset({"healed"}),
    "deformity": frozenset({"healed", "chronic", "thoracic vertebrae", "lumbar vertebrae", "spine", "ribs"}),
    "aorta": frozenset({"tortuous"}),
    "aorta, thoracic": frozenset({"tortuous"}),
    "lung": frozenset(
        {"hypoinflation", "hyperdistention"}
    ),  # breath and habitus; of the first 85 % conclude nothing acute
    "diaphragm": frozenset({"elevated"}),
}
# A word behind any term that makes it new.
_NEW = frozenset({"acute", "enlarged", "severe"})


def label_of(terms: Sequence[str], rule: str = "mesh") -> str:
    """``normal``, ``abnormal`` or ``unknown`` by a rule, ``mesh`` or ``acute``."""
    if list(terms) == ["normal"]:
        return "normal"
    if not terms or any(term.lower() in _NO_TERM for term in terms):
        return "unknown"
    return "unknown" if rule == "acute" and all(is_chronic(term) for term in terms) else "abnormal"


def is_chronic(term: str) -> bool:
    """Whether a term such as ``Deformity/ribs/right/healed`` says by itself that nothing is new."""
    head, *qualifiers = (part.strip().lower() for part in term.split("/"))
    if _NEW & set(qualifiers):
        return False
    return head in CHRONIC or bool(CHRONIC_WHEN.get(head, frozenset()) & set(qualifiers))


def terms_of(joined: str) -> list[str]:
    """Terms of a table's field, separated by ``;`` (they hold commas themselves)."""
    return [term for part in joined.split(";") if (term := _squeezed(part))]


def findings_of(terms: Iterable[str]) -> tuple[str, ...]:
    """First words of the terms, each once, as labels; none for a normal or unindexed study."""
    heads = (_squeezed(term.split("/")[0]).replace("|", " ") for term in terms)
    return tuple(dict.fromkeys(head for head in heads if head and head.lower() not in ("normal", *_NO_TERM)))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
