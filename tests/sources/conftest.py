"""Open-I's reports as they are published, small."""

from pathlib import Path

import pytest
from layouts import open_i


@pytest.fixture
def openi(tmp_path: Path) -> dict[str, str]:
    """Five reports: two films, none, unindexed, chronic only, and one of marks alone."""
    return {
        "1.xml": open_i(
            1, "Clear lungs.", "Normal.", ["normal"], ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]
        ),
        "2.xml": open_i(2, "", "Old &lt;granuloma&gt;.", ["Calcified Granuloma/lung/right", "Scoliosis"]),
        "3.xml": open_i(3, "Poor film.", "", ["No Indexing"]),
        "10.xml": open_i(
            10,
            "Effusion.",
            "Effusion, right.",
            ["Pleural Effusion/right", "Scoliosis", "Pleural Effusion/left"],
        ),
        "11.xml": open_i(11, "XXXX.", "XXXX XXXX", ["normal"]),
    }
