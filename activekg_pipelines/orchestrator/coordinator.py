"""The queue of runs, with limits by what the partition says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dagster import DagsterRunStatus, QueuedRunCoordinator

from activekg_pipelines.orchestrator.checks import withdraw_planned_checks
from activekg_pipelines.orchestrator.run_bounds import check_config, required_tags

if TYPE_CHECKING:
    from dagster import DagsterRun
    from dagster._core.run_coordinator import SubmitRunContext

SYNC_JOB: Final = "sync_connector"
ASSETS: Final = frozenset({"source_objects", "extracted_text", "document_embeddings"})


class PartitionRunCoordinator(QueuedRunCoordinator):
    """``run_coordinator`` of ``dagster.yaml``; configured as Dagster's queue is.

    Every way to start a run but ``execute_in_process`` and ``dagster asset materialize``
    comes through here. Runs of other code locations are left as they are.
    """

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Put a run into the queue under the tags that its partition has.

        Raises:
            RunRefused: the run ends as failed with the sentence, and the caller sees it.
        """
        run = context.dagster_run
        if _is_ours(run):
            check_config(run.run_config)
            tags = required_tags(run.tags)
            if any(run.tags.get(name) != value for name, value in tags.items()):
                # Before it is in the queue: what lies there is counted by its tags.
                self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)

    def cancel_run(self, run_id: str) -> bool:
        """Cancel a run; one that waits takes with it what it meant to evaluate.

        Returns:
            Whether it is cancelled, or was asked to end.
        """
        run = self._instance.get_run_by_id(run_id)
        cancelled = super().cancel_run(run_id)
        # One that is at work does so itself when it ends.
        if run is not None and run.status is DagsterRunStatus.QUEUED and _is_ours(run):
            withdraw_planned_checks(self._instance, run_id)
        return cancelled


def _is_ours(run: DagsterRun) -> bool:
    keys = [*(run.asset_selection or ())]
    keys += [check.asset_key for check in run.asset_check_selection or ()]
    assets = {key.to_user_string() for key in keys}
    return run.job_name == SYNC_JOB or not assets.isdisjoint(ASSETS)
