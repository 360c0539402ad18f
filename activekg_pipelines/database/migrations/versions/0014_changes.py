"""What counts as a change, and objects in an archive."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_migration_sql(revision)
