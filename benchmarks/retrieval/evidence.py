"""What a bundle's verdicts and percentiles are worth on films that had no part in them.

    python benchmarks/retrieval/evidence.py BUNDLE --data SOURCE [--split test] [--other SOURCE]

Prints, as Markdown: risk and coverage of each verdict, AURC by trust and by the head alone beside a random
order, with 95 % intervals by patient; verdicts by decision; how many films' best similarity lies in each
tenth of the percentiles; and how ``--other`` films (laterals, say) are judged. Nothing is fitted here.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.evaluation.bundle_models import of_split
from mtclip_edge.evaluation.bundle_verdicts import trusted
from mtclip_edge.evaluation.cases import Cases
from mtclip_edge.evaluation.figures import Judged
from mtclip_edge.evaluation.model_on_cases import ModelOutput
from mtclip_edge.evidence.calibration import Calibration
from mtclip_edge.evidence.validation_reference import ValidationReference
from mtclip_edge.evidence.verdict import VERDICTS
from mtclip_edge.index.opening import open_vectors
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.embed_films import embed_films
from mtclip_edge.inference.encoders import FilmEncoder
from mtclip_edge.inference.precision import most_exact
from mtclip_edge.inference.preprocessing import Preprocessing
from mtclip_edge.progress import silent
from mtclip_edge.sources.source import open_source

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--other", help="films of another kind: only their verdicts are counted")
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    bundle = Bundle.open(options.bundle)
    cases, vectors, logits = embedded(bundle, options.data, options.split)
    verdicts = trusted(bundle, vectors, logits, [study.patient_id for study in cases.studies])
    assert verdicts, "this bundle holds no rule for verdicts"
    calibration = Calibration.of(bundle.model.calibration)
    judged = Judged(cases, ModelOutput(vectors, logits, None, calibration, trusted=verdicts))
    print("| figure | value | 95 % | random order | best order |\n|---|---|---|---|---|")
    drawn = judged.drawn(judged.selective())
    for figure in (one.figure for one in drawn):
        bounds = " | ".join(
            "" if value is None else f"{value:.3f}" for value in (figure.chance, figure.ceiling)
        )
        print(f"| {figure.name} | {figure.value:.3f} | [{figure.low:.3f}, {figure.high:.3f}] | {bounds} |")
    by_decision(judged, logits)
    percentiles(bundle, vectors)
    if options.other:
        others, vectors, logits = embedded(bundle, options.other, "all")
        judge = trusted(bundle, vectors, logits, [study.patient_id for study in others.studies])
        assert judge
        counted = Counter(VERDICTS[place] for place in judge.verdict)
        print(
            f"\n{options.other}: {len(logits)} films, "
            + ", ".join(f"{counted[name] / len(logits):.3f} {name}" for name in VERDICTS)
        )
        percentiles(bundle, vectors)


def embedded(bundle: Bundle, source: str, split: str) -> tuple[Cases, np.ndarray, np.ndarray]:
    """The films of a split by the bundle's most exact film tower."""
    precision = most_exact(bundle.precisions("image"))
    encoder = FilmEncoder.load(
        bundle.graph("image", precision),
        Preprocessing.of(bundle.model.preprocessing),
        choose("cpu"),
        precision,
    )
    cases = Cases.of(of_split(open_source(source), split))
    films = embed_films(encoder, [film.path for film in cases.films], bundle.model.dim, silent)
    return cases.only(films.read), films.vectors, films.logits


def by_decision(judged: Judged, logits: np.ndarray) -> None:
    """How often a verdict was wrong, by what was decided."""
    decisions = judged.decisions
    assert decisions
    assert decisions.trusted
    print(
        "\n| verdict | called abnormal, films | wrong | called normal, films | wrong |\n|---|---|---|---|---|"
    )
    for place, name in enumerate(VERDICTS):
        cells = []
        for called in (logits >= 0, logits < 0):
            chosen = (decisions.trusted.verdict == place) & called & decisions.labelled
            cells += [str(chosen.sum()), f"{decisions.wrong[chosen].mean():.3f}" if chosen.any() else ""]
        print(f"| {name} | {' | '.join(cells)} |")


def percentiles(bundle: Bundle, vectors: np.ndarray) -> None:
    """The share of films whose best similarity lies in each tenth of the validation films', 0.1 each if
    they are alike.
    """
    reference = ValidationReference.of(bundle.manifest).similarities
    assert reference, "the reports have changed since the export"
    reports = open_vectors(bundle, bundle.file(bundle.index.vectors))[: bundle.index.reports]
    score = (vectors @ reports.T).max(axis=1)
    percentiles = np.array([reference.percentile(one) for one in score])
    share = np.histogram(percentiles, np.linspace(0, 100, 11))[0] / len(percentiles)
    print(
        f"\npercentiles of {len(percentiles)} films by tenths: {' '.join(f'{one:.3f}' for one in share)}; "
        f"below 1: {(percentiles < 1).mean():.3f}"
    )


if __name__ == "__main__":
    main()
