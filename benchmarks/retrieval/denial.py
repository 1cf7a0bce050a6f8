"""How well denials are read, and what typed findings give.

Two parts: precision and recall of "denied" on 200 words of the reports of Open-I that were marked by hand
before the rules were written (docs/results/denial_marks.json: report, section, place and length of the word,
mark; the sentences are the data set's and are not kept here), and for twenty finding words the first five
reports of a bundle, by what the reader says of them. ``--show`` gives the sentences, to be judged by eye.

    python benchmarks/retrieval/denial.py BUNDLE --reports indiana_reports.csv --json docs/results/denial.json
"""

import argparse
import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from record import measured

from mtclip_edge import ReportHit, Retriever
from mtclip_edge.index.denial import DENIED, passages
from mtclip_edge.index.finding_words import pattern_of

MARKS = Path(__file__).parents[2] / "docs/results/denial_marks.json"
WORDS = (
    "effusion, pneumothorax, consolidation, pneumonia, infiltrate, opacity, edema, congestion, cardiomegaly, "
    "atelectasis, nodule, mass, fracture, emphysema, scarring, granuloma, calcification, scoliosis, hernia, "
    "adenopathy"
).split(", ")
SHOWN = 5


def marked(reports: Path) -> dict[str, Any]:
    """The reader against the hand, "denied" being what is looked for."""
    with reports.open(newline="", encoding="utf-8-sig") as file:
        texts = {row["uid"]: row for row in csv.DictReader(file)}
    counts = {"hits": 0, "false": 0, "missed": 0, "rest": 0}
    for uid, section, at, _, mark in json.loads(MARKS.read_text()):
        parts = passages(texts[str(uid)][section])
        denied = next(part.stance for part in parts if part.start <= at < part.end) == DENIED
        counts[("hits" if denied else "missed") if mark == DENIED else "false" if denied else "rest"] += 1
    return {
        "words": sum(counts.values()),
        "denied_by_hand": counts["hits"] + counts["missed"],
        "precision": round(counts["hits"] / (counts["hits"] + counts["false"]), 4),
        "recall": round(counts["hits"] / (counts["hits"] + counts["missed"]), 4),
    }


def typed(bundle: Path, show: bool) -> dict[str, dict[str, dict[str, int]]]:
    """What the first five reports say of each of the words, beside what nearness alone gives."""
    rows = {}
    with Retriever.open(bundle) as retriever:
        for word in WORDS:
            hits = retriever.query_text(word, k=SHOWN).reports
            everything = retriever.query_text(word, k=10**6).reports
            by_vector = sorted(everything, key=lambda hit: (-hit.score, hit.report_id))
            rows[word] = {
                "reports": _said(by_vector),
                "first": _said(hits),
                "alone": _said(by_vector[:SHOWN]),
            }
            for hit in hits if show else ():
                sentences = re.split(r"(?<=[.!?])\s", hit.text)
                naming = [sentence.strip() for sentence in sentences if pattern_of(word).search(sentence)]
                print(f"{word} {hit.rank} {dict(hit.named or {})}: {' | '.join(naming)}", file=sys.stderr)
    return rows


def _said(hits: Sequence[ReportHit]) -> dict[str, int]:
    said = [next(iter((hit.named or {}).values()), None) for hit in hits]
    return {"affirm": said.count("affirmed"), "deny": said.count("denied"), "silent": said.count(None)}


def measure(options: argparse.Namespace) -> None:
    print(json.dumps(marked(options.reports)))
    rows = typed(options.bundle, options.show)
    print(
        "| word | affirm | deny | first 5: affirm | deny | silent | by vector alone: affirm | deny | silent |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for word, row in rows.items():
        cells = [
            row["reports"]["affirm"],
            row["reports"]["deny"],
            *row["first"].values(),
            *row["alone"].values(),
        ]
        print(f"| {word} | {' | '.join(map(str, cells))} |")
    sums = {key: Counter[str]() for key in ("first", "alone")}
    for row in rows.values():
        for key, counts in sums.items():
            counts.update(row[key])
    print(json.dumps({key: dict(counts) for key, counts in sums.items()}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--reports", type=Path, required=True, help="indiana_reports.csv")
    parser.add_argument("--show", action="store_true", help="sentences of reports on stderr, to judge by eye")
    measured(parser, measure)


if __name__ == "__main__":
    main()
