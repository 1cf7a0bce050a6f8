"""What a typed text names, and in which order reports follow from it: those that say of a finding what the
text says, then those that do not name it, then those that say the contrary; among equals by their places by
vector, by the finding's names and by the typed words.

So a few reports that name what is typed come first, and their neighbours after them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..index.finding_words import any_word, findings_named
from ..index.hits import ReportHit
from ..index.index import Hits
from ..index.library import Library, Scope, TypedReports, TypedText
from ..index.rerank import CANDIDATES, Owed, owed, places


@dataclass(frozen=True)
class Naming:
    """What a text names, and what the reports of a library say of it."""

    text: TypedText
    reports: TypedReports

    @property
    def found(self) -> bool:
        """Whether any report says anything of what is named."""
        return self.reports.found

    def marked(self, hits: Hits, shown: Sequence[ReportHit]) -> tuple[ReportHit, ...]:
        """The hits with what each says of what is named."""
        said = self.reports.stances(hits.rows)
        return tuple(replace(hit, named=said[row]) for row, hit in zip(hits.rows, shown, strict=True))

    def lines(self) -> Iterator[str]:
        """What is to be told: of each finding that no report names, that the nearest by cosine are shown."""
        for name in self.reports.named_by_none:
            yield f"no report here names {name!r}: the nearest by vectors and words are shown"


def naming_of(text: str, library: Library) -> Naming | None:
    """None where a text names nothing (a description is no name), or there is no full-text search.

    Errors: ArtefactDamaged.
    """
    findings = findings_named(text)
    if not findings:
        return None
    asked = TypedText(findings, any_word(text))
    known = library.typed(asked)
    return None if known is None else Naming(asked, known)


class TypedSearch:
    """Finds the reports and films of a library for a typed text that names findings."""

    def __init__(self, library: Library, scope: Scope):
        self._library, self._scope = library, scope

    def reports(self, vector: np.ndarray | None, k: int, naming: Naming) -> tuple[Hits, tuple[Owed, ...]]:
        """The k first reports, with what each owes its place to; without a vector by their words alone, and
        only those that have any: their scores are NaN.
        """
        rows: list[int] = []
        why: list[Owed] = []
        scores: list[float] = []
        choice = None
        for group in naming.reports.groups(self._scope):
            lists, by_vector, ids = self._lists(group, vector, k, naming)
            choice = choice or (by_vector and by_vector.choice)
            marks = group.group.level if group.group else 0
            told = {row: owed(row, lists, marks) for row in ids}
            best = sorted(told, key=lambda row: (-told[row].score, told[row].vector or np.inf, ids[row]))
            best = best[: k - len(rows)]
            rows, why = [*rows, *best], [*why, *(told[row] for row in best)]
            scores += self._cosines(vector, best, by_vector)
            if len(rows) == k:
                break
        return Hits(tuple(rows), tuple(scores), choice or self._library.choice), tuple(why)

    def _lists(
        self, group: Scope, vector: np.ndarray | None, k: int, naming: Naming
    ) -> tuple[list[dict[int, int]], Hits | None, dict[int, str]]:
        """The places of a group's reports by vector, names and words, the first of each list; the nearest by
        vector; and the ids of all that are in a list.
        """
        most = max(k, CANDIDATES)
        nearest = None if vector is None else self._library.nearest(vector, most, group)
        by_vector = places(nearest.rows, np.array(nearest.scores)) if nearest else {}
        lists = [by_vector, *naming.reports.places(group, most)]
        ids = self._library.report_ids(list(dict.fromkeys(row for one in lists for row in one)))
        return lists, nearest, ids

    def _cosines(self, vector: np.ndarray | None, rows: list[int], nearest: Hits | None) -> list[float]:
        """The cosines of some reports; of those far behind by vector they are computed now."""
        if vector is None or nearest is None:
            return [float("nan")] * len(rows)
        known = dict(zip(nearest.rows, nearest.scores, strict=True))
        late = tuple(sorted(set(rows) - set(known)))
        if late:
            others = self._library.nearest(vector, len(late), Scope(rows=late))
            known |= dict(zip(others.rows, others.scores, strict=True))
        return [known[row] for row in rows]

    def films(self, vector: np.ndarray, k: int, naming: Naming) -> Hits:
        """The k first films: by what their reports say of what is named, and among equals by cosine."""
        films = Hits((), (), self._library.choice)
        for group in (*naming.reports.groups(self._scope), replace(self._scope, unreported=True)):
            films = films.then(self._library.nearest_films(vector, k - len(films.rows), group))
            if len(films.rows) == k:
                break
        return films
