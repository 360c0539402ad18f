"""Everything running.

Registration, sensors, the UI's and the command line's ways to start a sync, a killed
run.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import psycopg

from tests.e2e.conftest import System
from tests.s3_bucket import Bucket

SENSORS = """
query { workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
  ... on RepositoryLocation { repositories { sensors { name sensorState { status } } } } } } } } }
"""
LAUNCH = """
mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } }
} }
"""
BACKFILL = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename
  ... on PythonError { message }
} }
"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


def sensors(system: System) -> dict[str, str]:
    entries = system.graphql(SENSORS)["workspaceOrError"]["locationEntries"]
    return {
        sensor["name"]: sensor["sensorState"]["status"]
        for entry in entries
        for repository in (entry["locationOrLoadError"] or {}).get("repositories", [])
        for sensor in repository["sensors"]
    }


def synced(system: System, config_id: str, objects: int) -> Any:
    return system.states(config_id).get("indexed") == objects and all(
        run["status"] not in {"waiting", "running"} for run in system.runs(config_id)
    )


def test_a_connector_registered_while_everything_runs_syncs_at_once_and_gets_its_sensor(
    system: System, bucket: Bucket
) -> None:
    bucket.put("hello.md", "# Hello\n\nThe quick brown fox jumps over the lazy dog.")
    started = time.monotonic()
    config_id = system.register(bucket, "late_tenant")
    system.wait(
        "the first sync starts",
        lambda: system.runs(config_id) and system.runs(config_id)[0]["started_at"],
        15,
    )
    system.wait("the first sync ends", lambda: synced(system, config_id, 1), 60)
    status = system.wait(
        "the tenant's sensor is in the UI",
        lambda: sensors(system).get("poll_late_tenant"),
        60 - (time.monotonic() - started),
    )
    assert status == "RUNNING"
    answer = system.api(
        "GET", "/search", params={"q": "What does the fox jump over?", "tenant_id": "late_tenant"}
    )
    assert answer.json()["hits"][0]["uri"] == f"s3://{bucket.name}/hello.md"
    (run,) = [run for run in system.runs(config_id) if run["objects"]["indexed"]]
    assert run["dagster_run_url"].startswith(system.webserver_url)


def test_the_ui_the_command_line_and_backfills_do_what_the_sensor_does(
    system: System, bucket: Bucket
) -> None:
    bucket.put("0.txt", "Version zero of the text.")
    config_id = system.register(bucket, "every_way")
    system.wait("the first sync ends", lambda: synced(system, config_id, 1), 90)

    def ui() -> None:
        params = {
            "selector": {
                "repositoryLocationName": "activekg_pipelines.definitions",
                "repositoryName": "__repository__",
                "pipelineName": "sync_connector",
            },
            "mode": "default",
            "executionMetadata": {
                "tags": [{"key": "dagster/partition", "value": "every_way/docs"}]
            },
        }
        launched = system.graphql(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id = launched["run"]["runId"]
        status = system.wait(
            "the run ends",
            lambda: (
                (value := system.graphql(STATUS, id=run_id)["runOrError"]["status"])
                in {"SUCCESS", "FAILURE"}
                and value
            ),
            90,
        )
        assert status == "SUCCESS"

    def backfill() -> None:
        result = system.run(
            sys.executable, "-m", "dagster", "job", "backfill",
            "-w", "workspace.yaml", "-j", "sync_connector",
            "--partitions", "every_way/docs", "--noprompt",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr

    def asset_materialize(select: str = "*") -> None:
        result = system.run(
            sys.executable, "-m", "dagster", "asset", "materialize",
            "-m", "activekg_pipelines.definitions",
            "--select", select, "--partition", "every_way/docs",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr

    def embeddings_alone() -> None:
        asset_materialize("document_embeddings")

    def backfill_of_embeddings_alone() -> None:
        params = {
            "partitionNames": ["every_way/docs"],
            "assetSelection": [{"path": ["document_embeddings"]}],
        }
        launched = system.graphql(BACKFILL, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched

    ways = [ui, backfill, asset_materialize, embeddings_alone, backfill_of_embeddings_alone]
    for number, way in enumerate(ways, 1):
        bucket.put(f"{number}.txt", f"Version {number} of the text.")
        bucket.put("0.txt", f"Version zero, changed {number} times.")
        way()
        system.wait(
            f"{way.__name__} has synced",
            lambda wanted=number + 1: synced(system, config_id, wanted),
            90,
        )
        latest = system.runs(config_id)[0]
        assert latest["trigger"] == "dagster"
        assert (
            latest["objects"]["added"],
            latest["objects"]["changed"],
            latest["objects"]["indexed"],
        ) == (1, 1, 2)


def test_a_killed_run_is_retried_and_nothing_is_doubled_or_missing(
    system: System, bucket: Bucket
) -> None:
    paragraph = (
        "The maintenance plan of machine {0} lists inspection {1}, its interval, its "
        "tools and its responsible person. "
    )
    bucket.put_many(
        {
            f"{n:03}.md": "\n\n".join(paragraph.format(n, part) * 4 for part in range(8))
            for n in range(160)
        }
    )
    config_id = system.register(bucket, "killed")
    system.wait(
        "some documents are indexed",
        lambda: 0 < system.states(config_id).get("indexed", 0) < 150,
        120,
    )
    killed = system.wait("the run has a process", lambda: _run_process(system, config_id), 10)
    os.kill(killed, signal.SIGKILL)
    system.wait("the retry has finished", lambda: synced(system, config_id, 160), 240)

    with psycopg.connect(system.environment["ACTIVEKG_DSN"]) as conn:
        documents, chunks, edges, orphans = conn.execute(
            """
            SELECT count(*) FILTER (WHERE 'Document' = ANY(classes)),
                count(*) FILTER (WHERE 'Chunk' = ANY(classes)),
                (SELECT count(*) FROM edges WHERE tenant_id = 'killed'),
                count(*) FILTER (WHERE 'Chunk' = ANY(classes) AND (embedding IS NULL OR NOT EXISTS (
                    SELECT FROM edges e WHERE e.src = n.id AND e.rel = 'DERIVED_FROM')))
            FROM nodes n WHERE tenant_id = 'killed'
            """
        ).fetchone()
        ledger_chunks = conn.execute(
            "SELECT sum(chunks), count(claimed_by) FROM connectors.objects WHERE connector_id = %s",
            (config_id,),
        ).fetchone()
    assert (documents, orphans) == (160, 0)
    assert chunks == edges == ledger_chunks[0]
    assert ledger_chunks[1] == 0
    (run,) = [
        run
        for run in system.runs(config_id)
        if run["trigger"] in {"registered", "poll"} and run["objects"]["indexed"]
    ]
    assert run["objects"]["indexed"] == 160, "the retry takes over the counts of the run that died"


def _run_process(system: System, config_id: str) -> int | None:
    """The process of the run that works on the connector."""
    run_id = next(
        (run["dagster_run_id"] for run in system.runs(config_id) if run["status"] == "running"),
        None,
    )
    if run_id is None:
        return None
    with psycopg.connect(system.environment["ACTIVEKG_DAGSTER_DSN"]) as conn:
        row = conn.execute(
            "SELECT event::jsonb -> 'dagster_event' ->> 'pid' FROM event_logs"
            " WHERE run_id = %s AND dagster_event_type = 'STEP_START' ORDER BY id DESC LIMIT 1",
            (run_id,),
        ).fetchone()
    return int(row[0]) if row and row[0] else None
