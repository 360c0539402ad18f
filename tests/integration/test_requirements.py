"""Databases as companies have them: what stands in the way is found, and said, beforehand.

Each is a real server's behaviour. What the sentence tells to run is run, and then the
database is migrated.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from activekg_pipelines.administration.checks import Installation, findings
from activekg_pipelines.database.migrate import (
    current_revision,
    find_obstacles,
    migrate,
    migration_script,
    newest_revision,
)
from activekg_pipelines.database.pool import Database
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings, load_settings
from tests import postgres_server
from tests.integration.test_migrations import ACTIVEKG_SCHEMA

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of these tests alone: roles belong to a server, and no test made any."""
    with postgres_server.running(postgres_server.installed()) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on which nobody installed pgvector."""
    folder = tmp_path_factory.mktemp("bare")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    installation = postgres_server.without_pgvector(folder / "installation")
    with postgres_server.running(installation) as dsn:
        yield dsn


class Company:
    """A database with an owner of its own, as an administrator hands it out."""

    def __init__(self, server: str, *, options: str = "") -> None:
        self.name = f"company_{next(_numbers)}"
        self.role = f"{self.name}-role"
        self._server = server
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(self.role)))
            conn.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 {}").format(
                    sql.Identifier(self.name),
                    sql.Identifier(self.role),
                    sql.SQL(options),  # type: ignore[arg-type]
                )
            )

    @property
    def dsn(self) -> str:
        """As the role that will migrate and sync."""
        return make_conninfo(self._server, dbname=self.name, user=self.role)

    def administrate(self, *statements: str, user: str = "postgres") -> None:
        """Run statements as a superuser; {role} and {db} stand for the quoted names."""
        names = {"role": f'"{self.role}"', "db": self.name}
        with psycopg.connect(
            make_conninfo(self._server, dbname=self.name, user=user), autocommit=True
        ) as conn:
            for statement in statements:
                conn.execute(statement.format(**names))  # type: ignore[call-overload]

    def usual(self) -> None:
        """Give what the other tests take away: the extension and the role of readers."""
        self.administrate(
            "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public",
            "DO $$ BEGIN CREATE ROLE activekg_reader NOLOGIN;"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )

    def schema(self) -> list[Any]:
        """All that the migration made, but its own table."""
        with psycopg.connect(make_conninfo(self._server, dbname=self.name)) as conn:
            return conn.execute(
                "SELECT n.nspname, c.relname, c.relowner::regrole::text <> 'postgres',"
                "  c.relkind::text, c.relrowsecurity,"
                "  (SELECT array_agg(format('%s %s', attname, format_type(atttypid, atttypmod))"
                "   ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),"
                "  (SELECT array_agg(format('%s %s', polname, polroles::regrole[] = "
                "   ARRAY[c.relowner]::regrole[]) ORDER BY 1) FROM pg_policy"
                "   WHERE polrelid = c.oid),"
                "  (SELECT array_agg(tgname ORDER BY tgname) FROM pg_trigger"
                "   WHERE tgrelid = c.oid AND NOT tgisinternal)"
                " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname IN ('public', 'connectors') ORDER BY 1, 2"
            ).fetchall()


@pytest.fixture
def company(server: str) -> Company:
    """A new database and its owner, who is nobody special."""
    return Company(server)


def whole(company: Company) -> dict[str, int]:
    """How many things each catalogue of the database and the server holds."""
    counted = {}
    with psycopg.connect(make_conninfo(company.dsn, user="postgres")) as conn:
        for name in ("pg_class", "pg_namespace", "pg_extension", "pg_roles", "pg_proc"):
            row = conn.execute(f"SELECT count(*) FROM {name}").fetchone()  # type: ignore[arg-type]
            assert row is not None
            counted[name] = row[0]
    return counted


def refused(company: Company) -> str:
    """What `migrate` says; it must change nothing, and be what the check says, too."""
    before = whole(company)
    found = find_obstacles(company.dsn)
    with pytest.raises(SettingsError) as raised:
        migrate(company.dsn)
    assert whole(company) == before
    assert all(str(one) in raised.value.message for one in found)
    assert "nothing was changed" in raised.value.message
    return raised.value.message


def remedies(message: str) -> list[str]:
    """What the sentences tell to run."""
    return [
        found.strip()
        for found in re.findall(
            r": ((?:CREATE|GRANT|ALTER|DROP)\b[^;]*;(?: GRANT[^;]*;)?)", message
        )
    ]


def test_an_owner_who_may_create_neither_roles_nor_the_extension(company: Company) -> None:
    company.administrate("DROP ROLE IF EXISTS activekg_reader")
    message = refused(company)
    assert "may not create the extension pgvector" in message
    assert "may not create the role activekg_reader" in message
    assert "As a superuser" in message
    for statement in remedies(message):
        company.administrate(statement)
    assert migrate(company.dsn) == newest_revision()
    company.administrate("DROP OWNED BY activekg_reader", "DROP ROLE activekg_reader")


def remedied(company: Company, *parts: str) -> None:
    """The obstacle is named, and gone once its remedy was run as a superuser."""
    message = refused(company)
    for part in parts:
        assert part in message
    assert len(find_obstacles(company.dsn)) == 1, message
    for statement in remedies(message):
        company.administrate(statement)
    assert migrate(company.dsn) == newest_revision()
    assert find_obstacles(company.dsn) == []


def test_a_role_that_may_create_nothing_in_public(company: Company) -> None:
    company.usual()
    company.administrate(
        "ALTER SCHEMA public OWNER TO postgres", "REVOKE ALL ON SCHEMA public FROM PUBLIC"
    )
    remedied(
        company,
        "may not create tables in the schema public",
        "As the owner of that schema, postgres",
    )


def test_a_database_without_the_schema_public(company: Company) -> None:
    company.usual()
    company.administrate(
        "CREATE SCHEMA extensions",
        "ALTER EXTENSION vector SET SCHEMA extensions",
        "GRANT USAGE ON SCHEMA extensions TO PUBLIC",
        "DROP SCHEMA public",
    )
    remedied(company, "has no schema public", "CREATE SCHEMA public;")


def test_a_role_that_may_create_no_schema(company: Company) -> None:
    company.usual()
    company.administrate(
        "ALTER DATABASE {db} OWNER TO postgres", "GRANT CREATE ON SCHEMA public TO {role}"
    )
    remedied(company, "may not create the schema connectors", "GRANT CREATE ON DATABASE")


def test_a_role_that_may_create_no_temporary_table(company: Company) -> None:
    company.usual()
    company.administrate(
        "ALTER DATABASE {db} OWNER TO postgres",
        "REVOKE ALL ON DATABASE {db} FROM PUBLIC, {role}",
        "GRANT CREATE, CONNECT ON DATABASE {db} TO {role}",
        "GRANT CREATE ON SCHEMA public TO {role}",
    )
    remedied(company, "may not create temporary tables", "GRANT TEMPORARY ON DATABASE")


@pytest.mark.parametrize(
    "setting",
    [
        "ALTER ROLE {role} SET default_transaction_read_only = on",
        "ALTER DATABASE {db} SET default_transaction_read_only = on",
        "ALTER ROLE {role} IN DATABASE {db} SET default_transaction_read_only = on",
    ],
)
def test_a_role_or_database_that_only_reads(company: Company, setting: str) -> None:
    company.usual()
    company.administrate(setting)
    message = refused(company)
    assert "only read (default_transaction_read_only is on)" in message
    (statement,) = remedies(message)
    # The administrator's own transactions may only read as well.
    company.administrate("SET default_transaction_read_only = off", statement)
    assert migrate(company.dsn) == newest_revision()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding(server: str, encoding: str) -> None:
    company = Company(server, options=f"ENCODING '{encoding}' LOCALE 'C'")
    company.usual()
    message = refused(company)
    assert f"has the encoding {encoding}, which cannot hold every text" in message
    (statement,) = remedies(message)
    company.administrate("DROP DATABASE IF EXISTS activekg", statement)
    other = make_conninfo(company.dsn, dbname="activekg")
    with psycopg.connect(make_conninfo(other, user="postgres")) as conn:
        conn.execute("CREATE EXTENSION vector SCHEMA public")
    assert migrate(other) == newest_revision()


def test_no_pgvector_on_the_server(bare_server: str) -> None:
    company = Company(bare_server)
    company.administrate("CREATE ROLE activekg_reader NOLOGIN")
    message = refused(company)
    assert "pgvector is not on the database server" in message
    assert re.search(r"on Debian the package postgresql-\d+-pgvector", message)


def test_a_pgvector_that_is_too_old(company: Company) -> None:
    company.usual()
    company.administrate("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    message = refused(company)
    assert "pgvector 0.7.4 is too old" in message
    assert "as postgres: ALTER EXTENSION vector UPDATE;" in message


def test_a_pgvector_in_a_schema_that_the_role_may_not_use(company: Company) -> None:
    company.usual()
    company.administrate('CREATE SCHEMA "Ext 1"', 'ALTER EXTENSION vector SET SCHEMA "Ext 1"')
    remedied(company, 'pgvector lies in the schema "Ext 1"', "GRANT USAGE ON SCHEMA")


@pytest.mark.parametrize(
    "path", ["", "app", "nowhere", '"$user", app', "pg_catalog"], ids=lambda path: path or "empty"
)
def test_pgvector_and_tables_off_the_search_path(company: Company, path: str) -> None:
    """It needs nobody to do anything: the path is this package's own."""
    company.usual()
    company.administrate(
        "CREATE SCHEMA app",
        "GRANT ALL ON SCHEMA app TO {role}",
        'CREATE SCHEMA "Ext 1"',
        'GRANT USAGE ON SCHEMA "Ext 1" TO {role}',
        'ALTER EXTENSION vector SET SCHEMA "Ext 1"',
        f"ALTER ROLE {{role}} SET search_path = {path or repr('')}",
    )
    assert migrate(company.dsn) == newest_revision()
    database = Database(company.dsn)
    with database.transaction() as conn:
        assert conn.execute("SELECT '[1,2]'::vector <=> '[1,2]'").fetchone() == (0.0,)
    database.close()
    assert [row[:2] for row in company.schema() if row[0] == "app"] == []


def test_a_path_without_public_takes_the_extension_there(company: Company) -> None:
    company.administrate(
        "ALTER ROLE {role} SUPERUSER",
        "CREATE SCHEMA app",
        "ALTER ROLE {role} SET search_path = app",
    )
    assert migrate(company.dsn) == newest_revision()
    with psycopg.connect(make_conninfo(company.dsn, user="postgres")) as conn:
        assert conn.execute(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
        ).fetchone() == ("public",)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("CREATE TABLE public.nodes (id bigint PRIMARY KEY, label text)", "public.nodes"),
        ("CREATE VIEW public.nodes AS SELECT 1 AS id", "public.nodes"),
        ("CREATE TABLE public.edges (source int, target int)", "public.edges"),
    ],
)
def test_a_table_of_something_else(company: Company, statement: str, says: str) -> None:
    company.usual()
    company.administrate(statement)
    message = refused(company)
    assert f"{says} is no table of ActiveKG" in message
    assert "Name another database in ACTIVEKG_DSN" in message


def test_a_schema_of_something_else(company: Company) -> None:
    company.usual()
    company.administrate("CREATE SCHEMA connectors", "CREATE TABLE connectors.runs (id int)")
    assert "The schema connectors is something else's" in refused(company)


def test_a_revision_that_nobody_knows(company: Company) -> None:
    company.usual()
    migrate(company.dsn)
    company.administrate("UPDATE connectors.alembic_version SET version_num = '9999'")
    assert "revision 9999, which this version does not know" in refused(company)


def test_a_graph_that_belongs_to_another_role(company: Company) -> None:
    company.usual()
    company.administrate(ACTIVEKG_SCHEMA.replace("{}", "{{}}"))
    remedied(company, "belongs to the role postgres", "Migrate as postgres")


def test_a_role_that_did_not_migrate(company: Company, server: str) -> None:
    company.usual()
    migrate(company.dsn)
    other = Company(server)
    reader = make_conninfo(company.dsn, user=other.role)
    (obstacle,) = find_obstacles(reader)
    assert "may not read connectors.alembic_version" in obstacle.what
    assert company.role in obstacle.remedy
    company.administrate(
        f'GRANT USAGE ON SCHEMA connectors TO "{other.role}"',
        f'GRANT SELECT ON ALL TABLES IN SCHEMA connectors, public TO "{other.role}"',
    )
    (obstacle,) = find_obstacles(reader)
    assert "may not write connectors." in obstacle.what
    company.administrate(
        f'GRANT ALL ON ALL TABLES IN SCHEMA connectors, public TO "{other.role}"',
    )
    (obstacle,) = find_obstacles(reader)
    assert "may not see the rows of connectors.connectors" in obstacle.what
    for statement in remedies(obstacle.remedy):
        company.administrate(statement)
    assert find_obstacles(reader) == []


def test_what_nobody_thought_of_is_a_sentence_and_changes_nothing(company: Company) -> None:
    company.usual()
    company.administrate(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'tables are made on Mondays'; END $$",
        "CREATE EVENT TRIGGER monday ON ddl_command_start WHEN TAG IN ('CREATE TABLE')"
        " EXECUTE FUNCTION refuse()",
    )
    before = whole(company)
    with pytest.raises(SettingsError, match="nothing was changed: tables are made on Mondays"):
        migrate(company.dsn)
    assert whole(company) == before


def test_a_timeout_of_the_role_does_not_end_a_migration(company: Company) -> None:
    company.usual()
    company.administrate(
        "CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_sleep(6); END $$",
        "CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE TYPE')"
        " EXECUTE FUNCTION wait()",
        "ALTER ROLE {role} SET statement_timeout = '5s'",
    )
    assert migrate(company.dsn) == newest_revision()


def test_a_wrong_password_or_name_is_a_sentence(company: Company) -> None:
    for wrong in ({"dbname": "nothing"}, {"user": "nobody"}):
        with pytest.raises(SettingsError, match="cannot be reached"):
            migrate(make_conninfo(company.dsn, **wrong))


def test_the_script_of_an_administrator_makes_the_same(server: str) -> None:
    company, usual = Company(server), Company(server)
    company.administrate(
        "ALTER DATABASE {db} OWNER TO postgres",
        "REVOKE ALL ON DATABASE {db} FROM PUBLIC, {role}",
        "GRANT CONNECT ON DATABASE {db} TO {role}",
    )
    assert len(find_obstacles(company.dsn)) > 2
    run(migration_script(company.dsn), make_conninfo(company.dsn, user="postgres"))
    assert current_revision(company.dsn) == newest_revision()
    assert find_obstacles(company.dsn) == []
    usual.usual()
    migrate(usual.dsn)
    assert company.schema() == usual.schema()
    again = migration_script(company.dsn)
    run(again, make_conninfo(company.dsn, user="postgres"))
    assert company.schema() == usual.schema()


def test_the_script_goes_on_from_any_revision(server: str) -> None:
    company, usual = Company(server), Company(server)
    for one in (company, usual):
        one.usual()
        migrate(one.dsn, "0004" if one is company else "head")
    run(migration_script(company.dsn), make_conninfo(company.dsn, user="postgres"))
    assert company.schema() == usual.schema()


def test_no_script_makes_a_database_of_something_else_fit(company: Company) -> None:
    company.administrate("CREATE TABLE public.nodes (id bigint PRIMARY KEY)")
    with pytest.raises(SettingsError, match=r"public\.nodes is no table of ActiveKG"):
        migration_script(company.dsn)


def run(script: str, dsn: str) -> None:
    """As an administrator does, with psql."""
    psql = postgres_server.installed() / "bin" / "psql"
    done = subprocess.run(
        [str(psql), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", dsn],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_doctor_finds_them_too(
    app_settings: Settings, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    company.administrate("REVOKE TEMPORARY ON DATABASE {db} FROM PUBLIC, {role}")
    monkeypatch.setenv("ACTIVEKG_DSN", company.dsn)
    services = Services(load_settings())
    with Installation(services) as installation:
        found = {one.name: one for one in findings(installation, ["database_rights", "pgvector"])}
    services.close()
    assert found["database_rights"].ok is False
    assert "may not create temporary tables" in found["database_rights"].detail
    assert "GRANT TEMPORARY ON DATABASE" in found["database_rights"].fix
    assert "may not create the extension" in found["pgvector"].detail
    assert "CREATE EXTENSION vector" in found["pgvector"].fix
