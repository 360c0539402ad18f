"""Who did what: a record of actions that nobody changes."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_migration_sql(revision)
