"""What a run and a bundle say of the licence of the backbone they were made from."""

from collections.abc import Mapping
from typing import Any

LICENCE = ("licence", "terms", "restriction")  # the keys of a backbone's record; older ones have the first alone


def licence_line(backbone: Mapping[str, Any]) -> str:
    """A backbone's name and the licence that its publisher states."""
    return f"{backbone['name']}, licence: {backbone['licence'] or 'not stated'}"


def terms_of_use(backbone: Mapping[str, Any]) -> list[str]:
    """A line where a licence restricts use: non-commercial, research only, or its publisher's own terms; else none."""
    if not (restriction := backbone.get("restriction")):
        return []
    why = "; ".join(part for part in (backbone["licence"], backbone.get("terms")) if part)
    return [f"backbone {backbone['name']}: {restriction} ({why})"]
