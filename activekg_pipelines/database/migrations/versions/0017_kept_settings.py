"""Settings that old processes do not know outlive their changes."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_migration_sql(revision)
