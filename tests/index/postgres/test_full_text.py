"""PostgreSQL finds the same reports for the same words as SQLite's FTS5, and with the same relevances."""

import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from mtclip_edge.errors import WrongOption
from mtclip_edge.index.denial import AFFIRMED, DENIED, by_stance
from mtclip_edge.index.finding_words import _SYNONYMS, any_word, findings_named
from mtclip_edge.index.postgres.bm25 import VECTORS, Condition, Counts, relevance
from mtclip_edge.index.postgres.match import matching, parsed
from mtclip_edge.index.postgres.tokens import literal, tokens_of
from mtclip_edge.index.words import COLUMNS, TABLES, TEXT, ReportWords, insert_words

psycopg = pytest.importorskip("psycopg", reason="PostgreSQL needs the package psycopg")

_TABLE = """
CREATE TABLE report (row bigint PRIMARY KEY, site text, report_id text, words tsvector, affirmed tsvector,
    denied tsvector, length int);
CREATE FUNCTION matching(kind text, query tsquery) RETURNS SETOF bigint LANGUAGE sql AS $$ SELECT row FROM report
    WHERE CASE kind WHEN 'words' THEN words WHEN 'affirmed' THEN affirmed ELSE denied END @@ query $$
"""
ODD = (
    "",
    "   ",
    "?! -- ...",
    "edema " * 300,
    "Épanchement pleural à droite, cœur élargi.",
    "epanchement pleural a droite",
    "Kein Erguß. Keine Stauung, Herz größer als im Vorbefund, nicht gestaut.",
    "The patient's T-spine isn't straight; T spine, t-spine.",
    r"back\slash 'quoted' ''twice'' it's\ ",
    "3.5 cm nodule, 3 5 cm, 35 cm and 12-mm nodules in 2019.",
    "肺に結節があります。 胸水なし",
    "Плеврального выпота нет",
    "naïve nai\u0308ve \u0301alone o\u0308dema I\u0307stanbul ﬁbrosis ﬁ brosis ½ Ⅳ x² \U0001d400",
    "no\u00a0break thin\u2009space zero\u200bwidth soft\u00adhyphen line\u2028end tab\tend nul\x00end esc\x1bend",
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 20 + " long",
    "snake_case a_b__c under_ 1_000 e-mail@host.org http://a.b/c?d=e&f",
    "effusion effusions effusion effusion pleural effusion",
    "heart enlarged heart. The heart is mildly enlarged. enlarged enlarged heart heart",
)
VOCABULARY = """
    effusion effusions pleural opacity opacities opacification opaque heart enlarged enlargement no not and or near
    pneumonia edema oedema œdème left right the is small T-spine 3.5 x-ray patient's cardiac air space disease
    Herz größer naïve naive a b ab 12 \ue000 CHF
""".split()  # noqa: SIM905


class Stores:
    """The same texts in both stores."""

    def __init__(self, texts: Sequence[str], url: str):
        self.sqlite = sqlite3.connect(":memory:")
        self.sqlite.executescript(TABLES)
        insert_words(self.sqlite, enumerate(texts))
        self.words = ReportWords(self.sqlite, "words", len(texts), True)
        columns = [text for whole in texts for text in (whole, *(by_stance(whole) or (whole, "", "")))]
        tokens = tokens_of(columns)
        self.counts = Counts(len(texts), sum(map(len, tokens)))
        self.postgres = psycopg.connect(url, autocommit=True)
        self.postgres.execute(_TABLE)
        copy = "COPY report (row, words, affirmed, denied, length) FROM STDIN"
        with self.postgres.cursor() as cursor, cursor.copy(copy) as rows:
            for row in range(len(texts)):
                own = tokens[4 * row : 4 * row + 4]
                rows.write_row((row, *map(literal, own[:3]), sum(map(len, own))))

    def beginning_so(self, first: str) -> list[str]:
        query = "SELECT word FROM spelt WHERE word >= ? AND word < ? LIMIT 1000"
        return [word for (word,) in self.sqlite.execute(query, (first, f"{first}\U0010ffff"))]

    def rows(self, tsquery: str, column: str) -> list[int]:
        query = f"SELECT row FROM report AS r WHERE {VECTORS[column]} @@ %s::tsquery ORDER BY row"
        return [row for (row,) in self.postgres.execute(query, (tsquery,))]

    def relevance(self, expression: str, column: str, **options: Any) -> list[tuple[int, float]]:
        statement = relevance(parsed(expression, "words"), column, self.counts, **options)
        return self.postgres.execute(statement.text, statement.values).fetchall()

    def of_fts5(self, expression: str, column: str) -> list[tuple[int, float]]:
        query = "SELECT rowid, -bm25(terms) FROM terms WHERE terms MATCH ? ORDER BY rowid"
        return self.sqlite.execute(query, (f"{{{column}}} : ({expression})",)).fetchall()

    def of_parts(self, expression: str, column: str) -> list[tuple[int, float]]:
        """The sum over the parts that OR joins, each asked alone.

        Relevance is a sum over phrases, so this is that of the whole, but for a fault of FTS5: in a row that it
        finds for another part, a NEAR which does not match counts places that it read before, of another row.
        """
        total: dict[int, float] = {}
        for part in expression.split(" OR "):
            for row, value in self.of_fts5(part, column):
                total[row] = total.get(row, 0) + value
        return sorted(total.items())

    def check(self, expression: str, column: str) -> int:
        """Both give the same; gives how many reports."""
        wanted = (self.of_parts if " OR NEAR" in expression else self.of_fts5)(expression, column)
        found = sorted(self.relevance(expression, column))
        assert [row for row, _ in found] == [row for row, _ in wanted], expression
        for (row, value), (_, exact) in zip(found, wanted, strict=True):
            assert value == pytest.approx(exact, abs=1e-9), (expression, column, row)
        return len(found)


@pytest.fixture
def stores(database: str) -> Iterator[Any]:
    made: list[Stores] = []

    def make(texts: Sequence[str]) -> Stores:
        made.append(Stores(texts, database))
        return made[-1]

    yield make
    for one in made:
        one.postgres.close()
        one.sqlite.close()


def _seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def _text(rng: random.Random) -> str:
    words = rng.choices(VOCABULARY, k=rng.choice((0, 1, 3, 8, 20, 60)))
    return "".join(word + rng.choice((" ", " ", " ", ", ", ". ", "\n", "-", "")) for word in words)


def _string(rng: random.Random) -> str:
    word = rng.choice(VOCABULARY)
    quoted = '"' + " ".join(rng.choices(VOCABULARY, k=rng.choice((0, 1, 2, 2, 3)))) + '"'
    plain = word if word.isalnum() and word not in ("AND", "OR", "NOT") else f'"{word}"'
    return rng.choice((plain, plain, quoted)) + rng.choice(("", "", "", "*", " *"))


def _leaf(rng: random.Random) -> str:
    return rng.choice((" ", " + ", "  ")).join(_string(rng) for _ in range(rng.choice((1, 1, 2, 3))))


def _query(rng: random.Random, depth: int = 3) -> str:
    kind = rng.random()
    if depth == 0 or kind < 0.3:
        return _leaf(rng)
    if kind < 0.5:
        return f"({_query(rng, depth - 1)})"
    signs = rng.choices(("AND", "OR", "NOT", "OR"), k=rng.choice((1, 1, 2)))
    return _query(rng, depth - 1) + "".join(f" {sign} {_query(rng, depth - 1)}" for sign in signs)


def _near(rng: random.Random) -> str:
    words = rng.sample(("heart", "enlarged", "a", "b", "ab", "effusion", "the", "is"), 2)
    return f"NEAR({words[0]} {words[1]}, {rng.randrange(6)})"


def _any_of(rng: random.Random) -> str:
    """Words and phrases joined by OR, some of them but not in reports with others."""
    parts = [_leaf(rng) for _ in range(rng.choice((1, 2, 3)))]
    if rng.random() < 0.4:
        parts.append(f"(heart OR {rng.choice(VOCABULARY[:8])} NOT ({_leaf(rng)} OR {_leaf(rng)}))")
    return " OR ".join(rng.sample(parts, len(parts)))


def _ranked(rng: random.Random) -> str:
    """Random expressions of the shapes that are ranked. In others FTS5 loses counts (an AND below OR that has an
    OR in it) or adds some (what an empty phrase has behind NOT): there only the reports found are compared.
    """
    kind = rng.random()
    if kind < 0.4:
        return _any_of(rng)
    if kind < 0.7:
        return " AND ".join(f"({_any_of(rng)})" for _ in range(rng.choice((2, 2, 3))))
    if kind < 0.8:
        return f"({_any_of(rng)}) NOT ({_leaf(rng)} OR {_leaf(rng)})"
    return _near(rng) + rng.choice(("", " a", f" AND ({_any_of(rng)})"))


@pytest.mark.parametrize("seed", range(3))
def test_random_queries_find_the_same_with_the_same_relevance(stores: Any, seed: int, soak: bool) -> None:
    rng = _seeded(seed)
    both = stores([*ODD[:3], *ODD[4:], *(_text(rng) for _ in range(200))])
    columns = (TEXT, AFFIRMED, DENIED)
    found = [both.check(_ranked(rng), rng.choice(columns)) for _ in range(4000 if soak else 300)]
    assert sum(map(bool, found)) > len(found) / 2
    for _ in range(100):
        assert both.check(f"a b OR {_near(rng)} OR heart OR {_near(rng)}", rng.choice(columns))


@pytest.mark.parametrize("seed", range(3))
def test_any_query_finds_the_same(stores: Any, seed: int, soak: bool) -> None:
    rng = _seeded(seed)
    both = stores([*ODD, *(_text(rng) for _ in range(200))])
    for _ in range(4000 if soak else 300):
        expression, column = _query(rng), rng.choice((TEXT, AFFIRMED, DENIED))
        wanted = [row for row, _ in both.of_fts5(expression, column)]
        assert both.rows(parsed(expression, "words").tsquery, column) == wanted, expression
        assert sorted(row for row, _ in both.relevance(expression, column)) == wanted, expression


def test_random_words_match_the_same_reports(stores: Any) -> None:
    rng = _seeded(7)
    both = stores([*ODD, *(_text(rng) for _ in range(100))])
    for _ in range(300):
        words = rng.choice(("", "NOT ", " NOT  ")) + rng.choice((_query, _query, _near))(rng)
        any_stance = rng.random() < 0.5
        option, column = ("--match-any", TEXT) if any_stance else ("--match", AFFIRMED)
        try:
            wanted = both.words.matching(words, any_stance).tolist()
        except WrongOption as error:  # a beginning beside a word, which FTS5 does not take
            with pytest.raises(WrongOption, match=re.escape(str(error))):
                matching(words, option, both.beginning_so)
            continue
        assert both.rows(matching(words, option, both.beginning_so), column) == wanted, words


def test_findings_have_the_same_reports_and_relevances(stores: Any) -> None:
    rng = _seeded(5)
    synonyms = [
        part
        for name in _SYNONYMS.values()
        for synonym in name
        for part in (synonym.replace("~", " is "), synonym)
    ]
    cues = ("no ", "", "", "without ", "there is ", "possible ")
    both = stores(
        [". ".join(rng.choice(cues) + one for one in rng.choices(synonyms, k=5)) for _ in range(600)]
    )
    for name in _SYNONYMS:
        for finding in findings_named(name):
            assert sum(both.check(finding.expression, column) for column in (AFFIRMED, DENIED)), name
    expression = any_word("no enlarged heart with the patient's effusion")
    assert expression and both.check(expression, AFFIRMED)


_CORNERS = (
    *(
        '""',
        '"" a',
        '"" AND a',
        '"" OR a',
        'a NOT ""',
        '"" NOT a',
        '"" + a',
        'a + ""*',
        "a* + b",
        '"?!"',
        "and",
    ),
    *(
        "a b NOT c",
        "a NOT b c",
        "a OR b NOT c AND d",
        "a AND b OR c",
        "NEAR",
        '"near"',
        "NEAR(a)",
        'NEAR("" a)',
    ),
    *(
        "NEAR (a b, 0)",
        "NEAR(a a)",
        "NEAR(a b)",
        '"a ""b"""',
        "x\x1ab",
        '"a b"*',
        "größer",
        "GROSSER",
        "ab * b",
    ),
)


@pytest.mark.parametrize("words", _CORNERS)
def test_corners_of_the_language(stores: Any, words: str) -> None:
    both = stores(
        [
            "a b c d ab",
            "a x b ax bx",
            "a a a b",
            "c a b",
            "x y z b",
            "",
            "ab b",
            "near and größer",
            "b c a d a",
        ]
    )
    try:
        both.of_fts5(words, TEXT)
    except sqlite3.OperationalError:
        with pytest.raises(WrongOption):
            parsed(words, "words")
        return
    both.check(words, TEXT)


def test_odd_texts_have_the_stems_of_fts5() -> None:
    texts = [
        *ODD,
        *VOCABULARY,
        *(chr(code) * 2 + "x" for code in range(0x3000) if not 0xD800 <= code < 0xE000),
    ]
    with sqlite3.connect(":memory:") as db:
        db.executescript(TABLES)
        db.execute("CREATE VIRTUAL TABLE token USING fts5vocab(terms, 'instance')")
        db.executemany("INSERT INTO terms(rowid, text) VALUES (?, ?)", enumerate(texts))
        wanted: list[list[str]] = [[] for _ in texts]
        for row, stem in db.execute("SELECT doc, term FROM token ORDER BY doc, offset"):
            wanted[row].append(stem)
    assert tokens_of(texts) == wanted
    db.close()


def test_what_a_tsvector_does_not_hold(stores: Any) -> None:
    many = " ".join(f"w{number}" for number in range(17000))
    both = stores(
        [*ODD, "edema of the lung", many, " ".join(f"{'ß' * 700}{number}" for number in range(2000))]
    )
    assert both.relevance("w16382", TEXT) and not both.relevance("w16383", TEXT)
    found, wanted = dict(both.relevance("edema", TEXT)), dict(both.of_fts5("edema", TEXT))
    assert found.keys() == wanted.keys() and found[3] != pytest.approx(wanted[3], abs=1e-6)
    assert found[3] == pytest.approx(wanted[3], rel=0.2)  # 256 times instead of 300
    assert both.relevance(f"{'ß' * 700}7*", TEXT)


@pytest.mark.parametrize(
    "words", ["a AND", "(a", 'a "', "", "*", "a:b", "T-spine", "a (b)", "NEAR(a b, x)", "opa* b", "NOT"]
)
def test_a_mistake_reads_as_in_a_bundle(stores: Any, words: str) -> None:
    both = stores(["opacity b"])
    with pytest.raises(WrongOption) as wanted:
        both.words.matching(words, False)
    with pytest.raises(WrongOption) as raised:
        matching(words, "--match", both.beginning_so)
    assert str(raised.value) == str(wanted.value)


_UNKNOWN = (
    *(
        ("^a", "^"),
        ("a ^b", "^"),
        ("text:a", "column"),
        ("{text denied} : a", "column"),
        ("- text : a", "column"),
    ),
    *(
        ("{text} : (a b)", "column"),
        ('"text" : a', "column"),
        ("a text : b", "column"),
        ("NEAR(a b c)", "NEAR"),
    ),
    *(('NEAR("a b" c)', "NEAR"), ("NEAR(a b*)", "NEAR"), ("NEAR(a b, 65)", "NEAR")),
)


@pytest.mark.parametrize(("words", "named"), _UNKNOWN)
def test_what_postgres_does_not_search_is_named(words: str, named: str) -> None:
    with pytest.raises(WrongOption, match="is not searched in PostgreSQL") as raised:
        matching(words, "--match", lambda first: ())
    assert raised.value.what.startswith(f"--match {words!r}: {named}" if named != "column" else "--match")
    assert named in raised.value.what and str(raised.value).endswith("a bundle's own search has it")


def test_a_condition_and_the_most_with_ties(stores: Any) -> None:
    both = stores(["effusion"] * 4 + ["effusion effusion", "effusion and edema", "none"] + ["no"] * 9)
    every = both.relevance("effusion", TEXT)
    assert [row for row, _ in both.relevance("effusion", TEXT, most=1)] == [4]
    assert sorted(row for row, _ in both.relevance("effusion", TEXT, most=2)) == [0, 1, 2, 3, 4]
    few = both.relevance("effusion", TEXT, condition=Condition("r.row >= %(least)s", {"least": 3}))
    assert sorted(few) == [pair for pair in sorted(every) if pair[0] >= 3]


def test_the_most_are_those_that_numpy_rounds_first(stores: Any) -> None:
    rng = _seeded(11)
    both = stores([_text(rng) for _ in range(300)])
    for most in (1, 5, 40, 400):
        rounded = sorted(
            ((-np.round(value, 6), row) for row, value in both.of_fts5("heart OR a OR effusion", TEXT))
        )
        least = rounded[min(most, len(rounded)) - 1][0]
        found = both.relevance("heart OR a OR effusion", TEXT, most=most)
        assert sorted((-value, row) for row, value in found) == [pair for pair in rounded if pair[0] <= least]


def test_a_store_without_reports(stores: Any) -> None:
    assert stores([]).relevance("a OR b", TEXT) == []


def test_columns_are_those_of_a_bundle() -> None:
    assert tuple(VECTORS) == COLUMNS[:3]
