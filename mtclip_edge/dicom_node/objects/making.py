"""The result objects of one answer, as the site wants them: bytes of DICOM files, the same whenever made."""

import io
from collections.abc import Iterator, Mapping

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from ...films.library_logs import quiet
from ...retrieval.results import QueryResult
from ..records import Made
from ..settings import SendWhat
from .origin import Origin, plain

LONGEST = 1000  # letters of a report that are repeated


def made_objects(
    how: SendWhat, origin: Origin, result: QueryResult, grey: np.ndarray, previews: Mapping[str, bytes]
) -> Iterator[tuple[Made, bytes]]:
    """Each object with its file. ``grey``: the film, uint8 [height, width]; ``previews``: films of reports
    by report id, empty unless the site wants them.
    """
    quoted = _quoted(how.quote, result)
    with quiet():  # highdicom and pydicom name patients in their warnings
        for kind in how.objects:
            dataset = _made(kind, origin, result, grey, quoted, previews)
            buffer = io.BytesIO()
            dcmwrite(buffer, dataset, enforce_file_format=True)
            yield Made(str(dataset.SOPInstanceUID), kind, str(dataset.SOPClassUID)), buffer.getvalue()


def _made(
    kind: str,
    origin: Origin,
    result: QueryResult,
    grey: np.ndarray,
    quoted: dict[str, str],
    previews: Mapping[str, bytes],
) -> Dataset:
    if kind == "measurements":
        from .measurements import measurement_report

        return measurement_report(origin, result, quoted)
    if kind == "text":
        from .text import text_report

        return text_report(origin, result, quoted)
    from .page import capture, page_picture
    from .pdf import document

    picture = page_picture(result, grey, quoted, previews)
    return capture(origin, picture) if kind == "page" else document(origin, picture)


def _quoted(quote: str, result: QueryResult) -> dict[str, str]:
    """The words of other patients' reports that the site lets be repeated, by report id."""
    if quote == "none":
        return {}
    words = {
        hit.report_id: (hit.impression or "") if quote == "impression" else hit.text for hit in result.reports
    }
    return {name: plain(said, LONGEST) for name, said in words.items() if said.strip()}
