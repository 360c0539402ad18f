"""What a database must be, and what it must allow, to be migrated and used.

It is looked at, and nothing is changed: what only a trial can tell is tried in a
transaction that is rolled back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.rows import namedtuple_row

from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import first_line

_SQL = load_queries(Path(__file__).with_name("requirements.sql"))

_POSTGRES: Final = 14
# pgvector 0.8 brought the iterative index scans that search under a tenant filter
# needs.
_PGVECTOR: Final = (0, 8)
READER: Final = "activekg_reader"
"""The role that the first migration makes for applications that read."""

# Columns of the graph that this package did not make itself, and cannot do without.
_GRAPH: Final = {
    "nodes": {
        "id": "uuid",
        "tenant_id": "text",
        "classes": "text[]",
        "props": "jsonb",
        "embedding": "vector",
        "metadata": "jsonb",
        "version": "integer",
        "last_refreshed": "timestamp with time zone",
        "updated_at": "timestamp with time zone",
    },
    "edges": {
        "src": "uuid",
        "rel": "text",
        "dst": "uuid",
        "props": "jsonb",
        "tenant_id": "text",
    },
}
_READ_ONLY: Final = "default_transaction_read_only"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that keeps this version from migrating a database, or from using it.

    Attributes:
        what: a sentence for people.
        remedy: what to run, as which role.
        about_pgvector: it is the extension.
        in_script: the script for an administrator removes it.
    """

    what: str
    remedy: str
    about_pgvector: bool = False
    in_script: bool = False

    def __str__(self) -> str:
        """Both, as one line."""
        return f"{self.what} {self.remedy}"


def obstacles(conn: Connection[Any], *, known: Collection[str], newest: str) -> list[Obstacle]:
    """All that stands in the way, in the order in which it should be removed.

    Args:
        conn: of the role that migrates and syncs.
        known: the revisions that this version knows.
        newest: the last of them.

    Raises:
        psycopg.Error: the database cannot be asked.
    """
    with conn.transaction(force_rollback=True):
        # All as of one moment: another process may be migrating.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return list(_obstacles(conn, known, newest))


class Names(NamedTuple):
    """As statements have them, quoted where they must be."""

    database: str
    role: str
    extension_schema: str


def names(conn: Connection[Any]) -> Names:
    """What a script for an administrator names; pgvector's schema is where it will lie."""
    (row,) = _rows(conn, "names")
    return Names(*row)


def current_revision(conn: Connection[Any]) -> str | None:
    """The revision that the database is at, or None when it was never migrated."""
    if not _rows(conn, "version_table"):
        return None
    row = conn.execute(_SQL["revision"]).fetchone()
    return row[0] if row else None


def _obstacles(conn: Connection[Any], known: Collection[str], newest: str) -> Iterator[Obstacle]:
    (facts,) = _rows(conn, "facts")
    yield from _server(facts)
    for table in _rows(conn, "version_table"):
        if not table.is_readable:
            yield Obstacle(
                f"The role {facts.role} may not read connectors.alembic_version: another one "
                "migrated this database.",
                _other_role(table.owner, facts.role),
            )
            return
    current = current_revision(conn)
    if current is not None and current not in known:
        yield Obstacle(
            f"The database is at revision {current}, which this version does not know.",
            f"A newer version migrated it: install that one, or name another database in "
            f"ACTIVEKG_DSN. This one knows revisions up to {newest}.",
        )
        return
    if facts.is_utf8:
        yield from _pgvector(conn, facts)
    if current == newest:
        yield from _use(conn, facts)
    elif facts.is_utf8:
        yield from _migration(conn, facts, current)


def _server(facts: Any) -> Iterator[Obstacle]:
    """The server and the database as such."""
    if facts.version < _POSTGRES * 10_000:
        yield Obstacle(
            f"PostgreSQL {facts.version // 10_000} is too old.",
            f"Use PostgreSQL {_POSTGRES} or newer.",
        )
    if facts.is_standby:
        yield Obstacle(
            "The server is a standby, which only reads.", "Name the primary in ACTIVEKG_DSN."
        )
    elif facts.is_read_only:
        whose = {
            "user": f"ROLE {facts.role}",
            "database": f"DATABASE {facts.database}",
            "database user": f"ROLE {facts.role} IN DATABASE {facts.database}",
        }.get(facts.read_only_source)
        yield Obstacle(
            f"Transactions of the role {facts.role} only read ({_READ_ONLY} is on).",
            f"As a superuser: ALTER {whose} RESET {_READ_ONLY};"
            if whose
            else f"Turn {_READ_ONLY} off in the server's configuration or in ACTIVEKG_DSN.",
        )
    if not facts.is_utf8:
        made = (
            f"CREATE DATABASE activekg OWNER {facts.role} TEMPLATE template0 ENCODING 'UTF8' "
            "LOCALE 'C.UTF-8';"
        )
        yield Obstacle(
            f"The database {facts.database} has the encoding {facts.encoding}, which cannot hold "
            "every text.",
            f"As a role that may create databases: {made} Then name that one in ACTIVEKG_DSN.",
        )


def _pgvector(conn: Connection[Any], facts: Any) -> Iterator[Obstacle]:
    (found,) = _rows(conn, "pgvector")
    version = found.installed or found.available
    if version is None:
        yield Obstacle(
            "pgvector is not on the database server.",
            f"Install version {'.'.join(map(str, _PGVECTOR))} or newer there: on Debian the "
            f"package postgresql-{facts.version // 10_000}-pgvector. Managed services list it "
            "among their extensions.",
            about_pgvector=True,
        )
    elif tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < _PGVECTOR:
        yield Obstacle(
            f"pgvector {version} is too old: 0.8 or newer is needed.",
            "Install it on the database server. Then, as "
            f"{found.owner or 'a superuser'}: ALTER EXTENSION vector UPDATE;"
            if found.installed
            else "Install it on the database server.",
            about_pgvector=True,
        )
    elif found.installed and not found.usable and found.schema != "public":
        yield Obstacle(
            f"pgvector lies in the schema {found.schema}, which the role {facts.role} may not use.",
            f"As the owner of that schema, {found.schema_owner}, or a superuser: "
            f"GRANT USAGE ON SCHEMA {found.schema} TO {facts.role};",
            about_pgvector=True,
            in_script=True,
        )
    elif not found.installed and not facts.is_superuser and not facts.is_read_only:
        yield from _creation(conn, facts)


def _creation(conn: Connection[Any], facts: Any) -> Iterator[Obstacle]:
    """Whether the role may create the extension.

    Managed services allow it to roles of which the catalogue does not say so.
    """
    try:
        with conn.transaction(force_rollback=True):
            conn.execute("SET LOCAL lock_timeout = '5s'")
            conn.execute("CREATE EXTENSION vector SCHEMA public")
    except psycopg.errors.InsufficientPrivilege:
        yield Obstacle(
            f"The role {facts.role} may not create the extension pgvector.",
            f"As a superuser or the service's administrator, in the database {facts.database}: "
            "CREATE EXTENSION vector SCHEMA public;",
            about_pgvector=True,
            in_script=True,
        )
    except psycopg.errors.InvalidSchemaName:
        pass  # There is no schema public. That is an obstacle of its own.
    except (
        psycopg.errors.LockNotAvailable,
        psycopg.errors.DuplicateObject,
        psycopg.errors.UniqueViolation,
    ):
        pass  # Another migration creates it at this moment.
    except psycopg.Error as error:
        yield Obstacle(
            f"The extension pgvector cannot be created: {first_line(error)}.",
            f"As a superuser, in the database {facts.database}: "
            "CREATE EXTENSION vector SCHEMA public;",
            about_pgvector=True,
        )


def _use(conn: Connection[Any], facts: Any) -> Iterator[Obstacle]:
    """What a database of this version does not allow the role."""
    yield from _temporary(facts)
    (rights,) = _rows(conn, "rights")
    if rights.refused or not rights.sees_rows:
        name, more = (rights.refused or ["connectors.connectors"])[0], len(rights.refused) - 1
        others = f" and {more} more tables" if more > 0 else ""
        verb = "write" if rights.refused else "see the rows of"
        yield Obstacle(
            f"The role {facts.role} may not {verb} {name}{others}: another one migrated this "
            "database.",
            _other_role(rights.owner, facts.role),
        )


def _other_role(owner: str, role: str) -> str:
    return f"Name that role, {owner}, in ACTIVEKG_DSN. Or, as a superuser: GRANT {owner} TO {role};"


def _migration(conn: Connection[Any], facts: Any, current: str | None) -> Iterator[Obstacle]:
    """What the migration needs and does not get."""
    owner = f"As the owner of the database, {facts.owner}, or a superuser"
    if not facts.has_public:
        yield Obstacle(
            f"The database {facts.database} has no schema public.",
            f"{owner}: CREATE SCHEMA public; GRANT USAGE, CREATE ON SCHEMA public TO {facts.role};",
            in_script=True,
        )
    elif not facts.may_create_in_public:
        yield Obstacle(
            f"The role {facts.role} may not create tables in the schema public.",
            f"As the owner of that schema, {facts.public_owner}, or a superuser: "
            f"GRANT USAGE, CREATE ON SCHEMA public TO {facts.role};",
            in_script=True,
        )
    if not facts.has_connectors and not facts.may_create_schemas:
        yield Obstacle(
            f"The role {facts.role} may not create the schema connectors.",
            f"{owner}: GRANT CREATE ON DATABASE {facts.database} TO {facts.role};",
            in_script=True,
        )
    yield from _temporary(facts)
    if current is None and not facts.has_reader and not facts.may_create_roles:
        yield Obstacle(
            f"The role {facts.role} may not create the role {READER}, which applications read "
            "with.",
            f"As a superuser or a role with CREATEROLE: CREATE ROLE {READER} NOLOGIN;",
            in_script=True,
        )
    yield from _tables(conn, facts, current)


def _temporary(facts: Any) -> Iterator[Obstacle]:
    if not facts.may_create_temporary:
        yield Obstacle(
            f"The role {facts.role} may not create temporary tables, through which every document "
            "goes.",
            f"As the owner of the database, {facts.owner}, or a superuser: "
            f"GRANT TEMPORARY ON DATABASE {facts.database} TO {facts.role};",
            in_script=True,
        )


def _tables(conn: Connection[Any], facts: Any, current: str | None) -> Iterator[Obstacle]:
    """Tables that are there already, and who owns them."""
    elsewhere = "Name another database in ACTIVEKG_DSN."
    tables = _rows(conn, "tables")
    ours = [table for table in tables if table.schema == "connectors"]
    if ours and current is None:
        yield Obstacle(
            f"The schema connectors is something else's: it holds {ours[0].name}, and no migration "
            "of this package made it.",
            elsewhere,
        )
        return
    for table in tables:
        if table.schema == "public":
            wanted = _GRAPH[table.name]
            wrong = sorted(name for name, kind in wanted.items() if table.columns.get(name) != kind)
            if table.kind not in ("r", "p") or wrong:
                lacks = f"no column {wrong[0]} of type {wanted[wrong[0]]}" if wrong else "no rows"
                yield Obstacle(
                    f"public.{table.name} is no table of ActiveKG: it has {lacks}.", elsewhere
                )
                continue
        if not table.is_owned:
            yield Obstacle(
                f"{table.schema}.{table.name} belongs to the role {table.owner}, and only its "
                "owner may change it.",
                f"Migrate as {table.owner}. Or, as a superuser: "
                f"GRANT {table.owner} TO {facts.role};",
            )
            return


def _rows(conn: Connection[Any], query: str) -> list[Any]:
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(_SQL[query]).fetchall()
