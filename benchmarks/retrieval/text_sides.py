"""What a typed word finds by each text side: the transformer, word pieces alone, both.

    python benchmarks/retrieval/text_sides.py --data SOURCE [--seeds 2] [--sides transformer lexical both]

Each side is trained as ``mtclip train --text-side`` does. Then words are typed, and the validation films and
the validation reports are put in order of their likeness to them; the AUROC says how well those of studies
that have the finding, by the source's finding labels, stand before the others (0.5: by chance). Three kinds:
the finding's own word, another wording, and wordings with a word that no train report holds. A side that
refuses a text is told so, and counts as 0.5 by its likeness. The last column of each kind are the reports as
``mtclip query --text`` puts them in order, whatever the text side: first those that affirm the finding that
the text names (the table of synonyms, the full-text index), then the others, then those that deny it; by
likeness among equals.
"""

import argparse
import re
import sqlite3
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mtclip_edge.errors import Refused
from mtclip_edge.evaluation.metrics import auroc
from mtclip_edge.index.finding_words import findings_named
from mtclip_edge.index.words import TABLES, ReportWords, insert_words
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.backbones.backbone import text_features
from mtclip_edge.train.loop import embed
from mtclip_edge.train.settings import TEXT_SIDES, TrainConfig
from mtclip_edge.train.training import Fitted, fit_splits

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

FEWEST = 5  # validation studies with a finding
# A part of the finding's label, its own word, other wordings.
TYPED = {
    "Cardiomegaly": ("cardiomegaly", "enlarged heart", "heart is too big", "megalocardia"),
    "Effusion": ("pleural effusion", "fluid in the pleural space", "hydrothorax"),
    "Atelectasis": ("atelectasis", "collapsed lung tissue", "lobar subsegmental collapse"),
    "Emphysema": ("emphysema", "hyperinflated lungs", "COPD overexpansion"),
    "Granuloma": ("calcified granuloma", "old granulomatous disease", "tuberculoma"),
    "Scoliosis": ("scoliosis", "curvature of the spine", "crooked backbone"),
    "Edema": ("pulmonary edema", "fluid overload", "wet lungs"),
    "Congestion": ("pulmonary congestion", "vascular engorgement", "cardiac decompensation"),
    "Infiltrate": ("infiltrate", "airspace opacity", "consolidative pneumonitis"),
    "Catheters": ("catheter", "central venous line", "portacath"),
    "Fractures": ("rib fracture", "broken bone", "splintered rib"),
    "Hernia": ("hiatal hernia", "stomach above the diaphragm", "intrathoracic stomach"),
    "Nodule": ("nodule", "small round lesion", "coin lesion"),
}
KINDS = ("own word", "other wording", "with an unseen word")


@dataclass(frozen=True)
class Typed:
    """A text that is typed, and which studies it should find."""

    label: str
    text: str
    kind: str


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=TEXT_SIDES, default=TEXT_SIDES)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    reading = open_source(options.data)
    splits = reading.split("train"), reading.split("validation")
    seen = {word for study in splits[0] for word in re.findall(r"[a-z]+", study.tower_text.lower())}
    typed = [
        Typed(label, text, KINDS[2] if set(text.lower().split()) - seen else KINDS[place > 0])
        for label, texts in TYPED.items()
        for place, text in enumerate(texts)
    ]
    print(
        f"| text side | {' | '.join(f'{kind}: films | reports | with words' for kind in KINDS)} | refused |"
    )
    print(f"|---|{'---|' * (3 * len(KINDS) + 1)}")
    for side in options.sides:
        rows = []
        for seed in range(options.seeds):
            config = TrainConfig(text_side=side, seed=seed, device="cpu")
            rows.append(judged(fit_splits(config, splits, reading.spec, None), typed))
        cells = [statistics.mean(row[place] for row in rows) for place in range(3 * len(KINDS))]
        print(f"| {side} | {' | '.join(f'{value:.3f}' for value in cells)} | {int(rows[0][-1])} |")
    counts = [sum(one.kind == kind for one in typed) for kind in KINDS]
    print(f"texts typed: {dict(zip(KINDS, counts, strict=True))}; unseen: by whole words")


@torch.inference_mode()
def judged(fitted: Fitted, typed: list[Typed]) -> list[float]:
    """Mean AUROC over films, over reports, and over reports with the help of words, for each kind of text,
    and how many texts were refused.
    """
    table, backbone = fitted.fit.validation, fitted.backbone
    film, _, report = embed(fitted.fit.space, table)
    of_report = dict(zip(table.report.tolist(), table.cases.studies, strict=True))
    words = words_of(table.cases.texts)
    by_kind: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in KINDS}
    refused = 0
    for one in typed:
        has = np.array([found(study.finding_labels, one.label) for study in table.cases.studies])
        reported = np.array([found(of_report[row].finding_labels, one.label) for row in range(len(report))])
        if has.sum() < FEWEST:
            continue
        vector = np.zeros(report.shape[1], np.float32)
        try:
            backbone.tokenizer.coverage([one.text]).refuse_unknown("--text")
            features = text_features(backbone.text_tower, backbone.tokenizer, [one.text])
            vector = fitted.fit.space.embed_texts(features)[0].numpy()
        except Refused:
            refused += 1
        likeness = report @ vector
        with_words = 3 * agreement(one.text, words, len(report)) + likeness
        by_kind[one.kind].append(
            (area(has, film @ vector), area(reported, likeness), area(reported, with_words))
        )
    means = [statistics.mean(three[i] for three in by_kind[kind]) for kind in KINDS for i in range(3)]
    return [*means, refused]


def words_of(texts: Sequence[str]) -> ReportWords:
    """The reports as a bundle's full-text index has them."""
    db = sqlite3.connect(":memory:")
    db.executescript(TABLES)
    insert_words(db, enumerate(texts))
    return ReportWords(db, "the validation reports", len(texts), True)


def agreement(text: str, words: ReportWords, reports: int) -> np.ndarray:
    """On how many of the findings that a text names each report agrees, less those that it denies."""
    total = np.zeros(reports)
    for finding in findings_named(text):
        affirming, denying = words.stances(finding)
        total[affirming] += -1 if finding.denied else 1
        total[denying] += 1 if finding.denied else -1
    return total


def found(labels: tuple[str, ...], part: str) -> bool:
    return any(part in label for label in labels)


def area(has: np.ndarray, scores: np.ndarray) -> float:
    value = auroc(has.astype(np.int64), scores)
    return 0.5 if value is None else float(value)


if __name__ == "__main__":
    main()
