"""What people do to connectors, for the HTTP routes and the command line.

An operation changes registry, ledger, graph and Dagster together, or none of them.

The HTTP routes and the command line both call these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.administration import reads
from activekg_pipelines.administration.reads import RunRow
from activekg_pipelines.administration.removal import (
    DocumentFate,
    SettledDocuments,
    leave_in_batches,
    leave_source,
    lock,
    origin,
)
from activekg_pipelines.connectors.actions import ActionKind, record, who_acts
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.pool import act_for
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorConflict, SyncNotFound
from activekg_pipelines.ledger.conditions import OBJECT_CONDITIONS
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.services import Services
from activekg_pipelines.sources.config import ConfigPatch, SourceConfig

_SQL = load_queries(Path(__file__).with_name("queries.sql"), OBJECT_CONDITIONS)


class ConnectorDisabled(ConnectorConflict):
    """The connector is paused, and a paused connector is not synced."""

    fix = "Resume it first."


class SyncEnded(ConnectorConflict):
    """The sync has ended already."""

    fix = "Look at the history of syncs."


@dataclass(frozen=True, slots=True)
class Reconfigured(SettledDocuments):
    """A changed connector, and the documents that it no longer covers."""

    connector: Connector


@dataclass(frozen=True, slots=True)
class SyncRequested:
    """A sync that waits for its run, and how many objects were queued for it by key."""

    id: UUID
    objects_queued: int


@dataclass(frozen=True, slots=True)
class DeletionsConfirmed:
    """How many deletions may go on.

    ``sync_id`` is the sync that carries them out, if one could be asked for.
    """

    deletions: int
    sync_id: UUID | None


def register(services: Services, tenant_id: str, kind: str, config: SourceConfig) -> Connector:
    """Register a connector and its partition.

    Reloading the definitions makes its tenant's sensor.

    Raises:
        ConnectorConflict, ConnectorLimit, InvalidConnector: as
            :meth:`ConnectorStore.create`.
        OrchestratorError: Dagster's storage cannot be reached; nothing was registered.
    """
    with services.database.transaction(tenant_id=tenant_id) as conn:
        connector = services.connectors.create(conn, tenant_id, kind, config)
        record(
            conn,
            ActionKind.CONNECTOR_REGISTERED,
            tenant_id,
            connector,
            provider=kind,
            location=str(connector.location),
        )
        # Before the commit: a connector without a partition could not be synced by
        # hand, one that failed to be registered leaves at worst a partition that the
        # next try takes up.
        services.orchestrator.add_partition(connector.partition_key)
    services.orchestrator.reload()
    return connector


def reconfigure(
    services: Services,
    connector_id: UUID,
    patch: ConfigPatch,
    tenant_id: str | None = None,
    documents: DocumentFate | None = None,
) -> Reconfigured:
    """Change the given fields.

    Pausing a connector cancels its syncs, those under way and those that wait. A new
    bucket or prefix starts a new listing, and takes documents out of reach.

    Many documents go in batches, before the change itself. Where that is cut short, the
    connector is as it was, and its next scan brings back what is gone already; the same
    call again goes on.

    Args:
        patch: the new values.
        tenant_id: whose it must be; None for any tenant's.
        documents: what becomes of documents that the connector no longer covers.
        by: who pauses it, as people will read it.

    Raises:
        ConnectorNotFound, ConnectorConflict, InvalidConnector: as
            :meth:`ConnectorStore.update`.
        DocumentsAffected: there are such documents, and ``documents`` says nothing;
            nothing was changed.
    """
    # By the patch alone: what the connector is now, somebody else may be changing.
    moves = not patch.changes().keys() <= {*SourceConfig.SHARED, *patch.SECRETS}
    left_before = (
        leave_in_batches(services, connector_id, patch, tenant_id, documents) if moves else 0
    )
    with services.database.transaction() as conn:
        if moves:
            lock(conn, connector_id, tenant_id)
        old = services.connectors.get(conn, connector_id, tenant_id)
        # Row-level security may bind this role to one tenant's rows: without this,
        # nothing would be removed.
        act_for(conn, old.tenant_id)
        new = services.connectors.update(conn, connector_id, patch, tenant_id)
        left = left_before
        if moves and origin(old) != origin(new):
            left += leave_source(services, conn, old, new, documents)
            new = services.connectors.get(conn, connector_id, tenant_id)
        _record_change(conn, old, new, patch, left, documents)
    if old.enabled and not new.enabled:
        # Afterwards: runs lock their row first, and the connector then. What started
        # since then stops as well.
        with services.database.transaction() as conn:
            _cancel(services, conn, new, by=f"{who_acts()}, who paused the connector")
    if (old.enabled, old.poll_interval_seconds) != (new.enabled, new.poll_interval_seconds):
        services.orchestrator.reload()
    return Reconfigured(left, documents if left else None, new)


def request_sync(
    services: Services,
    connector_id: UUID,
    tenant_id: str | None = None,
    *,
    mode: Mode = Mode.CHANGED,
    keys: Sequence[str] = (),
) -> SyncRequested:
    """Ask for a sync now; joins one of the same mode that waits already.

    Args:
        tenant_id: whose it must be; None for any tenant's.
        mode: which objects the sync takes up.
        keys: objects to process again whatever their state; others than those that the
            ledger knows are left out.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
        ConnectorDisabled: nothing would run.
    """
    connector = services.connector(connector_id, tenant_id)
    if not connector.enabled:
        raise ConnectorDisabled
    queued = 0
    if keys:
        with services.database.transaction(tenant_id=connector.tenant_id) as conn:
            queued = conn.execute(
                _SQL["requeue_objects"], {"connector_id": connector.id, "keys": list(keys)}
            ).rowcount
    # In a transaction of its own: a run that starts locks the request first and the
    # objects then.
    with services.database.transaction() as conn:
        sync_id = services.ledger.request_manual_run(
            conn, connector.id, connector.tenant_id, mode=mode
        )
    return SyncRequested(sync_id, queued)


def cancel_sync(
    services: Services,
    sync_id: UUID,
    tenant_id: str | None = None,
    *,
    connector_id: UUID | None = None,
) -> RunRow:
    """Stop a sync; its run ends within seconds.

    What it finished is stored, and what it had taken up is given back. The rest waits for
    the next poll, or for a sync that somebody asks for. A sync that is being cancelled
    already is no error.

    Args:
        tenant_id: whose it must be; None for any tenant's.
        connector_id: whose it must be; None for any connector's.

    Returns:
        The sync as it is now. One that runs is ``cancelled`` once its run has ended.

    Raises:
        SyncNotFound: it does not exist, or is another tenant's or connector's.
        SyncEnded: it has ended, and nobody cancelled it.
    """
    with services.database.transaction() as conn:
        sync = reads.run(conn, sync_id)
        if (
            sync is None
            or tenant_id not in {None, sync.tenant_id}
            or connector_id not in {None, sync.connector_id}
        ):
            raise SyncNotFound(f"No sync has the id {sync_id}.")
        connector = services.connectors.get(conn, sync.connector_id)
        _cancel(services, conn, connector, sync_id=sync_id)
        now = reads.run(conn, sync_id)
    if now is None:
        raise SyncNotFound(f"No sync has the id {sync_id}.")
    if now.cancelled_by is None:
        raise SyncEnded(f"The sync has ended already: it {now.status}.")
    return now


def cancel_syncs(
    services: Services, connector_id: UUID, tenant_id: str | None = None
) -> list[UUID]:
    """Stop all syncs of a connector, as :func:`cancel_sync` stops one.

    Returns:
        The ids of those that end; none where none waited or ran.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
    """
    connector = services.connector(connector_id, tenant_id)
    with services.database.transaction() as conn:
        return _cancel(services, conn, connector)


def _cancel(
    services: Services,
    conn: Connection[TupleRow],
    connector: Connector,
    *,
    sync_id: UUID | None = None,
    by: str | None = None,
) -> list[UUID]:
    act_for(conn, connector.tenant_id)
    by = by or str(who_acts())
    ids = services.ledger.cancel_runs(conn, connector.id, by=by, sync_id=sync_id)
    if ids:
        record(
            conn,
            ActionKind.SYNC_CANCELLED,
            connector.tenant_id,
            connector,
            syncs=[str(one) for one in ids],
        )
    return ids


def replay_dead_letters(
    services: Services,
    connector_id: UUID,
    tenant_id: str | None = None,
    *,
    keys: Sequence[str] | None = None,
    error_type: str | None = None,
) -> int:
    """Try dead letters again with fresh attempts; the work queue starts the run.

    Args:
        tenant_id: whose it must be; None for any tenant's.
        keys: only these objects.
        error_type: only those that ended with this error.

    Returns:
        How many objects were queued.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
    """
    connector = services.connector(connector_id, tenant_id)
    parameters = {
        "connector_id": connector.id,
        "keys": None if keys is None else list(keys),
        "error_type": error_type,
    }
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        replayed = conn.execute(_SQL["replay_dead_letters"], parameters).rowcount
        if replayed:
            record(
                conn,
                ActionKind.DEAD_LETTERS_REPLAYED,
                connector.tenant_id,
                connector,
                objects=replayed,
                error_type=error_type,
            )
    return replayed


def confirm_deletions(
    services: Services, connector_id: UUID, tenant_id: str | None = None
) -> DeletionsConfirmed:
    """Let the deletions go on that the delete-storm guard holds back, with a sync now.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
    """
    connector = services.connector(connector_id, tenant_id)
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        deletions = services.connectors.confirm_deletions(conn, connector.id)
        if deletions:
            record(
                conn,
                ActionKind.DELETIONS_CONFIRMED,
                connector.tenant_id,
                connector,
                deletions=deletions,
            )
    if deletions == 0 or not connector.enabled:
        return DeletionsConfirmed(deletions, None)
    with services.database.transaction() as conn:
        sync_id = services.ledger.request_manual_run(conn, connector.id, connector.tenant_id)
    return DeletionsConfirmed(deletions, sync_id)


def _record_change(
    conn: Connection[TupleRow],
    old: Connector,
    new: Connector,
    patch: ConfigPatch,
    documents: int,
    fate: DocumentFate | None,
) -> None:
    before, after = _shown(old), _shown(new)
    changed = {
        name: {"from": before.get(name), "to": after.get(name)}
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    secrets = [name for name in patch.SECRETS if name in patch.changes()]
    if not changed and not secrets:
        return
    details: dict[str, object] = {"changed": changed}
    if secrets:
        details["secrets"] = secrets
    if documents:
        details |= {"documents": documents, "fate": fate}
    record(conn, ActionKind.CONNECTOR_CHANGED, new.tenant_id, new, **details)


def _shown(connector: Connector) -> dict[str, object]:
    """What a connector's fields are, without its secrets."""
    return {
        **connector.config,
        **{name: getattr(connector, name) for name in SourceConfig.SHARED},
    }
