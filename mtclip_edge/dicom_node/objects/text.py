"""The answer as lines of text: Basic Text SR, which viewers show that make nothing of measurements."""

from collections.abc import Iterable

from pydicom.dataset import Dataset

from ...retrieval.results import QueryResult
from .lines import hit_line, summary_lines
from .origin import SCHEME, Origin, code, items, own_scheme, plain

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.88.11"
SERIES_NUMBER = 9003


def text_report(origin: Origin, result: QueryResult, quoted: dict[str, str]) -> Dataset:
    """``quoted`` as of ``measurement_report``."""
    made = origin.begun(SOP_CLASS, "text", "SR", SERIES_NUMBER)
    made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    made.ReferencedPerformedProcedureStepSequence = items([])
    made.PerformedProcedureCodeSequence = items([])
    made.CodingSchemeIdentificationSequence = items([own_scheme()])
    made.CurrentRequestedProcedureEvidenceSequence = items([_evidence(origin)])
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = items([code("SIMILARRPT", SCHEME, "Similar reports of other patients")])
    comment = code("121106", "DCM", "Comment")
    similar = code("SIMILAR", SCHEME, "Similar report of another patient")
    made.ContentSequence = items(
        [
            *(_text(comment, line) for line in summary_lines(result)),
            *(_text(similar, line) for line in _hit_lines(result, quoted)),
        ]
    )
    return made


def _hit_lines(result: QueryResult, quoted: dict[str, str]) -> Iterable[str]:
    for hit in result.reports:
        said = quoted.get(hit.report_id)
        yield hit_line(hit) + (f": {said}" if said else "")


def _text(name: Dataset, words: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence, item.TextValue = items([name]), plain(words, 1000)
    return item


def _evidence(origin: Origin) -> Dataset:
    """The films, by series."""
    by_series: dict[str, list[Dataset]] = {}
    for film, item in zip(origin.films, origin.references(), strict=True):
        by_series.setdefault(film.series, []).append(item)
    study = Dataset()
    study.StudyInstanceUID = origin.first.study
    study.ReferencedSeriesSequence = items(_series(uid, films) for uid, films in by_series.items())
    return study


def _series(uid: str, films: list[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID, item.ReferencedSOPSequence = uid, items(films)
    return item
