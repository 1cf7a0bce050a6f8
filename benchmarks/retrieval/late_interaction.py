"""What late interaction would gain: each sentence of a report against each place of the film, the best place
of each sentence, and their mean, for the first 50 reports of a held film.

    python benchmarks/retrieval/late_interaction.py --data SOURCE [--sides transformer lexical] [--folds 2]

Towers frozen; the places are those where the film tower pools by the mean (7 x 7 of ``compact``), each
through the rest of the tower and the film projector as if it were all of a film; sentences go through the
text tower and its projector. The new score is brought to the mean and spread of the 50 cosines and mixed with
them by a weight. Paired differences from the order by cosine, drawn by patient, over the first folds of five.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mtclip_edge.evaluation.bootstrap import Bootstrapped, differences
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import DRAWS, SEED, Judged
from mtclip_edge.evaluation.folds import Fold, together
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.index.rerank import fused
from mtclip_edge.inference.embed_films import film_batches
from mtclip_edge.progress import silent
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.backbones.backbone import text_features
from mtclip_edge.train.backbones.split import split
from mtclip_edge.train.evaluation.fold_store import folds_without_test
from mtclip_edge.train.settings import TEXT_SIDES, TrainConfig
from mtclip_edge.train.training import Fitted, fit_splits

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

FIRST = 50
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHOWN = ("precision@10.macro", "map@10", "ndcg@10", "recall@10.film_to_report")
OF_FIVE = 5
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--sides", nargs="+", choices=TEXT_SIDES, default=("transformer", "lexical"))
    parser.add_argument("--folds", type=int, default=2)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    reading = open_source(options.data)
    folds = folds_without_test(reading.studies, OF_FIVE)
    for side in options.sides:
        drawn: list[list[list[Bootstrapped]]] = []
        for fold in folds[: options.folds]:
            config = TrainConfig(text_side=side, device="cpu")
            fitted = fit_splits(config, (fold.train, fold.validation), reading.spec, None)
            drawn.append(_judged(fitted, fold))
        _report(side, [together(of_weight) for of_weight in zip(*drawn, strict=True)])


@torch.inference_mode()
def _judged(fitted: Fitted, fold: Fold) -> list[list[Bootstrapped]]:
    """The figures of one fold for each weight."""
    table, output = fitted.judge(Cases.of(fold.held), silent)
    cases = table.cases
    assert output.report is not None
    late = _late(fitted, cases)
    cosine = (output.film @ output.report.T).astype(np.float64)
    figures = []
    for weight in WEIGHTS:
        scores = cosine.copy()
        for row in range(len(scores)):
            best = np.argsort(-cosine[row], kind="stable")[:FIRST]
            scores[row] -= 10.0  # what is not among the first comes after them
            scores[row, best] = fused(cosine[row, best], late[row, best], weight)
        judged = Judged(cases, ModelOutput(output.film, None, output.report, score=scores))
        wanted = [*judged.precisions((10,)), *judged.gradings(), *judged.recalls("all")]
        figures.append(judged.drawn([m for m in wanted if m.figure.name in SHOWN], DRAWS, SEED + fold.number))
    return figures


def _late(fitted: Fitted, cases: Cases) -> np.ndarray:
    """Mean over a report's sentences of the best place's cosine, float64 [films, reports]."""
    backbone, space = fitted.backbone, fitted.fit.space
    halves = split(backbone.film_tower, backbone.preprocessing.size)
    assert halves is not None
    sentences = [_sentences(text) for text in cases.texts]
    every = list(dict.fromkeys(one for some in sentences for one in some))
    place_of = {one: i for i, one in enumerate(every)}
    features = torch.cat(
        [
            text_features(backbone.text_tower, backbone.tokenizer, every[at : at + BATCH])
            for at in range(0, len(every), BATCH)
        ]
    )
    of_sentence = space.embed_texts(features)
    known = np.flatnonzero(features.numpy().any(axis=1))  # word pieces alone know nothing of some sentences
    columns = [np.intersect1d([place_of[one] for one in some], known) for some in sentences]
    table = np.full((len(cases.films), len(columns)), np.nan)
    films = [film.path for film in cases.films]
    for batch in film_batches(films, backbone.preprocessing, 16, silent):
        places = halves.features(torch.from_numpy(np.asarray(batch.pixels)))
        rows = places.flatten(2).transpose(1, 2)  # [films, places, channels]
        vectors = space.embed_films(halves.each(rows.reshape(-1, rows.shape[2])))
        best = (vectors @ of_sentence.T).reshape(len(rows), rows.shape[1], -1).amax(dim=1).numpy()
        for film, values in zip(batch.read, best, strict=True):
            table[film] = [values[some].mean() if len(some) else np.nan for some in columns]
    return table


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if re.search(r"[a-z]{2}", part.lower())]


def _report(side: str, by_weight: Sequence[list[Bootstrapped]]) -> None:
    print(f"\n{side}\n\n| weight | {' | '.join(SHOWN)} |\n|---|{'---|' * len(SHOWN)}")
    plain = {d.figure.name: d.figure.value for d in by_weight[0]}
    print(f"| 0 | {' | '.join(f'{plain[name]:.3f}' for name in SHOWN)} |")
    for weight, drawn in zip(WEIGHTS[1:], by_weight[1:], strict=True):
        gain = {figure.name: figure for figure in differences(by_weight[0], drawn)}
        cells = [f"{gain[n].value:+.4f} [{gain[n].low:+.4f}, {gain[n].high:+.4f}]" for n in SHOWN]
        print(f"| {weight} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
