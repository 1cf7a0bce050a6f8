"""Where a film resembles what was found: the first report of its answer, or a text."""

from typing import TYPE_CHECKING

import numpy as np

from ..errors import NothingToExplain
from ..evidence.heat_map import Explained, Target, place_map
from ..evidence.place_graph import Places
from ..studies import view_code

if TYPE_CHECKING:
    from .opening import Opened
    from .results import QueryResult


def explained(
    opened: "Opened", grey: np.ndarray, answer: "QueryResult | None", text: np.ndarray | None
) -> Explained:
    """A map of a film, uint8 [height, width], taken for the view of its ``answer``, to the answer's first
    report, or to the unit vector of a text, float32 [dim].

    Errors: NothingToExplain, MapMissing.
    """
    view = answer.input.view if answer and answer.input else None
    places = Places.open(opened.bundle, view_code(view or ""))
    target = _first_report(opened, answer) if text is None else Target(text, opened.library.common)
    pixels = opened.films.prepare(grey)
    values = place_map(places, opened.films.features(pixels), target)
    record = opened.bundle.model.explain
    return Explained(target, values, grey, heat=record.heat if record else None)


def _first_report(opened: "Opened", answer: "QueryResult | None") -> Target:
    if answer is None or not answer.reports:
        asked = "this film" if answer is None else answer.value
        raise NothingToExplain(f"{asked}: no report was found, so there is nothing to explain")
    best = answer.reports[0]
    if best.label == "normal":
        raise NothingToExplain(
            f"{answer.value}: the best hit is a normal report: there is no place to point at",
            hint="a map of a text: --text TEXT",
        )
    vector = opened.library.vector(opened.library.rows_of([best.report_id])[best.report_id])
    return Target(vector, opened.library.common, best.report_id, best.rank)
