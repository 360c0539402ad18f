"""Runs that died unseen by Dagster."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_migration_sql(revision)
