"""The three assets of a connector: what its bucket holds, what that says, and what the graph knows of it."""

# No `from __future__ import annotations` here: Dagster reads annotations at run time, and of results the bare class.
import logging
from dataclasses import asdict
from typing import Any

import dagster as dg

from activekg_pipelines.defs.partitions import connector_partitions
from activekg_pipelines.defs.run_scope import RunScope, SyncConfig, run_scope
from activekg_pipelines.embedding import CHUNKER_VERSION
from activekg_pipelines.extraction import EXTRACTOR_VERSION
from activekg_pipelines.ledger.states import RunCounts
from activekg_pipelines.pipeline.extract import extract_pending
from activekg_pipelines.pipeline.index import index_extracted
from activekg_pipelines.pipeline.scan import ScanResult, scan_connector

logger = logging.getLogger(__name__)

# For S3 or Postgres being away: longer than a failover. Objects have their own retries, in the ledger.
_RETRIES = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@dg.asset(partitions_def=connector_partitions, retry_policy=_RETRIES, group_name="s3", kinds={"s3"}, code_version="1")
def source_objects(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Every object under the connector's prefix, compared with the ledger by ETag; vanished ones are deleted."""
    with run_scope(context) as scope, scope.lease() as held:
        if scope.superseded:
            return _superseded()
        result = scan_connector(scope.services, scope.connector, budget_seconds=None, whole=True, after_page=held.keep)
        with scope.services.database.transaction() as conn:
            counts = result.counts
            scope.services.ledger.count_run(
                conn,
                scope.run,
                RunCounts(listed=counts.listed, added=counts.added, changed=counts.changed, deleted=counts.deleted),
            )
        return dg.MaterializeResult(metadata=scan_metadata(result))


@dg.asset(
    partitions_def=connector_partitions,
    deps=[source_objects],
    retry_policy=_RETRIES,
    group_name="s3",
    kinds={"python"},
    code_version=EXTRACTOR_VERSION,
)
def extracted_text(context: dg.AssetExecutionContext, config: SyncConfig) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The text of every readable object: PDF, Word, HTML, Markdown and plain text, parsed in isolated processes."""
    with run_scope(context, config) as scope:
        if scope.superseded:
            return _superseded()
        before = scope.services.ledger.run_counts(scope.run)
        taken = extract_pending(
            scope.services,
            scope.connector,
            scope.run,
            max_objects=scope.max_objects,
            budget_seconds=scope.budget_seconds,
        )
        counts = scope.services.ledger.run_counts(scope.run)
        if taken and counts.failed - before.failed == taken:
            # Each of them is tried again by the ledger; trying the run again would only hurry that.
            raise dg.Failure(
                description=f"None of {taken} objects could be read; each is tried again later: {counts.errors}",
                allow_retries=False,
            )
        names = ("extracted", "unchanged", "skipped", "failed", "dead", "bytes_fetched")
        return dg.MaterializeResult(metadata=_counts(counts, names) | _causes(scope))


@dg.asset(
    partitions_def=connector_partitions,
    deps=[extracted_text],
    retry_policy=_RETRIES,
    group_name="s3",
    kinds={"postgres"},
    code_version=CHUNKER_VERSION,
    check_specs=[
        dg.AssetCheckSpec(
            "every_object_indexed",
            asset="document_embeddings",
            description="No object of the connector failed or is a dead letter.",
        )
    ],
)
def document_embeddings(context: dg.AssetExecutionContext, config: SyncConfig) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Document and Chunk nodes with vectors and DERIVED_FROM edges in Postgres, each document replaced whole."""
    with run_scope(context, config, keep_texts=True) as scope:
        if scope.superseded:
            return _superseded(dg.AssetCheckResult(passed=True, check_name="every_object_indexed"))
        index_extracted(
            scope.services,
            scope.connector,
            scope.run,
            max_objects=scope.max_objects,
            budget_seconds=scope.budget_seconds,
        )
        counts = scope.services.ledger.run_counts(scope.run)
        states = scope.services.ledger.progress(scope.connector.id)
        logger.info(
            "S3 connector synced %d objects for tenant %s",
            counts.indexed + counts.unchanged,
            scope.connector.tenant_id,
            extra={"tenant": scope.connector.tenant_id, "connector": scope.connector.name, "run": scope.run},
        )
        names = ("indexed", "chunks", "embeddings_computed", "embeddings_reused")
        broken = states.get("failed", 0) + states.get("dead", 0)
        return dg.MaterializeResult(
            metadata=_counts(counts, names) | {f"objects_{state}": count for state, count in sorted(states.items())},
            check_results=[
                dg.AssetCheckResult(
                    passed=broken == 0,
                    check_name="every_object_indexed",
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"failed": states.get("failed", 0), "dead": states.get("dead", 0)} | _causes(scope),
                )
            ],
        )


def scan_metadata(result: ScanResult) -> dict[str, Any]:
    """A scan's counts as Dagster metadata."""
    return {**asdict(result.counts), "deletions_held_back": result.held_back}


def _superseded(*checks: dg.AssetCheckResult) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """A request that waited long was asked for more than once, and another run answers it."""
    return dg.MaterializeResult(metadata={"superseded": True}, check_results=list(checks))


def _counts(counts: RunCounts, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(counts, name) for name in names}


def _causes(scope: RunScope) -> dict[str, Any]:
    """A table of why objects of the connector are not indexed; nothing when all are."""
    causes = scope.services.ledger.failure_causes(scope.connector.id)
    if not causes:
        return {}
    columns = ("cause", "state", "objects", "example", "example_key")
    return {
        "not_indexed": dg.MetadataValue.table(
            records=[dg.TableRecord(dict(zip(columns, cause, strict=True))) for cause in causes]
        )
    }
