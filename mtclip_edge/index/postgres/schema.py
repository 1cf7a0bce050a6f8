"""The tables of a library in PostgreSQL, who may read which rows, and what turns an older schema into ours.

Every row carries its site. The policies compare it with the sites whose roles the login is a member of, never
with a setting that the reader could change. A distinct report is distinct within a site: one row for two
would show a reader of one the wording of the other.
"""

import secrets
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
CREATE TABLE site (
    name text COLLATE "C" PRIMARY KEY, reader name NOT NULL UNIQUE, writer name NOT NULL UNIQUE
);
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
    english bool NOT NULL, UNIQUE (report_id, site), UNIQUE (row, site)
);
CREATE TABLE study (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, site {_TEXT} REFERENCES site, study_id {_TEXT},
    patient_id {_TEXT}, report_row bigint NOT NULL, label {_TEXT}, source {_TEXT},
    split {_TEXT}, date {_TEXT}, UNIQUE (study_id, site), UNIQUE (key, site),
    FOREIGN KEY (report_row, site) REFERENCES report (row, site)
);
CREATE TABLE wording (
    study bigint PRIMARY KEY, site {_TEXT}, text {_TEXT}, findings {_TEXT},
    impression {_TEXT}, FOREIGN KEY (study, site) REFERENCES study (key, site)
);
CREATE TABLE film (
    row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, site {_TEXT}, study bigint NOT NULL,
    name {_TEXT}, view {_TEXT}, UNIQUE (row, site), FOREIGN KEY (study, site) REFERENCES study (key, site)
);
CREATE TABLE finding (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, site {_TEXT}, study bigint NOT NULL,
    report_row bigint NOT NULL, name {_TEXT}, folded {_TEXT}, denied bool NOT NULL,
    FOREIGN KEY (study, site) REFERENCES study (key, site),
    FOREIGN KEY (report_row, site) REFERENCES report (row, site)
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
    "finding_name": "ON finding (folded, report_row)",
    "finding_report": "ON finding (report_row)",
}
# Which sites a login may read, or write. They run as the library's owner, so that readers need not see the
# table of sites; the login is an argument, since within a function ``current_user`` is the owner, and nobody
# asks of one that is not their own. ``matching`` finds words by their index: the operator itself may not use
# one behind a policy, because PostgreSQL does not know that it tells nothing of the rows that it does not
# give.
_FUNCTIONS = """
CREATE FUNCTION my_sites(login name, writing bool DEFAULT false) RETURNS text[] LANGUAGE sql STABLE
SECURITY DEFINER SET search_path = mtclip, pg_temp
AS $$ SELECT coalesce(array_agg(name), '{}') FROM mtclip.site
WHERE pg_has_role(session_user, login, 'MEMBER')
    AND pg_has_role(login, CASE WHEN writing THEN writer ELSE reader END, 'MEMBER') $$;
CREATE FUNCTION matching(kind text, query tsquery) RETURNS SETOF bigint LANGUAGE plpgsql STABLE
SECURITY DEFINER SET search_path = mtclip, public, pg_temp ROWS 1000
AS $$ DECLARE mine text[] := mtclip.my_sites(session_user); BEGIN
CASE kind
    WHEN 'words' THEN
        RETURN QUERY SELECT r.row FROM mtclip.report r WHERE r.words @@ query AND r.site = ANY (mine);
    WHEN 'affirmed' THEN
        RETURN QUERY SELECT r.row FROM mtclip.report r WHERE r.affirmed @@ query AND r.site = ANY (mine);
    WHEN 'denied' THEN
        RETURN QUERY SELECT r.row FROM mtclip.report r WHERE r.denied @@ query AND r.site = ANY (mine);
END CASE; END $$;
"""
_POLICIES = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
CREATE POLICY reading ON {table} FOR SELECT
    USING (site = ANY ((SELECT mtclip.my_sites(current_user))::text[]));
CREATE POLICY adding ON {table} FOR INSERT
    WITH CHECK (site = ANY ((SELECT mtclip.my_sites(current_user, true))::text[]));
CREATE POLICY changing ON {table} FOR UPDATE
    USING (site = ANY ((SELECT mtclip.my_sites(current_user, true))::text[]));
CREATE POLICY removing ON {table} FOR DELETE
    USING (site = ANY ((SELECT mtclip.my_sites(current_user, true))::text[]));
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
        alone(connection)
        _extension(connection, shown)
        connection.execute("CREATE SCHEMA mtclip")
        connection.execute("SET LOCAL search_path = mtclip, public")
        for statements in (_TABLES, _FUNCTIONS):
            connection.execute(statements)
        for name, how in INDEXES.items():
            connection.execute(f"CREATE INDEX {name} {how}")
        for table in SITE_TABLES:
            connection.execute(_POLICIES.format(table=table))
        connection.execute("INSERT INTO meta VALUES ('schema_version', %s)", (str(SCHEMA_VERSION),))
        _roles(connection, secrets.token_hex(4))
        add_site(connection, MAIN)


def alone(connection: "Connection[Any]") -> None:
    """Until this transaction ends nobody else makes tables, sites or models here."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('mtclip'))")


def _extension(connection: "Connection[Any]", shown: str) -> None:
    """Errors: Refused where this login may not add it; an administrator may have."""
    if connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
        return
    from .connect import driver

    try:
        connection.execute("CREATE EXTENSION vector")
    except driver().errors.InsufficientPrivilege:
        what = f"{shown}: this login may not add the extension vector"
        raise Refused(
            what, "nothing was changed", "as an administrator, here: CREATE EXTENSION vector"
        ) from None


def _roles(connection: "Connection[Any]", library: str) -> None:
    """What readers and writers may do, whatever their sites. Roles live in the server, not in the database,
    so each bears a name that no other library has.
    """
    reader, writer = f"mtclip_{library}_reader", f"mtclip_{library}_writer"
    names = {"library": library, "reader": reader, "writer": writer}
    for name, value in names.items():
        connection.execute("INSERT INTO meta VALUES (%s, %s)", (name, value))
    for role in (reader, writer):
        _make_role(connection, role)
    tables = ", ".join(SITE_TABLES)
    connection.execute(f"GRANT USAGE ON SCHEMA mtclip TO {reader}, {writer}")
    connection.execute(f"GRANT SELECT ON {tables}, meta, model TO {reader}, {writer}")
    connection.execute(f"GRANT INSERT, UPDATE, DELETE ON {tables} TO {writer}")
    connection.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA mtclip TO {writer}")
    connection.execute(f"GRANT INSERT (what, site, how_many) ON audit TO {writer}")
    connection.execute("ALTER TABLE audit ENABLE ROW LEVEL SECURITY")
    connection.execute(
        "CREATE POLICY adding ON audit FOR INSERT WITH CHECK (site = ANY ((SELECT"
        " mtclip.my_sites(current_user, true))::text[]))"
    )
    for function in ("my_sites", "matching"):
        connection.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM public")
        connection.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {reader}, {writer}")


def _make_role(connection: "Connection[Any]", role: str) -> None:
    """Errors: Refused where there is one: whoever has it would read what is new."""
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
        raise Refused(f"the server has a role {role!r} already", "nothing was changed")
    from psycopg.sql import SQL, Identifier

    connection.execute(SQL("CREATE ROLE {} NOLOGIN").format(Identifier(role)))


def told(connection: "Connection[Any]", name: str) -> str:
    """What ``meta`` says: ``library``, and the roles ``reader`` and ``writer``."""
    row = connection.execute("SELECT value FROM meta WHERE key = %s", (name,)).fetchone()
    return "" if row is None else str(row[0])


def add_site(connection: "Connection[Any]", name: str) -> None:
    """A site that is not there yet, with the roles of its readers and of its writers."""
    from psycopg.sql import SQL, Identifier

    library = told(connection, "library")
    reader, writer = f"mtclip_{library}_{name}", f"mtclip_{library}_{name}_writer"
    if len(writer.encode()) > 63:
        raise Refused(f"a role would be called {writer!r}", "expected at most 63 letters: a shorter name")
    for role, base in ((reader, "reader"), (writer, "writer")):
        _make_role(connection, role)
        grant = SQL("GRANT {} TO {}").format(Identifier(told(connection, base)), Identifier(role))
        connection.execute(grant)
    connection.execute(SQL("GRANT {} TO {}").format(Identifier(reader), Identifier(writer)))
    connection.execute("INSERT INTO site VALUES (%s, %s, %s)", (name, reader, writer))
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
        alone(connection)
        connection.execute("SET LOCAL search_path = mtclip, public")
        for step in range(version, SCHEMA_VERSION):
            connection.execute(MIGRATIONS[step])
        connection.execute("UPDATE meta SET value = %s WHERE key = 'schema_version'", (str(SCHEMA_VERSION),))
    return version


def add_model(connection: "Connection[Any]", model_id: str, dim: int) -> str:
    """The stem of the names of a model's two tables of vectors, made if they are not there."""
    alone(connection)
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
            f"CREATE TABLE {table} (row bigint PRIMARY KEY, site {_TEXT}, vec vector({int(dim)}) NOT NULL,"
            f" FOREIGN KEY (row, site) REFERENCES {kind} (row, site))"
        )
        connection.execute(f"ALTER TABLE {table} ALTER vec SET STORAGE PLAIN")
        connection.execute(_POLICIES.format(table=table))
        reader, writer = told(connection, "reader"), told(connection, "writer")
        connection.execute(f"GRANT SELECT ON {table} TO {reader}, {writer}")
        connection.execute(f"GRANT INSERT, DELETE ON {table} TO {writer}")
    first = connection.execute("SELECT count(*) FROM model WHERE current").fetchone() == (0,)
    connection.execute(
        "INSERT INTO model (id, dim, vectors, current) VALUES (%s, %s, %s, %s)", (model_id, dim, stem, first)
    )
    return stem
