"""BM25 in PostgreSQL as FTS5 computes it: the same number to six decimals.

A row's relevance is the sum over the phrases of an expression of idf · f · (k1 + 1) / (f + k1 · (1 - b + b ·
D / avgdl)), k1 = 1.2, b = 0.75: f is how often the phrase stands in the column asked, D the tokens of the row
in all four columns, avgdl their mean over all rows, n in how many rows the phrase stands in the column, and
idf = ln((N - n + 0.5) / (n + 0.5)), or 1e-6 where that is not positive. A phrase counts nothing in a row that
the part of the expression which it belongs to does not match, and behind NOT nowhere.

FTS5 means the same but miscounts some rows of an expression with NEAR below OR, or with an OR in an AND
below OR: it counts places that it read before, of another row, or of no match. Its sum over the parts of an
OR, each asked alone, is right.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..denial import AFFIRMED, DENIED
from ..words import TEXT
from .match import NOT, OR, Joined, Near, Node, Phrase

VECTORS = {TEXT: "words", AFFIRMED: "affirmed", DENIED: "denied"}  # the tsvectors of ``report``
_SMALLEST = 1e-6  # of idf

# f · 2.2 / (f + s) is 2.2 · (1 - s / (s + f)), which has f once; 2.2 stands in the weight.
_WEIGHT = """
    (SELECT CASE WHEN %(bm25_reports)s::float8 > 2 * n
        THEN 2.2 * ln((%(bm25_reports)s::float8 - n + 0.5) / (n + 0.5)) ELSE 2.2 * {smallest} END
    FROM (SELECT count(*) AS n FROM report WHERE {vector} @@ %({query})s::tsquery) stands) AS {weight}"""
_TERM = "w.{weight} * (1 - ({length}) / (({length}) + {times}))"
_LENGTH = "0.3::float8 + 0.9::float8 * r.length / %(bm25_mean_length)s::float8"
# ts_rank_cd adds 1 for each cover of a query, and the covers of a phrase are its occurrences.
_TIMES = "ts_rank_cd('{{1,1,1,1}}', r.{vector}, %({query})s::tsquery)::float8"
# Of two words that are near, FTS5 counts each place from which any of the other is near.
_NEAR = """
CROSS JOIN LATERAL (
    SELECT count(DISTINCT first.place)::float8 AS f0, count(DISTINCT second.place)::float8 AS f1
    FROM (SELECT unnest(positions) AS place FROM unnest(r.{vector}) WHERE lexeme = %({first})s) AS first,
        (SELECT unnest(positions) AS place FROM unnest(r.{vector}) WHERE lexeme = %({second})s) AS second
    WHERE abs(first.place - second.place) <= {apart} AND r.{vector} @@ %({query})s::tsquery
) AS {name}"""


@dataclass(frozen=True)
class Condition:
    """A further SQL condition on ``report r``, with the values of its ``%(name)s``; names that begin with
    ``bm25_`` are taken.
    """

    text: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """SQL and the values of its ``%(name)s``, as psycopg takes them."""

    text: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class Counts:
    """How many reports there are in all, and how many tokens they have in all four columns."""

    reports: int
    tokens: int


def relevance(
    tree: Node, column: str, counts: Counts, condition: Condition | None = None, most: int | None = None
) -> Statement:
    """SQL that gives ``row`` and ``relevance`` (float8) of each report that an expression (``match.parsed``)
    matches in a column: ``TEXT``, ``AFFIRMED`` or ``DENIED``. The numbers do not depend on ``condition``.

    Without ``most`` in any order, and not rounded, so that several can be summed first. With it the most
    relevant first, rounded to six decimals, and all that tie with the last of them.
    """
    return _Writing(VECTORS[column], counts).statement(tree, condition or Condition("true"), most)


class _Writing:
    """One statement being written."""

    def __init__(self, vector: str, counts: Counts):
        self._vector = vector
        mean = counts.tokens / counts.reports if counts.tokens else 1.0
        self._values: dict[str, object] = {"bm25_reports": counts.reports, "bm25_mean_length": mean}
        self._names: dict[str, str] = {}
        self._weights: dict[str, str] = {}
        self._joins: list[str] = []

    def statement(self, tree: Node, condition: Condition, most: int | None) -> Statement:
        terms = [term for node, guards in _counted(tree) for term in self._terms(node, guards)]
        value, ordered, limit = " + ".join(terms), "", {}
        if most is not None:
            value = f"round(({value})::numeric, 6)::float8"
            ordered = "\nORDER BY relevance DESC FETCH FIRST (%(bm25_most)s) ROWS WITH TIES"
            limit = {"bm25_most": most}
        text = (
            f"WITH w AS MATERIALIZED (SELECT{','.join(self._weights.values())})\n"
            f"SELECT r.row, {value} AS relevance\n"
            f"FROM report AS r CROSS JOIN w{''.join(self._joins)}\n"
            f"WHERE r.row IN (SELECT matching('{self._vector}', %({self._name(tree.tsquery)})s::tsquery))"
            f" AND ({condition.text}){ordered}"
        )
        return Statement(text, self._values | limit | dict(condition.values))

    def _terms(self, node: Phrase | Near, guards: tuple[Node, ...]) -> Iterator[str]:
        """The summands of a phrase, or of the two words of a NEAR."""
        if isinstance(node, Phrase):
            times = _TIMES.format(vector=self._vector, query=self._name(node.tsquery))
            yield self._term(node, times, guards)
            return
        name = f"near{len(self._joins)}"
        first, second, query = map(self._name, (node.first, node.second, node.tsquery))
        self._joins.append(
            _NEAR.format(
                vector=self._vector, first=first, second=second, query=query, apart=node.most + 1, name=name
            )
        )
        for place, phrase in enumerate(node.phrases):
            yield self._term(phrase, f"{name}.f{place}", guards)

    def _term(self, phrase: Phrase, times: str, guards: tuple[Node, ...]) -> str:
        query = self._name(phrase.tsquery)
        weight = f"w_{query}"
        self._weights[weight] = _WEIGHT.format(
            smallest=_SMALLEST, vector=self._vector, query=query, weight=weight
        )
        if guards:
            times = f"CASE WHEN {' AND '.join(map(self._matches, guards))} THEN {times} ELSE 0 END"
        return _TERM.format(weight=weight, length=_LENGTH, times=times)

    def _matches(self, node: Node) -> str:
        return f"r.{self._vector} @@ %({self._name(node.tsquery)})s::tsquery"

    def _name(self, value: str) -> str:
        """The name of a text among the values, one for equal texts."""
        name = self._names.setdefault(value, f"bm25_{len(self._names)}")
        self._values[name] = value
        return name


def _counted(node: Node, guards: tuple[Node, ...] = ()) -> Iterator[tuple[Phrase | Near, tuple[Node, ...]]]:
    """The phrases that count, each with the parts of the expression that a row must match for it.

    Where AND or the left side of NOT matches, so do the parts of it: only what stands under OR may not.
    """
    if not isinstance(node, Joined):
        yield node, guards
        return
    for part in node.parts[:1] if node.how == NOT else node.parts:
        own = isinstance(part, Joined) and part.how != OR and node.how == OR
        yield from _counted(part, (*guards, part) if own else guards)
