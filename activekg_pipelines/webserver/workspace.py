"""Dagster's view of the code locations, in which the API may reload when people may not."""

from __future__ import annotations

from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from starlette.requests import HTTPConnection

from activekg_pipelines.webserver.guard import SERVICE_STATE


class Workspace(WorkspaceProcessContext):
    """A workspace whose ``read_only`` holds for everybody but the API.

    A new tenant's sensor appears with a reload, which changes no run.
    """

    def create_request_context(self, source: object | None = None) -> WorkspaceRequestContext:
        """What one request sees and may do."""
        is_service = isinstance(source, HTTPConnection) and getattr(
            source.state, SERVICE_STATE, False
        )
        return WorkspaceRequestContext(
            instance=self._instance,
            current_workspace=self.get_current_workspace(),
            process_context=self,
            version=self.version,
            source=source,
            read_only=self._read_only and not is_service,
        )
