"""Studies out of a library: from the commit on no query finds anything of them.

In the files of the database their words lie on until it cleans up after itself, in its log, in replicas and
in backups longer: ``scrub`` rewrites the tables, and what is beyond it is for whoever runs the database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import Refused
from ...progress import Say, silent
from ..report_store import meant as names_meant
from .connect import said
from .rows import findings_in, read_words
from .tokens import quoted, tokens_of
from .writing import Writer

SCRUBBED = ("report", "study", "wording", "film", "finding", "spelt")
BEYOND = "the database's write-ahead log, statistics, replicas and backups may hold it longer"


@dataclass(frozen=True)
class Removed:
    """How much went."""

    studies: int
    patients: int
    reports: int
    films: int

    def to_dict(self) -> dict[str, int]:
        return dict(vars(self))


def meant(
    writer: Writer,
    studies: Sequence[str],
    patients: Sequence[str],
    sources: Sequence[str],
    missing_ok: bool,
    say: Say = silent,
) -> list[int]:
    """The keys of the studies of a site that some names mean. Errors: Refused for a name that nothing has,
    unless ``missing_ok``.
    """

    def find(column: str, name: str) -> list[int]:
        sql = f"SELECT key FROM study WHERE site = %s AND {column} = %s"
        with said(writer.url):
            return [key for (key,) in writer.connection.execute(sql, (writer.site, name)).fetchall()]

    given = {"study": studies, "patient": patients, "source": sources}
    keys, missing = names_meant(given, find, writer.shown, f"site {writer.site}", missing_ok)
    if missing:
        say(f"{missing} of the names given {'is' if missing == 1 else 'are'} of nothing in this site")
    return keys


def would_remove(writer: Writer, keys: Sequence[int]) -> Removed:
    """What would go with some studies."""
    sql = (
        "SELECT count(*), count(DISTINCT patient_id), (SELECT count(*) FROM report r WHERE r.row IN (SELECT"
        " report_row FROM study WHERE key = ANY(%(keys)s)) AND NOT EXISTS (SELECT 1 FROM study o WHERE"
        " o.report_row = r.row AND o.key <> ALL(%(keys)s))), (SELECT count(*) FROM film WHERE study ="
        " ANY(%(keys)s)) FROM study WHERE key = ANY(%(keys)s)"
    )
    with said(writer.url):
        ((studies, patients, reports, films),) = writer.connection.execute(
            sql, {"keys": list(keys)}
        ).fetchall()
    return Removed(studies, patients, reports, films)


def remove(writer: Writer, keys: Sequence[int]) -> Removed:
    """Take studies out, and the reports that no other study of the site has. All of it, or nothing; what
    somebody else took out meanwhile is not counted again.
    """
    with writer.change():
        sql = "SELECT key FROM study WHERE key = ANY(%s) AND site = %s FOR UPDATE"
        here = [key for (key,) in writer.connection.execute(sql, (list(keys), writer.site)).fetchall()]
        going = would_remove(writer, here)
        if here:
            _Removal(writer, here).done(going)
    return going


def scrub(writer: Writer) -> None:
    """Write the tables anew, so that what was removed is in none of their pages: locks them meanwhile, and
    builds their indexes again. Errors: Refused where this login may not.
    """
    tables = check_scrub(writer)
    with said(writer.url):
        for table in tables:
            writer.connection.execute(f"VACUUM (FULL, ANALYZE) {table}")
        # What was frequent stands in the statistics; whoever owns the database alone may write these anew.
        writer.connection.execute("VACUUM (FULL) pg_catalog.pg_statistic")


def check_scrub(writer: Writer) -> list[str]:
    """The tables that are written anew. Errors: Refused where this login is not their owner: the server would
    pass over them with a warning.
    """
    tables = [*SCRUBBED]
    sql = (
        "SELECT count(*) FROM pg_class WHERE oid = ANY(%s::regclass[]) AND NOT pg_has_role(relowner, 'USAGE')"
    )
    with said(writer.url):
        for (stem,) in writer.connection.execute("SELECT vectors FROM model").fetchall():
            tables += [f"report_vector_{stem}", f"film_vector_{stem}"]
        ((others,),) = writer.connection.execute(sql, ([f"mtclip.{table}" for table in tables],)).fetchall()
    if others:
        what = f"{writer.shown}: --scrub is for the owner of the library's tables"
        raise Refused(what, "nothing was removed", "remove without it, and ask the owner to scrub")
    return tables


class _Removal:
    def __init__(self, writer: Writer, keys: list[int]):
        self._writer, self._keys, self._site = writer, keys, writer.site
        self._stems = [str(stem) for (stem,) in self._run("SELECT vectors FROM model")]

    def _run(self, sql: str, values: Mapping[str, object] | Sequence[object] = ()) -> list[Any]:
        cursor = self._writer.connection.execute(sql, values)
        return cursor.fetchall() if cursor.description else []

    def done(self, going: Removed) -> None:
        reports = [row for (row,) in self._run(_REPORTS_OF, (self._keys,))]
        texts = [text for (text,) in self._run(_TEXTS_OF, {"keys": self._keys, "rows": reports})]
        before = self._counted(reports)
        self._delete_films()
        self._run("DELETE FROM finding WHERE study = ANY(%s)", (self._keys,))
        self._run("DELETE FROM wording WHERE study = ANY(%s)", (self._keys,))
        self._run("DELETE FROM study WHERE key = ANY(%s)", (self._keys,))
        self._vote_again(reports)
        self._delete_reports(reports)
        self._reword(reports)
        self._forget_words(texts)
        self._count(going, before, self._counted(reports))

    def _delete_films(self) -> None:
        films = [row for (row,) in self._run("SELECT row FROM film WHERE study = ANY(%s)", (self._keys,))]
        self._delete_rows("film", films)

    def _delete_reports(self, reports: list[int]) -> None:
        sql = (
            "SELECT row FROM report r WHERE row = ANY(%s) AND NOT EXISTS (SELECT 1 FROM study s WHERE"
            " s.report_row = r.row)"
        )
        self._delete_rows("report", [row for (row,) in self._run(sql, (reports,))])

    def _delete_rows(self, kind: str, rows: list[int]) -> None:
        """With the vectors of every model."""
        for stem in self._stems:
            sql = (
                f"WITH gone AS (DELETE FROM {kind}_vector_{stem} WHERE row = ANY(%s) RETURNING 1) UPDATE held"
                f" SET {kind}s = {kind}s - (SELECT count(*) FROM gone) WHERE site = %s AND model = (SELECT id"
                " FROM model WHERE vectors = %s)"
            )
            self._run(sql, (rows, self._site, stem))
        self._run(f"DELETE FROM {kind} WHERE row = ANY(%s)", (rows,))

    def _vote_again(self, reports: list[int]) -> None:
        self._run(
            "UPDATE report r SET normal = v.n, abnormal = v.a, unknown = v.u, label = CASE WHEN v.n = v.a"
            " THEN 'unknown' WHEN v.n > v.a THEN 'normal' ELSE 'abnormal' END FROM (SELECT report_row,"
            " count(*)"
            " FILTER (WHERE label = 'normal') AS n, count(*) FILTER (WHERE label = 'abnormal') AS a, count(*)"
            " FILTER (WHERE label = 'unknown') AS u FROM study WHERE report_row = ANY(%s) GROUP BY 1) v WHERE"
            " r.row = v.report_row",
            (reports,),
        )

    def _reword(self, reports: list[int]) -> None:
        """Give a report whose shown words are no remaining study's those of its first study. Its vector
        stays: these are the same words but for case, punctuation and marks.
        """
        sql = (
            "SELECT DISTINCT ON (s.report_row) s.report_row, w.text, w.findings, w.impression FROM study"
            " s JOIN"
            " wording w ON w.study = s.key WHERE s.report_row = ANY(%s) AND NOT EXISTS (SELECT 1 FROM study o"
            " LEFT JOIN wording v ON v.study = o.key WHERE o.report_row = s.report_row AND v.study IS NULL)"
            " ORDER BY s.report_row, s.study_id"
        )
        for row, text, findings, impression in self._run(sql, (reports,)):
            (read,) = read_words([text])
            self._run(
                "UPDATE report SET text = %s, findings = %s, impression = %s, words = %s::tsvector,"
                " affirmed ="
                " %s::tsvector, denied = %s::tsvector, length = %s, english = %s WHERE row = %s",
                (text, findings, impression, read.words, read.affirmed, read.denied, read.length,
                 read.english, row),
            )  # fmt: skip
            self._run(
                "DELETE FROM wording WHERE text = %s AND study IN (SELECT key FROM study WHERE"
                " report_row = %s)",
                (text, row),
            )
            named = self._run("SELECT key, name FROM finding WHERE report_row = %s", (row,))
            for key, denied in findings_in(named, text):
                self._run("UPDATE finding SET denied = %s WHERE key = %s", (denied, key))

    def _forget_words(self, texts: Sequence[str]) -> None:
        """Words that no report of the site has any more, nor one with the same stem."""
        words = sorted(frozenset[str]().union(*(read.spelt for read in read_words(texts))))
        gone = []
        for word, stems in zip(words, tokens_of(words), strict=True):
            query = " & ".join(map(quoted, stems)) or "''"
            sql = "SELECT 1 FROM report WHERE site = %s AND words @@ %s::tsquery LIMIT 1"
            if not self._run(sql, (self._site, query)):
                gone.append(word)
        self._run("DELETE FROM spelt WHERE site = %s AND word = ANY(%s)", (self._site, gone))

    def _counted(self, rows: list[int]) -> list[int]:
        sql = (
            "SELECT count(*) FILTER (WHERE label = 'normal'), count(*) FILTER (WHERE label = 'abnormal'),"
            " coalesce(sum(length), 0)::bigint, count(*) FILTER (WHERE NOT english) FROM report WHERE row ="
            " ANY(%s)"
        )
        return list(self._run(sql, (rows,))[0])

    def _count(self, going: Removed, before: Sequence[int], after: Sequence[int]) -> None:
        change = [new - old for new, old in zip(after, before, strict=True)]
        self._run(
            "UPDATE counts SET studies = studies - %s, reports = reports - %s, films = films - %s, normal ="
            " normal + %s, abnormal = abnormal + %s, words = words + %s, other_language = other_language"
            " + %s,"
            " generation = generation + 1 WHERE site = %s",
            (going.studies, going.reports, going.films, *change, self._site),
        )
        self._writer.note("remove", going.studies)


_REPORTS_OF = "SELECT DISTINCT report_row FROM study WHERE key = ANY(%s)"
_TEXTS_OF = (
    "SELECT text FROM report WHERE row = ANY(%(rows)s) UNION SELECT text FROM wording WHERE study ="
    " ANY(%(keys)s)"
)
