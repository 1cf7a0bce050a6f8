"""Who may read which rows: by query, count, time of an error, and whatever setting a reader tries."""

from collections.abc import Callable

import numpy as np
import pytest
from library_studies import DIM, MODEL, loaded, some_studies, vector_of

from mtclip_edge.errors import Refused
from mtclip_edge.index.filters import Filters
from mtclip_edge.index.library import Scope
from mtclip_edge.index.postgres import removing
from mtclip_edge.index.postgres.administration import grant, library_statistics
from mtclip_edge.index.postgres.opening import open_library
from mtclip_edge.index.postgres.schema import SITE_TABLES
from mtclip_edge.index.postgres.writing import Writer, add_site_of

NORTH, SOUTH = some_studies(60, "n"), some_studies(90, "z")


@pytest.fixture
def hospital(new_library: Callable[[], str]) -> str:
    """Two sites that share reports word for word."""
    url = new_library()
    for site, studies in (("north", NORTH), ("south", SOUTH)):
        add_site_of(url, site)
        loaded(url, studies, site, films=True)
    return url


def test_a_login_without_a_site_reads_nothing(hospital: str, as_role: Callable[[str, str], str]) -> None:
    import psycopg

    nobody = as_role(hospital, "nobody")
    with pytest.raises(Refused, match="this login may not do that"):
        open_library(nobody, MODEL, DIM)
    grant(hospital, "nobody", "empty", write=False)
    with open_closing(nobody) as library:
        assert library.counts == (0, 0, 0)
        assert library.nearest(vector_of("x"), 5, Scope()).rows == ()
        assert library.nearest_films(vector_of("x"), 5, Scope()).rows == ()
        assert library.statistics()["findings"] == {} and library.patients() is not None
        assert list(library.patients()) == [] and library.unknown_patients(["np0"]) == 1
    with psycopg.connect(nobody, autocommit=True) as connection:
        for table in (*SITE_TABLES, *vector_tables(hospital)):
            if table in ("counts", "held", "evidence"):
                continue
            ((count,),) = connection.execute(f"SELECT count(*) FROM mtclip.{table}").fetchall()
            assert count == 0, table


def test_a_reader_finds_rows_of_one_site_alone(hospital: str, as_role: Callable[[str, str], str]) -> None:
    room = as_role(hospital, "room_north")
    grant(hospital, "room_north", "north", write=False)
    with open_closing(room) as library, open_closing(hospital) as all_of_it:
        assert library.counts[0] == len(NORTH) and all_of_it.counts[0] == len(NORTH) + len(SOUTH)
        assert not library.warnings and "superuser" in all_of_it.warnings[0]
        for filters in (
            Filters(),
            Filters(label="abnormal"),
            Filters(finding="effusion"),
            Filters(match="effusion"),
        ):
            hits = library.nearest(vector_of("clear"), 500, Scope(filters))
            shown = library.reports(hits.rows, filters)
            assert {study[0] for report in shown for study in report.study_ids} == {"n"}
        # What the south has too is counted without its studies, and found under its own words.
        twin = NORTH[0].report_id
        assert library.details(twin).studies and {s.study_id[0] for s in library.details(twin).studies} == {
            "n"
        }
        assert {s.study_id[0] for s in all_of_it.details(twin).studies} == {"n", "z"}
        with pytest.raises(Refused, match="no report or study 'z00001'"):
            library.details("z00001")
        with pytest.raises(Refused, match="no patient or study 'zp1'"):
            library.reports_of("zp1")
        assert library.unknown_patients(["zp1", "np1"]) == 1
        assert library.facts["sites"] == ["north"] and all_of_it.facts["sites"] == ["main", "north", "south"]


def test_equal_reports_of_several_sites_are_one_hit(hospital: str) -> None:
    with open_closing(hospital) as library:
        hits = library.nearest(vector_of(NORTH[0].text), 200, Scope())
        ids = list(library.report_ids(hits.rows).values())
        assert len(ids) == len(set(ids)) == len({s.report_id for s in (*NORTH, *SOUTH)})
        (first,) = library.reports(hits.rows[:1], Filters())
        assert first.report_id == NORTH[0].report_id and hits.scores[0] == 1.0
        both = [s for s in (*NORTH, *SOUTH) if s.report_id == NORTH[0].report_id]
        assert first.studies == len(both) == 4


def test_no_setting_lets_a_reader_read_more(hospital: str, as_role: Callable[[str, str], str]) -> None:
    import psycopg

    room = as_role(hospital, "room_sly")
    grant(hospital, "room_sly", "north", write=False)
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute("SET search_path = mtclip, public")

        def seen() -> set[str]:
            return {site for (site,) in connection.execute("SELECT DISTINCT site FROM report")}

        assert seen() == {"north"}
        for setting in ("SET mtclip.sites = 'north,south'", "SET mtclip.site = 'south'"):
            connection.execute(setting)
            assert seen() == {"north"}
        connection.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            seen()
        connection.execute("SET row_security = on")
        for forbidden in (
            "SET ROLE postgres",
            "SELECT * FROM site",
            "SELECT * FROM audit",
            "INSERT INTO site VALUES ('x', 'room_sly')",
            "UPDATE report SET site = 'north'",
            "DELETE FROM study",
            "ALTER TABLE report DISABLE ROW LEVEL SECURITY",
            "CREATE POLICY p ON report USING (true)",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(forbidden)
        # An error must not tell what is there: a value of another site divides by zero nowhere.
        tell_tale = (
            "SELECT count(*) FROM report WHERE site = 'south' AND 1 / (length(text) - length(text)) > 0"
        )
        assert connection.execute(tell_tale).fetchone() == (0,)
        for login, sites in (("room_sly", ["north"]), ("postgres", [])):
            assert connection.execute("SELECT my_sites(%s)", (login,)).fetchone() == (sites,)
        asked = ("'clear'",)
        found = connection.execute("SELECT count(*) FROM matching('words', %s::tsquery)", asked).fetchone()
        assert (
            found
            == connection.execute("SELECT count(*) FROM report WHERE words @@ %s::tsquery", asked).fetchone()
        )


def test_a_writer_changes_its_site_alone(hospital: str, as_role: Callable[[str, str], str]) -> None:
    import psycopg

    writer = as_role(hospital, "desk_south")
    grant(hospital, "desk_south", "south", write=True)
    more = some_studies(120, "z")
    assert loaded(writer, more, "south").studies == 30
    with pytest.raises(Refused, match="no site 'north'"):
        Writer(writer, "north")
    with psycopg.connect(writer, autocommit=True) as connection:
        assert connection.execute("DELETE FROM mtclip.finding WHERE site = 'north'").rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO mtclip.spelt VALUES ('north', 'planted')")
    with open_closing(writer) as library:
        assert library.counts[0] == 120
    with psycopg.connect(hospital) as owner:
        told = owner.execute("SELECT who, what, site, how_many FROM mtclip.audit ORDER BY key").fetchall()
    assert ("desk_south", "add", "south", 30) in told and ("postgres", "add", "north", 60) in told


def test_a_site_has_a_name_and_a_role_that_are_possible(hospital: str) -> None:
    with pytest.raises(Refused, match="no role 'who'"):
        grant(hospital, "who", "north", write=False)
    for name in ("a b", "a;b", "", 'x"y', "ü"):
        with pytest.raises(Exception, match="expected letters"):
            grant(hospital, "postgres", name, write=False)
    sites = library_statistics(hospital)["sites"]
    assert [site["name"] for site in sites] == ["main", "north", "south"]


def test_a_policy_costs_no_scan(hospital: str, as_role: Callable[[str, str], str]) -> None:
    """The sites of a login are asked once a query, not once a row."""
    import psycopg

    room = as_role(hospital, "room_plan")
    grant(hospital, "room_plan", "south", write=False)
    with psycopg.connect(room, autocommit=True) as connection:
        plan = "\n".join(
            line
            for (line,) in connection.execute(
                "EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM mtclip.study"
            )
        )
    assert "InitPlan" in plan and "loops=1" in plan
    assert "SubPlan" not in plan


def open_closing(url: str):
    from contextlib import closing

    return closing(open_library(url, MODEL, DIM))


def vector_tables(url: str) -> list[str]:
    from mtclip_edge.index.postgres.administration import opened

    with opened(url) as connection:
        ((stem,),) = connection.execute("SELECT vectors FROM model").fetchall()
    return [f"report_vector_{stem}", f"film_vector_{stem}"]


def test_vectors_are_of_unit_length_and_as_they_were_given(hospital: str) -> None:
    with open_closing(hospital) as library:
        (row,) = library.rows_of([NORTH[7].report_id]).values()
        assert np.array_equal(library.vector(row), vector_of(NORTH[7].text))


def test_who_reads_one_site_and_writes_another(hospital: str, as_role: Callable[[str, str], str]) -> None:
    """Neither rows nor counts of the site that is only read change; and it cannot be held to a row of it."""
    import psycopg

    desk = as_role(hospital, "desk_both")
    grant(hospital, "desk_both", "north", write=False)
    grant(hospital, "desk_both", "south", write=True)
    with psycopg.connect(desk, autocommit=True) as connection:
        connection.execute("SET search_path = mtclip, public")
        for table in ("finding", "film", "study", "report", "counts", "spelt"):
            assert connection.execute(f"DELETE FROM {table} WHERE site = 'north'").rowcount == 0, table
        assert connection.execute("UPDATE report SET text = '' WHERE site = 'north'").rowcount == 0
        ((row,),) = connection.execute("SELECT min(row) FROM report WHERE site = 'north'").fetchall()
        ((key,),) = connection.execute("SELECT min(key) FROM study WHERE site = 'north'").fetchall()
        report_vector, _ = vector_tables(hospital)
        for planted, values in (
            ("INSERT INTO study (site, study_id, patient_id, report_row, label, source, split, date) VALUES"
             " ('south', 'x', 'x', %s, 'normal', '', '', '')", (row,)),
            ("INSERT INTO wording VALUES (%s, 'south', '', '', '')", (key,)),
            ("INSERT INTO film (site, study, name, view) VALUES ('south', %s, '', '')", (key,)),
            (f"INSERT INTO {report_vector} VALUES (%s, 'south', '[{','.join('1' * DIM)}]')", (row,)),
            ("INSERT INTO audit (what, site) VALUES ('add', 'north')", ()),
            ("INSERT INTO audit (what, site, who) VALUES ('add', 'south', 'postgres')", ()),
        ):  # fmt: skip
            with pytest.raises(psycopg.Error):
                connection.execute(planted, values)
    with pytest.raises(Refused, match="no site 'north'\nthis login may change south"):
        Writer(desk, "north")
    with Writer(desk, "south") as writer:
        writer.site = "north"  # as somebody would who changes the program
        keys = removing.meant(writer, ["n00001"], (), (), False)
        assert removing.remove(writer, keys).studies == 0
    with open_closing(hospital) as library:
        assert library.counts[0] == len(NORTH) + len(SOUTH)


def test_roles_are_of_one_library_alone(new_library: Callable[[], str]) -> None:
    import psycopg

    urls = [new_library(), new_library()]
    names = []
    for url in urls:
        with psycopg.connect(url) as connection:
            names.append(connection.execute("SELECT reader, writer FROM mtclip.site").fetchall())
            ((reader, _),) = names[-1]
            (said,) = (line for line in grant(url, "postgres", "main", write=False) if "REVOKE" in line)
            assert f'REVOKE "{reader}"' in said
    assert not set(names[0][0]) & set(names[1][0])
    with psycopg.connect(urls[0], autocommit=True) as connection:
        ((library,),) = connection.execute("SELECT value FROM mtclip.meta WHERE key = 'library'").fetchall()
        connection.execute(f"CREATE ROLE mtclip_{library}_old NOLOGIN")
    with pytest.raises(Refused, match="the server has a role"):
        add_site_of(urls[0], "old")


def test_an_id_of_two_hospitals_is_nobody(new_library: Callable[[], str]) -> None:
    """A bare number is one person in one hospital and another in the next."""
    url = new_library()
    for site in ("north", "south"):
        add_site_of(url, site)
        loaded(url, some_studies(4, "same"), site)
    with open_closing(url) as library:
        for asks in (lambda: library.reports_of("samep1"), lambda: library.details("same00001")):
            with pytest.raises(Refused, match="is an id of several sites, north, south"):
                asks()
        rows = tuple(row for hits in [library.nearest(vector_of("x"), 9, Scope())] for row in hits.rows)
        assert len(rows) == 4
        everywhere = tuple(range(1, 9))
        assert len(library.nearest(vector_of("x"), 9, Scope(rows=everywhere)).rows) == 8


def test_readers_find_words_and_names_by_an_index(hospital: str, as_role: Callable[[str, str], str]) -> None:
    """Behind a policy an operator that may tell of rows uses none: so names are compared plainly, and words by a function."""
    import psycopg

    room = as_role(hospital, "room_index")
    grant(hospital, "room_index", "north", write=False)
    with psycopg.connect(room, autocommit=True) as connection:
        connection.execute("SET search_path = mtclip, public")
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(
            line for (line,) in connection.execute("EXPLAIN SELECT 1 FROM finding WHERE folded = 'effusion'")
        )
        assert "finding_name" in plan
    with open_closing(room) as library, open_closing(hospital) as all_of_it:
        for filters in (
            Filters(match="effusion"),
            Filters(match="NOT effusion"),
            Filters(finding="Effusion"),
        ):
            assert 0 < library.count(Scope(filters)) < all_of_it.count(Scope(filters))
