"""What a typed text names, and in which order reports follow from it: those that say of a finding what the
text says, then those that do not name it, then those that say the contrary; among equals by their places by
vector, by the finding's names and by the typed words.

So a few reports that name what is typed come first, and their neighbours after them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Refused
from ..index.denial import AFFIRMED, DENIED
from ..index.filters import FilteredRows
from ..index.finding_words import TypedFinding, any_word, findings_named
from ..index.hits import ReportHit
from ..index.index import Hits, Index
from ..index.report_store import ReportStore
from ..index.rerank import CANDIDATES, Owed, owed, places
from .opening import LateWords


@dataclass(frozen=True)
class Naming:
    """The findings that a text names; ``affirming`` and ``denying`` are for each a bool array [reports].

    ``names`` and ``words``, float [reports]: how well each has the names of the findings, or any of the typed
    words, as the text has them, affirmed or denied (``ReportWords.relevance``); NaN where it has none.
    """

    findings: tuple[TypedFinding, ...]
    affirming: tuple[np.ndarray, ...]
    denying: tuple[np.ndarray, ...]
    names: np.ndarray
    words: np.ndarray

    @property
    def found(self) -> bool:
        """Whether any report says anything of what is named."""
        return any(map(np.any, (*self.affirming, *self.denying)))

    def tiers(self, passing: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The rows of reports that pass, int64, in groups, the more findings they agree on the sooner; each
        with on how many more they agree than not.
        """
        agreement = np.zeros(len(self.affirming[0]), np.int8)
        for finding, affirming, denying in zip(self.findings, self.affirming, self.denying, strict=True):
            agree, differ = (denying, affirming) if finding.denied else (affirming, denying)
            agreement += agree.astype(np.int8) - differ.astype(np.int8)
        of_passing = agreement[passing]
        for level in np.unique(of_passing)[::-1]:
            yield int(level), passing[of_passing == level]

    def marked(self, hits: Hits, shown: Sequence[ReportHit]) -> tuple[ReportHit, ...]:
        """The hits with what each says of what is named."""
        return tuple(replace(hit, named=self._of(row)) for row, hit in zip(hits.rows, shown, strict=True))

    def _of(self, row: int) -> dict[str, str | None]:
        return {
            finding.name: AFFIRMED if affirming[row] else DENIED if denying[row] else None
            for finding, affirming, denying in zip(self.findings, self.affirming, self.denying, strict=True)
        }

    def lines(self) -> Iterator[str]:
        """What is to be told: of each finding that no report names, that the nearest by cosine are shown."""
        for finding, affirming, denying in zip(self.findings, self.affirming, self.denying, strict=True):
            if not affirming.any() and not denying.any():
                yield f"no report here names {finding.name!r}: the nearest by vectors and words are shown"


def naming_of(text: str, words: LateWords, reports: int) -> Naming | None:
    """None where a text names nothing (a description is no name), or SQLite has no full-text search.

    Errors: ArtefactDamaged.
    """
    findings = findings_named(text)
    if not findings:
        return None
    try:
        known = words.get()
        stances = [known.stances(finding) for finding in findings]
    except Refused:
        return None
    relevance = [known.relevance(finding.expression, finding.denied) for finding in findings]
    with_names = ~np.isnan(relevance).all(axis=0)
    names = np.where(with_names, np.nansum(relevance, axis=0), np.nan)
    expression = any_word(text)
    denied = all(finding.denied for finding in findings)
    typed = np.full(reports, np.nan) if expression is None else known.relevance(expression, denied)
    flags: list[tuple[np.ndarray, ...]] = []
    for rows in zip(*stances, strict=True):
        table = np.zeros((len(findings), reports), bool)
        for place, some in enumerate(rows):
            table[place, some] = True
        flags.append(tuple(table))
    return Naming(findings, flags[0], flags[1], names, typed)


class TypedSearch:
    """Finds the reports and films of one open index for a typed text that names findings."""

    def __init__(self, index: Index, store: ReportStore, passing: FilteredRows | None):
        self._index, self._store = index, store
        self._passing = passing or FilteredRows(
            np.arange(index.reports), np.arange(len(index.vectors) - index.reports)
        )

    def reports(self, vector: np.ndarray | None, k: int, naming: Naming) -> tuple[Hits, tuple[Owed, ...]]:
        """The k first reports, with what each owes its place to; without a vector by their words alone, and
        only those that have any: their scores are NaN.
        """
        rows: list[int] = []
        why: list[Owed] = []
        scores: list[float] = []
        choice = None
        for marks, tier in naming.tiers(self._passing.reports):
            lists, by_vector, ids = self._lists(tier, vector, k, naming)
            choice = choice or (by_vector and by_vector.choice)
            told = {row: owed(row, lists, marks) for row in ids}
            best = sorted(told, key=lambda row: (-told[row].score, told[row].vector or np.inf, ids[row]))
            best = best[: k - len(rows)]
            rows, why = [*rows, *best], [*why, *(told[row] for row in best)]
            scores += self._cosines(vector, best, by_vector)
            if len(rows) == k:
                break
        return Hits(tuple(rows), tuple(scores), choice or self._index.choice), tuple(why)

    def _lists(
        self, tier: np.ndarray, vector: np.ndarray | None, k: int, naming: Naming
    ) -> tuple[list[dict[int, int]], Hits | None, dict[int, str]]:
        """The places of a group's reports by vector, names and words, the first of each list; the nearest by
        vector; and the ids of all that are in a list.
        """
        most = max(k, CANDIDATES)
        nearest = (
            None if vector is None else self._index.search_reports(vector, most, self._store.report_ids, tier)
        )
        lists = [places(nearest.rows, np.array(nearest.scores)) if nearest else {}]
        for values in (naming.names, naming.words):
            of_tier = places(tier.tolist(), np.round(values[tier], 6))
            lists.append({row: place for row, place in of_tier.items() if place <= most})
        return (
            lists,
            nearest,
            self._store.report_ids(list(dict.fromkeys(row for one in lists for row in one))),
        )

    def _cosines(self, vector: np.ndarray | None, rows: list[int], nearest: Hits | None) -> list[float]:
        """The cosines of some reports; of those far behind by vector they are computed now."""
        if vector is None or nearest is None:
            return [float("nan")] * len(rows)
        known = dict(zip(nearest.rows, nearest.scores, strict=True))
        late = np.array(sorted(set(rows) - set(known)), np.int64)
        if len(late):
            others = self._index.search_reports(vector, len(late), self._store.report_ids, late)
            known |= dict(zip(others.rows, others.scores, strict=True))
        return [known[row] for row in rows]

    def films(self, vector: np.ndarray, k: int, naming: Naming) -> Hits:
        """The k first films: by what their reports say of what is named, and among equals by cosine."""
        films = Hits((), (), self._index.choice)
        for _, tier in naming.tiers(self._passing.reports):
            of_tier = np.intersect1d(self._store.films_by_report(tier.tolist()), self._passing.films)
            films = films.then(self._index.search_films(vector, k - len(films.rows), of_tier))
            if len(films.rows) == k:
                return films
        others = np.setdiff1d(self._passing.films, self._store.films_with_report())
        return films.then(self._index.search_films(vector, k - len(films.rows), others))
