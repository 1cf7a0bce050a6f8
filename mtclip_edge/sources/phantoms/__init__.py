"""Phantoms: synthetic frontal chest films drawn by code, each with findings that are truly drawn and a report
that names them.

``make.make(seed, number)`` is deterministic. Nothing of it comes from a patient; the wording is our own. Open
``make`` first.
"""
