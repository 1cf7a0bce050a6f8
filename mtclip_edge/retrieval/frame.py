"""An answer's hits as a pandas table."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import ExtraMissing
from ..index.hits import Hit, ReportHit

if TYPE_CHECKING:
    from pandas import DataFrame

# ``query`` is the film's name or the text; ``film`` is a film hit's path in its source. What a kind of hit
# does not have is missing there.
COLUMNS = (
    *("query", "verdict", "abnormal", "rank", "kind", "score", "percentile", "report_id", "study_id"),
    *("label", "studies", "findings", "impression", "text", "film"),
)


def frame_of(hits: Iterable[Hit], **of_all: Any) -> "DataFrame":
    """One row a hit with the columns of ``COLUMNS``; of a report ``study_id`` is the first of its studies.
    ``of_all`` are the columns that all hits share.

    Errors: ExtraMissing.
    """
    if find_spec("pandas") is None:
        raise ExtraMissing("to_frame needs pandas, which is not installed", hint="pip install pandas")
    import pandas

    rows = []
    for hit in hits:
        found = hit.to_dict() | of_all
        if isinstance(hit, ReportHit):
            found["study_id"] = hit.study_ids[0] if hit.study_ids else None
        rows.append([found.get(name) for name in COLUMNS])
    return pandas.DataFrame(rows, columns=list(COLUMNS))
