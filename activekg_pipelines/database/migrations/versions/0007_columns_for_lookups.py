"""Columns by which rows are found under row-level security."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_migration_sql(revision)
