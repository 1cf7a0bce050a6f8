"""How long each stage of an answer took."""

import time


class Clock:
    """Milliseconds of each stage of one answer."""

    def __init__(self, laps: dict[str, float] | None = None) -> None:
        self.laps: dict[str, float] = laps or {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        self.note(stage, 1000 * (time.perf_counter() - self._last))

    def note(self, stage: str, milliseconds: float) -> None:
        self.laps[stage] = milliseconds
        self._last = time.perf_counter()

    def timings(self, load_ms: float) -> dict[str, float]:
        """``load`` happened once for the process; ``total`` is this answer with it."""
        laps = {"load": load_ms, **self.laps}
        return {stage: round(ms, 2) for stage, ms in {**laps, "total": sum(laps.values())}.items()}
