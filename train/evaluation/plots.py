"""Draws the pictures of an evaluation as SVG text for a page: clusters, epochs, reliability.

Drawn with matplotlib, never through pyplot's state. The same data give the same bytes. Ink is
``currentColor`` and the ground is clear, so a picture follows the page into the dark; every id has a prefix
made from the picture's content, so that several pictures share a page.
"""

import base64
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mtclip_edge.display.figure_names import title
from mtclip_edge.errors import printable
from mtclip_edge.evaluation.metrics import calibration_error

FREQUENT = 6  # findings with a colour of their own: more are not told apart
BINS = 10
BEST = "best-epoch"  # in the id of the line that marks it
_LONGEST = 40  # characters of a name in a legend
_COLUMNS = 3  # of a legend below panels
_INK = "#010203"  # stands for currentColor while matplotlib draws: it knows colours only
_GREY = "#8a8f98"
# Okabe & Ito 2008, told apart with any colour vision; the blue is lighter, to be seen in the dark. Shapes
# differ for print without colour.
_BLUE, _VERMILION, _GREEN, _PINK, _ORANGE, _SKY = (
    "#1e88c9",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)
_COLOURS = (_VERMILION, _BLUE, _GREEN, _PINK, _ORANGE, _SKY)
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mtclip",
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a finding may be called "$x$"
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_LOOK: Any = ["default", _STYLE]  # whatever a matplotlibrc says
_VALIDATION = {
    "auroc": ("auroc",),
    "precision@10.macro": ("precision@10", "macro"),
    "recall@10.film_to_report": ("film_to_report", "recall@10", "value"),
    "recall@10.report_to_film": ("report_to_film", "recall@10", "value"),
}
_NOTHING = {"Date": None, "Creator": None, "Format": None, "Type": None}


class Kind(NamedTuple):
    """How points of one kind look, and what the legend calls them."""

    key: Any
    name: str
    colour: str
    marker: str


_LABELS: Sequence[Kind] = (
    Kind(-1, "unknown", _GREY, "."),
    Kind(0, "normal", _BLUE, "o"),
    Kind(1, "abnormal", _VERMILION, "^"),
)


@dataclass(frozen=True)
class Cloud:
    """One panel: where things lie, float [n, 2], their label (0 normal, 1 abnormal, -1 unknown), and a
    finding of each ("" for none).
    """

    points: np.ndarray
    label: np.ndarray
    finding: np.ndarray | None = None


def clusters(clouds: Mapping[str, Cloud]) -> str:
    """A row of panels coloured by label and, if anything has a finding, a second one coloured by the most
    frequent findings.

    A legend stands once below each row. Where panels differ, it gives their counts in the panels' order:
    "normal (502 / 423)".
    """
    rows = [(_LABELS, [cloud.label for cloud in clouds.values()])]
    if any(cloud.finding is not None and (cloud.finding != "").any() for cloud in clouds.values()):
        rows.append(
            _by_finding(
                [np.full(len(c.label), "") if c.finding is None else c.finding for c in clouds.values()]
            )
        )
    with style.context(_LOOK):
        handles = [_handles(kinds, keys) for kinds, keys in rows]
        heights = [
            2.5 + 0.18 * math.ceil(len(legend) / _COLUMNS) for legend in handles
        ]  # inches: a panel and the lines of its legend
        figure = Figure(figsize=(2.4 * max(1, len(clouds)), sum(heights)), layout="constrained")
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights).ravel()
        for part, (kinds, keys), legend in zip(parts, rows, handles, strict=True):
            for place, ((name, cloud), key) in enumerate(zip(clouds.items(), keys, strict=True), 1):
                _scatter(part.add_subplot(1, len(clouds), place), name, cloud.points, key, kinds)
            part.legend(handles=legend, loc="outside lower center", ncols=_COLUMNS)
        return _svg(figure)


def loss_curves(history: Sequence[Mapping[str, Any]]) -> str:
    """The losses of train and the figures of validation over epochs, with a line at the epoch of the best
    selection score.

    ``history`` is the lines of a run's log.jsonl. What was not computed leaves a gap.
    """
    epochs = [line["epoch"] for line in history]
    best = _best_epoch(history)
    losses = {name: "all, weighted" if name == "loss" else name for line in history for name in line["train"]}
    training = {shown: _series(history, "train", name) for name, shown in losses.items()}
    validation = {title(name): _series(history, "validation", *path) for name, path in _VALIDATION.items()}
    with style.context(_LOOK):
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _lines(left, "losses", "train", epochs, training, best)
        _lines(right, "figures", "validation", epochs, validation, best)
        return _svg(figure)


def reliability(label: np.ndarray, before: np.ndarray, after: np.ndarray | None) -> str:
    """Share of abnormal films against mean probability in ten bins of equal width, and below it how many
    films each bin holds.

    ``label`` int [films], unknown ones are left out; ``before`` and ``after`` float [films], probabilities
    before and after temperature scaling. The legend gives the expected calibration error of each.
    """
    labelled = (label == 0) | (label == 1)
    every = [("before", before, _GREY, "s"), ("after temperature scaling", after, _BLUE, "o")]
    drawn = [
        (name, values[labelled], colour, marker)
        for name, values, colour, marker in every
        if values is not None
    ]
    with style.context(_LOOK):
        figure = Figure(figsize=(4.4, 5.2), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        top.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
        for place, (name, values, colour, marker) in enumerate(drawn):
            error = calibration_error(label[labelled], values, BINS)
            shown = name if error is None else f"{name} (ECE {error:.3f})"
            x, y, count = _bins(label[labelled], values)
            top.plot(x, y, color=colour, marker=marker, markersize=4, linewidth=1.2, label=shown)
            width = 0.8 / BINS / len(drawn)
            bottom.bar(
                (np.arange(BINS) + 0.1) / BINS + place * width, count, width, align="edge", color=colour
            )
        top.set(ylabel="share abnormal", ylim=(-0.02, 1.02))
        bottom.set(ylabel="films", xlabel="probability of abnormal", xlim=(0, 1))
        bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        if labelled.any():
            top.legend(loc="upper left")
        else:
            _say(top, "no film has a label")
        return _svg(figure)


def risk_coverage(curves: Mapping[str, Sequence[float]], overall: float) -> str:
    """Share of wrong decisions among the most trusted films against their share of all: a line for each order
    of ``curves``.

    ``curves`` holds ``coverage`` and, by name, the risks there; ``overall`` is the risk of all films, which a
    random order has.
    """
    names = {"head": "by the head alone", "trust": "by the bundle's trust"}
    with style.context(_LOOK):
        figure = Figure(figsize=(4.4, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.axhline(overall, color=_INK, linewidth=0.8, linestyle=":")
        for (name, shown), colour, line in zip(names.items(), (_GREY, _BLUE), ("--", "-"), strict=True):
            if name in curves:
                axes.plot(curves["coverage"], curves[name], color=colour, linestyle=line, label=shown)
        axes.set(
            xlabel="coverage: share of films decided",
            ylabel="share of wrong decisions",
            xlim=(0, 1),
            ylim=(0, None),
        )
        axes.legend(loc="lower right")
        return _svg(figure)


def _by_finding(findings: Sequence[np.ndarray]) -> tuple[Sequence[Kind], list[np.ndarray]]:
    """The most frequent findings with a colour each, and for every panel the place of each point's kind:
    -1 rare, -2 none.
    """
    # A finding counts where it is most frequent: films before and after training are the same films.
    counts: Counter[str] = Counter()
    for finding in findings:
        counts |= Counter(str(name) for name in finding if name)
    common = sorted(counts, key=lambda name: (-counts[name], name))[:FREQUENT]
    place = {name: i for i, name in enumerate(common)}
    kinds = [Kind(-2, "no finding", _GREY, "."), Kind(-1, "other findings", _GREY, "x")]
    kinds += [Kind(i, name, _COLOURS[i], "o^sDvP"[i]) for name, i in place.items()]
    return kinds, [
        np.array([place.get(str(name), -1 if name else -2) for name in finding], int) for finding in findings
    ]


def _scatter(axes: Axes, name: str, points: np.ndarray, key: np.ndarray, kinds: Sequence[Kind]) -> None:
    """The points of each kind, kinds in order, so that the grey ones lie below."""
    size = float(np.clip(5000 / max(1, len(points)), 5, 14))  # square points of 1/72 inch
    for kind in kinds:
        here = points[key == kind.key]
        # As pixels: a point in SVG is some 100 bytes, and a page may have 20,000 of them.
        width = 0.5 if kind.marker == "x" else 0
        axes.scatter(
            here[:, 0],
            here[:, 1],
            s=size,
            c=kind.colour,
            marker=kind.marker,
            alpha=0.8,
            linewidths=width,
            rasterized=True,
        )
    axes.set(xticks=[], yticks=[], title=f"{_name(name)} ({len(points)})")
    for side in axes.spines.values():
        side.set(visible=True, linewidth=0.5)
    axes.set_box_aspect(1)


def _handles(kinds: Sequence[Kind], keys: Sequence[np.ndarray]) -> list[Line2D]:
    """What the legend shows: every kind that any panel has, with its counts."""
    handles = []
    for kind in kinds:
        counts = [int((key == kind.key).sum()) for key in keys]
        if any(counts):
            shown = counts[:1] if len(set(counts)) == 1 else counts
            name = f"{_name(kind.name)} ({' / '.join(map(str, shown))})"
            handles.append(
                Line2D([], [], color=kind.colour, marker=kind.marker, markersize=4, linestyle="", label=name)
            )
    return handles


def _series(history: Sequence[Mapping[str, Any]], *path: str) -> np.ndarray:
    """A value of every line by its path, float [epochs], NaN where a part of it is None or missing."""
    series = np.full(len(history), np.nan)
    for i, line in enumerate(history):
        value: Any = line
        for name in path:
            value = value.get(name) if value is not None else None
        series[i] = np.nan if value is None else value
    return series


def _best_epoch(history: Sequence[Mapping[str, Any]]) -> int | None:
    """The epoch of the highest selection score, the first of equals, as training chooses it."""
    scores = [(line["selection"], line["epoch"]) for line in history if line.get("selection") is not None]
    return max(scores, key=lambda pair: (pair[0], -pair[1]))[1] if scores else None


def _lines(
    axes: Axes,
    what: str,
    part: str,
    epochs: Sequence[int],
    series: Mapping[str, np.ndarray],
    best: int | None,
) -> None:
    drawn = {shown: values for shown, values in series.items() if np.isfinite(values).any()}
    for (shown, values), colour, marker in zip(drawn.items(), _COLOURS, "o^sDvP", strict=False):
        axes.plot(
            epochs, values, color=colour, marker=marker, markersize=2.5, linewidth=1.2, label=_name(shown)
        )
    axes.set(title=f"{what} of {part}", xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=_GREY, alpha=0.25, linewidth=0.5)
    if not drawn:
        _say(axes, "not computed")
        return
    if best is not None:
        axes.axvline(
            best,
            color=_INK,
            linewidth=0.8,
            linestyle="--",
            gid=f"{BEST}-{part}",
            label=f"epoch {best}, the best",
        )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


def _bins(label: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability and share abnormal of the bins that hold any film, and the count of every bin."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    held = count > 0
    mean = np.bincount(place, probability, BINS)[held] / count[held]
    return mean, np.bincount(place, label, BINS)[held] / count[held], count


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center")


def _name(name: str) -> str:
    """A name from data on one line of a picture: XML cannot hold control characters."""
    name = printable(name)
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _svg(figure: Figure) -> str:
    """The figure as one ``svg`` element for a page."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The browser draws the text: what matplotlib's own font lacks does not matter.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(buffer, format="svg", transparent=True, dpi=110, metadata=_NOTHING)
    return _inline(buffer.getvalue())


def _inline(svg: str) -> str:
    """Without prolog and style sheet, which would hold for the whole page; with ids of its own and the
    page's ink.
    """
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = svg.replace("<svg", '<svg style="stroke-linejoin: round; stroke-linecap: butt"', 1)
    svg = re.sub(r'(?<=data:image/png;base64,)[^"]+', lambda data: _few_colours(data.group()), svg)
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    prefix = f"p{sha256(svg.encode()).hexdigest()[:8]}-"
    return re.sub("<[^>]*>", lambda tag: _tag(tag.group(), prefix, referred), svg)


def _tag(tag: str, prefix: str, referred: set[str]) -> str:
    """A tag with the picture's ids and the page's ink.

    Text is left alone: a finding may be called like an attribute or a colour.
    """
    # matplotlib gives an id to everything, and to equal images the same one.
    tag = re.sub(
        r' id="([^"]*)"',
        lambda match: match.group() if match[1] in referred or match[1].startswith(BEST) else "",
        tag,
    )
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", tag).replace(_INK, "currentColor")


def _few_colours(data: str) -> str:
    """A PNG in base64 with a palette of 64 colours, which its points need: eight panels of 2,600 points
    take 200 kB in place of 760.
    """
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    picture.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        buffer, "PNG", optimize=True
    )
    return base64.b64encode(buffer.getvalue()).decode()
