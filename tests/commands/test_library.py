"""``mtclip library``, ``index push`` and ``--library``: from an empty database to an answer, and what is said when something is wrong."""

import json
from pathlib import Path

import pytest
from postgres import PostgresServer, database, new_database, postgres, postgres_server

from mtclip_edge.bundle.demo import FOLDER
from mtclip_edge.errors import ArtefactIncompatible, Refused, WrongOption

__all__ = ["database", "new_database", "postgres", "postgres_server"]
FILM = Path(__file__).parents[2] / "examples" / "effusion.png"


@pytest.fixture
def library(mtclip, database: str, postgres_server: PostgresServer) -> str:
    made = mtclip("library", "create", database)
    assert (made.code, made.out) == (0, "") and "a library with the site main" in made.err
    pushed = mtclip("index", "push", FOLDER, database)
    assert pushed.code == 0, pushed.err
    assert "900 studies, 782 reports and 900 films added" in pushed.err
    assert f"next: mtclip query FILM --bundle {FOLDER} --library" in pushed.err
    return database


def test_from_an_empty_database_to_an_answer(mtclip, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = json.loads(mtclip("query", FILM, "--bundle", FOLDER, "--json").out)
    asked = mtclip("query", FILM, "--bundle", FOLDER, "--library", library, "--json")
    other = json.loads(asked.out)
    assert asked.code == 0 and other["hits"] == own["hits"] and other["evidence"] == own["evidence"]
    assert (
        other["bundle"]["library"] == {"url": library, "sites": ["main"]} and "library" not in own["bundle"]
    )
    assert asked.err.count("\n") == 1 and "this login is a superuser" in asked.err
    monkeypatch.setenv("MTCLIP_LIBRARY", library)
    by_setting = json.loads(mtclip("query", "--text", "effusion", "--bundle", FOLDER, "--json").out)
    assert by_setting["bundle"]["library"]["sites"] == ["main"]
    shown = mtclip("show", FOLDER, other["hits"][0]["report_id"], "--json")
    assert json.loads(shown.out)["text"] == other["hits"][0]["text"]


def test_looking_at_a_library(mtclip, library: str) -> None:
    told = json.loads(mtclip("library", "stats", library, "--format", "json").out)
    assert told["sites"] == [
        {
            "name": "main",
            "studies": 900,
            "reports": 782,
            "films": 900,
            "normal": 292,
            "abnormal": 490,
            "generation": 1,
        }
    ]
    assert [model["current"] for model in told["models"]] == [True] and told["models"][0]["recall"] >= 0.99
    assert "782 reports" in mtclip("index", "stats", library).out
    good = mtclip("library", "verify", library)
    assert (
        good.code == 0
        and len(good.out.splitlines()) == 4
        and all(": ok" in line for line in good.out.splitlines())
    )
    import psycopg

    with psycopg.connect(library) as connection:
        connection.execute("UPDATE mtclip.counts SET films = 5")
    bad = mtclip("library", "verify", library)
    assert bad.code == 3 and "expected 900 studies, 782 reports, 5 films" in bad.out


def test_reports_come_and_go(mtclip, library: str, bundle: Path, source: Path, tmp_path: Path) -> None:
    assert mtclip("library", "grant", library, "postgres", "--site", "ward").code == 0
    pushed = mtclip("index", "push", bundle, library, "--site", "ward")
    assert pushed.code == 0 and "reports and" in pushed.err
    again = mtclip("index", "add", library, source, "--bundle", bundle, "--site", "ward")
    assert again.code == 0 and "are there already" in again.err, again.err
    dry = mtclip("index", "remove", library, "--site", "ward", "--study", "s027", "--dry-run")
    assert dry.code == 0 and "would remove 1 studies" in dry.err
    gone = mtclip(
        "index", "remove", library, "--site", "ward", "--study", "s027", "--bundle", bundle, "--scrub"
    )
    assert gone.code == 0 and "1 studies removed" in gone.err and "backups may hold it longer" in gone.err
    missing = mtclip("index", "remove", library, "--site", "ward", "--study", "s027")
    assert (missing.code, missing.err.splitlines()[0].split(": ")[1]) == (1, "no study 's027' in site ward")
    back = mtclip("index", "add", library, source, "--bundle", bundle, "--site", "ward")
    assert back.code == 0 and "1 studies, " in back.err
    out = mtclip("index", "export", library, "--site", "ward", "--to", tmp_path / "tables")
    assert out.code == 0 and sorted(f.name for f in (tmp_path / "tables").iterdir()) == [
        "films.parquet", "reports.parquet", "studies.parquet",
    ]  # fmt: skip
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "tables" / "reports.parquet")
    assert table.num_rows > 30 and "embedding" in table.column_names
    assert mtclip("library", "verify", library, "--bundle", bundle, "--site", "ward").code == 0
    assert mtclip("library", "switch", library, bundle).code == 1  # site main has no vectors of this model
    dropped = mtclip("library", "drop-model", library, "no-such")
    assert dropped.code == 1 and "no models begin with 'no-such'" in dropped.err


def test_a_folder_of_shards_is_pushed(
    mtclip, database: str, bundle: Path, source: Path, tmp_path: Path
) -> None:
    assert (
        mtclip("embed", source, "--bundle", bundle, "--out", tmp_path / "shards", "--workers", "1").code == 0
    )
    assert mtclip("library", "create", database).code == 0
    without = mtclip("index", "push", tmp_path / "shards", database)
    assert without.code == 0 and "without --bundle percentiles are not measured" in without.err
    again = mtclip("index", "add", database, tmp_path / "shards", "--bundle", bundle)
    assert again.code == 0 and "0 studies, 0 reports and 0 films added" in again.err
    told = mtclip("query", FILM, "--bundle", bundle, "--library", database, "--json", "--force")
    assert told.code == 0, told.err
    found = json.loads(
        mtclip("query", FILM, "--bundle", bundle, "--library", database, "--json", "--force").out
    )
    assert found["hits"] and found["bundle"]["library"]["sites"] == ["main"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("library", "stats", "http://db/x"), 2, "expected postgresql://host/database"),
        (("library", "stats", "somewhere"), 2, "expected postgresql://host/database"),
        (("library", "stats", "postgresql://a:b@db/x"), 1, "a password in a command"),
        (
            ("query", FILM, "--bundle", FOLDER, "--library", "postgresql://a:b@db/x"),
            1,
            "a password in a command",
        ),
        (
            ("query", FILM, "--bundle", FOLDER, "--library", "postgresql:///x?host=/nowhere"),
            1,
            "is the database up?",
        ),
        (("library", "verify", "postgresql:///x?nonsense=1"), 2, "cannot be read"),
        (("index", "add", "postgresql:///x?host=/nowhere", "phantom:10@1"), 2, "expected --bundle BUNDLE"),
        (("index", "build", "postgresql://db/x", "phantom:10@1"), 2, "expected a bundle"),
        (("index", "rebuild", "postgresql://db/x"), 2, "expected a bundle"),
        (("index", "push", "nowhere", "postgresql:///x?host=/nowhere"), 1, "no such directory"),
    ],
)
def test_wrong_uses_are_one_line_each(mtclip, words: tuple, code: int, said: str, postgres_server) -> None:
    told = mtclip(*words)
    assert (told.code, told.out) == (code, "") and said in told.err and len(told.err.splitlines()) <= 3
    assert "a:b" not in told.err and "Traceback" not in told.err


def test_a_database_without_a_library(mtclip, database: str) -> None:
    for words in (("library", "stats", database), ("query", FILM, "--bundle", FOLDER, "--library", database)):
        told = mtclip(*words)
        assert (
            told.code == 1
            and "no library in this database" in told.err
            and "mtclip library create" in told.err
        )
    other = mtclip("index", "remove", database, "--study", "x")
    assert other.code == 1 and "no library in this database" in other.err


def test_another_model_is_refused(mtclip, library: str, bundle: Path, film: Path) -> None:
    told = mtclip("query", film, "--bundle", bundle, "--library", library)
    assert told.code == ArtefactIncompatible.exit_code and "no vectors of this bundle's model" in told.err


def test_how_a_url_is_read(monkeypatch: pytest.MonkeyPatch, postgres_server) -> None:
    from mtclip_edge.index.postgres.connect import (
        check_no_password,
        has_empty_password,
        settings_of,
        without_password,
    )

    for name in ("PGHOST", "PGSSLMODE", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    assert settings_of("postgresql://db.example/reports")["sslmode"] == "verify-full"
    assert settings_of("postgresql://db.example/reports?sslmode=require")["sslmode"] == "require"
    for here in (
        "postgresql:///reports",
        "postgresql://localhost/reports",
        "postgresql:///r?host=/tmp",
        "postgresql://127.0.0.1/r",
    ):
        assert "sslmode" not in settings_of(here)
    assert "sslmode" not in settings_of("service=hospital")  # which says it itself
    monkeypatch.setenv("PGHOST", "db.example")
    assert settings_of("postgresql:///reports")["sslmode"] == "verify-full"
    assert without_password("postgresql://me:secret@db/x") == "postgresql://me@db/x"
    assert without_password("service=x password=y") == "service=x"
    shown = without_password("postgresql://db/x?user=u&password=secret&sslpassword=t")
    assert "secret" not in shown and "sslpassword" not in shown and "user=u" in shown
    assert settings_of("postgresql://localhost/x?hostaddr=203.0.113.5")["sslmode"] == "verify-full"
    with pytest.raises(Refused):
        check_no_password("service=hospital password=secret")
    with pytest.raises(WrongOption):
        settings_of("bundle")
    empty = [
        has_empty_password(url)
        for url in ("postgresql://me:@db/x", "postgresql://me@db/x", "postgresql:///x?a=b:@c")
    ]
    assert empty == [True, False, False]


def test_an_evaluation_asks_the_library_for_its_votes(mtclip, library: str) -> None:
    words = ("eval", FOLDER, "--data", "phantom:30@77", "--split", "all", "--format", "json")
    own, other = (json.loads(mtclip(*words, *more).out) for more in ((), ("--library", library)))
    (mine, *_), (theirs, *_) = own["models"], other["models"]
    assert any("of a library" in note for note in theirs["notes"]), theirs["notes"]
    assert not any("of a library" in note for note in mine["notes"])
    for document in (mine, theirs):
        document.pop("notes")
    assert mine == theirs
