"""What was found out about a connector's store."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run_migration_sql(revision)
