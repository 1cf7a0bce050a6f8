"""``KIND:PATH`` becomes studies: films, report, label, patient.

In: what the user typed (``openi:DIR``, a manifest, a folder). Out: a ``Reading`` of ``Study`` with every row
left out counted. Open ``source`` first; ``layouts/`` has a module for each public data set.
"""
