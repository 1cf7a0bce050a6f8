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


def warning(studies: Iterable[Study]) -> list[str]:
    """One line with counts where studies come from a source not known to be public, else none."""
    private = [study for study in studies if not is_public(study.source)]
    if not private:
        return []
    patients, reports = (
        len({study.patient_id for study in private}),
        sum(study.report_id is not None for study in private),
    )
    return [
        f"the bundle will hold {reports} reports of {patients} patients, word for word and with their ids: "
        "it is as private as they are"
    ]
