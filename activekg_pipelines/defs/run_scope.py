"""What every asset does around its work.

It finds the connector, opens and closes the run's row, and turns errors into failures
that say what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

import dagster as dg
from pydantic import Field

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import ActiveKGError, ModelError, SourceError
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.logs import log_fields
from activekg_pipelines.orchestrator.run_bounds import (
    MAX_BUDGET_SECONDS,
    MAX_OBJECTS,
    check_agreement,
)
from activekg_pipelines.pipeline.lease import Lease, lease
from activekg_pipelines.services import Services, services

SYNC_ID_TAG = "activekg/sync_id"
SOURCE_OBJECTS, EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS = (
    dg.AssetKey(name) for name in ("source_objects", "extracted_text", "document_embeddings")
)
_IN_ORDER = (SOURCE_OBJECTS, EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS)


class SyncMode(Enum):
    """Which objects a run takes up, beside those that are due anyway."""

    changed = "changed"
    failed = "failed"
    all = "all"


class SyncConfig(dg.Config):
    """Bounds of one step; the defaults need no configuration."""

    mode: SyncMode = Field(
        default=SyncMode.changed,
        description="changed: new and changed objects and due retries; "
        "failed: also all failures and dead letters; all: every object again.",
    )
    max_objects: int | None = Field(
        default=None,
        ge=1,
        le=MAX_OBJECTS,
        description="Objects at most; by default ACTIVEKG_MAX_OBJECTS_PER_RUN. "
        f"No run takes more than {MAX_OBJECTS:,}.",
    )
    time_budget_seconds: float | None = Field(
        default=None,
        gt=0,
        le=MAX_BUDGET_SECONDS,
        description="Claims nothing more after this time; by default ACTIVEKG_RUN_BUDGET_SECONDS. "
        f"No run has more than {MAX_BUDGET_SECONDS:,.0f}.",
    )


@dataclass(frozen=True, slots=True)
class RunScope:
    """A step's connector and bounds.

    Attributes:
        run: Dagster's run id.
        superseded: another run answers the request that this one was started for.
            Nothing is to be done.
    """

    services: Services
    connector: Connector
    run: str
    max_objects: int
    budget_seconds: float
    superseded: bool = False

    def lease(self) -> AbstractContextManager[Lease]:
        """The run's sign of life while it takes no objects."""
        return lease(self.services, self.run, max_objects=0, budget_seconds=0.0)


@contextmanager
def run_scope(
    context: dg.AssetExecutionContext, config: SyncConfig | None = None, *, keep_texts: bool = False
) -> Iterator[RunScope]:
    """Work on the partition's connector as a part of this Dagster run.

    Raises:
        dagster.Failure: with the sentence that says what to do. It is not retried where
            trying again cannot help.
    """
    config = config or SyncConfig()
    opened = services()
    selected = _selected(context.run)
    with _failures_named():
        check_agreement(context.run.tags, context.partition_key)
        connector = opened.connector_of_partition(context.partition_key)
        with opened.database.transaction(tenant_id=connector.tenant_id) as conn:
            sync = opened.ledger.start_run(
                conn,
                connector.id,
                connector.tenant_id,
                context.run.run_id,
                request_id=_sync_id(context.run),
                parent_run=context.run.parent_run_id,
                with_scan=SOURCE_OBJECTS in selected,
                mode=Mode(config.mode.value),
                keep_texts=keep_texts,
            )
        if sync is None:
            yield RunScope(opened, connector, context.run.run_id, 0, 0.0, superseded=True)
            return
        try:
            with log_fields(
                tenant=connector.tenant_id, connector=connector.name, run=context.run.run_id
            ):
                yield RunScope(
                    opened,
                    connector,
                    context.run.run_id,
                    config.max_objects or opened.settings.activekg_max_objects_per_run,
                    config.time_budget_seconds or opened.settings.activekg_run_budget_seconds,
                )
        except BaseException as error:
            if isinstance(error, ActiveKGError) and not isinstance(error, SourceError):
                # A missing key or model stops the connector as refused credentials do,
                # and is shown in the same place.
                code = "model" if isinstance(error, ModelError) else "configuration"
                with opened.database.transaction(tenant_id=connector.tenant_id) as conn:
                    opened.connectors.record_error(conn, connector.id, code, error.message)
            _finish(opened, context.run.run_id, succeeded=False)
            raise
        if selected[-1] in context.selected_asset_keys:
            _finish(opened, context.run.run_id, succeeded=True)


def _finish(opened: Services, run: str, *, succeeded: bool) -> None:
    with opened.database.transaction() as conn:
        opened.ledger.finish_run(conn, run, succeeded=succeeded)


@contextmanager
def _failures_named() -> Iterator[None]:
    try:
        yield
    except ActiveKGError as error:
        retryable = isinstance(error, SourceError) and error.retryable
        raise dg.Failure(description=error.message, allow_retries=retryable) from None


def _selected(run: dg.DagsterRun) -> tuple[dg.AssetKey, ...]:
    """The run's assets in the order of steps; a run without a selection has all."""
    return tuple(key for key in _IN_ORDER if not run.asset_selection or key in run.asset_selection)


def _sync_id(run: dg.DagsterRun) -> UUID | None:
    value = run.tags.get(SYNC_ID_TAG)
    try:
        return UUID(value) if value else None
    except ValueError:
        raise dg.Failure(
            description=f"The tag {SYNC_ID_TAG} is not an id of a sync.", allow_retries=False
        ) from None
