"""What is said before patients' texts go into a bundle.

Public data sets, and what is drawn, need no warning.
"""

from collections.abc import Iterable

from ..studies import Study

# What a source is called in a bundle begins with one of these: data sets whose reports anybody may read, and
# drawn ones.
PUBLIC = ("phantom:", "openi:", "kaggle-iu:", "r2gen:", "manifest:openi")


def is_public(source: str) -> bool:
    return source.startswith(PUBLIC)


def warning(studies: Iterable[Study], held: Iterable[tuple[str, str, str]] = ()) -> list[str]:
    """One line with counts where studies come from a source not known to be public, else none.

    ``held``: study, patient and source of each report that the bundle has already, which counts too.
    """
    private = [study for study in studies if not is_public(study.source)]
    if not private:
        return []
    before = [(study, patient) for study, patient, source in held if not is_public(source)]
    patients = len({study.patient_id for study in private} | {patient for _, patient in before})
    with_report = {study.study_id for study in private if study.report_id is not None}
    reports = len(with_report | {study for study, _ in before})
    return [
        f"the bundle will hold {reports} reports of {patients} patients, word for word and with their ids: "
        "it is as private as they are"
    ]
