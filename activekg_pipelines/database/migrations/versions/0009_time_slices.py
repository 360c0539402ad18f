"""When a run has to make way for another tenant's, under a name that the settings use."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_migration_sql(revision)
