"""The answer for programs: a measurement report (TID 1500) as Comprehensive 3D SR (PS3.16 A)."""

from collections.abc import Iterable

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from ...display.answer_words import findings_of, without_options
from ...index.hits import ReportHit
from ...notice import NOTICE, __version__
from ...retrieval.results import QueryResult
from .origin import MANUFACTURER, SCHEME, SERIES, Origin, bundle_number, items, own_scheme, plain, with_meta

SERIES_NUMBER = 9001
_STUDIES = CodedConcept("{studies}", "UCUM", "studies")
_LABELS = {"abnormal": codes.SCT.Abnormal, "normal": codes.SCT.Normal}


def measurement_report(origin: Origin, result: QueryResult, quoted: dict[str, str]) -> Dataset:
    """``quoted``: words of reports by report id, where the site lets them be repeated."""
    maker = _Maker(origin, result)
    groups = [maker.decision(), *(maker.hit(hit, quoted.get(hit.report_id)) for hit in result.reports)]
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=maker.device()),
        procedure_reported=CodedConcept("399208008", "SCT", "Plain chest X-ray"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    made = Comprehensive3DSR(
        evidence=origin.evidence(),
        content=report[0],
        series_instance_uid=origin.uid("measurements", "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=origin.uid("measurements"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=SERIES,
        manufacturer_model_name=MANUFACTURER,
        software_versions=__version__,
        device_serial_number=bundle_number(origin.bundle),
    )
    made.SpecificCharacterSet = "ISO_IR 192"
    made.CodingSchemeIdentificationSequence = items([own_scheme()])
    origin.date_it(made, "Content", "InstanceCreation")
    for contributor in made.get("ContributingEquipmentSequence", []):  # the library's own name, and the clock
        contributor.ContributionDateTime = origin.when.strftime("%Y%m%d%H%M%S")
    return with_meta(made)


class _Maker:
    """The groups of one answer."""

    def __init__(self, origin: Origin, result: QueryResult):
        self._origin, self._result = origin, result
        self._images = [SourceImageForMeasurementGroup(film.sop_class, film.uid) for film in origin.films]
        self._algorithm = AlgorithmIdentification(
            name=MANUFACTURER,
            version=__version__,
            parameters=[f"bundle {origin.bundle}", f"precision {result.bundle.precision.name}"],
        )

    def device(self) -> ObserverContext:
        return ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=self._origin.uid("device"),
                name=MANUFACTURER,
                manufacturer_name=MANUFACTURER,
                model_name=plain(self._result.bundle.backbone, 64),
                serial_number=bundle_number(self._origin.bundle),
            ),
        )

    def decision(self) -> MeasurementsAndQualitativeEvaluations:
        """What the abnormal head and the reports say of the film, and how it was judged."""
        abnormal, read = self._result.abnormal, self._result.input
        measured, evaluated, said = [], [], [NOTICE]
        if abnormal is not None and abnormal.call in _LABELS:
            evaluated.append(QualitativeEvaluation(codes.DCM.Finding, _LABELS[abnormal.call]))
        if abnormal is not None and abnormal.probability is not None:
            name = _own("ABNPROB", "Probability of abnormality")
            measured.append(Measurement(name, abnormal.probability, codes.UCUM.NoUnits))
        evidence = self._result.evidence
        if evidence is not None and (verdict := evidence.judgement.verdict):
            name = _own("VERDICT", "Confidence in the decision")
            evaluated.append(QualitativeEvaluation(name, _own(verdict.upper()[:16], verdict)))
        if read is not None and read.verdict is not None:
            name, value = _own("FILM", "Film accepted"), _own(f"FILM-{read.verdict.upper()}", read.verdict)
            evaluated.append(QualitativeEvaluation(name, value))
            said += [without_options(reason) for reason in read.reasons]
        return self._group("decision", _own("DECISION", "Normal or abnormal"), measured, evaluated, said)

    def hit(self, hit: ReportHit, quoted: str | None) -> MeasurementsAndQualitativeEvaluations:
        """A report: how near, of how many studies, of which label, what it names."""
        measured = [Measurement(_own("STUDIES", "Studies that share the report"), hit.studies, _STUDIES)]
        if hit.score is not None:
            name = _own("COSINE", "Cosine similarity of embeddings")
            measured.append(Measurement(name, hit.score, codes.UCUM.NoUnits))
        if hit.percentile is not None:
            name = _own("PCTL", "Percentile of similarity")
            measured.append(Measurement(name, hit.percentile, codes.UCUM.Percent))
        evaluated = (
            [QualitativeEvaluation(codes.DCM.Finding, _LABELS[hit.label])] if hit.label in _LABELS else []
        )
        named = findings_of(hit)
        said = [f"Names: {', '.join(named)}"] if named else []
        said += [f"Of another patient: {quoted}"] if quoted else []
        identifier = plain(f"similar report {hit.rank}: {hit.report_id}", 64)
        kind = _own("SIMILAR", "Similar report of another patient")
        return self._group(identifier, kind, measured, evaluated, said, f"report {hit.report_id}")

    def _group(
        self,
        identifier: str,
        kind: CodedConcept,
        measured: list[Measurement],
        evaluated: list[QualitativeEvaluation],
        said: Iterable[str],
        key: str = "decision",
    ) -> MeasurementsAndQualitativeEvaluations:
        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(uid=self._origin.uid("track", key), identifier=identifier),
            finding_type=kind,
            algorithm_id=self._algorithm,
            measurements=measured,
            qualitative_evaluations=evaluated,
            source_images=self._images,
        )
        for words in said:
            item = TextContentItem(
                codes.DCM.Comment, plain(words, 1000), relationship_type=RelationshipTypeValues.CONTAINS
            )
            group[0].ContentSequence.append(item)
        return group


def _own(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, SCHEME, meaning)
