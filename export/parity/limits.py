"""What a rung may lose, and one row of the table that says what it lost."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from mtclip_edge.bundle.records import ParityRecord
from mtclip_edge.errors import ParityFailed, WrongOption, not_among
from mtclip_edge.evidence.enough import BATCHES


@dataclass(frozen=True)
class Limits:
    """What a rung may lose against torch fp32.

    ``recall`` None: Recall@10 may differ only where the interval of the difference holds 0.
    """

    cosine: float  # at least, of the worst 1 %
    overlap: float = 0.90  # at least: mean share of the first ten reports in common
    precision: float = 0.01  # at most: difference of macro P@10
    recall: float | None = None  # at most: difference of Recall@10
    decisions: float = 0.98  # at least: share of films called the same, normal or abnormal
    batch: float = 0.99  # at least: share of inputs with the same first ten in batches of 1, 2 and 7
    max_abs: float | None = None  # at most: of a number of the embedding
    max_logit: float | None = None  # at most: of the abnormal logit


_EXACT = Limits(0.99999, max_abs=1e-4, max_logit=1e-3)
_LIMITS = {"fp32": _EXACT, "fp16w": Limits(0.999), "fp16": Limits(0.999)}
NAMES = tuple(field.name for field in fields(Limits))


def limits_of(precision: str, changed: Mapping[str, float] | None = None) -> Limits:
    """A rung's limits with those of ``--budget``: NAME for every rung, RUNG.NAME for one."""
    changed = changed or {}
    mine = {name: value for name, value in changed.items() if "." not in name}
    mine |= {
        name.rpartition(".")[2]: value
        for name, value in changed.items()
        if name.rpartition(".")[0] == precision
    }
    return replace(_LIMITS.get(precision, Limits(0.98)), **mine)


def parse_budget(words: Sequence[str], rungs: Sequence[str]) -> dict[str, float]:
    """``--budget NAME=VALUE`` or ``RUNG.NAME=VALUE``. Errors: WrongOption."""
    budget = {}
    for word in words:
        name, equals, value = word.partition("=")
        rung, _, figure = name.strip().rpartition(".")
        if not equals:
            raise WrongOption(
                f"--budget {word!r}", "expected NAME=VALUE, e.g. overlap=0.95 or int8.cosine=0.97"
            )
        if figure not in NAMES:
            raise not_among("--budget", figure, NAMES)
        if rung and rung not in rungs:
            raise not_among("--budget precision", rung, rungs)
        try:
            budget[name.strip()] = float(value)
        except ValueError:
            raise WrongOption(f"--budget {word!r}", f"expected a number, found {value!r}") from None
    return budget


@dataclass(frozen=True)
class Row:
    """One graph against torch fp32.

    Differences are the graph's figure minus torch's; None where something cannot be asked.
    """

    tower: str
    precision: str
    inputs: str
    count: int
    max_abs: float
    min_cosine: float
    cosine: float  # of the worst 1 %
    batch: float
    overlap: float | None = None
    max_logit: float | None = None
    decisions: float | None = None
    precision_at_10: float | None = None
    recall_at_10: float | None = None
    recall_interval: tuple[float, float] | None = None
    how: str | None = None  # how the graph was made, where there is a choice
    note: str | None = None
    batches: tuple[int, ...] = BATCHES

    def failures(self, limits: Limits) -> list[str]:
        """Each figure that is beyond its limit, in words."""
        interval = self.recall_interval
        tells = self.note is None  # else torch itself retrieves by chance, and so does the difference
        checks = [
            (self.cosine, ">=", limits.cosine, "cosine of the worst 1 %", ".6f"),
            (self.overlap, ">=", limits.overlap, "top-10 overlap", ".3f"),
            (self.decisions, ">=", limits.decisions, "abnormal decisions equal", ".3f"),
            (self.batch, ">=", limits.batch, "same top-10 in other batches", ".3f"),
            (
                _size(self.precision_at_10) if tells else None,
                "<=",
                limits.precision,
                "macro P@10 difference",
                ".3f",
            ),
            (_size(self.recall_at_10) if tells else None, "<=", limits.recall, "Recall@10 difference", ".3f"),
            (self.max_abs, "<=", limits.max_abs, "max abs difference", ".1e"),
            (self.max_logit, "<=", limits.max_logit, "abnormal logit difference", ".1e"),
        ]
        failed = [_said(*check) for check in checks if _beyond(*check[:3])]
        if tells and limits.recall is None and interval is not None and not interval[0] <= 0 <= interval[1]:
            failed.append(
                f"Recall@10 differs: {self.recall_at_10:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"
            )
        return failed

    def require(self, limits: Limits) -> "Row":
        """Errors: ParityFailed, naming each figure that failed."""
        if failed := self.failures(limits):
            raise ParityFailed(
                f"{self.tower} tower, {self.precision}: the graph differs from torch", "; ".join(failed)
            )
        return self

    def __str__(self) -> str:
        parts = [f"cosine {self.cosine:.6f}", f"max abs {self.max_abs:.1e}"]
        parts += [] if self.overlap is None else [f"top-10 overlap {self.overlap:.3f}"]
        parts += [] if self.precision_at_10 is None else [f"macro P@10 {self.precision_at_10:+.3f}"]
        parts += [] if self.recall_at_10 is None else [f"Recall@10 {self.recall_at_10:+.3f}"]
        parts += [] if self.decisions is None else [f"decisions {self.decisions:.3f}"]
        parts += [f"batches {self.batch:.3f}"]
        made = f" ({self.how})" if self.how else ""
        return f"{self.tower} {self.precision}{made}: {', '.join(parts)}; {self.count} {self.inputs}"

    def record(self) -> ParityRecord:
        """As the manifest holds it."""
        return ParityRecord(**asdict(self))


def _size(value: float | None) -> float | None:
    return None if value is None else abs(value)


def _beyond(value: float | None, relation: str, limit: float | None) -> bool:
    if value is None or limit is None:
        return False
    return not (value >= limit if relation == ">=" else value <= limit)


def _said(value: float | None, relation: str, limit: float | None, name: str, style: str) -> str:
    return f"{name} {value:{style}} {'<' if relation == '>=' else '>'} {limit:g}"
