"""Holds an exported graph to torch: it must find the same on held-out films and reports, through the
runtime's own code.

The reference is the training path (its preprocessing, tower, projector), not the module that was traced: a
projector left out of the traced module, another resize in the encoder or a wrong mean in the bundle all show.
Every rung is compared with torch in fp32, never with another rung.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mtclip_edge.errors import FilmUnreadable
from mtclip_edge.evaluation.bootstrap import Bootstrapped, differences
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import Judged
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.evidence.enough import BATCHES
from mtclip_edge.inference.device import Device, choose
from mtclip_edge.inference.encoders import FILM_EMBEDDING, TEXT_EMBEDDING, FilmEncoder, TextEncoder
from mtclip_edge.inference.precision import GPU_ONLY
from mtclip_edge.inference.preprocessing import Preprocessing, grey_film, model_input
from mtclip_edge.inference.tokenizer import Tokenizer
from mtclip_edge.studies import Study, view_code
from mtclip_edge.train.backbones.backbone import Backbone, text_features
from mtclip_edge.train.projector import prefix
from mtclip_edge.train.run import Run

from .limits import Row

Array = np.ndarray
MOST_FILMS = 256  # memory: films of full size hold 5 MB each
BATCHED = 64  # inputs that are asked in every batch size; all are asked in the largest
FEWEST = max(BATCHES)
LOOKED_AT = 48  # inputs that choose between candidates; the gate itself asks all
TIE = 1e-4  # scores are printed with four decimals
PROBES = (
    "Normal chest.",
    "No acute cardiopulmonary abnormality.",
    "Right pleural effusion with adjacent atelectasis. The heart is enlarged.",
    "There is a nodule in the left upper lobe. CT is recommended.",
    "Lungs are clear. " * 20,
    "Left apical pneumothorax.",
    (
        "Cardiomegaly, pulmonary venous congestion and interstitial edema, increased since the prior "
        "examination."
    ),
)
DRAWN = "drawn pictures: fewer than {} of the run's validation films can be read"


@dataclass(frozen=True)
class Answers:
    """What an encoder gives for the gate's inputs: vectors of all float32 [inputs, dim] from the largest
    batch, and of the first in the smaller batches; logits float32 [inputs] of films.
    """

    vectors: Array
    others: tuple[Array, ...]
    logits: Array | None = None


class Gate:
    """Torch's answers on held-out cases, and the comparison of a graph's with them."""

    def __init__(self, run: Run, backbone: Backbone, dim: int, validation: Sequence[Study]):
        self.run, self.backbone, self.dim = run, backbone, dim
        films, self.cases = _readable(Cases.of(validation), run.preprocessing)
        self.real = len(films) >= FEWEST
        self.films: Sequence[Array] = films if self.real else _drawn()
        of_real = [view_code(film.view) for film in self.cases.films]
        self.views: Sequence[int] = of_real if self.real else [i % 2 for i in range(len(self.films))]
        self.film_inputs = "validation films" if self.real else DRAWN.format(FEWEST)
        self.texts = (*self.cases.texts, *PROBES)

    def ask_films(self, encoder: FilmEncoder, most: int | None = None) -> Answers:
        """All (or the first) films through the runtime's encoder."""
        films, views = self.films[:most], self.views[:most]
        vectors, logits = encoder.encode_films(films, BATCHES[-1], views)
        some = (
            []
            if most
            else [encoder.encode_films(films[:BATCHED], batch, views[:BATCHED])[0] for batch in BATCHES[:-1]]
        )
        return Answers(vectors, tuple(some), logits)

    def ask_texts(self, encoder: TextEncoder, most: int | None = None) -> Answers:
        texts = self.texts[:most]
        some = [] if most else [encoder.encode(texts[:BATCHED], batch) for batch in BATCHES[:-1]]
        return Answers(encoder.encode(texts, BATCHES[-1]), tuple(some))

    def film_row(
        self, precision: str, answers: Answers, reports: Array | None = None, how: str | None = None
    ) -> Row:
        """Compare film answers; ``reports`` float32 [reports, dim] is the index that torch's own queries
        search, too.
        """
        expected, logit = self.film_reference
        row = self._compare("film", precision, self.film_inputs, expected, answers, reports, how)
        assert answers.logits is not None
        row = replace(
            row, max_logit=_worst(logit, answers.logits), decisions=self._decisions(logit, answers.logits)
        )
        if not self.real:
            return row
        figures = self._figures(ModelOutput(answers.vectors, None, self.report_reference))
        return self._judged(row, figures, "film_to_report")

    def text_row(
        self, precision: str, answers: Answers, reports: Array | None = None, how: str | None = None
    ) -> Row:
        row = self._compare(
            "text", precision, "validation reports and probes", self.text_reference, answers, reports, how
        )
        if not self.real:
            return row
        figures = self._figures(
            ModelOutput(self.film_reference[0], None, answers.vectors[: len(self.cases.reports)])
        )
        return replace(self._judged(row, figures, "report_to_film"), precision_at_10=None)

    @cached_property
    def film_reference(self) -> tuple[Array, Array]:
        """Torch's unit vectors float32 [films, dim] and logits float32 [films], by the run's own
        preprocessing.
        """
        space, vectors, logits = self.run.space, [], []
        with torch.inference_mode():
            for start in range(0, len(self.films), 8):
                pixels = np.stack(
                    [model_input(grey, self.run.preprocessing) for grey in self.films[start : start + 8]]
                )
                pixels_last = torch.from_numpy(pixels).contiguous(
                    memory_format=torch.channels_last
                )  # half the time for a CNN
                view = torch.tensor(self.views[start : start + 8])
                embedding = space.embed_films(self.backbone.film_tower(pixels_last), view)
                vectors.append(prefix(embedding, self.dim).numpy())
                logits.append(space.abnormal_logit(embedding).numpy())
        return np.concatenate(vectors), np.concatenate(logits)

    @cached_property
    def text_reference(self) -> Array:
        """Torch's unit vectors of all texts, float32 [texts, dim]."""
        with torch.inference_mode():
            features = text_features(self.backbone.text_tower, self.backbone.tokenizer, list(self.texts))
            return prefix(self.run.space.embed_texts(features), self.dim).numpy()

    @property
    def report_reference(self) -> Array:
        return self.text_reference[: len(self.cases.reports)]

    @cached_property
    def _reference_figures(self) -> list[Bootstrapped]:
        return self._figures(ModelOutput(self.film_reference[0], None, self.report_reference))

    @property
    def blind(self) -> bool:
        """Whether torch itself finds no more than chance, so that retrieval figures say little about the
        graph.
        """
        recalls = [d.figure for d in self._reference_figures if d.figure.name.startswith("recall@10")]
        return all(f.low is None or f.chance is None or f.low <= f.chance for f in recalls)

    def _figures(self, embedded: ModelOutput) -> list[Bootstrapped]:
        judged = Judged(self.cases, embedded)
        wanted = ("precision@10.macro", "recall@10.film_to_report", "recall@10.report_to_film")
        return judged.drawn(
            [m for m in (*judged.precisions((10,)), *judged.recalls("all")) if m.figure.name in wanted]
        )

    def _judged(self, row: Row, figures: Sequence[Bootstrapped], direction: str) -> Row:
        lost = {figure.name: figure for figure in differences(self._reference_figures, figures)}
        precision, recall = lost.get("precision@10.macro"), lost.get(f"recall@10.{direction}")
        note = (
            "torch itself finds no more than chance here: P@10 and Recall@10 mean nothing and are not judged"
            if self.blind
            else None
        )
        return replace(
            row,
            precision_at_10=precision.value if precision else None,
            recall_at_10=recall.value if recall else None,
            recall_interval=(recall.low, recall.high)
            if recall and recall.low is not None and recall.high is not None
            else None,
            note=note,
        )

    def _decisions(self, expected: Array, actual: Array) -> float:
        calibration = self.run.record.calibration
        threshold = calibration.threshold if calibration else 0.0
        return float(((expected >= threshold) == (actual >= threshold)).mean())

    def _compare(
        self,
        tower: str,
        precision: str,
        inputs: str,
        expected: Array,
        answers: Answers,
        reports: Array | None,
        how: str | None,
    ) -> Row:
        every = [answers.vectors, *answers.others]
        cosines = [_cosine(expected[: len(vectors)], vectors) for vectors in every]
        searched = self.text_reference if reports is None else reports
        same = [
            float((_common(answers.vectors[: len(vectors)], vectors, searched) == 1).mean())
            for vectors in answers.others
        ]
        return Row(
            tower=tower,
            precision=precision,
            inputs=inputs,
            count=len(expected),
            max_abs=max(_worst(expected[: len(vectors)], vectors) for vectors in every),
            min_cosine=float(min(cosine.min() for cosine in cosines)),
            cosine=float(min(np.percentile(cosine, 1) for cosine in cosines)),
            batch=min(same, default=1.0),
            overlap=None if reports is None else overlap_at_10(expected, answers.vectors, reports),
            how=how,
        )


@dataclass(frozen=True)
class FilmUnderTest:
    """Graphs of the film tower against torch.

    ``preprocessing`` is that of the bundle, ``reports`` float32 [reports, dim] its index.
    """

    gate: Gate
    preprocessing: Preprocessing
    reports: Array
    output = FILM_EMBEDDING

    def ask(self, graph: Path, precision: str, most: int | None = None) -> Answers:
        """A graph's answers to all (or the first) of the gate's films."""
        encoder = FilmEncoder.load(graph, self.preprocessing, device_for(precision), precision)
        return self.gate.ask_films(encoder, most)

    def compare(self, precision: str, answers: Answers, how: str | None) -> Row:
        """The row of the gate's table; ``how`` says how the graph was made."""
        return self.gate.film_row(precision, answers, self.reports, how or judged_on(precision))

    def look(self, graph: Path, precision: str) -> tuple[float, float]:
        """Cosine of the worst 1 % and top-10 overlap over the first films only, to choose by."""
        return _looked(
            self.gate.film_reference[0], self.ask(graph, precision, LOOKED_AT).vectors, self.reports
        )


@dataclass(frozen=True)
class TextUnderTest:
    """Graphs of the text tower against torch.

    ``tokenizer`` is that of the bundle, ``reports`` float32 [reports, dim] its index.
    """

    gate: Gate
    tokenizer: Tokenizer
    reports: Array
    output = TEXT_EMBEDDING

    def ask(self, graph: Path, precision: str, most: int | None = None) -> Answers:
        """A graph's answers to all (or the first) of the gate's texts."""
        return self.gate.ask_texts(
            TextEncoder.load(graph, self.tokenizer, device_for(precision), precision), most
        )

    def compare(self, precision: str, answers: Answers, how: str | None) -> Row:
        """The row of the gate's table; ``how`` says how the graph was made."""
        return self.gate.text_row(precision, answers, self.reports, how or judged_on(precision))

    def look(self, graph: Path, precision: str) -> tuple[float, float]:
        """Cosine of the worst 1 % and top-10 overlap over the first texts only, to choose by."""
        return _looked(self.gate.text_reference, self.ask(graph, precision, LOOKED_AT).vectors, self.reports)


def device_for(precision: str) -> Device:
    """A precision for GPUs is judged on one where there is one."""
    return choose("auto" if precision in GPU_ONLY else "cpu")


def judged_on(precision: str) -> str | None:
    """Where a precision that is not for the CPU was judged."""
    return f"judged on the {choose('auto').used.upper()}" if precision in GPU_ONLY else None


def _looked(expected: Array, vectors: Array, reports: Array) -> tuple[float, float]:
    expected = expected[: len(vectors)]
    return worst_cosine(expected, vectors), overlap_at_10(expected, vectors, reports)


def overlap_at_10(expected: Array, actual: Array, reports: Array) -> float:
    """Mean share of the ten of ``reports`` [n, dim] that ``actual`` gets which ``expected`` [queries, dim]
    gets too.

    A report whose expected score is within one printed digit of the tenth's is as good as that one.
    """
    return float(_common(expected, actual, reports).mean())


def worst_cosine(expected: Array, actual: Array) -> float:
    """The cosine of the worst 1 % of rows."""
    return float(np.percentile(_cosine(expected, actual), 1))


def _common(expected: Array, actual: Array, reports: Array) -> Array:
    """For each query the share of its ten that are among the expected ten, ties counting as equal,
    float64 [queries].
    """
    k = min(10, max(1, len(reports) // 2))  # of a handful of reports every query finds the same ten
    scores = expected.astype(np.float64) @ reports.T.astype(np.float64)
    tenth = np.sort(scores, axis=1)[:, -k]
    ten = np.argsort(-(actual.astype(np.float64) @ reports.T.astype(np.float64)), axis=1, kind="stable")[
        :, :k
    ]
    return (np.take_along_axis(scores, ten, axis=1) >= tenth[:, None] - TIE).mean(axis=1)


def _cosine(a: Array, b: Array) -> Array:
    """Cosine of each row, float64; -1 where one is not finite, so that a NaN never passes."""
    product = (a.astype(np.float64) * b).sum(axis=1)
    length = np.linalg.norm(a.astype(np.float64), axis=1) * np.linalg.norm(b.astype(np.float64), axis=1)
    return np.nan_to_num(product / np.maximum(length, 1e-12), nan=-1.0, posinf=-1.0, neginf=-1.0)


def _worst(a: Array, b: Array) -> float:
    """Largest absolute difference; infinite where either is not finite, so that a NaN never passes."""
    difference = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
    return difference if np.isfinite(difference) else float("inf")


def _readable(cases: Cases, how: Preprocessing) -> tuple[list[Array], Cases]:
    """The first films that can be read, uint8 [height, width] each, and the cases of these."""
    films: list[Array] = []
    rows: list[int] = []
    for row, film in enumerate(cases.films):
        if len(films) == MOST_FILMS:
            break
        try:
            films.append(grey_film(film.path, how))
        except FilmUnreadable:
            continue
        rows.append(row)
    return films, cases.only(rows)


def _drawn() -> tuple[Array, ...]:
    """Smooth random pictures of film-like sizes, from a fixed seed."""
    from PIL import Image

    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (21, 12, 10), dtype=np.uint8)
    return tuple(np.asarray(Image.fromarray(c).resize((400, 480), Image.Resampling.BICUBIC)) for c in coarse)
