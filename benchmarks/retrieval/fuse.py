"""What ``query --fuse`` gains: a run's test films against its train reports, the weight chosen on validation,
with paired intervals.

    python benchmarks/retrieval/fuse.py RUN --data SOURCE

Prints a Markdown table of every weight on both splits; what counts is the test row of the weight that
validation chose.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from mtclip_edge.evaluation.bootstrap import differences
from mtclip_edge.evaluation.bundle_models import Task
from mtclip_edge.export.fitted.fusion_weight import WEIGHTS, judged, tune
from mtclip_edge.sources.source import open_source
from mtclip_edge.train.evaluation.models import run_model

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured

SHOWN = ("precision@1.macro", "precision@10.macro", "map@10", "ndcg@10")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    reading = open_source(options.data)
    train = reading.split("train")
    priors = run_model(options.run, Task.of(train))
    column = {report.report_id: i for i, report in enumerate(priors.cases.reports)}
    owner = np.array([column.get(study.report_id, -1) for study in priors.cases.studies])
    print(f"| split | weight | {' | '.join(SHOWN)} |\n|---|---|{'---|' * len(SHOWN)}")
    for split in ("validation", "test"):
        queries = run_model(options.run, Task.of(reading.split(split), train))
        parts = queries.cases, queries.embedded.film, queries.embedded.report, priors.embedded.film, owner
        without = judged(*parts, 0.0)
        plain = [f"{d.figure.value:.3f}" for name in SHOWN for d in without if d.figure.name == name]
        print(f"| {split} | 0 | {' | '.join(plain)} |")
        for weight in WEIGHTS:
            gain = {figure.name: figure for figure in differences(without, judged(*parts, weight))}
            cells = [f"{gain[n].value:+.3f} [{gain[n].low:+.3f}, {gain[n].high:+.3f}]" for n in SHOWN]
            print(f"| {split} | {weight} | {' | '.join(cells)} |", flush=True)
        if split == "validation":
            print(f"chosen: {tune(*parts)}")


if __name__ == "__main__":
    main()
