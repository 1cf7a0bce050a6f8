"""Films of the test split, for every command."""

from pathlib import Path

import pytest

from mtclip_edge.sources.source import open_source


@pytest.fixture
def films(source: Path) -> list[Path]:
    return [s.films[0].path for s in open_source(str(source)).split("test") if s.films][:3]
