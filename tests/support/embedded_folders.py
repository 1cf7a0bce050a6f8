"""Folders that ``mtclip embed`` made, compared."""

from pathlib import Path

import numpy as np

from mtclip_edge.indexing.shards import EmbeddedFolder


def assert_same(out: Path, embedded: Path) -> None:
    """Every study and film once, with the vectors that processes of this machine give, and no other file."""
    assert {path.name for path in out.iterdir()} == {path.name for path in embedded.iterdir()}
    (studies, known), (wanted, vectors) = (EmbeddedFolder.open(folder).read for folder in (out, embedded))
    assert studies == wanted and known.problems == vectors.problems
    for found, expected in ((known.texts, vectors.texts), (known.films, vectors.films)):
        assert found.keys() == expected.keys()
        for key, vector in expected.items():
            np.testing.assert_array_equal(found[key], vector)
