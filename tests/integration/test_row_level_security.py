"""Row-level security, by attack: what an application's role can see and do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from activekg_pipelines import graph
from activekg_pipelines.administration.operations import reconfigure
from activekg_pipelines.administration.removal import DocumentFate, remove
from activekg_pipelines.administration.tenants import remove_tenant
from activekg_pipelines.audit.walk import SQL as AUDIT_SQL
from activekg_pipelines.database.migrate import migrate
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.embedding import Encoder
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from tests.integration.api.conftest import RecordingOrchestrator
from tests.integration.syncing import documents, drain, found, graph_of, query, scan, states, sync
from tests.integration.test_migrations import ACTIVEKG_SCHEMA
from tests.s3_bucket import Bucket, S3ConfigPatch

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
def reader_dsn(two_tenants: Services, postgres: str, dsn: str) -> str:
    """DSN of an application's own role, which may do what ``activekg_reader`` may.

    Its sessions never had another role.
    """
    name = f"app_of_{conninfo_to_dict(dsn)['dbname']}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(
            sql.SQL("CREATE ROLE {} LOGIN IN ROLE activekg_reader").format(sql.Identifier(name))
        )
    return make_conninfo(dsn, user=name)


@pytest.fixture
def reader(reader_dsn: str) -> Iterator[psycopg.Connection]:
    """A connection of that role."""
    with psycopg.connect(reader_dsn, autocommit=True) as conn:
        yield conn


def become(conn: psycopg.Connection, tenant_id: str) -> None:
    conn.execute("SELECT set_config('app.current_tenant_id', %s, false)", (tenant_id,))


def tenants_seen(conn: psycopg.Connection, table: str) -> set[str]:
    return {row[0] for row in conn.execute(f"SELECT tenant_id FROM {table}")}


def test_the_reader_sees_one_tenants_rows_and_without_a_tenant_none(
    reader: psycopg.Connection,
) -> None:
    for table in READABLE:
        assert tenants_seen(reader, table) == set()
        become(reader, "tenant_a")
        assert tenants_seen(reader, table) == {"tenant_a"}
        assert reader.execute(
            f"SELECT count(*) FROM {table} WHERE tenant_id = 'tenant_b'"
        ).fetchone() == (0,)
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
        "SELECT props::text FROM nodes ORDER BY embedding <=> (SELECT embedding FROM nodes LIMIT "
        "1)",
        "WITH RECURSIVE walk AS (SELECT id, props FROM nodes UNION SELECT n.id, n.props FROM "
        "edges e"
        " JOIN walk w ON e.src = w.id JOIN nodes n ON n.id = e.dst) SELECT props::text FROM walk",
    ]
    for attack in attacks:
        rows = [row[0] for row in reader.execute(attack)]
        assert any("tenant_a" in row for row in rows), attack
        assert not any("tenant_b" in row for row in rows), attack


LEAKS = [
    "SELECT 1 FROM {table} t WHERE pg_temp.leak(t::text)",
    "SELECT 1 FROM {table} t WHERE pg_temp.leak(t::text) AND tenant_id = 'tenant_b'",
    "SELECT 1 FROM {table} t WHERE t::text OPERATOR(pg_temp.###) 'x'",
    "SELECT count(*) FILTER (WHERE pg_temp.leak(t::text)) FROM {table} t",
    "SELECT 1 FROM {table} t ORDER BY pg_temp.leak(t::text)",
    "SELECT 1 FROM {table} t GROUP BY tenant_id HAVING bool_and(pg_temp.leak(t::text))",
    "SELECT 1 FROM {table} t JOIN {table} u ON pg_temp.leak(t::text || u::text)",
    "SELECT 1 FROM {table} t, LATERAL (SELECT pg_temp.leak(t::text)) l",
    "EXPLAIN ANALYZE SELECT 1 FROM {table} t WHERE pg_temp.leak(t::text)",
    "PREPARE leaking AS SELECT 1 FROM {table} t WHERE pg_temp.leak(t::text); EXECUTE leaking; "
    "DEALLOCATE leaking",
    "COPY (SELECT 1 FROM {table} t WHERE pg_temp.leak(t::text)) TO STDOUT",
    "CREATE TEMP VIEW leaky AS SELECT * FROM {table}; SELECT 1 FROM leaky t WHERE "
    "pg_temp.leak(t::text);"
    " DROP VIEW leaky",
    "CREATE TEMP TABLE copied AS SELECT * FROM {table}; SELECT 1 FROM copied t WHERE "
    "pg_temp.leak(t::text);"
    " DROP TABLE copied",
    "BEGIN; DECLARE rows CURSOR FOR SELECT 1 FROM {table} t WHERE pg_temp.leak(t::text); FETCH "
    "ALL FROM rows; COMMIT",
    "DO $$ DECLARE r record;"
    " BEGIN FOR r IN SELECT t::text AS x FROM {table} t LOOP RAISE NOTICE '%', r.x; END LOOP; END "
    "$$",
]  # fmt: skip


@pytest.mark.parametrize("table", READABLE)
def test_a_function_that_tells_what_it_is_shown_is_shown_one_tenant(
    reader: psycopg.Connection, table: str
) -> None:
    reader.execute(
        "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
        " $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$;"
        "CREATE FUNCTION pg_temp.leak(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 "
        "AS"
        " $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$;"
        "CREATE OPERATOR pg_temp.### (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.leak)"
    )
    shown: list[str] = []
    reader.add_notice_handler(lambda notice: shown.append(notice.message_primary or ""))
    become(reader, "tenant_a")
    for leak in LEAKS:
        shown.clear()
        statement = leak.format(table=table)
        if statement.startswith("COPY"):
            with reader.cursor() as cursor, cursor.copy(statement) as copy:
                list(copy)
        else:
            reader.execute(statement)
        assert not any("tenant_b" in text for text in shown), statement
        assert any("tenant_a" in text for text in shown) or "tenant_b'" in statement, statement


def test_an_error_quotes_one_tenants_rows_only(reader: psycopg.Connection) -> None:
    become(reader, "tenant_a")
    for statement in (
        "SELECT (props::text)::int FROM nodes",
        "SELECT (tenant_id || props::text)::int FROM nodes ORDER BY tenant_id DESC",
        "SELECT 1 / (tenant_id = 'tenant_a')::int, (props::text)::int FROM nodes",
        "SELECT text::int FROM connectors.texts",
    ):
        with pytest.raises(psycopg.DataError) as caught:
            reader.execute(statement)
        assert "tenant_b" not in str(caught.value), statement
    # A division by the other tenant's rows would tell that they are there.
    reader.execute("SELECT 1 / (tenant_id <> 'tenant_b')::int FROM nodes")


def test_a_prepared_statement_follows_the_tenant(reader: psycopg.Connection) -> None:
    reader.execute("PREPARE seen AS SELECT DISTINCT tenant_id FROM nodes")
    # Six times: then a plan is kept that knows no parameters any more.
    for tenant in ("tenant_a", "tenant_b") * 4:
        become(reader, tenant)
        assert {row[0] for row in reader.execute("EXECUTE seen")} == {tenant}
    become(reader, "")
    assert reader.execute("EXECUTE seen").fetchall() == []


def test_the_tenant_of_a_transaction_ends_with_it(reader: psycopg.Connection) -> None:
    with reader.transaction():
        reader.execute("SET LOCAL app.current_tenant_id = 'tenant_a'")
        assert tenants_seen(reader, "nodes") == {"tenant_a"}
    assert tenants_seen(reader, "nodes") == set()


def test_a_tenant_named_within_a_query_is_one_tenant_and_no_pattern(
    reader: psycopg.Connection,
) -> None:
    for name in (
        "%",
        "tenant__",
        "tenant_a,tenant_b",
        "{tenant_a,tenant_b}",
        "*",
        "' OR true --",
        "tenant_a\ntenant_b",
    ):
        rows = reader.execute(
            "SELECT n.tenant_id FROM (SELECT set_config('app.current_tenant_id', %s, false) "
            "OFFSET 0) s, nodes n",
            (name,),
        ).fetchall()
        assert rows == [], name


def test_copying_a_table_copies_one_tenants_rows(reader: psycopg.Connection) -> None:
    become(reader, "tenant_a")
    for table in READABLE:
        with (
            reader.cursor() as cursor,
            cursor.copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copy,
        ):
            whole = b"".join(copy)
        with reader.cursor() as cursor, cursor.copy(f"COPY {table} TO STDOUT") as copy:
            assert b"".join(copy) == whole
        assert b"tenant_a" in whole
        assert b"tenant_b" not in whole


def test_statistics_and_other_sessions_tell_nothing_of_tenants(
    two_tenants: Services, reader: psycopg.Connection, dsn: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("ANALYZE")
        assert owner.execute(
            "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'nodes'"
        ).fetchone() == (True,)
        owner.execute("SELECT 'tenant_b is asked for'")
        become(reader, "tenant_a")
        seen = reader.execute("SELECT s::text FROM pg_stats s").fetchall()
        seen += reader.execute("SELECT s::text FROM pg_stats_ext s").fetchall()
        seen += reader.execute("SELECT s::text FROM pg_stats_ext_exprs s").fetchall()
        seen += reader.execute(
            "SELECT s::text FROM pg_stat_activity s WHERE pid <> pg_backend_pid()"
        ).fetchall()
        seen += reader.execute("SELECT s::text FROM pg_prepared_statements s").fetchall()
    assert [row for row in seen if "tenant_b" in row[0]] == []


def test_of_this_systems_own_tables_the_reader_reads_texts_only(
    two_tenants: Services, reader: psycopg.Connection
) -> None:
    become(reader, "tenant_a")
    columns = query(
        two_tenants,
        "SELECT c.oid::regclass::text, quote_ident(a.attname) FROM pg_class c JOIN pg_attribute a "
        "ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'connectors'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'S') "
        "AND a.attnum > 0"
        " AND NOT a.attisdropped",
    )
    assert ("connectors.connectors", "secrets") in columns
    readable = set()
    for table, column in columns:
        try:
            reader.execute(f"SELECT {column} FROM {table}")
        except psycopg.errors.InsufficientPrivilege:
            continue
        readable.add(table)
    assert readable == {"connectors.texts"}


def test_no_function_here_runs_with_its_owners_rights(services: Services) -> None:
    schemas = "('public'::regnamespace, 'connectors'::regnamespace)"
    assert (
        query(
            services, f"SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace IN {schemas}"
        )
        == []
    )


FORBIDDEN = [
    "SELECT secrets FROM connectors.connectors",
    "SELECT bucket FROM connectors.connectors",
    "SELECT * FROM connectors.objects",
    "SELECT * FROM connectors.runs",
    "SELECT * FROM connectors.scans",
    "SELECT * FROM connectors.released_embeddings",
    "SELECT * FROM connectors.counters",
    "INSERT INTO nodes (tenant_id) VALUES ('tenant_a')",
    "INSERT INTO edges (src, rel, dst, tenant_id) VALUES (gen_random_uuid(), 'X', "
    "gen_random_uuid(), 'tenant_a')",
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
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "GRANT activekg_reader TO postgres",
    "ALTER TABLE nodes OWNER TO activekg_reader",
    "ALTER DATABASE {database} SET app.current_tenant_id = 'tenant_b'",
    "ALTER ROLE activekg_reader SET app.current_tenant_id = 'tenant_b'",
    "WITH gone AS (DELETE FROM nodes RETURNING props) SELECT * FROM gone",
    "WITH changed AS (UPDATE nodes SET tenant_id = 'tenant_a' RETURNING props) SELECT * FROM "
    "changed",
    "MERGE INTO nodes USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET tenant_id = "
    "'tenant_a'",
    "SELECT * FROM nodes FOR UPDATE",
    "LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE",
    "CREATE INDEX mine ON nodes (tenant_id)",
    "CREATE STATISTICS mine ON tenant_id, version FROM nodes",
    "CREATE TRIGGER mine BEFORE INSERT ON nodes FOR EACH ROW EXECUTE FUNCTION "
    "update_text_search_vector()",
    "CREATE RULE mine AS ON SELECT TO nodes DO ALSO NOTHING",
    "CREATE TEMP TABLE child () INHERITS (nodes)",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE PUBLICATION mine FOR TABLE nodes",
    "COPY nodes FROM PROGRAM 'cat'",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT * FROM pg_largeobject",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_statistic",
    "SELECT * FROM pg_ls_dir('.')",
    "SELECT nextval('connectors.objects_id_seq')",
    "COPY nodes TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "ALTER ROLE activekg_reader BYPASSRLS",
    "CREATE OR REPLACE FUNCTION public.update_text_search_vector() RETURNS trigger LANGUAGE "
    "plpgsql AS"
    " $$ BEGIN RETURN NULL; END $$",
]


def test_the_reader_can_neither_read_secrets_nor_write(reader: psycopg.Connection) -> None:
    become(reader, "tenant_a")
    allowed = []
    for statement in FORBIDDEN:
        try:
            with reader.transaction():
                reader.execute(statement.replace("{database}", reader.info.dbname))
        except psycopg.errors.InsufficientPrivilege:
            continue
        except psycopg.Error as error:
            # Refused for another reason, which says nothing about the role.
            allowed.append(f"{statement}: {error}")
        else:
            allowed.append(statement)
    assert allowed == []


def test_every_table_of_tenants_has_forced_row_level_security(services: Services) -> None:
    rows = query(
        services,
        "SELECT c.oid::regclass::text, c.relrowsecurity AND c.relforcerowsecurity FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind = 'r' AND c.relnamespace IN ('public'::regnamespace, "
        "'connectors'::regnamespace)",
    )
    assert {
        "nodes",
        "edges",
        "connectors.connectors",
        "connectors.objects",
        "connectors.texts",
    } <= set(dict(rows))
    assert [name for name, forced in rows if not forced] == []


@pytest.fixture
def plain_owner(postgres: str, empty_dsn: str, migrated_template: str) -> str:
    """DSN of an empty database whose owner is bound by row-level security.

    The owner is no superuser and may create no roles. The server has the reader's role
    already, because the template made it.
    """
    name = conninfo_to_dict(empty_dsn)["dbname"]
    owner = f"owner_of_{name}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(
            sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEROLE NOBYPASSRLS").format(
                sql.Identifier(owner)
            )
        )
        conn.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(str(name)), sql.Identifier(owner)
            )
        )
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("CREATE EXTENSION vector")
    return make_conninfo(empty_dsn, user=owner)


def test_everything_works_for_a_role_that_row_level_security_binds(
    plain_owner: str, app_settings: Settings, encoder: Encoder, bucket: Bucket
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

    services.orchestrator = RecordingOrchestrator()
    bucket.put("docs/d.txt", "The text of d.")
    sync(services, connector)
    moved = reconfigure(
        services, connector.id, S3ConfigPatch(prefix="docs/"), documents=DocumentFate.REMOVE
    )
    assert moved.documents == 1
    assert found(services, "text", tenant_id="tenant_a") == {f"s3://{bucket.name}/docs/d.txt"}
    assert remove(services, other.id, DocumentFate.REMOVE).documents == 3
    assert found(services, "text", tenant_id="tenant_b") == set()
    removal = remove_tenant(services, "tenant_a")
    assert removal.is_complete
    assert {"nodes", "edges"} <= {count.place for count in removal.counts if count.removed}
    services.database.close()


def plan_without_reading_all(dsn: str, statement: str, given: Mapping[str, object]) -> str:
    """The plan of tenant_a's statement, by index wherever Postgres may use one.

    Without this setting, Postgres would read so few rows without an index.
    """
    with psycopg.connect(dsn) as conn:
        become(conn, "tenant_a")
        conn.execute("SET enable_seqscan = off")
        conn.execute("SET enable_bitmapscan = off")
        return "\n".join(line for (line,) in conn.execute("EXPLAIN " + statement, given))


def test_a_role_that_row_level_security_binds_finds_chunks_by_index(
    plain_owner: str, encoder: Encoder
) -> None:
    # Under row-level security a condition on a property is looked at row by row,
    # through every chunk of the tenant.
    migrate(plain_owner)
    queries = load_queries(Path(graph.__path__[0]) / "queries.sql")
    given = {
        "tenant_id": "tenant_a",
        "encoder": encoder.version,
        "hashes": ["00" * 32],
        "most": 9,
        "most_of_the_model": 9,
    }
    conditions = {}
    for name in ("find_vectors", "count_chunks"):
        plan = plan_without_reading_all(plain_owner, queries[name], given)
        conditions[name] = re.findall(
            r"(Index.* Scan) using idx_nodes_chunk_text on nodes.*\n\s*Index Cond: (.*)", plan
        )
    assert [scan for scan, _ in conditions["count_chunks"]] == ["Index Only Scan"] * 2
    assert "text_hash = ANY" in conditions["find_vectors"][0][1]


def test_a_role_that_row_level_security_binds_audits_by_index(plain_owner: str) -> None:
    # Without, each page of the walk and each object without a document would read every
    # node of the tenant.
    migrate(plain_owner)
    given = {
        "tenant_id": "tenant_a",
        "connector_id": uuid4(),
        "root": "s3:tenant_a:bucket/",
        "prefix": "",
        "after": "",
        "upto": None,
        "limit": 9,
        "dimensions": 384,
    }
    plans = {
        name: plan_without_reading_all(plain_owner, AUDIT_SQL[name], given)
        for name in ("window", "graph_page")
    }
    for name, condition in (("window", "external_id = "), ("graph_page", "external_id > ")):
        conditions = re.findall(
            r"using idx_nodes_external_id on nodes.*\n\s*Index Cond: (.*)", plans[name]
        )
        assert len(conditions) == 1, plans[name]
        assert condition in conditions[0]
    # Nor is a page sorted: the index has the order of the comparison.
    assert not re.search(r"Sort Key: n\.external_id", plans["graph_page"])


def test_an_existing_graph_without_row_level_security_is_not_opened_to_the_reader(
    empty_dsn: str,
) -> None:
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
