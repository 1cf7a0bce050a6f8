"""PadChest as it is published, Spanish reports and all."""

from pathlib import Path

import layouts
import numpy as np

from mtclip_edge.films.read import read_film
from mtclip_edge.sources.source import open_source


def test_padchest(tmp_path: Path) -> None:
    reading = open_source(str(layouts.padchest(tmp_path / "p")))
    one, two, three, four = reading.studies
    assert [(s.study_id, s.patient_id, s.label, s.date) for s in reading.studies] == [
        ("st1", "pat1", "normal", "2014-09-15"),
        ("st2", "pat1", "abnormal", "2015-02-03"),
        ("st3", "pat2", "unknown", ""),
        ("st4", "pat3", "unknown", "2015-02-03"),
    ]
    assert (two.text, two.finding_labels) == ("derram pleural izquierd .", ("pleural effusion",))
    assert [(f.view, f.name) for f in two.films] == [("AP", "1.zip!b_1.png"), ("lateral", "1.zip!b_2.png")]
    assert three.films[0].view == "other" and not four.films and one.split == two.split
    grey = read_film(one.films[0].path).grey
    assert (grey.min(), grey.max()) == (0, 255) and 100 < np.median(grey) < 155  # scaled, not clipped
    assert read_film(two.films[0].path).grey.shape == (10, 12)
