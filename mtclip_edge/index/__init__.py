"""Reading: which reports and films are nearest to a vector, under a filter, and what they say.

In: a unit vector, ``k``, ``Filters``. Out: rows with scores, and hits read from the report store. Open
``index`` first.
"""
