"""What `mtclip refit` gains at another hospital: specificity and sensitivity of the operating point on films
that it was not fitted on, with the maker's and with the site's own, over draws of a site's films.

    python benchmarks/retrieval/refit.py BUNDLE SOURCE [--films 100] [--draws 20] [--seed 0] [--json FILE]

A draw takes whole patients until it has the films; the films of all other patients are judged. The interval
of the AUROC, which no operating point changes, draws patients 1,000 times.
"""

import argparse
import json
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


def rates(labels: np.ndarray, logits: np.ndarray, point: float) -> tuple[float, float]:
    """Specificity and sensitivity, of labels 0 or 1 and float logits."""
    called = logits >= point
    return float((~called)[labels == 0].mean()), float(called[labels == 1].mean())


def main() -> None:
    """Print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("source")
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    bundle = Bundle.open(asked.bundle)
    pairs = [(f, s) for s in open_source(asked.source).studies for f in s.films if s.label != "unknown"]
    encoder, _ = open_film_encoder(bundle, choose("cpu"), "fp32")
    found = embed_films(encoder, [f.path for f, _ in pairs], bundle.model.dim, silent)
    logits = found.logits.astype(np.float64)
    labels = np.array([LABEL_CODES[pairs[row][1].label] for row in found.read])
    patients = np.array([pairs[row][1].patient_id for row in found.read])
    random, names = np.random.default_rng(asked.seed), np.unique(patients)
    calibration = bundle.manifest.model.calibration
    assert calibration is not None
    rows = []
    for _ in range(asked.draws):
        order = {name: place for place, name in enumerate(random.permutation(names))}
        places = np.array([order[name] for name in patients])
        last = np.sort(places)[asked.films - 1]
        chosen = places <= last
        fitted = fit_calibration(labels[chosen], logits[chosen])
        assert fitted is not None, "fewer than 20 films of a label in a draw"
        rest = labels[~chosen], logits[~chosen]
        maker, site = rates(*rest, calibration.threshold), rates(*rest, fitted.threshold)
        rows.append((*maker, *site, int(chosen.sum()), int((labels[chosen] == 0).sum())))
    table = np.array(rows)
    by_patient = [np.flatnonzero(patients == name) for name in names]
    drawn = []
    for _ in range(1000):
        some = np.concatenate([by_patient[i] for i in random.integers(0, len(names), len(names))])
        drawn.append(float(auroc(labels[some], logits[some])))
    means, spread = table.mean(axis=0), table.std(axis=0, ddof=1)
    low, high = (np.quantile(table, q, axis=0) for q in (0.025, 0.975))
    keys = ("specificity_maker", "sensitivity_maker", "specificity_site", "sensitivity_site")
    result = {
        "films": len(labels),
        "normal": int((labels == 0).sum()),
        "patients": len(names),
        "drawn_films": asked.films,
        "drawn_normal_mean": round(float(means[5]), 1),
        "draws": asked.draws,
        "seed": asked.seed,
        "auroc": round(float(auroc(labels, logits)), 4),
        "auroc_interval": [round(float(np.quantile(drawn, q)), 4) for q in (0.025, 0.975)],
        **{
            key: {
                "mean": round(float(means[i]), 4),
                "sd": round(float(spread[i]), 4),
                "draws_95": [round(float(low[i]), 4), round(float(high[i]), 4)],
            }
            for i, key in enumerate(keys)
        },
    }
    print(json.dumps(result, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
