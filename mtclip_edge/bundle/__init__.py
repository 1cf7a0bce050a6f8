"""One hashed directory, made by ``export`` and read by ``query``: manifest, generations, locks, licence, the
demo bundle.

In: a path. Out: a ``Bundle`` whose files are checked against their hashes before anything parses them. Open
``bundle`` first.
"""
