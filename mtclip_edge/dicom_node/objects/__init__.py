"""An answer as DICOM objects of the study that it is about: open ``making`` first.

``origin``: whose study it is · ``page`` a picture for people · ``measurements`` TID 1500 for programs ·
``text`` Basic Text SR · ``pdf`` the page as a document. All are PRELIMINARY and UNVERIFIED, and say that the
reports are of OTHER patients.
"""
