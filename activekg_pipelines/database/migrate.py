"""Brings a database to the newest schema, forward only.

Alembic keeps the order. The SQL lies in files beside its revisions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from activekg_pipelines.errors import SettingsError, first_line

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(dsn: str, revision: str = "head") -> str:
    """Apply every migration that the database lacks.

    It is safe to run twice, and from several processes at once.

    Args:
        dsn: libpq connection string or URL of the graph database. The role must own the
            database, or have CREATE on it and the right to create the ``vector``
            extension. The right is not needed where the extension exists.
        revision: the last one to apply.

    Returns:
        The revision that the database is at now.

    Raises:
        SettingsError: the database cannot be reached. Or it was migrated and cannot be
            vacuumed.
    """
    engine = _engine(dsn)
    try:
        before = current_revision(dsn)
        with engine.connect() as connection:
            config = Config()
            config.set_main_option("script_location", str(_MIGRATIONS))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        if current_revision(dsn) != before:
            _vacuum(engine)
    except OperationalError as error:
        # SQLAlchemy's, around psycopg's own.
        reason = first_line(error.orig or error)
        raise SettingsError(
            f"The database that ACTIVEKG_DSN names cannot be reached: {reason}"
        ) from None
    finally:
        engine.dispose()
    return newest_revision() if revision == "head" else revision


def _vacuum(engine: Engine) -> None:
    """Vacuum and analyse the table of nodes.

    A table that a migration rewrote has no statistics of its new columns, and no page
    that index-only scans may skip. Autovacuum does not notice it.
    """
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # In parallel it would need shared memory, of which containers have little.
            connection.exec_driver_sql("VACUUM (ANALYZE, PARALLEL 0) public.nodes")
    except OperationalError as error:
        raise SettingsError(
            "The migration is done, but VACUUM (ANALYZE) public.nodes failed; run it before the "
            f"next sync: {first_line(error.orig or error)}"
        ) from None


def current_revision(dsn: str) -> str | None:
    """The revision that the database is at, or None when it was never migrated."""
    engine = _engine(dsn)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(
                connection, opts={"version_table_schema": "connectors"}
            ).get_current_revision()
    finally:
        engine.dispose()


def newest_revision() -> str:
    """The revision that this version of the package wants."""
    return str(ScriptDirectory(str(_MIGRATIONS)).get_current_head())


def run_migration_sql(revision: str) -> None:
    """Run a migration's SQL file on the migration's connection.

    The revision calls it.
    """
    sql = next(_MIGRATIONS.glob(f"sql/{revision}_*.sql")).read_bytes()
    # The driver's connection: SQLAlchemy always sends parameters, and with parameters
    # only one statement can be sent at a time.
    driver_connection: Any = op.get_bind().connection.driver_connection
    driver_connection.execute(sql)


def _engine(dsn: str) -> Engine:
    # A creator, because libpq takes more forms of DSN than SQLAlchemy's URLs do.
    return create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool
    )
