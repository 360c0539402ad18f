"""Alembic's entry: runs the migrations on the connection that ``migrate`` hands over,
one process at a time, or writes them as a script.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from activekg_pipelines.database.migrate import MIGRATION_LOCK

if context.is_offline_mode():
    # Within the transaction that the script begins.
    context.configure(
        dialect_name="postgresql", version_table_schema="connectors", transactional_ddl=True
    )
    context.run_migrations()
else:
    connection = context.config.attributes["connection"]
    with connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        # The role's own may end what has to rewrite a table, and may not find pgvector.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.exec_driver_sql(
            f"SET LOCAL search_path = {context.config.attributes['search_path']}"
        )
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS connectors"))
        context.configure(
            connection=connection,
            version_table_schema="connectors",
            transaction_per_migration=False,
        )
        with context.begin_transaction():
            context.run_migrations()
