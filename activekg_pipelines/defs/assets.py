"""A connector's assets: the objects of its source, their texts, and their graph."""

# No `from __future__ import annotations` here: Dagster reads annotations at run time,
# and of results the bare class.
import logging
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, TypedDict

import dagster as dg

from activekg_pipelines.chunking import CHUNKER_VERSION
from activekg_pipelines.defs.partitions import connector_partitions
from activekg_pipelines.defs.run_scope import (
    DOCUMENT_EMBEDDINGS,
    EXTRACTED_TEXT,
    RunScope,
    SyncConfig,
    run_scope,
)
from activekg_pipelines.extraction import EXTRACTOR_VERSION
from activekg_pipelines.ledger.run_counts import RunCounts, Step
from activekg_pipelines.pipeline.extract import extract_pending
from activekg_pipelines.pipeline.index import index_extracted
from activekg_pipelines.pipeline.scan import ScanResult, scan_connector
from activekg_pipelines.pipeline.stop import Stop
from activekg_pipelines.pipeline.sync import extract_and_index as extract_and_index_pending

logger = logging.getLogger(__name__)

_GROUP = "documents"
# A request that waited long was emitted more than once, and another run answers it.
_SUPERSEDED: dict[str, Any] = {"superseded": True}


@dg.asset(
    partitions_def=connector_partitions,
    group_name=_GROUP,
    code_version="1",
)
def source_objects(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Every object of the connector's source, compared with the ledger by change token.

    Objects that have vanished are deleted.
    """
    with run_scope(context) as scope, scope.lease() as held:
        if scope.superseded:
            return dg.MaterializeResult(metadata=_SUPERSEDED)
        result = scan_connector(
            scope.services,
            scope.connector,
            budget_seconds=None,
            from_start=True,
            run=scope.run,
            after_page=held.go_on,
        )
        with scope.services.database.transaction() as conn:
            scope.services.ledger.count_run(conn, scope.run, RunCounts.of_scan(result.counts))
        return dg.MaterializeResult(metadata=scan_metadata(result))


@dg.multi_asset(
    name="extract_and_index",
    specs=[
        dg.AssetSpec(
            EXTRACTED_TEXT,
            deps=[source_objects],
            group_name=_GROUP,
            kinds={"python"},
            code_version=EXTRACTOR_VERSION,
            description="The text of every readable object: PDF, Word, HTML, Markdown and plain "
            "text, parsed in isolated processes.",
        ),
        dg.AssetSpec(
            DOCUMENT_EMBEDDINGS,
            deps=[EXTRACTED_TEXT],
            group_name=_GROUP,
            kinds={"postgres"},
            code_version=CHUNKER_VERSION,
            description="Document and Chunk nodes with vectors and DERIVED_FROM edges in "
            "Postgres, each document replaced whole.",
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "every_object_indexed",
            asset=DOCUMENT_EMBEDDINGS,
            description="No object of the connector failed or is a dead letter.",
        )
    ],
    can_subset=True,
    partitions_def=connector_partitions,
)
def extract_and_index(
    context: dg.AssetExecutionContext, config: SyncConfig
) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """One step for both, so that no encoder waits for the last text.

    Each of the two can be materialized alone.
    """
    selected = context.selected_asset_keys
    if not selected:
        # Dagster offers the check alone, but then without a partition. Nobody says
        # whose objects it should look at.
        raise dg.Failure(
            description="The check is evaluated whenever a partition of document_embeddings is "
            "materialized.",
            allow_retries=False,
        )
    extracts, indexes = EXTRACTED_TEXT in selected, DOCUMENT_EMBEDDINGS in selected
    with run_scope(context, config, keep_texts=not extracts) as scope:
        if not scope.superseded:
            _work(scope, extracts=extracts, indexes=indexes)
        embeddings = _embeddings(scope, is_checked=bool(context.selected_asset_check_keys))
        results = [_texts(scope)] * extracts + [embeddings] * indexes
    yield from results


class _Bounds(TypedDict):
    max_objects: int
    budget_seconds: float
    stop: Stop


def _work(scope: RunScope, *, extracts: bool, indexes: bool) -> None:
    before = _counts(scope)
    of_run = (scope.services, scope.connector, scope.run)
    bounds: _Bounds = {
        "max_objects": scope.max_objects,
        "budget_seconds": scope.budget_seconds,
        "stop": scope.stop,
    }
    taken = 0
    if not indexes:
        taken = extract_pending(*of_run, **bounds)
    elif not extracts:
        index_extracted(*of_run, **bounds)
    else:
        taken = extract_and_index_pending(*of_run, **bounds).extracted
    counts = _counts(scope)
    done = counts.extracted - before.extracted + counts.indexed - before.indexed
    if taken and counts.failed - before.failed == taken and not done:
        # The ledger tries each of them again. Trying the run again would only be too
        # early.
        raise dg.Failure(
            description=f"None of {taken} objects could be read; each is tried again later: "
            f"{counts.errors}",
            allow_retries=False,
        )
    if indexes:
        logger.info(
            "S3 connector synced %d objects for tenant %s",
            counts.indexed + counts.unchanged,
            scope.connector.tenant_id,
            extra={
                "tenant": scope.connector.tenant_id,
                "connector": scope.connector.name,
                "run": scope.run,
            },
        )


def _texts(scope: RunScope) -> dg.MaterializeResult:  # type: ignore[type-arg]
    metadata = (
        _SUPERSEDED if scope.superseded else _metadata(scope, Step.EXTRACTION) | _causes(scope)
    )
    return dg.MaterializeResult(asset_key=EXTRACTED_TEXT, metadata=metadata)


def _embeddings(scope: RunScope, *, is_checked: bool) -> dg.MaterializeResult:  # type: ignore[type-arg]
    with scope.services.database.transaction() as conn:
        states = scope.services.ledger.progress(conn, scope.connector.id)
    failed, dead = states.get("failed", 0), states.get("dead", 0)
    objects = {f"objects_{state}": count for state, count in sorted(states.items())}
    check = dg.AssetCheckResult(
        passed=scope.superseded or failed + dead == 0,
        check_name="every_object_indexed",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"failed": failed, "dead": dead} | _causes(scope),
    )
    return dg.MaterializeResult(
        asset_key=DOCUMENT_EMBEDDINGS,
        metadata=_SUPERSEDED if scope.superseded else _metadata(scope, Step.INDEXING) | objects,
        check_results=[check] if is_checked else [],
    )


def scan_metadata(result: ScanResult) -> dict[str, Any]:
    """A scan's counts as Dagster metadata."""
    return {**asdict(result.counts), "deletions_held_back": result.held_back}


def _counts(scope: RunScope) -> RunCounts:
    with scope.services.database.transaction() as conn:
        return scope.services.ledger.run_counts(conn, scope.run)


def _metadata(scope: RunScope, step: Step) -> dict[str, Any]:
    return {**_counts(scope).of_step(step)}


def _causes(scope: RunScope) -> dict[str, Any]:
    """A table of why objects of the connector are not indexed; nothing when all are."""
    with scope.services.database.transaction() as conn:
        causes = scope.services.ledger.failure_causes(conn, scope.connector.id)
    if not causes:
        return {}
    columns = ("cause", "state", "objects", "example", "example_key")
    return {
        "not_indexed": dg.MetadataValue.table(
            records=[dg.TableRecord(dict(zip(columns, cause, strict=True))) for cause in causes]
        )
    }
