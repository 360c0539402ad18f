"""Limits of tenants, what they used of them, whose turn it is, and pauses of polls that fail."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_migration_sql(revision)
