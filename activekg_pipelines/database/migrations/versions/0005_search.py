"""Rows and an index that let a tenant's vectors be read quickly."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_migration_sql(revision)
