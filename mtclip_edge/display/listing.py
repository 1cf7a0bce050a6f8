"""Answers to many films in another order, or with fewer reports, for any writer."""

from dataclasses import replace
from typing import Any

from ..errors import MtclipError, Refused
from ..index.hits import ReportHit
from ..retrieval.results import QueryResult
from .film_order import Order
from .formats import Writer


class Sorted:
    """Keeps answers until all are there and hands them on in an order; films without one come last."""

    def __init__(self, out: Writer, order: Order):
        self._out, self._order = out, order
        self._results: list[QueryResult] = []
        self._failed: list[tuple[str, MtclipError]] = []

    def add(self, result: QueryResult) -> None:
        self._results.append(result)

    def failed(self, name: str, error: MtclipError) -> None:
        self._failed.append((name, error))

    def close(self) -> None:
        for result in sorted(self._results, key=self._order):
            self._out.add(result)
        for name, error in self._failed:
            self._out.failed(name, error)
        self._out.close()


class Near:
    """Hands answers on without the reports of a percentile below one; how the rest agree is not told where
    any was left out, since all of them voted. Errors: Refused where a bundle has no percentiles.
    """

    def __init__(self, out: Writer, least: float):
        self._out, self._least = out, least

    def add(self, result: QueryResult) -> None:
        evidence = result.evidence
        if result.hits and evidence and evidence.similarity.percentile is None:
            raise Refused(f"--min-percentile: {result.value}: {evidence.similarity.why}")
        near = tuple(hit for hit in result.hits if self._is_near(hit))
        if len(near) < len(result.hits):
            result = replace(result, hits=near, evidence=evidence and replace(evidence, agreement=None))
        self._out.add(result)

    def _is_near(self, hit: Any) -> bool:
        return isinstance(hit, ReportHit) and hit.percentile is not None and hit.percentile >= self._least

    def failed(self, name: str, error: MtclipError) -> None:
        self._out.failed(name, error)

    def close(self) -> None:
        self._out.close()
