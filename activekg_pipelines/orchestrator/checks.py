"""Evaluations of checks in Dagster's storage, where its own way does not do.

Checks of partitions are a preview in Dagster 1.13. What is written here around it is
marked with what was measured, and can go when Dagster does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import ColumnElement, delete

_NO_RUN = ""


def report_checks(
    instance: dg.DagsterInstance, evaluations: Sequence[dg.AssetCheckEvaluation]
) -> None:
    """Report evaluations that no run made, each in place of the one before.

    Dagster 1.13.27 takes one for each check and partition. The second one ends in a
    UniqueViolation: a unique index counts all of them as evaluations by one run, "".
    """

    def check(evaluation: dg.AssetCheckEvaluation) -> dg.AssetCheckKey:
        return evaluation.asset_check_key

    for key, of_check in groupby(evaluations, check):
        group = list(of_check)
        _delete(
            instance,
            AssetCheckExecutionsTable.c.asset_key == key.asset_key.to_string(),
            AssetCheckExecutionsTable.c.check_name == key.name,
            AssetCheckExecutionsTable.c.run_id == _NO_RUN,
            AssetCheckExecutionsTable.c.partition.in_([one.partition for one in group]),
        )
        for evaluation in group:
            instance.report_runless_asset_event(evaluation)


def withdraw_planned_checks(instance: dg.DagsterInstance, run_id: str) -> None:
    """Forget that a run meant to evaluate checks.

    One that was planned and not evaluated counts as skipped, and hides what the check
    said before.
    """
    _delete(
        instance,
        AssetCheckExecutionsTable.c.run_id == run_id,
        AssetCheckExecutionsTable.c.execution_status == "PLANNED",
    )


def checked_materialization(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """What an evaluation is about: the partition's last materialization, if it has one.

    Without it Dagster holds that the check has not been evaluated since.
    """
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[partition]), limit=1
    ).records
    if not found:
        return None
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=found[0].storage_id, run_id=found[0].run_id, timestamp=found[0].timestamp
    )


def _delete(instance: dg.DagsterInstance, *where: ColumnElement[bool]) -> None:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"Dagster's events are in {type(storage).__name__}, and in no database.")
    events = AssetCheckExecutionsTable.c.evaluation_event_storage_id
    with storage.index_connection() as conn:
        gone = conn.execute(delete(AssetCheckExecutionsTable).where(*where).returning(events))
        # A run's events go with the run.
        conn.execute(
            delete(SqlEventLogStorageTable).where(
                SqlEventLogStorageTable.c.id.in_([row[0] for row in gone]),
                SqlEventLogStorageTable.c.run_id == _NO_RUN,
            )
        )
