"""What a document's text misses, by kind."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run_migration_sql(revision)
