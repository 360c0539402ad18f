"""${message}"""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    run_migration_sql(revision)
