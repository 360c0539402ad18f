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
    SOURCE,
    SOURCE_OBJECTS,
    RunScope,
    SyncConfig,
    SyncMode,
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
source = dg.AssetSpec(
    SOURCE,
    partitions_def=connector_partitions,
    group_name=_GROUP,
    description="What a tenant registered: a bucket and a prefix. Nothing here materializes it. "
    "Its check says whether it is listed as often as it should be.",
)


@dg.asset(
    deps=[source],
    partitions_def=connector_partitions,
    group_name=_GROUP,
    code_version="1",
    # A run that another one has superseded materializes nothing.
    output_required=False,
)
def source_objects(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    """Every object of the connector's source, compared with the ledger by change token.

    Objects that have vanished are deleted.
    """
    with run_scope(context) as scope:
        listed = None if scope.superseded else _list(scope)
    if listed is not None:
        yield dg.MaterializeResult(metadata=scan_metadata(listed))


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
            partitions_def=connector_partitions,
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

    Each can be materialized alone. What comes before it is brought up to date then, too.
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
    extracts, indexes = config.mode is not SyncMode.reindex, DOCUMENT_EMBEDDINGS in selected
    if not extracts and not indexes:
        raise dg.Failure(
            description="mode: reindex writes document_embeddings: select that asset.",
            allow_retries=False,
        )
    results: list[dg.MaterializeResult] = []  # type: ignore[type-arg]
    with run_scope(context, config) as scope:
        if scope.superseded:
            return
        if scope.lists:
            context.log_event(_materialized(SOURCE_OBJECTS, scope, scan_metadata(_list(scope))))
        _work(scope, extracts=extracts, indexes=indexes)
        if extracts:
            texts = _metadata(scope, Step.EXTRACTION) | _causes(scope) | _warnings(scope)
            if EXTRACTED_TEXT in selected:
                results.append(dg.MaterializeResult(asset_key=EXTRACTED_TEXT, metadata=texts))
            else:
                context.log_event(_materialized(EXTRACTED_TEXT, scope, texts))
        if indexes:
            results.append(_embeddings(scope, is_checked=bool(context.selected_asset_check_keys)))
    yield from results


def _list(scope: RunScope) -> ScanResult:
    with scope.lease() as held:
        return scan_connector(
            scope.services,
            scope.connector,
            budget_seconds=None,
            from_start=True,
            run=scope.run,
            after_page=held.go_on,
        )


def _materialized(
    asset: dg.AssetKey, scope: RunScope, metadata: dict[str, Any]
) -> dg.AssetMaterialization:
    """An asset that the step brought up to date although nobody selected it."""
    return dg.AssetMaterialization(
        asset, partition=scope.connector.partition_key, metadata=metadata
    )


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


def _embeddings(scope: RunScope, *, is_checked: bool) -> dg.MaterializeResult:  # type: ignore[type-arg]
    with scope.services.database.transaction() as conn:
        states = scope.services.ledger.progress(conn, scope.connector.id)
        causes = scope.services.ledger.failure_causes(conn, scope.connector.id)
    # A text that could not be embedded waits as "extracted" for its next attempt.
    failed = sum(objects for _, state, objects, *_ in causes if state in {"failed", "extracted"})
    dead = states.get("dead", 0)
    objects = {f"objects_{state}": count for state, count in sorted(states.items())}
    check = dg.AssetCheckResult(
        passed=failed + dead == 0,
        check_name="every_object_indexed",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"failed": failed, "dead": dead} | _causes(scope),
    )
    return dg.MaterializeResult(
        asset_key=DOCUMENT_EMBEDDINGS,
        metadata=_metadata(scope, Step.INDEXING) | {"waiting": _counts(scope).waiting} | objects,
        check_results=[check] if is_checked else [],
    )


def scan_metadata(result: ScanResult) -> dict[str, Any]:
    """A scan's counts as Dagster metadata."""
    return {
        **asdict(result.counts),
        "skipped": result.counts.skipped,
        "deletions_held_back": result.held_back,
    }


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


def _warnings(scope: RunScope) -> dict[str, Any]:
    """What the texts of the connector miss: how many are not whole, and a table by kind."""
    with scope.services.database.transaction() as conn:
        kinds = scope.services.ledger.warnings(conn, scope.connector.id)
        not_read_whole = scope.services.ledger.not_read_whole(conn, scope.connector.id)
    if not kinds:
        return {"not_read_whole": not_read_whole}
    columns = ("warning", "documents", "example_key")
    return {
        "not_read_whole": not_read_whole,
        "documents_with_warnings": dg.MetadataValue.table(
            records=[dg.TableRecord(dict(zip(columns, kind, strict=True))) for kind in kinds]
        ),
    }
