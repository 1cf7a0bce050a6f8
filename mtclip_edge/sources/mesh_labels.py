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
# First words that name where, not what: alone they are no finding.
_PLACES = frozenset(
    {
        *("lung", "pleura", "sulcus", "costophrenic angle", "diaphragm", "markings", "trachea, carina"),
        *("aorta", "aorta, thoracic", "heart", "heart atria", "heart ventricles", "cardiac shadow"),
        *("mediastinum", "pulmonary artery", "blood vessels", "lymph nodes", "thorax", "abdomen"),
        *("spine", "thoracic vertebrae", "lumbar vertebrae", "cervical vertebrae", "bone and bones"),
        *("ribs", "shoulder", "humerus"),
    }
)
_DEGREES = frozenset({"left", "right", "bilateral", "mild", "moderate", "severe", "multiple"})
# Parts of a place, which say no more of what is wrong than the place does.
_PARTS = frozenset(
    {
        *("lung", "base", "apex", "lingula", "upper lobe", "middle lobe", "lower lobe", "hilum", "sulcus"),
        *("anterior", "posterior", "thorax", "lymph nodes", "blood vessels", "mediastinum", "paratracheal"),
    }
)
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
    """The terms as labels, each once: their first words, and where these name a place alone, what is wrong
    there too (``Lung / hyperdistention``); none for a normal or unindexed study, nor for a place alone.
    """
    names = (_finding(term) for term in terms)
    return tuple(dict.fromkeys(name for name in names if name and name.lower() not in ("normal", *_NO_TERM)))


def is_place(name: str) -> bool:
    """Whether a label names an organ or a shadow without what is wrong with it."""
    return name.strip().lower() in _PLACES


def _finding(term: str) -> str:
    """The label of one term; empty for a place of which nothing is said but the side or how much of it."""
    head, *qualifiers = (_squeezed(part).replace("|", " ") for part in term.split("/"))
    if not is_place(head):
        return head
    said = [word for word in qualifiers if word.lower() not in _DEGREES]
    wrong = [word for word in said if word.lower() not in _PARTS]
    return " / ".join((head, *wrong)) if wrong else ""


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
