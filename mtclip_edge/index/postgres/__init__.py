"""Reports in PostgreSQL: the same words, rows and relevances as a bundle's own file has.

SQLite's FTS5 makes the words (``tokens``), PostgreSQL keeps and finds them (``match``, ``bm25``). psycopg is
an optional dependency: only what connects imports it.
"""
