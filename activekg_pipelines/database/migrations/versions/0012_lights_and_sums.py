"""Each connector's own delete guard and freshness, and numbers of a run that add up."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_migration_sql(revision)
