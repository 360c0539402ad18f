"""What every asset does around its work.

It finds the connector, opens and closes the run's row, and turns errors into failures
that say what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

import dagster as dg
from pydantic import Field

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.stopping import watched
from activekg_pipelines.errors import (
    ActiveKGError,
    ConnectorNotFound,
    ConnectorRemoved,
    ModelError,
    RunCancelled,
    SourceError,
)
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.logs import log_fields
from activekg_pipelines.orchestrator.launches import SYNC_ID_TAG
from activekg_pipelines.pipeline.lease import Lease, lease
from activekg_pipelines.pipeline.stop import Stop
from activekg_pipelines.services import Services, services

logger = logging.getLogger(__name__)

SOURCE_OBJECTS, EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS = (
    dg.AssetKey(name) for name in ("source_objects", "extracted_text", "document_embeddings")
)
_IN_ORDER = (SOURCE_OBJECTS, EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS)
# Dagster's tag of a run that it started by itself in place of one that failed.
_RETRY_TAG = "dagster/retry_number"
# For a source or a Postgres that does not answer: longer than a failover takes. Objects
# have their own retries, in the ledger. Not the policy of the assets: Dagster would apply
# it to a run that somebody terminates, too, and start that again.
_RETRIES = dg.RetryPolicy(
    max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)


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
        default=None, ge=1, description="Objects at most; by default ACTIVEKG_MAX_OBJECTS_PER_RUN."
    )
    time_budget_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Claims nothing more after this time; by default ACTIVEKG_RUN_BUDGET_SECONDS.",
    )


@dataclass(frozen=True, slots=True)
class RunScope:
    """A step's connector and bounds.

    Attributes:
        run: Dagster's run id.
        stop: says when somebody asked for the end of the run.
        superseded: another run answers the request that this one was started for.
            Nothing is to be done.
    """

    services: Services
    connector: Connector
    run: str
    max_objects: int
    budget_seconds: float
    stop: Stop
    superseded: bool = False

    def lease(self) -> AbstractContextManager[Lease]:
        """The run's sign of life while it takes no objects."""
        return lease(self.services, self.run, max_objects=0, budget_seconds=0.0, stop=self.stop)


@contextmanager
def run_scope(
    context: dg.AssetExecutionContext, config: SyncConfig | None = None, *, keep_texts: bool = False
) -> Iterator[RunScope]:
    """Work on the partition's connector as a part of this Dagster run.

    Raises:
        dagster.Failure: with the sentence that says what to do. Trying again cannot help.
        dagster.RetryRequested: trying again may help.
        dagster.DagsterExecutionInterruptedError: somebody cancelled the run, its
            connector was removed, or its process has to end.
    """
    config = config or SyncConfig()
    opened = services()
    with _ends_named(context) as retry:
        try:
            connector = opened.connector_of_partition(context.partition_key)
        except ConnectorNotFound as error:
            raise ConnectorRemoved(error.message) from None
        sync = _start(opened, connector, context, config, keep_texts=keep_texts)
        if sync is None:
            yield RunScope(opened, connector, context.run.run_id, 0, 0.0, Stop(), superseded=True)
            return
        try:
            with (
                log_fields(
                    tenant=connector.tenant_id, connector=connector.name, run=context.run.run_id
                ),
                watched(opened, connector, context.instance, context.run.run_id) as stop,
            ):
                try:
                    yield RunScope(
                        opened,
                        connector,
                        context.run.run_id,
                        config.max_objects or opened.settings.activekg_max_objects_per_run,
                        config.time_budget_seconds or opened.settings.activekg_run_budget_seconds,
                        stop,
                    )
                    _check(opened, context.run.run_id)
                except Exception as error:
                    # A removal meets the work in many forms: a row or a key is missing.
                    _check(opened, context.run.run_id)
                    if retry.may_help(error):
                        retry.wait(error, stop)
                    raise
        except BaseException as error:
            if isinstance(error, ActiveKGError) and not isinstance(
                error, (SourceError, RunCancelled)
            ):
                # A missing key or model stops the connector as refused credentials do,
                # and is shown in the same place.
                code = "model" if isinstance(error, ModelError) else "configuration"
                with opened.database.transaction(tenant_id=connector.tenant_id) as conn:
                    opened.connectors.record_error(conn, connector.id, code, error.message)
            _finish(opened, context.run.run_id, succeeded=False)
            raise
        if _selected(context.run)[-1] in context.selected_asset_keys:
            _finish(opened, context.run.run_id, succeeded=True)


def _start(
    opened: Services,
    connector: Connector,
    context: dg.AssetExecutionContext,
    config: SyncConfig,
    *,
    keep_texts: bool,
) -> UUID | None:
    """Bind the run to its row; None when another run answers the request.

    Raises:
        RunCancelled: somebody cancelled the sync before this step began.
    """
    run = context.run
    with opened.database.transaction(tenant_id=connector.tenant_id) as conn:
        cancelled_by = opened.ledger.who_cancelled(
            conn,
            run.run_id,
            request_id=_sync_id(run),
            parent_run=run.parent_run_id,
            is_retry=_RETRY_TAG in run.tags,
        )
        if cancelled_by is not None:
            raise RunCancelled.by(cancelled_by)
        return opened.ledger.start_run(
            conn,
            connector.id,
            connector.tenant_id,
            run.run_id,
            request_id=_sync_id(run),
            parent_run=run.parent_run_id,
            with_scan=SOURCE_OBJECTS in _selected(run),
            mode=Mode(config.mode.value),
            keep_texts=keep_texts,
        )


def _check(opened: Services, run: str) -> None:
    """End a run whose connector was removed, or that was cancelled, at the last moment.

    Of a connector that is gone, Dagster would call the partition invalid.

    Raises:
        RunCancelled: with the sentence that says so.
    """
    with opened.database.transaction() as conn:
        opened.ledger.check_run(conn, run)


def _finish(opened: Services, run: str, *, succeeded: bool) -> None:
    with opened.database.transaction() as conn:
        opened.ledger.finish_run(conn, run, succeeded=succeeded)


class _Retry:
    """Whether a step that fails is tried again, and when."""

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._attempts = context.retry_number
        self._waits: float | None = _RETRIES.calculate_delay(self._attempts + 1)

    def may_help(self, error: Exception) -> bool:
        """Whether trying again may help: not where somebody has to do something first."""
        if isinstance(error, ActiveKGError):
            return isinstance(error, SourceError) and error.retryable
        return not isinstance(error, dg.Failure)

    def wait(self, error: Exception, stop: Stop) -> None:
        """Wait here and not in Dagster, which notices no cancellation meanwhile.

        Raises:
            RunCancelled: somebody cancelled the run meanwhile.
        """
        if self._waits is not None and self._attempts < _RETRIES.max_retries:
            logger.warning("The run is tried again in %.0f seconds: %s", self._waits, error)
            stop.wait(self._waits)
            stop.check()
        self._waits = None

    def requested(self) -> dg.RetryRequested:
        """What tells Dagster to try the step again."""
        return dg.RetryRequested(_RETRIES.max_retries, self._waits)


@contextmanager
def _ends_named(context: dg.AssetExecutionContext) -> Iterator[_Retry]:
    """Say in Dagster's terms how the step ended."""
    retry = _Retry(context)
    try:
        yield retry
    except dg.Failure:
        raise
    except RunCancelled as cause:
        _report_cancelling(context, cause)
        raise dg.DagsterExecutionInterruptedError(cause.message) from None
    except ActiveKGError as error:
        failure = dg.Failure(description=error.message, allow_retries=False)
        if retry.may_help(error):
            raise retry.requested() from failure
        raise failure from None
    except Exception as error:
        raise retry.requested() from error


def _report_cancelling(context: dg.AssetExecutionContext, cause: RunCancelled) -> None:
    """Have Dagster end the run as cancelled, and not as failed."""
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is not None and not run.is_finished and run.status is not dg.DagsterRunStatus.CANCELING:
        context.instance.report_run_canceling(run, cause.message)


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
