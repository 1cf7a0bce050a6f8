"""What a typed word finds among reports, by vector alone, by what reports say of it and then vector, and by
that with the places of names and words.

    python benchmarks/retrieval/typed.py --data SOURCE [--sides transformer lexical] [--folds 5]

Each side is trained on all folds but one, as ``mtclip eval --folds`` does; then words are typed, and the held
reports are put in order. A report is right where one of its studies has the finding by the source's finding
labels (of Open-I MeSH headings, which the search does not see). Three kinds of text, as in ``text_sides.py``:
the finding's own word, another wording, wordings with a word that no train report of the fold holds; findings
that fewer than three held reports have are left out. A text that a side refuses has no vector: words alone.
P@10 is shown as a share of what is possible, since many findings are rarer than ten. Intervals are paired,
drawn by finding.
"""

import argparse
import re
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from text_sides import KINDS, TYPED, found

from mtclip_edge.errors import Refused
from mtclip_edge.evaluation.bootstrap import interval
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.folds import Fold
from mtclip_edge.index.index import Hits, Index, SearchChoice
from mtclip_edge.index.library import Scope, TypedText
from mtclip_edge.index.typed_rows import TypedRows, typed_rows
from mtclip_edge.index.words import TABLES, ReportWords, insert_words
from mtclip_edge.progress import silent
from mtclip_edge.retrieval.naming import Naming, TypedSearch, naming_of
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.backbones.backbone import text_features
from mtclip_edge.train.evaluation.fold_store import folds_without_test
from mtclip_edge.train.settings import TEXT_SIDES, TrainConfig
from mtclip_edge.train.training import Fitted, fit_splits

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

FEWEST = 3  # held reports with a finding
DRAWS = 1000
ORDERS = ("vector alone", "marks, then vector", "marks, then vector, names and words")
# A part of the finding's label, its own word, other wordings, beside those of text_sides.py.
MORE = {
    "Pneumothorax": ("pneumothorax", "collapsed lung", "air in the pleural space"),
    "Calcinosis": ("calcification", "calcified lesion", "mineral deposits"),
    "Cicatrix": ("scarring", "fibrous tissue", "cicatrization"),
    "Spondylosis": ("spondylosis", "degenerative changes of the spine", "vertebral wear"),
    "Osteophyte": ("osteophyte", "bony spurs"),
    "Atherosclerosis": ("atherosclerosis", "calcified aorta", "hardened arteries"),
    "Kyphosis": ("kyphosis", "bent upper spine", "hunchback"),
    "Diaphragmatic Eventration": ("elevated hemidiaphragm", "raised diaphragm", "diaphragmatic eventration"),
    "Metabolic": ("osteopenia", "demineralized bones", "brittle skeleton"),
    "Pneumonia": ("pneumonia", "infectious process", "lung infection"),
    "Airspace Disease": ("airspace disease", "alveolar filling"),
    "Consolidation": ("consolidation", "consolidated lung"),
}


class HeldReports:
    """The reports of one fold as a typed search wants them, without a bundle."""

    def __init__(self, cases: Cases, vectors: np.ndarray):
        self._ids = [report.report_id for report in cases.reports]
        self.labels = [
            [name for study in report.studies if study.label != "normal" for name in study.finding_labels]
            for report in cases.reports
        ]
        db = sqlite3.connect(":memory:")
        db.executescript(TABLES)
        insert_words(db, enumerate(cases.texts))
        self._words = ReportWords(db, "held reports", len(self._ids), True)
        self._typed: dict[TypedText, TypedRows | None] = {}
        self.index = Index(vectors, len(vectors), None, 0, SearchChoice("exact", "held reports"))

    @property
    def choice(self) -> SearchChoice:
        return self.index.choice

    def nearest(self, query: np.ndarray, k: int, scope: Scope) -> Hits:
        return self.index.search_reports(query, k, self.report_ids, self._rows(scope))

    def typed(self, text: TypedText) -> TypedRows | None:
        if text not in self._typed:
            self._typed[text] = typed_rows(text, lambda: self._words, len(self._ids), self._rows)
        return self._typed[text]

    def _rows(self, scope: Scope) -> np.ndarray | None:
        if scope.rows is not None:
            return np.array(scope.rows, np.int64)
        if scope.group is None:
            return None
        typed = self.typed(scope.group.text)
        assert typed is not None
        return typed.rows(scope.group.level, None)

    def report_ids(self, rows: Sequence[int]) -> dict[int, str]:
        return {row: self._ids[row] for row in rows}


@dataclass(frozen=True)
class Row:
    """What one typed text found in one fold: P@10 over what is possible, and average precision, by order."""

    label: str
    kind: str
    precision: tuple[float, ...]
    average: tuple[float, ...]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--sides", nargs="+", choices=TEXT_SIDES, default=("transformer", "lexical"))
    parser.add_argument("--folds", type=int, default=5)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    reading = open_source(options.data)
    folds = folds_without_test(reading.studies, options.folds)
    for side in options.sides:
        rows: list[Row] = []
        for fold in folds:
            config = TrainConfig(text_side=side, device="cpu")
            fitted = fit_splits(config, (fold.train, fold.validation), reading.spec, None)
            rows += judged(fitted, fold)
        report(side, rows)


@torch.inference_mode()
def judged(fitted: Fitted, fold: Fold) -> list[Row]:
    """Every text in the held reports of a fold."""
    table, output = fitted.judge(Cases.of(fold.held), silent)
    assert output.report is not None
    held = HeldReports(table.cases, output.report)
    seen = {word for study in fold.train for word in re.findall(r"[a-z]+", study.tower_text.lower())}
    rows = []
    for label, texts in (TYPED | MORE).items():
        right = np.array([found(tuple(names), label) for names in held.labels])
        if right.sum() < FEWEST:
            continue
        for place, text in enumerate(texts):
            unseen = set(re.findall(r"[a-z]+", text.lower())) - seen
            orders = _orders(held, text, _vector(fitted, text))
            precision = tuple(float(right[o[:10]].mean() / min(1.0, right.sum() / 10)) for o in orders)
            average = tuple(_average_precision(right, order) for order in orders)
            rows.append(Row(label, KINDS[2] if unseen else KINDS[place > 0], precision, average))
    return rows


def _vector(fitted: Fitted, text: str) -> np.ndarray | None:
    backbone = fitted.backbone
    try:
        backbone.tokenizer.coverage([text]).refuse_unknown("--text")
    except Refused:
        return None
    features = text_features(backbone.text_tower, backbone.tokenizer, [text])
    return np.asarray(fitted.fit.space.embed_texts(features)[0].numpy())


def _orders(held: HeldReports, text: str, vector: np.ndarray | None) -> list[np.ndarray]:
    """All held reports in each of ORDERS."""
    count = held.index.reports
    cosine = np.zeros(count) if vector is None else held.index.vectors @ vector
    naming = naming_of(text, held)  # type: ignore[arg-type]
    assert naming is not None
    by_marks = np.lexsort((-cosine, -_marks(naming, held)))
    hits, _ = TypedSearch(held, Scope()).reports(vector, count, naming)  # type: ignore[arg-type]
    rest = np.setdiff1d(np.arange(count), hits.rows)
    return [np.argsort(-cosine, kind="stable"), by_marks, np.array([*hits.rows, *rest], np.int64)]


def _marks(naming: Naming, held: HeldReports) -> np.ndarray:
    marks = np.zeros(held.index.reports)
    for scope in naming.reports.groups(Scope()):
        assert scope.group is not None
        marks[held._rows(scope)] = scope.group.level
    return marks


def _average_precision(right: np.ndarray, order: np.ndarray) -> float:
    hit = right[order]
    return float((np.cumsum(hit) / np.arange(1, len(hit) + 1))[hit].mean())


def report(side: str, rows: Sequence[Row]) -> None:
    print(f"\n{side}\n")
    heads = [f"{kind}: P@10 of possible | average precision" for kind in KINDS]
    print(f"| order | {' | '.join(heads)} |\n|---|{'---|' * (2 * len(KINDS))}")
    for place, name in enumerate(ORDERS):
        cells = []
        for kind in KINDS:
            some = [row for row in rows if row.kind == kind]
            cells += [f"{np.mean([getattr(r, what)[place] for r in some]):.3f}" for what in WHAT]
        print(f"| {name} | {' | '.join(cells)} |")
    cells = [_gain([row for row in rows if row.kind == kind], what) for kind in KINDS for what in WHAT]
    print(f"| the last minus the one before | {' | '.join(cells)} |")
    counts = {kind: sum(row.kind == kind for row in rows) for kind in KINDS}
    print(f"texts asked of the folds: {counts}", flush=True)


WHAT = ("precision", "average")


def _gain(rows: Sequence[Row], what: str) -> str:
    """The mean difference of the last two orders, with its interval over findings."""
    labels = sorted({row.label for row in rows})
    gain = [np.array([_last_less_before(getattr(r, what)) for r in rows if r.label == one]) for one in labels]
    random = np.random.default_rng(0)
    sums, counts = np.array([g.sum() for g in gain]), np.array([len(g) for g in gain])
    drawn = random.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), DRAWS)
    low, high = interval((drawn @ sums) / (drawn @ counts))
    assert low is not None
    assert high is not None
    return f"{sums.sum() / counts.sum():+.3f} [{low:+.3f}, {high:+.3f}]"


def _last_less_before(values: Sequence[float]) -> float:
    return values[-1] - values[-2]


if __name__ == "__main__":
    main()
