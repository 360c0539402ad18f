"""Dagster's launcher for one machine, which starts a run's process once.

A launch waits until the process has loaded the definitions. On a busy machine that may
take longer than Dagster waits. Dagster then starts a second process for the same run;
that one finds the run under way, ends, and Dagster takes its end for the run's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

if TYPE_CHECKING:
    from dagster._core.launcher import LaunchRunContext


class OneProcessLauncher(DefaultRunLauncher):
    """``run_launcher`` of ``dagster.yaml``; configured as Dagster's default one is."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run's process, unless the code server has one for it already.

        Raises:
            DagsterUserCodeUnreachableError: the code server does not answer, and is not
                known to have started the run. Dagster tries again.
            DagsterLaunchFailedError: the process ended before the run began.
        """
        run_id = context.dagster_run.run_id
        try:
            if self._is_under_way(run_id):
                return
        except DagsterUserCodeUnreachableError:
            if self._is_asked_again(context):
                raise
            # A retry carries the address of its first try's server, which may be gone.
        try:
            super().launch_run(context)
        except DagsterUserCodeUnreachableError:
            if not self._is_under_way(run_id):
                raise

    def _is_under_way(self, run_id: str) -> bool:
        """Whether the code server that was asked for the run has a process for it."""
        client = self._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return False
        # ``get_current_runs`` asks the same, but ``dagster code-server`` does not know it.
        answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id))
        return deserialize_value(answer, CanCancelExecutionResult).can_cancel

    def _is_asked_again(self, context: LaunchRunContext) -> bool:
        """Whether the server that would be asked now was asked for this run before."""
        run = context.dagster_run
        before = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        if before is None or context.workspace is None or run.remote_job_origin is None:
            return False
        origin = run.remote_job_origin.repository_origin.code_location_origin
        location = context.workspace.get_code_location(origin.location_name)
        if not isinstance(location, GrpcServerCodeLocation):
            return False
        now = location.client
        return (before.host, before.port, before.socket) == (now.host, now.port, now.socket)
