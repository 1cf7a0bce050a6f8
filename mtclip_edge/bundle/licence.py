"""Says in a line what the licence of a run's or a bundle's backbone is, and how it restricts use."""

from .records import BackboneRecord


def licence_line(backbone: BackboneRecord) -> str:
    """A backbone's name and the licence that its publisher states."""
    return f"{backbone.name}, licence: {backbone.licence or 'not stated'}"


def terms_of_use(backbone: BackboneRecord) -> list[str]:
    """A line where a licence restricts use: non-commercial, research only, or its publisher's own terms;
    else none.
    """
    if not backbone.restriction:
        return []
    why = "; ".join(part for part in (backbone.licence, backbone.terms) if part)
    return [f"backbone {backbone.name}: {backbone.restriction} ({why})"]
