"""Counters that outlive runs and connectors, so that no scrape reads the whole ledger."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_migration_sql(revision)
