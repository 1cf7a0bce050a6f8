"""A DICOM file becomes grey pixels: header words, compressed frames, rescale, VOI LUT and window.

Private to ``films``. Open ``reader`` first.
"""
