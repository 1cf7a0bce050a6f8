"""Figures with intervals, without torch: retrieval both ways, the abnormal head, verdicts; by patient, beside
chance.

In: embeddings and labels of a split. Out: ``Figure`` rows and one JSON document. Open ``figures`` first.
"""
