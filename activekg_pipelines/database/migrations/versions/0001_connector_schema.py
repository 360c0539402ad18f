"""The graph tables where they are absent, and everything of ours in schema ``connectors``."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_migration_sql(revision)
