"""Alembic's entry: runs the migrations on the connection that ``migrate`` hands over,
one process at a time.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

# Any constant will do; two `migrate` at once meet on it and the second finds nothing
# left to do.
_MIGRATION_LOCK = 7_201_644_310

connection = context.config.attributes["connection"]
with connection.begin():
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS connectors"))
    context.configure(
        connection=connection, version_table_schema="connectors", transaction_per_migration=False
    )
    with context.begin_transaction():
        context.run_migrations()
