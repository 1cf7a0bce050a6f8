"""Figures of the abnormal head: how well it ranks, how well it is calibrated, and what its decisions are
worth.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..evidence.calibration import sigmoid
from .bootstrap import Figure, Measure
from .metrics import weighted_auroc, weighted_average_precision, weighted_calibration_error, weighted_mean
from .model_on_cases import ModelOnCases
from .risk_coverage import Decisions

Array = np.ndarray


@dataclass(frozen=True)
class HeadFigures(ModelOnCases):
    """The abnormal head's figures of one model on some cases."""

    def head(self, view: str | None = None) -> list[Measure]:
        """The abnormal head. Calibration and operating point come from validation."""
        logit, label = self.embedded.logit, self._asked(view)
        abnormal, normal = (label == 1).sum(), (label == 0).sum()
        if logit is None or not abnormal or not normal:
            return []
        share = float(abnormal / (abnormal + normal))

        def of(name: str, draw: Callable[[Array], Array], **more: Any) -> Measure:
            return Measure(
                Figure(
                    name, f"view {view}" if view else "all", None, studies=self._studies(label >= 0), **more
                ),
                lambda f, _: draw(f),
            )

        measures = [
            of("auroc", lambda f: weighted_auroc(label, logit, f), chance=0.5, ceiling=1.0),
            of("auprc", lambda f: weighted_average_precision(label, logit, f), chance=share, ceiling=1.0),
        ]
        if view:
            return measures
        measures.append(of("ece", lambda f: weighted_calibration_error(label, sigmoid(logit), f)))
        if calibration := self.embedded.calibration:
            called = (logit >= calibration.threshold).astype(float)
            calls = float(called[label >= 0].mean())  # who calls as many at random is right as often
            sick, well = np.where(label == 1, called, np.nan), np.where(label == 0, 1 - called, np.nan)
            measures += [
                of(
                    "ece.calibrated",
                    lambda f: weighted_calibration_error(label, calibration.probability(logit), f),
                ),
                of(
                    "sensitivity",
                    lambda f: weighted_mean(sick, f),
                    chance=calls,
                    ceiling=1.0,
                    prevalence=share,
                ),
                of(
                    "specificity",
                    lambda f: weighted_mean(well, f),
                    chance=1 - calls,
                    ceiling=1.0,
                    prevalence=share,
                ),
            ]
        return measures

    @cached_property
    def decisions(self) -> Decisions | None:
        """The abnormal head's; None where it was not trained, or no film has a label."""
        logit, labels = self.embedded.logit, self.cases.labels
        return (
            Decisions(labels, logit, self.embedded.trusted)
            if logit is not None and (labels >= 0).any()
            else None
        )

    def selective(self) -> list[Measure]:
        """Risk against coverage, and what each verdict is worth."""
        if (decisions := self.decisions) is None:
            return []
        measures = [self._mean(name, values) for name, values in decisions.means()]
        measures = [
            replace(m, figure=replace(m.figure, ceiling=0.0 if m.figure.name.startswith("risk") else None))
            for m in measures
        ]
        chance, ceiling = decisions.bounds()
        for name in decisions.orders:
            figure = Figure(
                f"aurc.{name}",
                "all",
                None,
                chance=chance,
                ceiling=ceiling,
                studies=self._studies(decisions.labelled),
            )
            measures.append(Measure(figure, lambda f, _, order=name: decisions.area(order, f)))  # type: ignore[misc]
        return measures
