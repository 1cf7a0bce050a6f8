"""One module for each layout on disk.

Each has ``layout(path, …)``, which streams entries for ``sources.entries`` to join.
"""
