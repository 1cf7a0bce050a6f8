"""Writing: reports go into a bundle and out of it, each change a new generation.

In: studies. Out: vectors, report store, words and graph that the manifest names. Open ``update`` first, then
``build``.
"""
