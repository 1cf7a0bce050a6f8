"""A process that holds a bundle's lock until it is told to let go."""

from pathlib import Path

from mtclip_edge.bundle.generations import locked


def hold(path: Path, ready, release) -> None:
    with locked(path):
        ready.set()
        release.wait(60)
