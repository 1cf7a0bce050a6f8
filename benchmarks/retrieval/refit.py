"""What `mtclip refit` gains at another hospital: specificity and sensitivity of the operating point on films
that it was not fitted on, with the maker's and with the site's own, over draws of a site's films.

    python benchmarks/retrieval/refit.py BUNDLE --data SOURCE [--films 100] [--draws 20] [--seed 0]

A draw takes whole patients until it has the films; the films of all other patients are judged. The interval
of the AUROC, which no operating point changes, draws patients 1,000 times.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from mtclip_edge.bundle.bundle import Bundle
from mtclip_edge.evaluation.metrics import auroc
from mtclip_edge.inference.device import choose
from mtclip_edge.inference.embed_films import embed_films
from mtclip_edge.inference.encoders import open_film_encoder
from mtclip_edge.progress import silent
from mtclip_edge.sources.source import open_source
from mtclip_edge.studies import LABEL_CODES
from mtclip_edge.train.calibration import fit_calibration

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share

from record import measured


def rates(labels: np.ndarray, logits: np.ndarray, point: float) -> tuple[float, float]:
    """Specificity and sensitivity, of labels 0 or 1 and float logits."""
    called = logits >= point
    return float((~called)[labels == 0].mean()), float(called[labels == 1].mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    measured(parser, measure)


def measure(options: argparse.Namespace) -> None:
    bundle = Bundle.open(options.bundle)
    calibration = bundle.manifest.model.calibration
    assert calibration is not None, "the bundle's head is not calibrated"
    pairs = [(f, s) for s in open_source(options.data).studies for f in s.films if s.label != "unknown"]
    encoder, _ = open_film_encoder(bundle, choose("cpu"), "fp32")
    found = embed_films(encoder, [f.path for f, _ in pairs], bundle.model.dim, silent)
    logits = found.logits.astype(np.float64)
    labels = np.array([LABEL_CODES[pairs[row][1].label] for row in found.read])
    patients = np.array([pairs[row][1].patient_id for row in found.read])
    random = np.random.default_rng(options.seed)
    drawn = [
        one_draw(labels, logits, patients, calibration.threshold, options.films, random)
        for _ in range(options.draws)
    ]
    report(np.array(drawn), options.films)
    low, high = auroc_interval(labels, logits, patients, random)
    print(
        f"\n{len(labels)} films of {len(np.unique(patients))} patients, {(labels == 0).sum()} normal; AUROC "
        f"{auroc(labels, logits):.3f} [{low:.3f}, {high:.3f}]"
    )


def one_draw(
    labels: np.ndarray,
    logits: np.ndarray,
    patients: np.ndarray,
    maker: float,
    films: int,
    random: np.random.Generator,
) -> tuple[float, ...]:
    """Specificity and sensitivity at the maker's point and at the site's, on the films of patients who were
    not drawn; how many normal films were.
    """
    order = {name: place for place, name in enumerate(random.permutation(np.unique(patients)))}
    places = np.array([order[name] for name in patients])
    chosen = places <= np.sort(places)[films - 1]
    fitted = fit_calibration(labels[chosen], logits[chosen])
    assert fitted is not None, "fewer than 20 films of a label in a draw"
    rest = labels[~chosen], logits[~chosen]
    return *rates(*rest, maker), *rates(*rest, fitted.threshold), float((labels[chosen] == 0).sum())


def auroc_interval(
    labels: np.ndarray, logits: np.ndarray, patients: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """95 %, 1,000 draws of patients."""
    films = [np.flatnonzero(patients == name) for name in np.unique(patients)]
    drawn = []
    for _ in range(1000):
        some = np.concatenate([films[i] for i in random.integers(0, len(films), len(films))])
        drawn.append(float(auroc(labels[some], logits[some])))
    return np.quantile(drawn, (0.025, 0.975))


def report(drawn: np.ndarray, films: int) -> None:
    """Of float [draws, 5], as ``one_draw`` gives them."""
    mean, spread = drawn.mean(axis=0), drawn.std(axis=0, ddof=1)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    print(f"{len(drawn)} draws of {films} films, {mean[4]:.1f} of them normal in the mean\n")
    print("| operating point | figure | mean | deviation of draws | of draws, 95 % |\n|---|---|---|---|---|")
    names = [
        (point, what) for point in ("the maker's", "the site's") for what in ("specificity", "sensitivity")
    ]
    for i, (point, what) in enumerate(names):
        print(f"| {point} | {what} | {mean[i]:.3f} | {spread[i]:.3f} | {low[i]:.3f} to {high[i]:.3f} |")


if __name__ == "__main__":
    main()
