"""Whether the backbone that is judged saw the films that it is judged on, as far as both can be told."""

from collections import Counter
from collections.abc import Sequence

from ..bundle.exposure import exposure_note, public_set
from ..studies import Study


def exposed(backbone: str, studies: Sequence[Study]) -> dict[str, str] | None:
    """``backbone``, ``verdict`` (seen, unseen, unknown) and ``why``; ``studies`` has one for each film.

    None for a model without a named backbone.
    """
    if not backbone:
        return None
    sets = Counter(public_set((study.source, *study.registries)) for study in studies)
    verdict, why = exposure_note(backbone, sets)
    return {"backbone": backbone, "verdict": verdict, "why": why}
