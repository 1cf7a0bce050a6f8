"""Pictures: the same data give the same bytes, they stand in a page together, and they show what the data say."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from mtclip_edge.evaluation.metrics import calibration_error
from mtclip_edge.train.evaluation.clusters import silhouette, tsne
from mtclip_edge.train.evaluation.plots import (
    BEST,
    Cloud,
    _bins,
    clusters,
    loss_curves,
    reliability,
    risk_coverage,
)

SVG = "{http://www.w3.org/2000/svg}"


def blobs(random: np.random.Generator, count: int = 30, dim: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Normal and abnormal vectors in two directions far apart, mixed in order."""
    label = random.permutation(np.repeat([0, 1], count))
    vectors = random.normal(0, 0.3, (2 * count, dim))
    vectors[np.arange(2 * count), label] += 5
    return vectors, label


def line(epoch: int, selection: float | None = None, **more: object) -> dict:
    result = {
        "auroc": 0.5 + epoch / 100,
        "precision@10": None,
        "film_to_report": None,
        "report_to_film": None,
    }
    train = {"clip": 0.9 / epoch, "supcon": 0.5 / epoch, "bce": 0.3, "loss": 1.7 / epoch}
    return {"epoch": epoch, "train": train, "validation": result | more, "selection": selection}


def tree(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in tree(svg).iter(f"{SVG}text")]


def ids(svg: str) -> set[str]:
    return {element.attrib["id"] for element in tree(svg).iter() if "id" in element.attrib}


def marks_of(svg: str) -> list[float]:
    """Where the best epoch's line stands in each panel: the x coordinate of its path."""
    groups = [e for e in tree(svg).iter(f"{SVG}g") if BEST in e.attrib.get("id", "")]
    return [float(path.attrib["d"].split()[1]) for group in groups for path in group.iter(f"{SVG}path")]


@pytest.fixture(scope="module")
def pictures() -> list[str]:
    random = np.random.default_rng(1)
    label = random.integers(-1, 2, 80)
    cloud = Cloud(
        random.normal(size=(80, 2)),
        label,
        np.array(["", "effusion", "nodule", "mass"])[random.integers(0, 4, 80)],
    )
    probability = random.random(80)
    return [
        clusters({"films before": cloud, "films after": cloud}),
        loss_curves([line(1, 0.5), line(2, 0.6)]),
        reliability(label, probability, probability**2),
    ]


def test_two_blobs_stay_apart(random: np.random.Generator) -> None:
    vectors, label = blobs(random)
    places = tsne(vectors)
    assert places.shape == (60, 2) and np.isfinite(places).all()
    own = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(own, np.inf)
    assert (label[own.argmin(axis=1)] == label).all()
    centres = np.array([places[label == code].mean(axis=0) for code in (0, 1)])
    spread = max(places[label == code].std() for code in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


def test_tsne_goes_by_direction_not_by_length_and_gives_the_same_again(random: np.random.Generator) -> None:
    vectors, _ = blobs(random)
    longer = vectors * 2.0 ** random.integers(
        -3, 4, (60, 1)
    )  # powers of two, so that not even rounding differs
    assert np.array_equal(tsne(longer), tsne(vectors))


@pytest.mark.parametrize("count", range(8))
def test_tsne_of_a_few_or_of_equal_vectors(count: int, random: np.random.Generator) -> None:
    for vectors in (
        random.normal(size=(count, 3)),
        random.normal(size=(count, 1)),
        np.ones((count, 4)),
        np.zeros((count, 4)),
    ):
        places = tsne(vectors)
        assert places.shape == (count, 2) and np.isfinite(places).all()
    if count < 5:
        assert not tsne(np.ones((count, 4))).any()


def test_fewer_than_five_vectors_are_put_at_their_principal_coordinates() -> None:
    places = tsne(np.outer([1, -2, 3, -1], [0, 0.6, 0.8]))
    assert np.abs(places[:, 0]) == pytest.approx(1.0) and places[:, 1] == pytest.approx(0.0)
    assert places[0, 0] == pytest.approx(places[2, 0]) and places[0, 0] == pytest.approx(-places[1, 0])


def test_silhouette_is_scikit_learns_of_the_known_labels(random: np.random.Generator) -> None:
    from sklearn.metrics import silhouette_score

    vectors, label = blobs(random)
    mixed = np.where(np.arange(60) % 7 == 0, -1, label)
    expected = silhouette_score(vectors[mixed >= 0], mixed[mixed >= 0], metric="cosine")
    assert silhouette(vectors, mixed) == pytest.approx(expected) and expected > 0.8
    assert silhouette(vectors, random.permutation(label)) < 0.1  # type: ignore[operator]


def test_silhouette_by_hand() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert silhouette(vectors, np.array([0, 0, 1, 1])) == pytest.approx(1.0)
    assert silhouette(vectors, np.array([0, 1, 0, 1])) == pytest.approx(
        -0.5
    )  # its own class is 1 away, the other 0.5 on average


@pytest.mark.parametrize("label", [[1, 1, 1, -1], [-1, -1, -1, -1], [0, 0, 0, 0], [0, 1, -1, -1]])
def test_silhouette_without_both_classes_is_none(label: list[int]) -> None:
    assert silhouette(np.eye(4), np.array(label)) is None


def test_the_same_data_give_the_same_bytes(pictures: list[str], random: np.random.Generator) -> None:
    label, probability = random.integers(-1, 2, 50), random.random(50)
    cloud = Cloud(random.normal(size=(50, 2)), label)
    for draw in (
        lambda: clusters({"a": cloud}),
        lambda: loss_curves([line(1, 0.5), line(2, 0.4)]),
        lambda: reliability(label, probability, None),
    ):
        assert draw() == draw()


def test_a_matplotlibrc_changes_nothing() -> None:
    import matplotlib

    plain = loss_curves([line(1, 0.5)])
    with matplotlib.rc_context(
        {"font.size": 20, "axes.grid": True, "svg.fonttype": "path", "xtick.major.size": 20}
    ):
        assert loss_curves([line(1, 0.5)]) == plain


def test_a_picture_is_one_element_for_a_page(pictures: list[str]) -> None:
    for svg in pictures:
        assert svg.startswith("<svg ") and svg.endswith("</svg>")
        assert tree(svg).tag == f"{SVG}svg"
        assert not re.search(r"<style|<script|<metadata|<!DOCTYPE|<\?xml", svg)
        addresses = set(re.findall(r"https?://[^\"'<\s]+", svg))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_pictures_share_no_id_and_refer_to_their_own(pictures: list[str]) -> None:
    seen: set[str] = set()
    for svg in pictures:
        own = ids(svg)
        assert own and not own & seen
        referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
        assert referred and referred <= own
        every = re.findall(r'\bid="([^"]+)"', svg)
        assert len(every) == len(set(every))
        seen |= own


def test_ink_is_the_pages_and_the_ground_is_clear(pictures: list[str]) -> None:
    for svg in pictures:
        assert "currentColor" in svg and "#010203" not in svg
        assert not re.search(r"fill: #fff|fill: white|#000000", svg)


def test_clusters_name_their_panels_and_count_their_labels() -> None:
    cloud = Cloud(np.zeros((4, 2)), np.array([0, 1, 1, -1]))
    other = Cloud(np.zeros((3, 2)), np.array([0, 1, 1]))
    same = texts(clusters({"films before": cloud, "films after": cloud}))
    assert same == ["films before (4)", "films after (4)", "unknown (1)", "normal (1)", "abnormal (2)"]
    differ = texts(clusters({"films": cloud, "reports": other}))
    assert differ == ["films (4)", "reports (3)", "unknown (1 / 0)", "normal (1)", "abnormal (2)"]


def test_clusters_show_frequent_findings_below_and_grey_the_rest() -> None:
    names = [name for i, name in enumerate("abcdefgh") for _ in range(i + 1)]  # h eight times … a once
    finding = np.array([*names, "", ""])
    label = np.ones(len(finding), int)
    drawn = texts(
        clusters(
            {
                "films": Cloud(np.zeros((len(finding), 2)), label, finding),
                "reports": Cloud(np.zeros((1, 2)), np.array([0])),
            }
        )
    )
    assert drawn.count("films (38)") == 2
    assert [text for text in drawn if text.endswith(" / 0)")] == [
        "abnormal (38 / 0)",
        "other findings (3 / 0)",
        *(f"{name} ({count} / 0)" for name, count in zip("hgfedc", range(8, 2, -1), strict=True)),
    ]
    assert "no finding (2 / 1)" in drawn
    three = (
        np.array(["x", "x", "x"]),
        np.array(["x", "x", "x"]),
        np.array(["y", "y", "y", "y"]),
    )  # films before and after are the same films
    drawn = texts(
        clusters({str(i): Cloud(np.zeros((len(f), 2)), np.ones(len(f), int), f) for i, f in enumerate(three)})
    )
    assert drawn[-2:] == ["y (0 / 0 / 4)", "x (3 / 3 / 0)"]
    one = texts(clusters({"films": Cloud(np.zeros((2, 2)), np.array([0, 1]), np.array(["", ""]))}))
    assert one == ["films (2)", "normal (1)", "abnormal (1)"]


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "$x^2$ & $y$",
        "_hidden",
        "a\x00b\nc",
        "心拡大",
        'id="x" url(#y)',
        "#010203",
    ],
)
def test_a_finding_may_be_called_anything(name: str) -> None:
    svg = clusters({name: Cloud(np.zeros((2, 2)), np.array([0, 1]), np.array([name, ""]))})
    shown = name.replace("\x00", "\\x00").replace("\n", "\\n")
    assert "<script" not in svg
    assert f"{shown} (1)" in texts(svg)
    assert texts(svg).count(f"{shown} (2)") == 2


def test_a_long_name_is_cut() -> None:
    svg = clusters({"x": Cloud(np.zeros((1, 2)), np.array([1]), np.array(["effusion " * 30]))})
    assert any(
        text.startswith("effusion effusion") and "… (1)" in text and len(text) < 50 for text in texts(svg)
    )


def test_points_of_each_label_are_drawn_in_its_colour() -> None:
    import base64
    import io

    from PIL import Image

    def reddest(label: list[int]) -> int:
        svg = clusters({"x": Cloud(np.array([[0.0, 0], [1, 1], [2, 0]]), np.array(label))})
        found = re.search(r"base64,([^\"]+)", svg)
        assert found
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.group(1)))).convert("RGBA")).astype(
            int
        )
        return int(((pixels[..., 0] > pixels[..., 2] + 60) & (pixels[..., 3] > 100)).sum())

    assert reddest([0, 0, -1]) == 0
    assert 0 < reddest([0, 0, 1]) < reddest([0, 1, 1])


def test_a_large_picture_stays_small(random: np.random.Generator) -> None:
    names = np.array(["", *"abcdefghi"])
    cloud = Cloud(
        random.uniform(size=(2600, 2)), random.integers(-1, 2, 2600), names[random.integers(0, 10, 2600)]
    )
    svg = clusters(dict.fromkeys(("films before", "films after", "reports before", "reports after"), cloud))
    assert len(svg) < 300_000


def test_the_best_epoch_is_marked_in_both_panels() -> None:
    scores = [0.3, 0.5, 0.7, 0.7, 0.2, None]
    svg = loss_curves([line(i, score) for i, score in enumerate(scores, 1)])
    assert texts(svg).count("epoch 3, the best") == 2
    marks = marks_of(svg)
    assert len(marks) == 2
    ticks = [float(e.attrib["x"]) for e in tree(svg).iter(f"{SVG}text") if e.text == "3"]
    assert marks == pytest.approx(ticks, abs=0.1)


def test_epochs_show_losses_left_and_figures_right() -> None:
    figures = {"precision@10": {"macro": 0.6}, "film_to_report": {"recall@10": {"value": 0.2}}}
    shown = texts(loss_curves([line(1, 0.5), line(2, 0.6, **figures)]))
    for name in (
        "clip",
        "supcon",
        "bce",
        "all, weighted",
        "AUROC",
        "P@10, macro",
        "Recall@10, film to report",
    ):
        assert name in shown
    assert "Recall@10, report to film" not in shown  # never computed: no line, no entry
    assert "not computed" not in shown


def test_epochs_without_figures_say_so() -> None:
    shown = texts(loss_curves([line(1, None, auroc=None)]))
    assert shown.count("not computed") == 1 and "clip" in shown
    assert not [text for text in shown if "best" in text]
    assert texts(loss_curves([])).count("not computed") == 2


def test_reliability_gives_the_error_before_and_after(random: np.random.Generator) -> None:
    label = random.integers(-1, 2, 200)
    before = random.random(200)
    after = np.clip(before, 0.3, 0.7)
    shown = texts(reliability(label, before, after))
    assert f"before (ECE {calibration_error(label, before):.3f})" in shown
    assert f"after temperature scaling (ECE {calibration_error(label, after):.3f})" in shown
    alone = texts(reliability(label, before, None))
    assert any(text.startswith("before") for text in alone) and not any(
        text.startswith("after") for text in alone
    )


def test_the_bins_of_reliability_are_those_of_the_error(random: np.random.Generator) -> None:
    label, probability = random.integers(0, 2, 300), random.random(300)
    probability[:3] = 0.0, 1.0, 0.1
    mean, share, count = _bins(label, probability)
    assert count.sum() == 300 and len(count) == 10
    assert (np.abs(mean - share) * count[count > 0]).sum() / 300 == pytest.approx(
        calibration_error(label, probability)
    )
    mean, share, count = _bins(np.array([0, 1, 1]), np.array([0.05, 0.95, 1.0]))
    assert count.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert mean.tolist() == pytest.approx([0.05, 0.975]) and share.tolist() == [0.0, 1.0]


def test_risk_and_coverage_are_one_line_for_each_order() -> None:
    curves = {"coverage": [0.5, 1.0], "head": [0.1, 0.3], "trust": [0.05, 0.3]}
    both, alone = (
        texts(risk_coverage(curves, 0.3)),
        texts(risk_coverage({"coverage": [1.0], "head": [0.3]}, 0.3)),
    )
    assert {"by the head alone", "by the bundle's trust"} <= set(both)
    assert "by the head alone" in alone and "by the bundle's trust" not in alone


def test_reliability_without_a_labelled_film_says_so() -> None:
    for svg in (
        reliability(np.full(3, -1), np.full(3, 0.5), None),
        reliability(np.zeros(0, int), np.zeros(0), np.zeros(0)),
    ):
        assert "no film has a label" in texts(svg)


def test_nothing_goes_through_pyplot(pictures: list[str]) -> None:
    import subprocess
    import sys

    code = "import sys, mtclip_edge.train.evaluation.plots as p; p.loss_curves([]); print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    assert subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split() == ["False", "False"]
