"""The pointing game on phantoms: does the map of a finding's text peak where that finding was drawn?

    python benchmarks/retrieval/pointing_game.py [--data phantom:2000@41] [--out DIR] [--seeds 3] [--films N
    --occlusion] > table.md

Trains projectors with CLIP loss alone and with all three losses, each with several seeds, and asks the test
split's abnormal films: for each finding with a sentence that names it, and with the train report that the
film finds first. Untrained projectors stand first. A hit: the peak lies in the finding's box, or within 3 %
of the film's side of it. Energy: the share of the map's positive part inside the box. What is finished in
--out is used again.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtclip_edge.evidence.heat_map import Target, place_map
from mtclip_edge.evidence.heat_picture import resized
from mtclip_edge.evidence.place_graph import Places
from mtclip_edge.films.read import read_film
from mtclip_edge.inference.encoders import FilmEncoder
from mtclip_edge.inference.preprocessing import model_input
from mtclip_edge.progress import silent
from mtclip_edge.sources.phantoms.findings import KINDS, Finding
from mtclip_edge.sources.phantoms.make import make
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import Study
from mtclip_edge.train.backbones.backbone import Backbone
from mtclip_edge.train.backbones.split import Split, split
from mtclip_edge.train.projector import SharedSpace
from mtclip_edge.train.run import backbone_of, load_run
from mtclip_edge.train.settings import TrainConfig
from mtclip_edge.train.tower_features import report_features
from mtclip_edge.train.training import train

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

LOSSES: dict[str, dict[str, Any]] = {"CLIP alone": {"bce": 0.0, "supcon": 0.0}, "BCE + SupCon + CLIP": {}}
UNTRAINED = "untrained"
TOLERANCE = 0.03  # of the film's side
GRID = 56  # the map is looked at on as many cells, smoothly in between
WINDOWS = (4, 8)  # an occluded window is the film's side divided by these, moved by half of itself
OCCLUSION_GRID = 28
BATCH = 16
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Case:
    """A film with its findings, and what the tower makes of it: ``rows`` by place, ``occluded`` for each
    window of ``occlusion``.
    """

    findings: tuple[tuple[Finding, Box], ...]
    pixels: np.ndarray
    rows: np.ndarray
    occluded: list[np.ndarray]


class Graph:
    """The small graph, in torch; a film's rows are computed once for all that is asked of it."""

    def __init__(self, halves: Split, space: SharedSpace):
        self._halves, self._space = halves, space
        self._embedded: dict[bytes, np.ndarray] = {}

    @torch.inference_mode()
    def run(self, _: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        (rows,) = feeds.values()
        if (key := rows.tobytes()) not in self._embedded:
            self._embedded = {} if len(self._embedded) > 8 else self._embedded
            self._embedded[key] = self._space.embed_films(self._halves.each(torch.from_numpy(rows))).numpy()
        return [self._embedded[key]]


def map_alone(places: Places, rows: np.ndarray, target: Target) -> np.ndarray:
    """Each place by itself, beside their mean, float32 [rows, columns]: what is left to a tower that does
    not pool by the mean.
    """
    alone = target.of(places.alone(rows))
    return (alone - alone.mean()).reshape(places.grid).astype(np.float32)


class Replayed:
    """A film encoder that runs the tower once for a film: other projectors get the features of the first
    time.
    """

    def __init__(self, tower: torch.nn.Module, space: SharedSpace, kept: list[np.ndarray]):
        self._tower, self._space, self._kept, self._next = tower, space, kept, 0

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> tuple[np.ndarray, None]:
        if self._next == len(self._kept):
            self._kept.append(
                self._tower(torch.from_numpy(pixels).contiguous(memory_format=torch.channels_last)).numpy()
            )
        self._next += 1
        return self._space.embed_films(torch.from_numpy(self._kept[self._next - 1])).numpy(), None


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="phantom:2000@41")
    parser.add_argument("--out", type=Path, default=Path("scratch/pointing"))
    parser.add_argument("--backbone", default="compact")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--films", type=int, default=10_000, help="abnormal test films asked")
    parser.add_argument("--occlusion", action="store_true", help="by occlusion too: 275 passes a film")
    measured(parser, measure, words)


def measure(options: argparse.Namespace) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    print("| losses | map of | hit rate | energy inside | films, findings |\n|---|---|---|---|---|")
    cases: list[Case] = []
    for name in (UNTRAINED, *LOSSES):
        rows: dict[str, list[list[tuple[float, float]]]] = {}
        for seed in range(options.seeds):
            space, backbone, halves, studies = _trained(options, name, seed)
            cases = cases or _cases(
                studies["test"], backbone, halves, options.films
            )  # the tower is frozen: of all projectors the same
            for way, results in play(
                cases, space, backbone, halves, studies["train"], options.occlusion
            ).items():
                rows.setdefault(way, []).append(results)
        for way, seeds in rows.items():
            hits, energies = (
                np.array([np.mean([one[i] for one in results]) for results in seeds]) for i in (0, 1)
            )
            print(
                f"| {name} | {way} | {_spread(hits)} | {_spread(energies)} | {len(cases)}, {len(seeds[0])} |",
                flush=True,
            )


def play(
    cases: Sequence[Case],
    space: SharedSpace,
    backbone: Backbone,
    halves: Split,
    train_studies: Sequence[Study],
    slowly: bool,
) -> dict[str, list[tuple[float, float]]]:
    """Hit and energy of every finding, for each way to make a map; the baselines among them."""
    reports = embedded(list(dict.fromkeys(study.tower_text for study in train_studies)), space, backbone)
    told = {
        sentence(one)
        for case in cases
        for finding, _ in case.findings
        for one in (finding, mirrored(finding))
    }
    sentences = sorted(told | {absent(case) for case in cases})
    named_by = dict(zip(sentences, embedded(sentences, space, backbone), strict=True))
    common = reports.mean(axis=0)
    places = Places.of(Graph(halves, space), halves.record("f"))
    rows: dict[str, list[tuple[float, float]]] = {}

    def add(way: str, values: np.ndarray, box: Box) -> None:
        rows.setdefault(way, []).append((hit(values, box), energy(values, box)))

    for case in cases:
        whole = places.whole(case.rows)
        first = Target(reports[int((reports @ whole).argmax())], common)
        for finding, box in case.findings:
            named = Target(named_by[sentence(finding)], common)
            add("the finding: place left out", place_map(places, case.rows, named), box)
            add("the finding: place alone", map_alone(places, case.rows, named), box)
            add("first hit: place left out", place_map(places, case.rows, first), box)
            add(
                "a finding that is not there: place left out",
                place_map(places, case.rows, Target(named_by[absent(case)], common)),
                box,
            )
            if finding.side:
                other = Target(named_by[sentence(mirrored(finding))], common)
                add("a finding with a side: place left out", place_map(places, case.rows, named), box)
                add("the same on the other side: place left out", place_map(places, case.rows, other), box)
            if slowly:
                encoder = Replayed(backbone.film_tower, space, case.occluded)
                add("the finding: occlusion", occlusion(encoder, case.pixels, named), box)  # type: ignore[arg-type]
            add(
                "no report: length of features",
                np.square(places.each(case.rows)).sum(axis=1).reshape(places.grid),
                box,
            )
            add("no report: centre", _centre(), box)
            rows.setdefault("chance", []).append((area(box, TOLERANCE), area(box, 0)))
    return rows


def occlusion(encoder: FilmEncoder, pixels: np.ndarray, target: Target) -> np.ndarray:
    """The slow reference (Zeiler and Fergus 2014): the film is covered piece by piece with its mean grey;
    float32 [28, 28].
    """
    size = pixels.shape[-1]
    windows = [
        (top, left, size // share)
        for share in WINDOWS
        for top in _starts(size, share)
        for left in _starts(size, share)
    ]
    (with_all,) = target.of(encoder.encode(pixels[None])[0])
    lost = {share: np.zeros((2, size, size)) for share in WINDOWS}  # sums and counts
    for start in range(0, len(windows), BATCH):
        part = windows[start : start + BATCH]
        without = target.of(encoder.encode(_covered(pixels, part))[0])
        for (top, left, side), value in zip(part, without, strict=True):
            lost[size // side][:, top : top + side, left : left + side] += np.array([with_all - value, 1])[
                :, None, None
            ]
    return resized(
        np.mean([sums / counts for sums, counts in lost.values()], axis=0), OCCLUSION_GRID, OCCLUSION_GRID
    )


def _starts(size: int, share: int) -> list[int]:
    """Where windows of a share of the side begin, half of one apart, the last at the edge."""
    return [round(float(start)) for start in np.linspace(0, size - size // share, 2 * share - 1)]


def _covered(pixels: np.ndarray, windows: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """The film once for each window, which is filled with the film's mean."""
    films = np.repeat(pixels[None], len(windows), axis=0)
    mean = pixels.mean(axis=(1, 2))[:, None, None]
    for film, (top, left, side) in zip(films, windows, strict=True):
        film[:, top : top + side, left : left + side] = mean
    return films


def sentence(finding: Finding) -> str:
    """A finding in plain words of our own, none of the reports' forms."""
    zone = f"{finding.zone} zone" if finding.zone else ""
    return (
        " ".join(word for word in (finding.size, finding.side, zone, finding.kind) if word).capitalize() + "."
    )


def absent(case: Case) -> str:
    """A sentence of the first kind of finding that follows the film's own and is not on it."""
    drawn = {finding.kind for finding, _ in case.findings}
    first = KINDS.index(case.findings[0][0].kind)
    other = next(kind for kind in (*KINDS[first:], *KINDS[:first]) if kind not in drawn)
    return f"{other.capitalize()}."


def mirrored(finding: Finding) -> Finding:
    """The same on the other side; itself where it has none."""
    return replace(finding, side={"left": "right", "right": "left", "": ""}[finding.side])


def hit(values: np.ndarray, box: Box) -> float:
    fine = resized(values, GRID, GRID, smooth=True)
    row, column = np.unravel_index(int(fine.argmax()), fine.shape)
    x, y = (column + 0.5) / GRID, (row + 0.5) / GRID
    left, top, right, bottom = box
    return float(left - TOLERANCE <= x <= right + TOLERANCE and top - TOLERANCE <= y <= bottom + TOLERANCE)


def energy(values: np.ndarray, box: Box) -> float:
    fine = np.clip(resized(values, GRID, GRID, smooth=True), 0, None)
    at = (np.arange(GRID) + 0.5) / GRID
    inside = np.outer((at >= box[1]) & (at <= box[3]), (at >= box[0]) & (at <= box[2]))
    return float(fine[inside].sum() / max(float(fine.sum()), 1e-12))


def area(box: Box, tolerance: float) -> float:
    """Share of the film within a box and its tolerance: what a random peak hits."""
    left, top, right, bottom = (
        max(0.0, min(1.0, side)) for side in np.array(box) + tolerance * np.array([-1, -1, 1, 1])
    )
    return (right - left) * (bottom - top)


@torch.inference_mode()
def embedded(texts: Sequence[str], space: SharedSpace, backbone: Backbone) -> np.ndarray:
    """Texts to unit vectors; the tower's part of it is kept in the cache folder."""
    return space.embed_texts(
        torch.from_numpy(report_features(backbone, texts, silent, torch.device("cpu")))
    ).numpy()


def _trained(options: argparse.Namespace, name: str, seed: int) -> tuple[SharedSpace, Backbone, Split, Any]:
    """Projectors of a seed; the untrained ones have the shape of the first that are trained."""
    label = next(iter(LOSSES)) if name == UNTRAINED else name
    folder = options.out / f"{label}, seed {seed}"
    if not (folder / "run.json").is_file():
        config = TrainConfig(backbone=options.backbone, seed=seed, epochs=options.epochs, **LOSSES[label])
        train(config, [options.data], folder, say=_say)
    run = load_run(folder)
    space, backbone = run.space, backbone_of(run)
    if name == UNTRAINED:
        torch.manual_seed(seed)
        space = SharedSpace(run.space.shape, 1.0).eval().requires_grad_(False)
    halves = split(backbone.film_tower, backbone.preprocessing.size)
    assert halves is not None, "this tower has no places"
    reading = open_source(options.data)
    return space, backbone, halves, {part: reading.split(part) for part in ("train", "test")}


@torch.inference_mode()
def _cases(studies: Sequence[Study], backbone: Backbone, halves: Split, most: int) -> list[Case]:
    cases = []
    for study in studies:
        _, seed, number = study.study_id.split("-")
        phantom = make(int(seed), int(number))
        if phantom.findings and len(cases) < most:
            pixels = model_input(read_film(study.films[0].path).grey, backbone.preprocessing)
            features = halves.features(torch.from_numpy(pixels[None]))[0].numpy()
            cases.append(
                Case(tuple(zip(phantom.findings, phantom.drawn.boxes, strict=True)), pixels, features, [])
            )
    _say(f"{len(cases)} abnormal films of the test split's {len(studies)}")
    return cases


def _centre() -> np.ndarray:
    values = np.zeros((7, 7), np.float32)
    values[3, 3] = 1
    return values


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f}" + (
        f" ± {values.std(ddof=1):.3f}" if len(values) > 1 and values.std() > 1e-9 else ""
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
