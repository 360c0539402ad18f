"""Runs that somebody stopped, and runs that Dagster could not start."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_migration_sql(revision)
