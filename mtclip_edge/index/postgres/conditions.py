"""What a scope means in PostgreSQL: a condition on ``report r``, or on a film ``f`` of a study ``s``."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..denial import AFFIRMED, DENIED
from ..filters import Filters, days
from ..library import Group, Scope, TypedText
from ..words import TEXT
from .bm25 import VECTORS
from .match import matching, parsed
from .rows import folded

Beginning = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Where:
    """A condition in SQL with the values of its ``%(name)s``."""

    sql: str = "true"
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def as_filter(self) -> str:
        """The same for rows that come by their nearness: nothing that the server would rather begin with."""
        kept = _FEW.sub("", self.sql)
        return _BY_WORDS.sub(r"(\1) IS TRUE", kept)

    def __and__(self, other: "Where") -> "Where":
        parts = [part for part in (self.sql, other.sql) if part != "true"]
        return Where(" AND ".join(parts) or "true", {**self.values, **other.values})


_FEW = re.compile(r" AND /\*few\*/ .*? /\*\*/")
_BY_WORDS = re.compile(r"/\*words\*/ (.*?) /\*\*/")


def by_words(column: str, name: str) -> str:
    """The reports ``r`` whose words in a column match a tsquery, found by an index."""
    return f"/*words*/ r.row IN (SELECT matching('{VECTORS[column]}', %({name})s::tsquery)) /**/"


def of_study(filters: Filters) -> Where:
    """What a study ``s`` must have."""
    where = Where()
    if filters.exclude_patient:
        where &= Where("s.patient_id <> ALL(%(barred)s)", {"barred": list(filters.exclude_patient)})
    if filters.source is not None:
        where &= Where("s.source = %(source)s", {"source": filters.source})
    if filters.since is not None:
        where &= Where("s.date >= %(since)s", {"since": days("since", filters.since)[0]})
    if filters.until is not None:
        until = {"until": days("until", filters.until)[1]}
        where &= Where("s.date <> '' AND s.date <= %(until)s", until)
    if filters.finding is not None:
        named = f"EXISTS (SELECT 1 FROM finding n WHERE n.study = s.key AND {_BY_NAME})"
        where &= Where(named, {"finding": folded(filters.finding)})
    if filters.view is not None:
        where &= Where(f"EXISTS (SELECT 1 FROM film f WHERE f.study = s.key AND {_VIEW})", _views(filters))
    return where


_VIEW = "lower(f.view) = ANY(%(views)s)"


def _views(filters: Filters) -> dict[str, object]:
    return {"views": sorted(set(filters.views()))}


def of_report(scope: Scope, beginning: Beginning) -> Where:
    """What a report ``r`` must have. Errors: WrongOption for words that cannot be read."""
    where, filters = Where(), scope.filters
    if scope.rows is not None:
        where &= Where("r.row = ANY(%(rows)s)", {"rows": list(scope.rows)})
    if scope.label is not None:
        where &= Where("r.label = %(scope_label)s", {"scope_label": scope.label})
    if filters.label is not None:
        where &= Where("r.label = %(label)s", {"label": filters.label})
    study = of_study(filters)
    if study.sql != "true":
        among = f"EXISTS (SELECT 1 FROM study s WHERE s.report_row = r.row AND {study.sql})"
        if filters.finding is not None:  # the index on names finds few reports without a look at all studies
            among += f" AND /*few*/ r.row IN (SELECT n.report_row FROM finding n WHERE {_BY_NAME}) /**/"
        where &= Where(among, study.values)
    where &= of_words(filters, beginning)
    return where if scope.group is None else where & of_group(scope.group)


_BY_NAME = "NOT n.denied AND n.folded = %(finding)s"


def of_words(filters: Filters, beginning: Beginning) -> Where:
    where = Where()
    for name, words, option, column in (
        ("match", filters.match, "--match", AFFIRMED),
        ("match_any", filters.match_any, "--match-any", TEXT),
    ):
        if words is not None:
            query = matching(words, option, beginning)
            inverted = query.startswith("!")  # which no index finds
            sql = f"r.{VECTORS[column]} @@ %({name})s::tsquery" if inverted else by_words(column, name)
            where &= Where(sql, {name: query})
    return where


def of_group(group: Group) -> Where:
    """The reports that agree with a typed text on so many more findings than they contradict."""
    level = agreement(group.text)
    where = Where(f"{level.sql} = %(level)s", {**level.values, "level": group.level})
    if group.level == 0:
        return where
    some = []
    for place, finding in enumerate(group.text.findings):
        column = DENIED if finding.denied == (group.level > 0) else AFFIRMED
        some.append(by_words(column, f"finding_{place}"))
    return where & Where(f"({' OR '.join(some)})", level.values)


def agreement(text: TypedText) -> Where:
    """An expression, an int: on how many findings more a report ``r`` agrees than not."""
    places = range(len(text.findings))
    sums = [f"({agrees(text, place)})::int - ({contradicts(text, place)})::int" for place in places]
    values = {
        f"finding_{place}": parsed(finding.expression, repr(finding.name)).tsquery
        for place, finding in enumerate(text.findings)
    }
    return Where(f"({' + '.join(sums)})", values)


def agrees(text: TypedText, place: int) -> str:
    return denies_in_sql(place) if text.findings[place].denied else affirms_in_sql(place)


def contradicts(text: TypedText, place: int) -> str:
    return affirms_in_sql(place) if text.findings[place].denied else denies_in_sql(place)


def affirms_in_sql(place: int) -> str:
    return f"r.{VECTORS[AFFIRMED]} @@ %(finding_{place})s::tsquery"


def denies_in_sql(place: int) -> str:
    """A report that affirms it too does not only deny it."""
    return f"(r.{VECTORS[DENIED]} @@ %(finding_{place})s::tsquery AND NOT {affirms_in_sql(place)})"


def of_film(scope: Scope, beginning: Beginning) -> Where:
    """What a film ``f`` with its study ``s`` and report ``r`` must have."""
    filters = scope.filters
    where = of_study(filters) & of_words(filters, beginning)
    if filters.view is not None:
        where &= Where(_VIEW, _views(filters))
    if filters.label is not None:
        where &= Where("s.label = %(label)s", {"label": filters.label})
    if scope.group is None:
        return where
    of_report = Where() if filters.label is None else Where("r.label = %(label)s")
    return where & of_report & of_group(scope.group)
