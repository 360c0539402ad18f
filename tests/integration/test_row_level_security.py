"""Row-level security, by attack: what an application's role can see and do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from activekg_pipelines.administration.operations import DocumentFate, reconfigure, remove
from activekg_pipelines.administration.services import admin_services
from activekg_pipelines.connectors.models import S3ConfigPatch
from activekg_pipelines.database.migrate import migrate
from activekg_pipelines.embedding import Encoder
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from tests.integration.api.conftest import RecordingOrchestrator
from tests.integration.syncing import documents, drain, found, graph_of, query, scan, states, sync
from tests.integration.test_migrations import ACTIVEKG_SCHEMA
from tests.s3_bucket import Bucket

READABLE = ["public.nodes", "public.edges", "connectors.texts"]


@pytest.fixture
def two_tenants(services: Services, bucket: Bucket) -> Services:
    """Two tenants with a document each."""
    for tenant in ("tenant_a", "tenant_b"):
        bucket.put(f"{tenant}/secret.txt", f"The secret of {tenant}.")
        sync(services, bucket.register(services, tenant, prefix=f"{tenant}/"))
    assert graph_of(services) == (2, 2, 2)
    return services


@pytest.fixture
def reader(two_tenants: Services, dsn: str) -> Iterator[psycopg.Connection]:
    """A connection of an application's role that may do what ``activekg_reader`` may."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET ROLE activekg_reader")
        yield conn


def become(conn: psycopg.Connection, tenant_id: str) -> None:
    conn.execute("SELECT set_config('app.current_tenant_id', %s, false)", (tenant_id,))


def tenants_seen(conn: psycopg.Connection, table: str) -> set[str]:
    return {row[0] for row in conn.execute(f"SELECT tenant_id FROM {table}")}


def test_the_reader_sees_one_tenants_rows_and_without_a_tenant_none(reader: psycopg.Connection) -> None:
    for table in READABLE:
        assert tenants_seen(reader, table) == set()
        become(reader, "tenant_a")
        assert tenants_seen(reader, table) == {"tenant_a"}
        assert reader.execute(f"SELECT count(*) FROM {table} WHERE tenant_id = 'tenant_b'").fetchone() == (0,)
        become(reader, "tenant_b")
        assert tenants_seen(reader, table) == {"tenant_b"}
        for nobody in ("", "tenant_", "%", "tenant_a' OR 'a'='a", "TENANT_A"):
            become(reader, nobody)
            assert tenants_seen(reader, table) == set()
        reader.execute("RESET app.current_tenant_id")


def test_no_way_round_the_policy_shows_another_tenants_text(reader: psycopg.Connection) -> None:
    become(reader, "tenant_a")
    attacks = [
        "SELECT props::text FROM nodes UNION ALL SELECT text FROM connectors.texts",
        "SELECT n.props::text FROM edges e JOIN nodes n ON n.id IN (e.src, e.dst)",
        "SELECT props::text FROM nodes WHERE text_search_vector @@ to_tsquery('secret') OR true",
        "SELECT props::text FROM nodes ORDER BY embedding <=> (SELECT embedding FROM nodes LIMIT 1)",
        "WITH RECURSIVE walk AS (SELECT id, props FROM nodes UNION SELECT n.id, n.props FROM edges e"
        " JOIN walk w ON e.src = w.id JOIN nodes n ON n.id = e.dst) SELECT props::text FROM walk",
    ]
    for attack in attacks:
        rows = [row[0] for row in reader.execute(attack)]
        assert any("tenant_a" in row for row in rows), attack
        assert not any("tenant_b" in row for row in rows), attack
    # A function that leaks what it is shown is called for the visible rows only.
    reader.execute(
        "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
        " $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$"
    )
    shown: list[str] = []
    reader.add_notice_handler(lambda notice: shown.append(notice.message_primary or ""))
    reader.execute("SELECT 1 FROM nodes WHERE pg_temp.leak(props::text)")
    assert shown
    assert not any("tenant_b" in text for text in shown)


FORBIDDEN = [
    "SELECT secrets FROM connectors.connectors",
    "SELECT bucket FROM connectors.connectors",
    "SELECT * FROM connectors.objects",
    "SELECT * FROM connectors.runs",
    "SELECT * FROM connectors.scans",
    "SELECT * FROM connectors.released_embeddings",
    "SELECT * FROM connectors.counters",
    "INSERT INTO nodes (tenant_id) VALUES ('tenant_a')",
    "INSERT INTO edges (src, rel, dst, tenant_id) VALUES (gen_random_uuid(), 'X', gen_random_uuid(), 'tenant_a')",
    "UPDATE nodes SET tenant_id = 'tenant_a'",
    "UPDATE connectors.texts SET text = ''",
    "DELETE FROM nodes",
    "DELETE FROM edges",
    "TRUNCATE nodes",
    "ALTER TABLE nodes DISABLE ROW LEVEL SECURITY",
    "DROP POLICY tenant_isolation_nodes ON nodes",
    "CREATE POLICY mine ON nodes USING (true)",
    "CREATE TABLE public.mine (a int)",
    "CREATE TABLE connectors.mine (a int)",
    "SET row_security = off; SELECT * FROM nodes",
    "COPY nodes TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "ALTER ROLE activekg_reader BYPASSRLS",
    "CREATE OR REPLACE FUNCTION public.update_text_search_vector() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RETURN NULL; END $$",
]


def test_the_reader_can_neither_read_secrets_nor_write(reader: psycopg.Connection) -> None:
    become(reader, "tenant_a")
    allowed = []
    for statement in FORBIDDEN:
        try:
            reader.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            continue
        allowed.append(statement)
    assert allowed == []


def test_every_table_of_tenants_has_forced_row_level_security(services: Services) -> None:
    rows = query(
        services,
        "SELECT c.oid::regclass::text, c.relrowsecurity AND c.relforcerowsecurity FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind = 'r' AND c.relnamespace IN ('public'::regnamespace, 'connectors'::regnamespace)",
    )
    assert {"nodes", "edges", "connectors.connectors", "connectors.objects", "connectors.texts"} <= set(dict(rows))
    assert [name for name, forced in rows if not forced] == []


@pytest.fixture
def plain_owner(postgres: str, empty_dsn: str) -> str:
    """DSN of an empty database whose owner is no superuser, may create no roles and is bound by row-level security."""
    name = conninfo_to_dict(empty_dsn)["dbname"]
    owner = f"owner_of_{name}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS").format(sql.Identifier(owner)))
        conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(str(name)), sql.Identifier(owner)))
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("CREATE EXTENSION vector")
    return make_conninfo(empty_dsn, user=owner)


def test_everything_works_for_a_role_that_row_level_security_binds(
    plain_owner: str, migrated_template: str, app_settings: Settings, encoder: Encoder, bucket: Bucket
) -> None:
    migrate(plain_owner)
    services = Services(app_settings.model_copy(update={"activekg_dsn": SecretStr(plain_owner)}))
    services.encoder = encoder
    for key in ("a.txt", "b.txt", "c.txt"):
        bucket.put(key, f"The text of {key}.")
    connector = bucket.register(services, "tenant_a")
    other = bucket.register(services, "tenant_b")
    assert sync(services, connector).indexed == sync(services, other).indexed == 3
    bucket.put("a.txt", "Another text.")
    bucket.put("b.txt", b"")
    bucket.delete("c.txt")
    assert scan(services, connector).counts.deleted == 1
    assert drain(services, connector).indexed == 1
    assert states(services, connector) == {
        "a.txt": ("indexed", None), "b.txt": ("skipped", "empty"), "c.txt": ("deleted", None)
    }  # fmt: skip
    assert found(services, "text", tenant_id="tenant_a") == {f"s3://{bucket.name}/a.txt"}
    assert len(found(services, "text", tenant_id="tenant_b")) == 3
    assert documents(services) == set(), "without a tenant nothing is seen, even by the owner"

    admin = replace(admin_services(services), orchestrator=RecordingOrchestrator())
    bucket.put("docs/d.txt", "The text of d.")
    sync(services, connector)
    moved = reconfigure(admin, connector.id, S3ConfigPatch(prefix="docs/"), documents=DocumentFate.REMOVE)
    assert moved.documents == 1
    assert found(services, "text", tenant_id="tenant_a") == {f"s3://{bucket.name}/docs/d.txt"}
    assert remove(admin, other.id, DocumentFate.REMOVE) == 3
    assert found(services, "text", tenant_id="tenant_b") == set()
    services.database.close()


def test_an_existing_graph_without_row_level_security_is_not_opened_to_the_reader(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute(ACTIVEKG_SCHEMA)
        conn.execute("INSERT INTO nodes (tenant_id) VALUES ('tenant_a'), ('tenant_b')")
    migrate(empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("SET ROLE activekg_reader")
        become(conn, "tenant_a")
        try:
            seen = tenants_seen(conn, "nodes")
        except psycopg.errors.InsufficientPrivilege:
            seen = set()
    assert seen <= {"tenant_a"}
