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
    RunCancelled,
    SourceError,
)
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.logs import log_fields
from activekg_pipelines.orchestrator.checks import withdraw_planned_checks
from activekg_pipelines.orchestrator.launches import SYNC_ID_TAG
from activekg_pipelines.orchestrator.run_bounds import (
    MAX_BUDGET_SECONDS,
    MAX_OBJECTS,
    check_agreement,
)
from activekg_pipelines.pipeline.failures import RUN_FAILED, record_failure
from activekg_pipelines.pipeline.lease import Lease, lease
from activekg_pipelines.pipeline.stop import Stop
from activekg_pipelines.services import Services, services

logger = logging.getLogger(__name__)

SOURCE, SOURCE_OBJECTS, EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS = (
    dg.AssetKey(name)
    for name in ("source", "source_objects", "extracted_text", "document_embeddings")
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
    reindex = "reindex"

    @property
    def of_ledger(self) -> Mode:
        """What the ledger makes due; for a reindex only what has a text."""
        return Mode.ALL if self is SyncMode.reindex else Mode(self.value)


class SyncConfig(dg.Config):
    """Bounds of one step; the defaults need no configuration."""

    mode: SyncMode = Field(
        default=SyncMode.changed,
        description="changed: new and changed objects and due retries; "
        "failed: also all failures and dead letters; all: every object again; "
        "reindex: every stored text into the graph again, without listing and downloading.",
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
        stop: says when somebody asked for the end of the run.
        lists: the step lists the source itself, because a person started the run
            without the asset that does so.
        superseded: another run answers the request that this one was started for.
            Nothing is to be done.
    """

    services: Services
    connector: Connector
    run: str
    max_objects: int
    budget_seconds: float
    stop: Stop
    lists: bool = False
    superseded: bool = False

    def lease(self) -> AbstractContextManager[Lease]:
        """The run's sign of life while it takes no objects."""
        return lease(self.services, self.run, max_objects=0, budget_seconds=0.0, stop=self.stop)


@contextmanager
def run_scope(
    context: dg.AssetExecutionContext, config: SyncConfig | None = None
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
        check_agreement(context.run.tags, context.partition_key)
        try:
            connector = opened.connector_of_partition(context.partition_key)
        except ConnectorNotFound as error:
            raise ConnectorRemoved(error.message) from None
        try:
            started = _start(opened, connector, context, config)
        except RunCancelled:
            # Between two steps: the row is that of a run at work.
            _finish(opened, context.run.run_id, succeeded=False)
            raise
        if started is None:
            withdraw_planned_checks(context.instance, context.run.run_id)
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
                        lists=started.lists,
                    )
                    _check(opened, context.run.run_id)
                except Exception as error:
                    # A removal meets the work in many forms: a row or a key is missing.
                    _check(opened, context.run.run_id)
                    if retry.may_help(error):
                        retry.wait(error, stop)
                    raise
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, RunCancelled):
                record_failure(
                    opened,
                    connector,
                    error,
                    unexpected=RUN_FAILED,
                    sentence=error.description if isinstance(error, dg.Failure) else None,
                )
            _finish(opened, context.run.run_id, succeeded=False)
            raise
        if _selected(context.run)[-1] in context.selected_asset_keys:
            _finish(opened, context.run.run_id, succeeded=True)


@dataclass(frozen=True, slots=True)
class _Started:
    """A run that is bound to its row.

    Attributes:
        lists: as :class:`RunScope` has it.
    """

    lists: bool


def _start(
    opened: Services, connector: Connector, context: dg.AssetExecutionContext, config: SyncConfig
) -> _Started | None:
    """Bind the run to its row; None when another run answers the request.

    Raises:
        RunCancelled: somebody cancelled the sync before this step began.
    """
    run = context.run
    selected = _selected(run)
    reindexes = config.mode is SyncMode.reindex
    lists = SOURCE_OBJECTS not in selected and not reindexes
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
        sync = opened.ledger.start_run(
            conn,
            connector.id,
            connector.tenant_id,
            run.run_id,
            request_id=_sync_id(run),
            parent_run=run.parent_run_id,
            with_scan=SOURCE_OBJECTS in selected or lists,
            mode=config.mode.of_ledger,
            keep_texts=reindexes,
        )
        # A run that a sensor asked for lists where its request says so.
        asked_for = opened.ledger.is_asked_for(conn, run.run_id)
    return None if sync is None else _Started(lists=lists and asked_for)


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
        # Else each light would say "skipped" until the next sync, whatever it said before.
        withdraw_planned_checks(context.instance, context.run.run_id)
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
