"""What a document's text misses, by kind."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0017"
down_revision = "0013"


def upgrade() -> None:
    run_migration_sql(revision)
