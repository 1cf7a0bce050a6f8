"""Proves the graphs of one export: gate and ladder with the run's held-out cases, calibration inputs and
limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from mtclip_edge.errors import FilmUnreadable, MtclipError, ParityFailed
from mtclip_edge.inference.encoders import PIXELS, TOKEN_IDS, VIEW, FilmEncoder, TextEncoder
from mtclip_edge.inference.preprocessing import Preprocessing, tower_input
from mtclip_edge.inference.tokenizer import Tokenizer
from mtclip_edge.progress import Progress, Say, silent, step
from mtclip_edge.sources.source import Reading
from mtclip_edge.studies import SPLITS, distinct_reports, view_code
from mtclip_edge.train.backbones.backbone import Backbone
from mtclip_edge.train.run import Run
from mtclip_edge.train.views import as_trained

from .graphs.towers import FilmGraph, export_film_tower
from .parity.gate import FilmUnderTest, Gate, TextUnderTest, device_for
from .parity.limits import Row, limits_of
from .quantization.ladder import CPU_DEFAULT, IN_EIGHT_BITS, Material, climb
from .quantization.quantize import Feed, tower_kind
from .quantization.smooth_quant import pairs, smoothed

Item = TypeVar("Item")
TOWER_WORDS = {"image": "film", "text": "text"}
CALIBRATED_ON = 128  # films, and reports, of the train split


class Proof:
    """Proves the graphs of one export.

    ``preprocessing`` and ``tokenizer`` are those that will be published, not the run's own.
    """

    def __init__(
        self,
        run: Run,
        backbone: Backbone,
        dim: int,
        trained_on: Reading | MtclipError,
        preprocessing: Preprocessing,
        tokenizer: Tokenizer,
        budget: Mapping[str, float],
        say: Say,
        progress: Progress = silent,
    ):
        self._progress = progress
        self._run, self._backbone, self._dim, self._budget, self._say = run, backbone, dim, budget, say
        self._preprocessing, self._tokenizer = preprocessing, tokenizer
        of_split = {} if isinstance(trained_on, MtclipError) else {n: trained_on.split(n) for n in SPLITS[:2]}
        self.train = as_trained(run, of_split.get("train", []))
        self.validation = as_trained(run, of_split.get("validation", []))
        self.gate = Gate(run, backbone, dim, self.validation)

    def reference(self, film_graph: Path, text_graph: Path) -> tuple[FilmEncoder, TextEncoder]:
        """The encoders of both fp32 graphs, which passed what can be asked before there is an index.

        Errors: ParityFailed.
        """
        limits = limits_of("fp32", self._budget)
        films = FilmEncoder.load(film_graph, self._preprocessing, device_for("fp32"))
        texts = TextEncoder.load(text_graph, self._tokenizer, device_for("fp32"))
        self.gate.film_row("fp32", self.gate.ask_films(films)).require(limits)
        self.gate.text_row("fp32", self.gate.ask_texts(texts)).require(limits)
        return films, texts

    def climb(
        self, tower: str, wanted: Sequence[str] | None, paths: Mapping[str, Path], reports: np.ndarray
    ) -> list[Row]:
        """The rows of the precisions of a tower that are packed; ``paths`` says where each is made, fp32 lies
        there already.

        Errors: ParityFailed where one that was asked for by name fails.
        """
        rows = []
        kind = tower_kind(paths["fp32"])
        for precision in self._named(kind, wanted) if wanted else self._by_default(kind):
            try:
                with step(self._progress, f"making and proving {TOWER_WORDS[tower]} {precision}"):
                    row = self.rung(tower, precision, paths, reports)
                rows.append(row.require(limits_of(precision, self._budget)))
                self._say(str(row))
            except ParityFailed as failure:
                if wanted or precision == "fp32":
                    raise
                self._say(f"left out: {failure.what}" + (f" ({failure.detail})" if failure.detail else ""))
        return rows

    def rung(self, tower: str, precision: str, paths: Mapping[str, Path], reports: np.ndarray) -> Row:
        """Make one precision of a tower and compare it with torch; the row may fail.

        Errors: ParityFailed where it cannot be made.
        """
        tested = self._under_test(tower, reports)
        if precision == "fp32":
            return tested.compare("fp32", tested.ask(paths["fp32"], "fp32"), None)
        self._need_films(precision)
        material = (
            Material(paths["fp32"], self.text_feeds)
            if tower == "text"
            else Material(paths["fp32"], self.film_feeds, self._smooth)
        )
        limits, told = limits_of(precision, self._budget), (self._say, self._progress)
        return climb(tested, material, precision, paths[precision], limits, *told)

    def _under_test(self, tower: str, reports: np.ndarray) -> FilmUnderTest | TextUnderTest:
        if tower == "text":
            return TextUnderTest(self.gate, self._tokenizer, reports)
        return FilmUnderTest(self.gate, self._preprocessing, reports)

    def _named(self, kind: str, wanted: Sequence[str]) -> Sequence[str]:
        """The precisions that were asked for by name, of those that a tower of a kind can have: word pieces
        alone have no weights but the projector's, which are never quantized.
        """
        floats = [name for name in wanted if name not in IN_EIGHT_BITS]
        if kind != "words" or len(floats) == len(wanted):
            return wanted
        self._say(
            "text: word pieces alone have nothing to quantize; fp32 serves beside the film tower's 8 bits"
        )
        return floats or ["fp32"]

    def _by_default(self, kind: str) -> list[str]:
        if self.gate.real:
            return list(dict.fromkeys(["fp32", CPU_DEFAULT[kind]]))
        self._say(f"fp32 only: {self.gate.film_inputs}, and other precisions are judged on them")
        return ["fp32"]

    def _need_films(self, precision: str) -> None:
        if not self.gate.real:
            raise ParityFailed(
                f"{precision}: its gate needs validation films, and those of the run cannot be read",
                hint="export --precision fp32, or put the run's sources back",
            )

    def film_feeds(self) -> list[Feed]:
        """Films spread over the train split, through the preprocessing that will be published."""
        feeds: list[Feed] = []
        for film in _spread([film for study in self.train for film in study.films]):
            try:
                feed = {PIXELS: tower_input(film.path, self._preprocessing)[None]}
            except FilmUnreadable:
                continue
            views = {VIEW: np.array([view_code(film.view)])} if self._run.space.shape.views else {}
            feeds.append({**feed, **views})
        _need_some(feeds, "film")
        return feeds

    def text_feeds(self) -> list[Feed]:
        """Reports spread over the train split, cut to their median length; shorter ones are left out.

        One length, and no padding, which would widen the ranges.
        """
        rows = [
            self._tokenizer([text])
            for text in _spread([r.first.tower_text for r in distinct_reports(self.train)])
        ]
        _need_some(rows, "report")
        length = int(np.median([row.shape[1] for row in rows]))
        return [{TOKEN_IDS: row[:, :length]} for row in rows if row.shape[1] >= length]

    def _smooth(self, target: Path) -> Path | None:
        """The film tower with its activations evened out, as a graph; None for towers in which that is
        not exact.
        """
        if not pairs(self._backbone.film_tower):
            return None
        pixels = np.concatenate([feed[PIXELS] for feed in self.film_feeds()[:32]])
        tower = smoothed(self._backbone.film_tower, torch.from_numpy(pixels))
        graph = FilmGraph(replace(self._backbone, film_tower=tower), self._run.space, self._dim)
        return export_film_tower(graph, self._preprocessing.size, target)


def _need_some(items: Sequence[object], what: str) -> None:
    if not items:
        raise ParityFailed(f"int8: no {what} of the run's train split can be read to measure ranges on")


def _spread(items: Sequence[Item]) -> list[Item]:
    """At most CALIBRATED_ON of the items, at even distances."""
    return [
        items[i]
        for i in np.unique(np.linspace(0, len(items) - 1, min(CALIBRATED_ON, len(items))).astype(int))
    ]
