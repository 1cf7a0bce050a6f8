"""A file becomes grey pixels, and a verdict on whether it is a frontal chest film at all.

In: a path, bytes or an array; DICOM, PNG, JPEG, TIFF, zip, DICOMDIR. Out: a decoded film (height × width,
uint8) with what its header says. Open ``read`` first; ``dicom/`` is private to this room.
"""
