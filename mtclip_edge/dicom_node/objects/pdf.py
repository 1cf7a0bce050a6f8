"""The page as a document: Encapsulated PDF, for archives that show no Secondary Capture."""

import io

from PIL import Image
from pydicom.dataset import Dataset

from .origin import SERIES, Origin, items

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
SERIES_NUMBER = 9004


def document(origin: Origin, picture: Image.Image) -> Dataset:
    """A picture of the page as a PDF of one page."""
    when, buffer = origin.when.timetuple(), io.BytesIO()
    picture.save(buffer, "PDF", resolution=150.0, quality=90, title=SERIES, creationDate=when, modDate=when)
    data = buffer.getvalue()
    made = origin.begun(SOP_CLASS, "pdf", "DOC", SERIES_NUMBER)
    made.ConversionType, made.BurnedInAnnotation = "WSD", "YES"
    made.AcquisitionDateTime = ""
    made.DocumentTitle = SERIES
    made.ConceptNameCodeSequence = items([])
    made.SourceInstanceSequence = items(origin.references())
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(data)
    made.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    return made
