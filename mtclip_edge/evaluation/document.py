"""One evaluation as a JSON document: models, figures, paired differences, what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..notice import NOTICE
from ..studies import LABEL_CODES
from .bootstrap import Bootstrapped, differences
from .cases import Cases
from .figures import DRAWS, SEED

SCHEMA = "mtclip.eval/1"


@dataclass(frozen=True)
class Result:
    """A model's figures with their bootstrap draws."""

    name: str
    kind: str
    precision: str | None
    notes: tuple[str, ...]
    drawn: tuple[Bootstrapped, ...]
    curve: Mapping[str, list[float]] | None = None
    exposure: Mapping[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        figures = [drawn.figure.to_dict() for drawn in self.drawn]
        return {
            "name": self.name,
            "kind": self.kind,
            "precision": self.precision,
            "notes": list(self.notes),
            "figures": figures,
            "risk_coverage": self.curve,
            "exposure": self.exposure and dict(self.exposure),
        }


def document(
    results: Sequence[Result],
    cases: Cases,
    data: str,
    split: str,
    searched: str | None = None,
    leaks: Sequence[str] = (),
) -> dict[str, Any]:
    """The evaluation as JSON, schema mtclip.eval/1.

    Every further model is compared with the first, on the same draws.
    """
    first = results[0]
    labels = {name: int((cases.labels == code).sum()) for name, code in LABEL_CODES.items()}
    return {
        "schema": SCHEMA,
        "notice": NOTICE,
        "data": {
            "source": data,
            "split": split,
            "searched": searched,
            "films": len(cases.films),
            "studies": len({study.study_id for study in cases.studies}),
            "patients": len({study.patient_id for study in cases.studies}),
            "reports": len(cases.reports),
            "labels": labels,
            "majority": max(("normal", "abnormal"), key=lambda name: labels[name]),
        },
        "intervals": {"draws": DRAWS, "seed": SEED, "unit": "patient"},
        "control": {"seed": SEED, "what": "films dealt to reports and labels at random"},
        "leaks": list(leaks),
        "models": [result.to_dict() for result in results],
        "differences": [
            {
                "model": _title(other),
                "against": _title(first),
                "figures": [f.to_dict() for f in differences(first.drawn, other.drawn)],
            }
            for other in results[1:]
        ],
    }


def _title(result: Result) -> str:
    return f"{result.name} ({result.precision})" if result.precision else result.name
