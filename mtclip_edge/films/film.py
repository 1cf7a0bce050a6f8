"""What a DICOM header says of a film, apart from its pixels. Who the patient is stays in ``Ids``, which nothing shows unless asked."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ids:
    """Whom and when: never shown, logged or written without ``--show-ids``. Empty where the header is silent."""

    patient_id: str = ""
    patient_name: str = ""
    accession: str = ""
    study_date: str = ""
    study_uid: str = ""


@dataclass(frozen=True)
class Header:
    """Facts as the header spells them, in capitals, empty where it is silent; ``burned_in`` is None where it does not say.

    ``intent`` is FOR PRESENTATION or FOR PROCESSING. ``study`` is an opaque key: equal for films of one study, and tells nothing else.
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    photometric: str = ""
    intent: str = ""
    frames: int = 1
    burned_in: bool | None = None
    transfer_syntax: str = ""
    study: str = ""
    ids: Ids = field(default=Ids(), repr=False)
