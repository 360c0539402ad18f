"""How many attempts at an object its parser's process did not survive."""

from __future__ import annotations

from activekg_pipelines.database.migrate import run_migration_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_migration_sql(revision)
