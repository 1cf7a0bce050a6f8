"""Phantoms: what the report names is what is drawn, where it says; wordings are varied, and some are kept from training."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtclip_edge.errors import SourceUnusable
from mtclip_edge.sources.phantoms.draw import draw
from mtclip_edge.sources.phantoms.findings import KINDS, SIZES, Finding
from mtclip_edge.sources.phantoms.make import make
from mtclip_edge.sources.phantoms.shapes import Frame
from mtclip_edge.sources.phantoms.wording import _SEEN
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import distinct_reports, split_of

_STARTS = (
    "No ",
    "There is no ",
    "Both pleural spaces are free",
    "Both lungs are well",
    "The lungs are clear",
    "Heart size is normal",
    "Normal heart",
)
DENIALS = re.compile("|".join(f"^{start}" for start in _STARTS))


def contrast(finding: Finding, number: int) -> tuple[float, float]:
    """Mean grey of a finding's box, and of the same box mirrored to the other side."""
    drawn = draw(np.random.default_rng([9, number]), (finding,))
    left, top, right, bottom = drawn.boxes[0]
    height, width = drawn.grey.shape
    rows = slice(int(top * height), int(bottom * height))
    there = drawn.grey[rows, int(left * width) : int(right * width)].mean()
    mirrored = drawn.grey[rows, width - int(right * width) : width - int(left * width)].mean()
    return float(there), float(mirrored)


def test_the_same_seed_and_number_give_the_same_phantom() -> None:
    a, b, c = make(5, 3), make(5, 3), make(6, 3)
    assert a == b and a.report == b.report
    np.testing.assert_array_equal(a.drawn.grey, b.drawn.grey)
    assert c.drawn.grey.shape != a.drawn.grey.shape or (c.drawn.grey != a.drawn.grey).any()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("kind", "zone"),
    [("effusion", ""), ("mass", "upper"), ("consolidation", "middle"), ("consolidation", "upper")],
)
def test_opacities_are_drawn_where_they_are_said_to_be(kind: str, zone: str, side: str) -> None:
    finding = Finding(kind, side, zone, SIZES[kind][-1])
    for number in range(3):
        drawn = draw(np.random.default_rng([9, number]), (finding,))
        left, _, right, _ = drawn.boxes[0]
        assert ((left + right) / 2 > 0.5) == (side == "left")  # the patient's left is the viewer's right
    pairs = [contrast(finding, number) for number in range(5)]
    assert np.mean([there - mirrored for there, mirrored in pairs]) > 12


def test_a_pneumothorax_is_darker_and_at_the_top() -> None:
    pairs = [contrast(Finding("pneumothorax", "left", "", "large"), number) for number in range(5)]
    assert np.mean([there - mirrored for there, mirrored in pairs]) < -1


def test_zones_lie_above_each_other() -> None:
    middles = []
    for zone in ("upper", "middle", "lower"):
        boxes = [
            draw(np.random.default_rng([4, n]), (Finding("nodule", "right", zone, "moderate"),)).boxes[0]
            for n in range(3)
        ]
        middles.append(np.mean([(top + bottom) / 2 for _, top, _, bottom in boxes]))
    assert middles == sorted(middles)


def test_an_enlarged_heart_is_wider() -> None:
    widths = {}
    for size in ("mild", "marked"):
        boxes = [
            draw(np.random.default_rng([4, n]), (Finding("cardiomegaly", "", "", size),)).boxes[0]
            for n in range(3)
        ]
        widths[size] = np.mean([right - left for left, _, right, _ in boxes])
    assert widths["marked"] > widths["mild"] + 0.04


def test_a_frame_and_its_grids_agree() -> None:
    frame = Frame(200, 160, 0.1, 0.95, 0.03, -0.02)
    u, v = frame.grids()
    at = frame.pixels(np.array([[u[40, 70], v[40, 70]]]))[0]
    np.testing.assert_allclose(at, [70, 40], atol=0.01)


def test_the_report_names_exactly_what_is_drawn() -> None:
    for number in range(400):
        phantom = make(1, number)
        drawn = {f.kind for f in phantom.findings}
        sentences = re.split(r"(?<=\.) ", phantom.report.text)
        for kind in KINDS:
            named = [s for s in sentences if kind in s.lower() and not DENIALS.match(s)]
            if kind in drawn:
                assert named, (kind, phantom.report)
            else:
                assert not named, (kind, phantom.report)
            denied = [s for s in sentences if kind in s.lower() and DENIALS.match(s)]
            assert not (denied and kind in drawn), phantom.report
        for finding in phantom.findings:
            about = " ".join(
                s for s in sentences if finding.kind in s.lower() or "hemidiaphragm" in s
            ).lower()
            assert finding.side in about and finding.zone in about
        assert phantom.label == ("abnormal" if drawn else "normal")


def test_no_number_makes_reports_distinct() -> None:
    assert not any(re.search(r"\d", make(2, number).report.text) for number in range(500))


def test_at_least_60_per_cent_of_1000_reports_are_distinct(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {make(0, number).report.text.lower() for number in range(1000)}
    assert 0.60 <= len(texts) / 1000 < 0.99  # and some are twins, as in real archives


def test_some_wordings_are_held_out_from_training() -> None:
    kept = [forms[-1].split("{")[0] for forms in _SEEN.values()]
    kept = [start for start in kept if len(start) > 12]
    seen: dict[str, int] = {"train": 0, "validation": 0, "test": 0}
    for number in range(600):
        phantom = make(3, number)
        seen[split_of(phantom.patient_id)] += any(start in phantom.report.findings for start in kept)
    assert seen["train"] == seen["validation"] == 0
    assert seen["test"] > 5


def test_a_source_of_phantoms(home: Path) -> None:
    reading = open_source("phantom:12@77")
    assert len(reading.studies) == 12
    assert all(s.films[0].path.is_file() and s.films[0].view == "PA" for s in reading.studies)
    assert open_source("phantom:12@77") == reading
    first = make(77, 0)
    assert reading.studies[0].text == first.report.text
    from mtclip_edge.films.read import read_film

    np.testing.assert_array_equal(read_film(reading.studies[0].films[0].path).grey, first.drawn.grey)
    assert distinct_reports(reading.studies)


@pytest.mark.parametrize(
    "spec", ["phantom:", "phantom:0", "phantom:x", "phantom:3@", "phantom:-2", "phantom:3@a"]
)
def test_what_is_not_a_number_of_phantoms(spec: str) -> None:
    with pytest.raises(SourceUnusable):
        open_source(spec)


@pytest.mark.slow
def test_they_are_not_trivial(soak: bool) -> None:
    """A linear probe on 16 x 16 thumbnails stays below 0.75 balanced accuracy."""
    if not soak:
        pytest.skip("1,600 films are drawn: only in make soak")
    from PIL import Image
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score

    phantoms = [make(3, number) for number in range(1600)]
    small = np.stack(
        [
            np.asarray(Image.fromarray(p.drawn.grey).resize((16, 16), Image.Resampling.BOX)).ravel() / 255
            for p in phantoms
        ]
    )
    label = np.array([p.label == "abnormal" for p in phantoms])
    for strength in (0.1, 1, 10, 100):
        probe = LogisticRegression(C=strength, max_iter=3000, class_weight="balanced").fit(
            small[:1200], label[:1200]
        )
        assert balanced_accuracy_score(label[1200:], probe.predict(small[1200:])) < 0.75


def test_a_plain_script_without_a_guard_draws_too(tmp_path: Path) -> None:
    """Other processes would load it again, and so run it again in each."""
    script = tmp_path / "script.py"
    script.write_text(
        "from mtclip_edge import open_source\nfrom mtclip_edge.sources.layouts import phantom\n"
        "phantom._ALONE = 1\nprint(len(open_source('phantom:2@77').studies))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
