"""Connectors of any provider: their fields in one column, their place in another."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_migration_sql(revision)
