"""Rows that hold what ranking by words reads."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_migration_sql(revision)
