"""Brings a database to the newest schema, forward only.

Alembic keeps the order. The SQL lies in files beside its revisions.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from activekg_pipelines.database import requirements
from activekg_pipelines.database.pool import connect, search_path
from activekg_pipelines.database.requirements import READER, Obstacle
from activekg_pipelines.errors import SettingsError, first_line

_MIGRATIONS = Path(__file__).parent / "migrations"

MIGRATION_LOCK: Final = 7_201_644_310
"""Key of an advisory lock; two migrations at once meet on it.

Any constant will do. The second one finds nothing left to do.
"""


def migrate(dsn: str, revision: str = "head") -> str:
    """Apply every migration that the database lacks, all or none.

    It is safe to run twice, and from several processes at once.

    Args:
        dsn: libpq connection string or URL of the graph database, of the role that will
            use it. ``docs/postgres.md`` says what the role needs.
        revision: the last one to apply.

    Returns:
        The revision that the database is at now.

    Raises:
        SettingsError: the database cannot be reached, or something stands in the way.
            Nothing was changed then. Or it was migrated and cannot be vacuumed.
    """
    _refuse(find_obstacles(dsn), "The database cannot be migrated, and nothing was changed.")
    engine = _engine(dsn)
    try:
        with _sentences("The migration failed, and nothing was changed"):
            before = current_revision(dsn)
            with engine.connect() as connection:
                config = _config()
                config.attributes["connection"] = connection
                config.attributes["search_path"] = _search_path(dsn)
                command.upgrade(config, revision)
        changed = current_revision(dsn) != before
        with _sentences(
            "The migration is done, but VACUUM (ANALYZE) public.nodes failed; run it before the "
            "next sync"
        ):
            if changed:
                _vacuum(engine)
    finally:
        engine.dispose()
    return newest_revision() if revision == "head" else revision


def find_obstacles(dsn: str) -> list[Obstacle]:
    """What stands in the way of a migration, or of this version where all is migrated.

    Nothing is changed.

    Raises:
        SettingsError: the database cannot be reached.
    """
    with _sentences("The database cannot be looked at"), connect(dsn) as conn:
        return requirements.obstacles(conn, known=_known_revisions(), newest=newest_revision())


def migration_script(dsn: str) -> str:
    """The migration as SQL that an administrator may run, for the role of ``dsn``.

    It also gives that role what it lacks.

    Raises:
        SettingsError: the database cannot be reached, or something that no script
            removes stands in the way.
    """
    found = find_obstacles(dsn)
    _refuse(
        [obstacle for obstacle in found if not obstacle.in_script],
        "The database cannot be migrated.",
    )
    with _sentences("The database cannot be looked at"), connect(dsn) as conn:
        current, path = requirements.current_revision(conn), search_path(conn)
        names = requirements.names(conn)
    statements = io.StringIO()
    config = _config(output_buffer=statements)
    command.upgrade(config, f"{current}:head" if current else "head", sql=True)
    return _SCRIPT.format(
        database=names.database,
        role=names.role,
        current=current or "nothing",
        newest=newest_revision(),
        path=path,
        lock=MIGRATION_LOCK,
        reader=READER,
        extension_schema=names.extension_schema,
        statements=statements.getvalue().strip(),
    )


_SCRIPT: Final = """\
-- The database {database}: from {current} to revision {newest}, for the role {role}.
-- Run it as a superuser, or as a role that may do what stands before SET ROLE:
--   psql --set ON_ERROR_STOP=1 --dbname {database} --file THIS
BEGIN;
SELECT pg_advisory_xact_lock({lock});
SET LOCAL statement_timeout = 0;
CREATE SCHEMA IF NOT EXISTS public;
CREATE EXTENSION IF NOT EXISTS vector SCHEMA public;
GRANT USAGE ON SCHEMA {extension_schema} TO {role};
GRANT USAGE, CREATE ON SCHEMA public TO {role};
GRANT TEMPORARY ON DATABASE {database} TO {role};
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{reader}') THEN
        CREATE ROLE {reader} NOLOGIN;
    END IF;
END
$$;
CREATE SCHEMA IF NOT EXISTS connectors AUTHORIZATION {role};
-- Tables and policies belong to the role that syncs.
SET LOCAL ROLE {role};
SET LOCAL search_path = {path};

{statements}

COMMIT;
-- A table that was rewritten has no statistics of its new columns.
VACUUM (ANALYZE, PARALLEL 0) public.nodes;
"""


def _refuse(found: list[Obstacle], summary: str) -> None:
    if found:
        raise SettingsError("\n- ".join([summary, *map(str, found)]))


def _vacuum(engine: Engine) -> None:
    """Vacuum and analyse the table of nodes.

    A table that a migration rewrote has no statistics of its new columns, and no page
    that index-only scans may skip. Autovacuum does not notice it.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # In parallel it would need shared memory, of which containers have little.
        connection.exec_driver_sql("VACUUM (ANALYZE, PARALLEL 0) public.nodes")


def current_revision(dsn: str) -> str | None:
    """The revision that the database is at, or None when it was never migrated.

    Raises:
        SettingsError: the database cannot be reached.
    """
    with _sentences("The database cannot be looked at"), connect(dsn) as conn:
        return requirements.current_revision(conn)


def newest_revision() -> str:
    """The revision that this version of the package wants."""
    return str(ScriptDirectory(str(_MIGRATIONS)).get_current_head())


def run_migration_sql(revision: str) -> None:
    """Run a migration's SQL file on the migration's connection.

    The revision calls it.
    """
    sql = next(_MIGRATIONS.glob(f"sql/{revision}_*.sql")).read_text(encoding="utf-8")
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(sql)
        return
    # The driver's connection: SQLAlchemy always sends parameters, and with parameters
    # only one statement can be sent at a time.
    driver_connection: Any = op.get_bind().connection.driver_connection
    driver_connection.execute(sql.encode())


@contextmanager
def _sentences(failed: str) -> Iterator[None]:
    """Whatever the driver raises is a sentence.

    Raises:
        SettingsError: that the database cannot be reached, or ``failed`` with what the
            server says.
    """
    try:
        yield
    except (psycopg.Error, DBAPIError) as error:
        # SQLAlchemy's error lies around psycopg's own.
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        reason = first_line(cause)
        # Who never got in has no state of the server's.
        if isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None:
            failed = "The database that ACTIVEKG_DSN names cannot be reached"
        raise SettingsError(f"{failed}: {reason}") from None
    except CommandError as error:
        raise SettingsError(f"{failed}: {first_line(error)}") from None


def _search_path(dsn: str) -> str:
    with connect(dsn) as conn:
        return search_path(conn)


def _known_revisions() -> set[str]:
    return {script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()}


def _config(output_buffer: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output_buffer)
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _engine(dsn: str) -> Engine:
    # A creator, because libpq takes more forms of DSN than SQLAlchemy's URLs do.
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(dsn),
        poolclass=NullPool,
    )
