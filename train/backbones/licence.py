"""Reads whose terms a backbone comes under, as its publisher states them: the front matter of its model card.

Nothing is guessed.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtclip_edge.errors import printable

# What the cards of models that we name say beyond the licence's name.
TERMS = {
    "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224": (
        "its model card: for research; any deployed use is out of scope"
    ),
    "google/medsiglip-448": "Health AI Developer Foundations terms of use",
}
_KINDS = (
    (r"\bnc\b|non[- ]?commercial", "non-commercial use only"),
    (r"\bresearch\b|\bmsrla\b|out of scope", "research use only"),
    (r"\bterms\b|health-ai-developer|\bgated\b|^other\b", "its publisher's own terms of use"),
)


@dataclass(frozen=True)
class Licence:
    """``name`` as published (``mit``, ``cc-by-nc-4.0``), ``terms`` beyond it; None where nothing is
    stated.
    """

    name: str | None = None
    terms: str | None = None

    @property
    def restriction(self) -> str | None:
        """What the words say in short: non-commercial, research only, or terms of its publisher's own;
        None for none of them.
        """
        words = f"{self.name or ''} {self.terms or ''}".lower().strip()
        return next((short for pattern, short in _KINDS if re.search(pattern, words)), None)

    def to_dict(self) -> dict[str, Any]:
        return {"licence": self.name, "terms": self.terms, "restriction": self.restriction}


def of_card(readme: Path, model_id: str = "", gated: bool = False) -> Licence:
    """The licence that a model card's front matter names. A card that cannot be read states nothing."""
    front_matter = _front_matter(readme)
    name = front_matter.get("license")
    name = ", ".join(map(str, name)) if isinstance(name, list) else name
    if name in (None, "other", "unknown") and (given := front_matter.get("license_name")):
        name = f"other ({given})"
    terms = [
        TERMS.get(model_id),
        front_matter.get("license_link"),
        "gated: its publisher's terms must be accepted" if gated else None,
    ]
    return Licence(_short(name), _short("; ".join(str(term) for term in terms if term)))


def _short(words: Any) -> str | None:
    """Fit for a line of a terminal, whatever a stranger's card holds."""
    return printable(str(words))[:200] if words else None


def _front_matter(readme: Path) -> dict[str, Any]:
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        return (metadata_load(readme) if readme.is_file() else None) or {}
    except (YAMLError, ValueError, OSError):  # ValueError: no mapping, or text that is not UTF-8
        return {}
