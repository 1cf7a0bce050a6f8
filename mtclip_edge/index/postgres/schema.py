"""The tables of a library in PostgreSQL, who may read which rows, and what turns an older schema into ours.

Every row carries its site. The policies compare it with the sites whose roles the login is a member of, never
with a setting that the reader could change. A distinct report is distinct within a site: one row for two
would show a reader of one the wording of the other.
"""

from typing import TYPE_CHECKING, Any

from ...errors import ArtefactDamaged, ArtefactIncompatible, Refused
from ...installation import upgrade_hint
from .connect import check_pgvector, check_server, no_library, without_password

if TYPE_CHECKING:
    from psycopg import Connection

SCHEMA_VERSION = 1
MAIN = "main"  # the site of a library that has one
# Text is compared byte by byte, as a bundle's store does it.
_TEXT = 'text COLLATE "C" NOT NULL'
SITE_TABLES = ("report", "study", "wording", "film", "finding", "spelt", "counts", "held", "evidence")
_TABLES = f"""
CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);
CREATE TABLE site (name text COLLATE "C" PRIMARY KEY, role name NOT NULL UNIQUE);
CREATE TABLE model (
    id text PRIMARY KEY, dim int NOT NULL, vectors name NOT NULL UNIQUE, current bool NOT NULL DEFAULT false,
    ef int NOT NULL DEFAULT 256, recall real, recall_queries int NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX one_current_model ON model (current) WHERE current;
CREATE TABLE report (
    row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, site {_TEXT} REFERENCES site, report_id {_TEXT},
    text {_TEXT}, findings {_TEXT}, impression {_TEXT}, label {_TEXT},
    normal int NOT NULL, abnormal int NOT NULL, unknown int NOT NULL,
    words tsvector NOT NULL, affirmed tsvector NOT NULL, denied tsvector NOT NULL, length int NOT NULL,
    english bool NOT NULL, UNIQUE (report_id, site)
);
CREATE TABLE study (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, site {_TEXT} REFERENCES site, study_id {_TEXT},
    patient_id {_TEXT}, report_row bigint NOT NULL REFERENCES report, label {_TEXT}, source {_TEXT},
    split {_TEXT}, date {_TEXT}, UNIQUE (study_id, site)
);
CREATE TABLE wording (
    study bigint PRIMARY KEY REFERENCES study, site {_TEXT}, text {_TEXT}, findings {_TEXT},
    impression {_TEXT}
);
CREATE TABLE film (
    row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, site {_TEXT}, study bigint NOT NULL REFERENCES study,
    name {_TEXT}, view {_TEXT}
);
CREATE TABLE finding (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, site {_TEXT}, study bigint NOT NULL REFERENCES study,
    report_row bigint NOT NULL, name {_TEXT}, denied bool NOT NULL
);
CREATE TABLE spelt (site {_TEXT}, word {_TEXT}, PRIMARY KEY (word, site));
CREATE TABLE counts (
    site {_TEXT} PRIMARY KEY REFERENCES site, studies bigint NOT NULL, reports bigint NOT NULL,
    films bigint NOT NULL, normal bigint NOT NULL, abnormal bigint NOT NULL, words bigint NOT NULL,
    other_language bigint NOT NULL, generation bigint NOT NULL
);
CREATE TABLE held (
    site {_TEXT} REFERENCES site, model text NOT NULL REFERENCES model, reports bigint NOT NULL,
    films bigint NOT NULL, PRIMARY KEY (site, model)
);
CREATE TABLE evidence (
    site {_TEXT} REFERENCES site, model text NOT NULL REFERENCES model, generation bigint NOT NULL,
    records jsonb NOT NULL, PRIMARY KEY (site, model)
);
CREATE TABLE audit (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(),
    who name NOT NULL DEFAULT session_user, what text NOT NULL, site text, how_many bigint
);
"""
INDEXES = {
    "report_affirmed": "ON report USING gin (affirmed)",
    "report_denied": "ON report USING gin (denied)",
    "report_words": "ON report USING gin (words)",
    "report_label": "ON report (label)",
    "study_report": "ON study (report_row)",
    "study_patient": "ON study (patient_id)",
    "study_date": "ON study (date)",
    "film_study": "ON film (study)",
    "finding_study": "ON finding (study)",
    "finding_name": 'ON finding (lower(name COLLATE "C"), report_row)',
}
# Which sites a login may read. It runs as the library's owner, so that readers need not see who else there
# is; the login is an argument, since within it ``current_user`` is the owner.
_MY_SITES = """
CREATE FUNCTION my_sites(login name) RETURNS text[] LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = mtclip, pg_temp
AS $$ SELECT coalesce(array_agg(name), '{}') FROM mtclip.site WHERE pg_has_role(login, role, 'MEMBER') $$;
"""
_POLICY = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_my_sites ON {table} USING (site = ANY ((SELECT mtclip.my_sites(current_user))::text[]));
"""
# What turns a schema of each version into one of the next.
MIGRATIONS: dict[int, str] = {}


def create(connection: "Connection[Any]", url: str) -> None:
    """Make a library with the site ``main`` in a database that has none. All of it, or nothing.

    Errors: Refused where there is one, ArtefactIncompatible for an older server or extension.
    """
    shown = without_password(url)
    check_server(connection, url)
    available = connection.execute(
        "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
    ).fetchone()
    if available is None:
        what = f"{shown}: this server has no pgvector"
        raise Refused(what, "expected the extension vector, 0.8.6 or newer", "install pgvector on the server")
    check_pgvector(available[0], shown)
    if version_of(connection) is not None:
        raise Refused(f"{shown}: there is a library already", "nothing was changed")
    with connection.transaction():
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute("CREATE SCHEMA mtclip")
        connection.execute("SET LOCAL search_path = mtclip, public")
        for statements in (_TABLES, _MY_SITES):
            connection.execute(statements)
        for name, how in INDEXES.items():
            connection.execute(f"CREATE INDEX {name} {how}")
        for table in SITE_TABLES:
            connection.execute(_POLICY.format(table=table))
        connection.execute("INSERT INTO meta VALUES ('schema_version', %s)", (str(SCHEMA_VERSION),))
        _roles(connection)
        add_site(connection, MAIN)


def _roles(connection: "Connection[Any]") -> None:
    """What readers and writers may do, whatever their sites; roles live in the server, so each bears the name
    of its database.
    """
    reader, writer = role_of(connection, "reader"), role_of(connection, "writer")
    for role in (reader, writer):
        _make_role(connection, role)
    tables = ", ".join(SITE_TABLES)
    connection.execute(f"GRANT USAGE ON SCHEMA mtclip TO {reader}, {writer}")
    connection.execute(f"GRANT SELECT ON {tables}, meta, model TO {reader}, {writer}")
    connection.execute(f"GRANT INSERT, UPDATE, DELETE ON {tables} TO {writer}")
    connection.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA mtclip TO {writer}")
    connection.execute(f"GRANT INSERT ON audit TO {writer}")
    connection.execute("REVOKE EXECUTE ON FUNCTION my_sites FROM public")
    connection.execute(f"GRANT EXECUTE ON FUNCTION my_sites TO {reader}, {writer}")


def _make_role(connection: "Connection[Any]", role: str) -> None:
    there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.strip('"'),)).fetchone()
    if there is None:
        connection.execute(f"CREATE ROLE {role} NOLOGIN")


def role_of(connection: "Connection[Any]", what: str) -> str:
    """The quoted name of a role of this library. Errors: Refused for one that no role can have."""
    (database,) = connection.execute("SELECT current_database()").fetchone() or ("",)
    name = f"mtclip_{database}_{what}"
    if len(name.encode()) > 63 or '"' in name or "\0" in name:
        raise Refused(f"a role would be called {name!r}", "expected at most 63 letters, no quotes")
    return f'"{name}"'


def add_site(connection: "Connection[Any]", name: str) -> None:
    """A site that is not there yet, with the role of its readers."""
    role = role_of(connection, f"site_{name}")
    _make_role(connection, role)
    connection.execute(f"GRANT {role_of(connection, 'reader')} TO {role}")
    connection.execute("INSERT INTO site VALUES (%s, %s)", (name, role.strip('"')))
    connection.execute("INSERT INTO counts VALUES (%s, 0, 0, 0, 0, 0, 0, 0, 0)", (name,))


def version_of(connection: "Connection[Any]") -> int | None:
    """The schema's version; None where there is no library."""
    if connection.execute("SELECT to_regclass('mtclip.meta')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT value FROM mtclip.meta WHERE key = 'schema_version'").fetchone()
    return None if row is None else int(row[0])


def check_schema(connection: "Connection[Any]", url: str) -> None:
    """Errors: Refused without a library, ArtefactIncompatible for a newer one, and for an older one that its
    owner has not brought up to date.
    """
    version, shown = version_of(connection), without_password(url)
    if version is None:
        raise no_library(url)
    if version > SCHEMA_VERSION:
        raise ArtefactIncompatible(f"{shown}: library version {version}", hint=upgrade_hint())
    if version < SCHEMA_VERSION:
        what = f"{shown}: library version {version}, of an earlier release"
        raise ArtefactIncompatible(
            what, hint=f"its owner brings it up to date: mtclip library create {shown}"
        )


def migrate(connection: "Connection[Any]", url: str) -> int:
    """Bring an older library up to ours; gives the version that it had. Errors: ArtefactIncompatible."""
    version = version_of(connection)
    if version is None:
        raise no_library(url)
    if version > SCHEMA_VERSION:
        check_schema(connection, url)
    with connection.transaction():
        connection.execute("SET LOCAL search_path = mtclip, public")
        for step in range(version, SCHEMA_VERSION):
            connection.execute(MIGRATIONS[step])
        connection.execute("UPDATE meta SET value = %s WHERE key = 'schema_version'", (str(SCHEMA_VERSION),))
    return version


def add_model(connection: "Connection[Any]", model_id: str, dim: int) -> str:
    """The stem of the names of a model's two tables of vectors, made if they are not there."""
    row = connection.execute("SELECT vectors, dim FROM model WHERE id = %s", (model_id,)).fetchone()
    if row is not None:
        if row[1] != dim:
            raise ArtefactDamaged(f"model {model_id[:23]}: {row[1]} numbers a vector, expected {dim}")
        return str(row[0])
    stem = model_id.removeprefix("sha256:")[:16]
    assert stem.isalnum(), stem
    for kind in ("report", "film"):
        table = f"{kind}_vector_{stem}"
        connection.execute(
            f"CREATE TABLE {table} (row bigint PRIMARY KEY REFERENCES {kind}, site {_TEXT},"
            f" vec vector({int(dim)}) NOT NULL)"
        )
        connection.execute(f"ALTER TABLE {table} ALTER vec SET STORAGE PLAIN")
        connection.execute(_POLICY.format(table=table))
        reader, writer = role_of(connection, "reader"), role_of(connection, "writer")
        connection.execute(f"GRANT SELECT ON {table} TO {reader}, {writer}")
        connection.execute(f"GRANT INSERT, DELETE ON {table} TO {writer}")
    first = connection.execute("SELECT count(*) FROM model WHERE current").fetchone() == (0,)
    connection.execute(
        "INSERT INTO model (id, dim, vectors, current) VALUES (%s, %s, %s, %s)", (model_id, dim, stem, first)
    )
    return stem
