"""Objects in an archive: refused once, kept as they are, and taken up when restored."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from activekg_pipelines.administration import reads
from activekg_pipelines.administration.operations import replay_dead_letters
from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.ledger.run_counts import RunCounts
from activekg_pipelines.ledger.states import Mode, ObjectState, ScanCounts
from activekg_pipelines.pipeline.preview import Change, preview_sync
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.config import S3Config
from tests.fault_proxy import LIST, Answer, FaultProxy, status
from tests.integration.syncing import (
    drain,
    found,
    in_transaction,
    make_retries_due,
    query,
    scan,
    start_run,
    sync,
    texts,
)
from tests.s3_bucket import Bucket

REFUSED = status(403, "InvalidObjectState")


@pytest.fixture
def as_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' store counts as AWS."""
    monkeypatch.setattr(S3Config, "is_aws", lambda *_: True)


def put_away(bucket: Bucket, key: str, text: str, storage_class: str = "GLACIER") -> None:
    bucket.client.put_object(
        Bucket=bucket.name, Key=key, Body=text.encode(), StorageClass=storage_class
    )


def state(services: Services, connector: Connector, key: str = "a.txt") -> ObjectState:
    listed = reads.ObjectFilter()
    rows = in_transaction(services, reads.objects, connector.id, listed, limit=1000)
    return next(ObjectState(row.state) for row in rows if row.key == key)


def next_question(services: Services) -> float | None:
    """Seconds until the object is asked about; None where the listing tells."""
    ((pause,),) = query(
        services, "SELECT extract(epoch FROM next_attempt_at - now()) FROM connectors.objects"
    )
    return pause if pause is None else float(pause)


def with_headers(**headers: str) -> Callable[[Answer], Answer]:
    def change(answer: Answer) -> Answer:
        answer.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        return answer

    return change


def listed_with(status_of_restore: str) -> Callable[[Answer], Answer]:
    """Each entry of the listing tells how its restore is going."""

    def change(answer: Answer) -> Answer:
        element = f"<RestoreStatus>{status_of_restore}</RestoreStatus></Contents>"
        answer.body = answer.body.replace(b"</Contents>", element.encode())
        answer.declared = len(answer.body)
        return answer

    return change


def adds_up(counts: RunCounts) -> bool:
    settled = counts.indexed + counts.unchanged + counts.skipped + counts.failed + counts.dead
    return counts.added + counts.changed + counts.again == settled + counts.waiting


def test_an_archived_object_is_refused_once_and_taken_up_when_it_is_restored(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    put_away(bucket, "a.txt", "Penguins live in Antarctica.")
    bucket.put("b.txt", "Owls live in the forest.")
    counts = sync(proxied, via_proxy)
    assert (counts.indexed, counts.skipped, counts.errors) == (1, 1, {"archived": 1})
    assert adds_up(counts)
    assert counts.again == 2
    assert state(proxied, via_proxy) is ObjectState.ARCHIVED
    assert query(
        proxied, "SELECT attempts, error_code FROM connectors.objects WHERE key = 'a.txt'"
    ) == [(0, "archived")]
    assert proxy.count("GET", "a.txt") == 1

    for _ in range(3):
        assert scan(proxied, via_proxy).counts == ScanCounts(listed=2)
        assert drain(proxied, via_proxy) == RunCounts()
    assert (proxy.count("GET", "a.txt"), proxy.count("HEAD")) == (1, 0)
    assert audit_connector(proxied, via_proxy).clean

    make_retries_due(proxied)
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=2)
    assert (proxy.count("GET", "a.txt"), proxy.count("HEAD")) == (1, 1)

    bucket.client.restore_object(Bucket=bucket.name, Key="a.txt", RestoreRequest={"Days": 5})
    make_retries_due(proxied)
    restored = scan(proxied, via_proxy).counts
    assert restored == ScanCounts(listed=2, changed=1, due=1)
    counts = drain(proxied, via_proxy)
    assert (counts.indexed, counts.skipped) == (1, 0)
    assert found(proxied, "Where do penguins live?") >= {f"s3://{bucket.name}/a.txt"}
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=2)


def test_the_pauses_between_two_questions_grow_and_a_person_need_not_wait(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    proxy.inject("GET", "a.txt", REFUSED)
    archived = proxy.inject("HEAD", "a.txt", with_headers(x_amz_archive_status="ARCHIVE_ACCESS"))
    bucket.put("a.txt", "Penguins live in Antarctica.")
    sync(proxied, via_proxy)
    hours = []
    for _ in range(7):
        hours.append(round((next_question(proxied) or 0) / 3600))
        make_retries_due(proxied)
        scan(proxied, via_proxy)
    assert hours == [1, 2, 4, 8, 16, 24, 24]
    assert (proxy.count("GET"), proxy.count("HEAD")) == (1, 7)

    proxy.heal(archived)
    assert scan(proxied, via_proxy).counts.changed == 0
    run = start_run(proxied, via_proxy)
    result = scan_connector(proxied, via_proxy, budget_seconds=None, run=run, from_start=True)
    assert result.counts == ScanCounts(listed=1, changed=1, due=1)
    assert in_transaction(proxied, proxied.ledger.run_counts, run).changed == 1
    assert state(proxied, via_proxy) is ObjectState.PENDING


def test_what_cannot_be_asked_about_is_asked_about_later(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    proxy.inject("GET", "a.txt", REFUSED)
    bucket.put("a.txt", "Penguins live in Antarctica.")
    sync(proxied, via_proxy)
    for fault in (status(403, "AccessDenied"), status(404, "NoSuchKey"), status(503, "SlowDown")):
        rule = proxy.inject("HEAD", "a.txt", fault)
        make_retries_due(proxied)
        assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)
        assert state(proxied, via_proxy) is ObjectState.ARCHIVED
        assert (next_question(proxied) or 0) > 3600
        proxy.heal(rule)


def test_a_document_that_is_archived_later_stays_in_search(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "Penguins live in Antarctica.")
    sync(proxied, via_proxy)
    proxy.inject("GET", "a.txt", REFUSED)
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)
    counts = drain(proxied, via_proxy, Mode.ALL)
    assert (counts.again, counts.skipped, counts.waiting) == (1, 1, 0)
    assert state(proxied, via_proxy) is ObjectState.ARCHIVED
    assert texts(proxied) == {"a.txt": "Penguins live in Antarctica."}
    assert found(proxied, "penguins") == {f"s3://{bucket.name}/a.txt"}
    assert audit_connector(proxied, via_proxy).clean

    # Neither a replay nor a run of every object asks the store to refuse it again.
    assert replay_dead_letters(proxied, via_proxy.id) == 0
    for mode in (Mode.FAILED, Mode.ALL):
        assert drain(proxied, via_proxy, mode).again == 0
    assert proxy.count("GET", "a.txt") == 2

    bucket.put("a.txt", "Walruses live in the Arctic.")
    proxy.heal()
    assert sync(proxied, via_proxy).indexed == 1
    assert texts(proxied) == {"a.txt": "Walruses live in the Arctic."}


@pytest.mark.usefixtures("as_aws")
def test_of_what_aws_lists_as_archived_nothing_is_asked(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    put_away(bucket, "a.txt", "Penguins live in Antarctica.", "DEEP_ARCHIVE")
    assert preview_sync(proxied, via_proxy, max_pages=1).changes[Change.SKIP].objects == 1
    counts = scan(proxied, via_proxy).counts
    assert (counts.added, counts.due, counts.skipped) == (1, 0, 1)
    assert state(proxied, via_proxy) is ObjectState.ARCHIVED
    assert next_question(proxied) is None

    under_way = proxy.inject(
        LIST, None, listed_with("<IsRestoreInProgress>true</IsRestoreInProgress>")
    )
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)
    proxy.heal(under_way)
    bucket.client.restore_object(Bucket=bucket.name, Key="a.txt", RestoreRequest={"Days": 5})
    proxy.inject(
        LIST,
        None,
        listed_with(
            "<IsRestoreInProgress>false</IsRestoreInProgress>"
            "<RestoreExpiryDate>2126-01-02T00:00:00Z</RestoreExpiryDate>"
        ),
    )
    assert preview_sync(proxied, via_proxy, max_pages=1).changes[Change.UPDATE].objects == 1
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1, changed=1, due=1)
    assert drain(proxied, via_proxy).indexed == 1
    assert (proxy.count("GET", "a.txt"), proxy.count("HEAD")) == (1, 0)

    # The copy that was restored is gone again: the document stays.
    proxy.heal()
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)
    assert state(proxied, via_proxy) is ObjectState.INDEXED
    assert found(proxied, "penguins") == {f"s3://{bucket.name}/a.txt"}


@pytest.mark.usefixtures("as_aws")
def test_what_was_copied_out_of_the_archive_is_taken_up_under_its_old_etag(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    for key in ("a.txt", "b.txt"):
        put_away(bucket, key, "Penguins live in Antarctica.")
    scan(proxied, via_proxy)
    put_away(bucket, "a.txt", "Penguins live in Antarctica.", "STANDARD")
    put_away(bucket, "b.txt", "Penguins live in Antarctica.", "INTELLIGENT_TIERING")
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=2, changed=2, due=2)
    assert drain(proxied, via_proxy).indexed == 2


def test_a_class_of_another_store_that_only_sounds_like_an_archive_is_read(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "Penguins live in Antarctica.")

    def cold(answer: Answer) -> Answer:
        answer.body = re.sub(rb"<StorageClass>\w+<", b"<StorageClass>GLACIER<", answer.body)
        answer.declared = len(answer.body)
        return answer

    proxy.inject(LIST, None, cold)
    assert sync(proxied, via_proxy).indexed == 1


def test_ticks_ask_within_their_budget(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    keys = [f"{number:03}.txt" for number in range(120)]
    bucket.put_many(dict.fromkeys(keys, "Penguins live in Antarctica."))
    proxy.inject("HEAD", None, with_headers(x_amz_archive_status="ARCHIVE_ACCESS"))
    scan(proxied, via_proxy)
    query(
        proxied,
        "UPDATE connectors.objects SET state = 'dead', error_code = 'archived',"
        " next_attempt_at = now() - make_interval(secs => id) RETURNING id",
    )
    scan_connector(proxied, via_proxy, budget_seconds=20)
    assert proxy.count("HEAD") == 100
    scan_connector(proxied, via_proxy, budget_seconds=20)
    assert proxy.count("HEAD") == 120


def test_a_head_that_cannot_be_read_keeps_no_scan_from_its_end(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    proxy.inject("GET", "a.txt", REFUSED)
    bucket.put("a.txt", "Penguins live in Antarctica.")
    sync(proxied, via_proxy)

    def garbled(answer: Answer) -> Answer:
        answer.headers = {name.lower(): value for name, value in answer.headers.items()}
        answer.headers["last-modified"] = "the day before yesterday"
        return answer

    proxy.inject("HEAD", "a.txt", garbled)
    make_retries_due(proxied)
    result = scan(proxied, via_proxy)
    assert (result.completed, result.counts) == (True, ScanCounts(listed=1))
    assert (next_question(proxied) or 0) > 3600


@pytest.mark.usefixtures("as_aws")
def test_an_object_that_is_listed_as_readable_and_refused_is_left_for_a_while(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    proxy.inject("GET", "a.txt", REFUSED)
    bucket.put("a.txt", "Penguins live in Antarctica.")
    sync(proxied, via_proxy)
    for hours in (2, 4, 8):
        for _ in range(3):
            preview = preview_sync(proxied, via_proxy, max_pages=1)
            assert preview.changes[Change.UNCHANGED].objects == 1
            assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)
        make_retries_due(proxied)
        assert preview_sync(proxied, via_proxy, max_pages=1).changes[Change.UPDATE].objects == 1
        assert scan(proxied, via_proxy).counts.changed == 1
        assert drain(proxied, via_proxy).skipped == 1
        assert round((next_question(proxied) or 0) / 3600) == hours
    assert (proxy.count("GET"), proxy.count("HEAD")) == (4, 0)


@pytest.mark.usefixtures("as_aws")
def test_what_a_download_found_archived_is_left_to_the_listing_where_that_tells(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "Penguins live in Antarctica.")
    sync(proxied, via_proxy)
    put_away(bucket, "a.txt", "Penguins live in Antarctica.")
    counts = drain(proxied, via_proxy, Mode.ALL)
    assert (counts.again, counts.skipped) == (1, 1)
    assert next_question(proxied) is not None
    for _ in range(2):
        assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)
        assert next_question(proxied) is None
    assert proxy.count("HEAD") == 0

    bucket.client.restore_object(Bucket=bucket.name, Key="a.txt", RestoreRequest={"Days": 5})
    proxy.inject(
        LIST,
        None,
        listed_with("<RestoreExpiryDate>2126-01-02T00:00:00Z</RestoreExpiryDate>"),
    )
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1, changed=1, due=1)
    assert drain(proxied, via_proxy).errors == {}
    assert state(proxied, via_proxy) is ObjectState.INDEXED


@pytest.mark.usefixtures("as_aws")
def test_an_archived_object_that_is_gone_is_deleted(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    put_away(bucket, "a.txt", "Penguins live in Antarctica.")
    bucket.put("b.txt", "Owls live in the forest.")
    assert sync(services, connector).indexed == 1
    bucket.client.delete_object(Bucket=bucket.name, Key="a.txt")
    assert scan(services, connector).counts == ScanCounts(listed=1, missing=1, deleted=1)
    assert in_transaction(services, services.ledger.progress, connector.id) == {
        "deleted": 1,
        "indexed": 1,
    }
