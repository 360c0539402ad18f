"""A connector that moves to another bucket while runs still work on the old one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from activekg_pipelines.administration import operations, removal
from activekg_pipelines.administration.operations import reconfigure
from activekg_pipelines.administration.removal import DocumentFate, DocumentsAffected
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import ConnectorChanged
from activekg_pipelines.services import Services
from tests.integration.api.conftest import RecordingOrchestrator
from tests.integration.syncing import (
    documents,
    drain,
    extract,
    index,
    scan,
    start_run,
    states,
    sync,
)
from tests.registry import change
from tests.s3_bucket import Bucket, S3ConfigPatch


@pytest.fixture
def admin(services: Services) -> Services:
    services.orchestrator = RecordingOrchestrator()
    return services


@pytest.fixture
def other_bucket(s3_endpoint: str, bucket: Bucket) -> Bucket:
    return Bucket.create(s3_endpoint, bucket.name + "-two")


def move(admin: Services, connector: Connector, bucket: Bucket) -> Connector:
    patch = S3ConfigPatch(bucket=bucket.name)
    return reconfigure(admin, connector.id, patch, documents=DocumentFate.REMOVE).connector


def test_whoever_read_the_old_bucket_gets_nothing_to_do(
    services: Services,
    admin: Services,
    connector: Connector,
    bucket: Bucket,
    other_bucket: Bucket,
) -> None:
    for source, word in ((bucket, "old"), (other_bucket, "new")):
        source.put("a.txt", f"The {word} text of a.")
        source.put("b.txt", f"The {word} text of b.")
    sync(services, connector)
    moved = move(admin, connector, other_bucket)
    scan(services, moved)
    # A run and a tick that read the connector before it moved.
    run = start_run(services, connector)
    extract(services, connector, run)
    assert set(states(services, moved).values()) == {("pending", None)}
    with pytest.raises(ConnectorChanged):
        scan(services, connector)
    extract(services, moved, run)
    index(services, connector, run)
    assert set(states(services, moved).values()) == {("extracted", None)}
    assert drain(services, moved).indexed == 2
    assert documents(services) == {
        f"s3://{other_bucket.name}/a.txt",
        f"s3://{other_bucket.name}/b.txt",
    }


def test_a_move_that_somebody_else_made_meanwhile_still_asks_about_the_documents(
    services: Services,
    admin: Services,
    connector: Connector,
    bucket: Bucket,
    other_bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other_bucket.put("b.txt", "The text of b.")

    def look_first(*args: Any) -> int:
        left = removal.leave_in_batches(*args)
        monkeypatch.undo()
        sync(services, move(admin, connector, other_bucket))
        return left

    monkeypatch.setattr(operations, "leave_in_batches", look_first)
    # At this moment it names the bucket that the connector reads already.
    with pytest.raises(DocumentsAffected):
        reconfigure(admin, connector.id, S3ConfigPatch(bucket=bucket.name))
    assert services.connector(connector.id).location.container == other_bucket.name
    assert documents(services) == {f"s3://{other_bucket.name}/b.txt"}


def test_two_changes_at_once_are_both_kept(
    services: Services, admin: Services, connector: Connector, other_bucket: Bucket
) -> None:
    changes: list[Callable[[], object]] = [
        lambda: move(admin, connector, other_bucket),
        lambda: reconfigure(admin, connector.id, S3ConfigPatch(poll_interval_seconds=600)),
        lambda: reconfigure(admin, connector.id, S3ConfigPatch(enabled=False)),
    ]
    for _ in range(5):
        change(
            services,
            connector.id,
            S3ConfigPatch(
                bucket=connector.location.container, poll_interval_seconds=900, enabled=True
            ),
        )
        with ThreadPoolExecutor(3) as threads:
            for done in [threads.submit(change) for change in changes]:
                done.result()
        stored = services.connector(connector.id)
        assert (stored.location.container, stored.poll_interval_seconds, stored.enabled) == (
            other_bucket.name,
            600,
            False,
        )
