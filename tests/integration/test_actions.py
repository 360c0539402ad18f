"""The record of actions: nobody changes it, and it agrees with what was done."""

from __future__ import annotations

import psycopg
import pytest

from activekg_pipelines.administration.operations import register
from activekg_pipelines.connectors.actions import ActionKind, record
from activekg_pipelines.services import Services
from tests.integration.api.conftest import RecordingOrchestrator
from tests.integration.syncing import query
from tests.s3_bucket import Bucket


@pytest.fixture
def recorded(services: Services, bucket: Bucket) -> Services:
    """A connector of acme_corp was registered in this process."""
    services.orchestrator = RecordingOrchestrator()
    register(services, "acme_corp", "s3", bucket.config())
    return services


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE connectors.actions SET actor = 'nobody'",
        "UPDATE connectors.actions SET details = '{}' WHERE tenant_id = 'acme_corp'",
        "DELETE FROM connectors.actions",
        "TRUNCATE connectors.actions",
        "TRUNCATE connectors.actions, connectors.connectors CASCADE",
        "INSERT INTO connectors.actions (id, actor, via, by_operator, action)"
        " OVERRIDING SYSTEM VALUE SELECT id, 'nobody', via, by_operator, action"
        " FROM connectors.actions",
        "WITH gone AS (DELETE FROM connectors.actions RETURNING id) SELECT FROM gone",
        "SET app.removed_tenant_id = 'globex'; DELETE FROM connectors.actions",
        "SET app.removed_tenant_id = 'acme_corp'; UPDATE connectors.actions SET actor = 'x'",
    ],
)
def test_nobody_changes_what_is_recorded(recorded: Services, dsn: str, statement: str) -> None:
    before = query(recorded, "SELECT * FROM connectors.actions")
    assert len(before) == 1
    with psycopg.connect(dsn) as conn, pytest.raises(psycopg.Error):
        conn.execute(statement)
    assert query(recorded, "SELECT * FROM connectors.actions") == before


def test_the_record_and_the_action_are_one_transaction(recorded: Services, bucket: Bucket) -> None:
    class Lost(Exception):
        pass

    with pytest.raises(Lost), recorded.database.transaction() as conn:
        record(conn, ActionKind.SYNC_CANCELLED, "acme_corp", sync_id="1")
        raise Lost
    assert query(recorded, "SELECT action FROM connectors.actions") == [("connector_registered",)]


def test_a_reader_of_the_graph_does_not_see_the_record(recorded: Services, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET ROLE activekg_reader")
        conn.execute("SET app.current_tenant_id = 'acme_corp'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT * FROM connectors.actions")


def test_a_role_that_may_read_it_sees_one_tenants(recorded: Services, dsn: str) -> None:
    with psycopg.connect(dsn) as conn, conn.transaction(force_rollback=True):
        conn.execute("GRANT SELECT, INSERT ON connectors.actions TO activekg_reader")
        conn.execute("SET LOCAL ROLE activekg_reader")
        for tenant, rows in (("acme_corp", 1), ("globex", 0)):
            conn.execute("SELECT set_config('app.current_tenant_id', %s, true)", (tenant,))
            assert len(conn.execute("SELECT FROM connectors.actions").fetchall()) == rows
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute(
                "INSERT INTO connectors.actions (tenant_id, actor, via, by_operator, action)"
                " VALUES ('globex', 'x', 'api', false, 'connector_removed')"
            )
