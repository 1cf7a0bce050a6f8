"""A bundle with evidence whose figures are known by hand."""

from pathlib import Path
from typing import Any

from manifests import rewrite

from mtclip_edge.bundle.bundle import Bundle

RULE = {
    "confident": 0.7,
    "abstain": 0.55,
    "validation": {
        "confident": {"films": 60, "risk": 0.05, "coverage": 0.3},
        "uncertain": {"films": 100, "risk": 0.3, "coverage": 0.5},
        "abstain": {"films": 40, "risk": 0.525, "coverage": 0.2},
    },
}


def commit_evidence(path: Path, **changed: Any) -> Path:
    """A bundle whose validation films had best scores evenly from 0 to 1, so that a percentile is the score in percent."""
    evidence = {
        "films": 200,
        "searched": Bundle.open(path).manifest.searched,
        "temperature": 0.04,
        "best_scores": [round(i / 100, 2) for i in range(101)],
        "best_scores_why": "",
        "trust": RULE,
        "trust_why": "",
    }
    calibration = {"temperature": 1.0, "threshold": 1.0, "specificity": 0.9, "films": 200}
    rewrite(path, calibration=calibration, evidence={**evidence, **changed})
    return path
