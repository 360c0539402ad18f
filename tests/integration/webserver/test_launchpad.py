"""What the launchpad can ask of the queue: the real command, instance file and definitions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.orchestrator.run_bounds import MAX_BUDGET_SECONDS, MAX_OBJECTS
from activekg_pipelines.services import Services
from tests.dagster_ui import running_ui
from tests.e2e.conftest import CLI, clean_environment

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
RUN = """
query Run($run: ID!) {
  runOrError(runId: $run) { ... on Run { status tags { key value } } }
}
"""
NEWEST = "query Newest { runsOrError(limit: 1) { ... on Runs { results { runId status } } } }"


@dataclass(frozen=True)
class Launchpad:
    """The UI of ``activekg-pipelines webserver``, as its own page asks it."""

    url: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Send what the page sends."""
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": query, "variables": variables},
            headers={"Origin": self.url},
            timeout=60,
        )
        return dict(answer.json()["data"])

    def launch(self, tags: Mapping[str, str], **config: object) -> dict[str, Any]:
        """Launch ``sync_connector`` with tags and a configuration of one's own."""
        params = {
            "selector": {
                "repositoryLocationName": "activekg_pipelines.definitions",
                "repositoryName": "__repository__",
                "jobName": "sync_connector",
            },
            "runConfigData": json.dumps({"ops": {"extract_and_index": {"config": config}}}),
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in tags.items()]
            },
        }
        return dict(self.ask(LAUNCH, params=params)["launchPipelineExecution"])

    def run(self, run_id: str) -> tuple[str, dict[str, str]]:
        """A run's status and tags."""
        found = self.ask(RUN, run=run_id)["runOrError"]
        return found["status"], {tag["key"]: tag["value"] for tag in found["tags"]}


@pytest.fixture
def launchpad(
    instance: dg.DagsterInstance, connector: Connector, tmp_path: Path, project_root: Path
) -> Iterator[Launchpad]:
    """The command with the instance file that this project ships."""
    instance.add_dynamic_partitions("connector", [connector.partition_key])
    with running_ui(instance, tmp_path, project_root) as url:
        yield Launchpad(url)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "There is no local system in"),
        (("--path-prefix", "dagster/"), "--path-prefix begins with a slash"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(
    options: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    environment = clean_environment() | {"ACTIVEKG_HOME": str(tmp_path / "none")}
    result = subprocess.run(
        [*CLI, "webserver", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr


def test_the_partition_says_whose_run_it_is_and_bounds_hold(
    launchpad: Launchpad, services: Services, connector: Connector
) -> None:
    partition = {"dagster/partition": connector.partition_key}

    # A tenant's tag that is another one's, and none at all: both take this tenant's places.
    for given in ({"activekg/tenant": "globex"}, {}):
        launched = launchpad.launch(partition | given)
        assert launched["__typename"] == "LaunchRunSuccess", launched
        status, tags = launchpad.run(launched["run"]["runId"])
        assert status == "QUEUED"
        assert tags["activekg/tenant"] == connector.tenant_id == "acme_corp"

    # A range of one is worked on as the partition that it is, so it is counted as that.
    ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    launched = launchpad.launch(dict.fromkeys(ends, connector.partition_key))
    _, tags = launchpad.run(launched["run"]["runId"])
    assert tags["dagster/partition"] == connector.partition_key
    assert tags["activekg/tenant"] == "acme_corp"

    # What says two things is not started.
    refused = launchpad.launch(partition | {"dagster/partition/x": "globex/docs"})
    assert "several partitions" in refused["message"], refused
    newest = launchpad.ask(NEWEST)["runsOrError"]["results"][0]
    assert newest["status"] == "FAILURE"

    # Bounds, with a sentence that the launchpad shows.
    refused = launchpad.launch(partition, max_objects=10**15)
    assert "max_objects is too large: it may be 100,000 at most." in refused["message"]
    refused = launchpad.launch(partition, time_budget_seconds=1e9)
    assert "time_budget_seconds is too large: it may be 6,000 at most." in refused["message"]
    launched = launchpad.launch(
        partition, max_objects=MAX_OBJECTS, time_budget_seconds=MAX_BUDGET_SECONDS
    )
    assert launched["__typename"] == "LaunchRunSuccess", launched
