"""A scrape tells the truth about syncs, for everybody who may read it.

It does so across processes, kills and removals.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch
from uuid import uuid4

import psycopg
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from activekg_pipelines.administration import removal
from activekg_pipelines.administration.operations import replay_dead_letters
from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.api import metrics
from activekg_pipelines.api.app import create_app
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.ledger.counters import LATENCY_BUCKETS, RUN_BUCKETS
from activekg_pipelines.ledger.run_counts import RunCounts
from activekg_pipelines.ledger.states import Mode, Trigger
from activekg_pipelines.orchestrator.health import Check
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from tests.integration.api.conftest import CONFIGS, Caller, RecordingOrchestrator, assert_problem
from tests.integration.syncing import (
    drain,
    end_leases,
    in_transaction,
    query,
    scan,
    start_run,
    sync,
)
from tests.parts import with_parts
from tests.registry import record_error
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket
from tests.unit.test_deploy import panels, queries, rules

Scrape = Callable[[], "Samples"]
ACME = {"tenant": "acme_corp", "provider": "s3"}
DEAD_PDF = b"%PDF-1.4 no more"


class Samples:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """The sample with exactly these labels."""
        return self._values.get((name, frozenset(labels.items())))

    def acme(self, name: str, **labels: str) -> float | None:
        """The sample of tenant acme_corp with exactly these labels.

        Tenant and provider come beside them.
        """
        return self.value(name, **ACME, **labels)

    def labels(self, name: str) -> set[str]:
        """Every label that samples of this name have."""
        return {label for found, labels in self._values for label, _ in labels if found == name}

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self._values}

    @property
    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """What must never go backwards."""
        growing = {
            sample.name
            for family in self.families
            if family.type != "gauge"
            for sample in family.samples
        }
        return {key: value for key, value in self._values.items() if key[0] in growing}


@pytest.fixture
def prometheus(client: TestClient, app_settings: Settings) -> Caller:
    """A Prometheus server: its token reads metrics, of everybody, and nothing else."""
    return Caller(client, mint_token(app_settings, "prometheus", None, ["metrics:read"], 600))


@pytest.fixture
def scrape(prometheus: Caller) -> Scrape:
    def read() -> Samples:
        answer = prometheus.get("/metrics")
        assert answer.status_code == 200, answer.text
        return Samples(answer.text)

    return read


@pytest.fixture
def connector(services: Services, bucket: Bucket) -> Connector:
    return bucket.register(services)


def pass_time(services: Services, interval: str) -> None:
    """Make everything that was detected and queued that much older."""
    query(
        services,
        f"UPDATE connectors.objects SET detected_at = detected_at - interval '{interval}' "
        "RETURNING id",
    )
    query(
        services,
        "UPDATE connectors.objects SET queued_at = detected_at RETURNING id",
    )


# What is counted


def test_a_sync_shows_under_the_documented_names_and_labels(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put("a.txt", "The pump runs at 40 bar.")
    bucket.put("b.txt", "The pump runs at 40 bar.")
    bucket.put("picture.png", b"\x89PNG")
    bucket.put("dead.pdf", DEAD_PDF)
    counts = sync(services, connector)
    found = scrape()
    assert found.acme("connector_run_items_total", status="success") == 2
    assert found.acme("connector_run_items_total", status="skipped") == 1
    assert found.acme("connector_run_items_total", status="dead") == 1
    for status in ("unchanged", "failed", "deleted"):
        assert found.acme("connector_run_items_total", status=status) == 0
    assert found.acme("connector_worker_errors_total", error_type="corrupt") == 1
    assert found.acme("connector_dead_letters", error_type="corrupt") == 1
    assert found.acme("connector_run_duration_seconds_count") == 1
    assert 0 < (found.acme("connector_run_duration_seconds_sum") or 0) < 60
    assert found.acme("connector_runs_finished_total", status="succeeded") == 1
    assert found.acme("connector_bytes_fetched_total") == counts.bytes_fetched > 0
    assert found.acme("connector_embeddings_total", source="computed") == 1
    assert found.acme("connector_embeddings_total", source="reused") == 1
    assert found.acme("connector_detection_to_searchable_seconds_count") == 2
    assert found.acme("connector_queue_depth", state="pending") == 0
    scanned = found.acme(
        "connector_last_completed_scan_timestamp_seconds", connector=connector.name
    )
    assert scanned == pytest.approx(time.time(), abs=60)


def test_deleted_and_unchanged_objects_and_retries_are_counted(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put("a.txt", "one")
    bucket.put("b.txt", "two")
    sync(services, connector)
    bucket.delete("a.txt")
    upload = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="b.txt")["UploadId"]
    part = bucket.client.upload_part(
        Bucket=bucket.name, Key="b.txt", UploadId=upload, PartNumber=1, Body=b"two"
    )
    bucket.client.complete_multipart_upload(
        Bucket=bucket.name,
        Key="b.txt",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    bucket.put("gone.txt", "three")
    scan(services, connector)
    bucket.delete("gone.txt")
    drain(services, connector)
    found = scrape()
    assert found.acme("connector_run_items_total", status="deleted") == 1
    assert found.acme("connector_run_items_total", status="unchanged") == 1
    assert found.acme("connector_run_items_total", status="failed") == 1
    assert found.acme("connector_worker_errors_total", error_type="not_found") == 1
    assert found.acme("connector_queue_depth", state="failed") == 1
    assert found.acme("connector_detection_to_searchable_seconds_count") == 2


def test_an_unchanged_bucket_counts_nothing(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put("a.txt", "one")
    bucket.put("picture.png", b"\x89PNG")
    sync(services, connector)
    before = scrape().counters
    scan(services, connector)
    assert scrape().counters == before


def test_latency_is_from_detection_and_only_of_what_was_not_searchable_before(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put("a.txt", "one")
    scan(services, connector)
    pass_time(services, "10 minutes")
    drain(services, connector)
    name = "connector_detection_to_searchable_seconds"
    found = scrape()
    assert found.acme(f"{name}_count") == 1
    assert found.acme(f"{name}_sum") == pytest.approx(600, abs=30)
    assert (found.acme(f"{name}_bucket", le="300"), found.acme(f"{name}_bucket", le="900")) == (
        0,
        1,
    )

    pass_time(services, "90 days")
    drain(services, connector, Mode.ALL)
    assert scrape().acme(f"{name}_count") == 1, "indexed again, but it was searchable all the time"

    bucket.put("a.txt", "one, changed")
    sync(services, connector)
    assert scrape().acme(f"{name}_count") == 2


def test_a_run_that_died_is_counted_when_it_is_closed(
    services: Services, connector: Connector, scrape: Scrape
) -> None:
    run = start_run(services, connector)
    query(
        services,
        "UPDATE connectors.runs SET started_at = now() - interval '40 minutes', heartbeat_at = "
        "now() - interval"
        " '30 minutes' WHERE dagster_run_id = %s RETURNING id",
        run,
    )
    assert scrape().acme("connector_runs", status="running") == 1
    for _ in range(2):
        in_transaction(
            services,
            services.ledger.work,
            max_objects=1000,
            cap=2,
            scan_idle_seconds=30,
            lost_after_seconds=240,
        )
    found = scrape()
    assert found.acme("connector_runs", status="running") == 0
    assert found.acme("connector_runs_finished_total", status="failed") == 1
    assert found.acme("connector_run_duration_seconds_sum") == pytest.approx(600, abs=1)
    # What the run itself says afterwards is too late to count once more.
    in_transaction(services, services.ledger.finish_run, run, succeeded=False)
    assert scrape().acme("connector_runs_finished_total", status="failed") == 1


def test_waiting_requests_held_back_deletions_and_errors_show(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put_many({f"{number}.txt": f"Note {number}" for number in range(20)})
    sync(services, connector)
    bucket.delete(*(f"{number}.txt" for number in range(15)))
    scan(services, connector)
    in_transaction(
        services,
        services.ledger.request_run,
        connector.id,
        "acme_corp",
        Trigger.PENDING,
        with_scan=False,
    )
    record_error(services, connector.id, "invalid_credentials", "S3 refused the access key.")
    found = scrape()
    assert found.acme("connector_deletions_held_back", connector=connector.name) == 15
    assert found.acme("connector_runs", status="waiting") == 1
    assert (
        found.acme("connector_error", connector=connector.name, error_type="invalid_credentials")
        == 1
    )
    with services.database.transaction() as conn:
        conn.execute("UPDATE connectors.connectors SET last_error_code = NULL")
    assert (
        scrape().acme("connector_error", connector=connector.name, error_type="invalid_credentials")
        is None
    )


# The queue


def test_the_queue_shows_its_depth_and_who_waits_longest(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put("a.txt", "one")
    scan(services, connector)
    pass_time(services, "2 hours")
    bucket.put("b.txt", "two")
    scan(services, connector)
    found = scrape()
    assert found.acme("connector_queue_depth", state="pending") == 2
    assert found.acme("connector_oldest_pending_age_seconds") == pytest.approx(7200, abs=60)
    drain(services, connector)
    assert scrape().acme("connector_oldest_pending_age_seconds") == 0


def test_documents_with_warnings_are_counted_while_they_are_there(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    text = "Füße überqueren die Straße. ".encode() * 20

    def counted() -> tuple[float | None, ...]:
        found = scrape()
        return (
            found.acme("connector_documents_with_warnings", kind="bytes_replaced"),
            found.acme("connector_documents_with_warnings", kind="partly_read"),
            found.acme("connector_documents_not_read_whole"),
        )

    bucket.put("a.txt", text + b"\xff a")
    bucket.put("b.txt", text + b"\xff b")
    bucket.put("whole.txt", text)
    sync(services, connector)
    assert counted() == (2, 0, 2)
    bucket.put("a.txt", text + b"a")
    sync(services, connector)
    assert counted() == (1, 0, 1)
    bucket.put("b.txt", b" ")
    sync(services, connector)
    assert counted() == (0, 0, 0)


def test_what_is_queued_again_waits_since_then_and_not_since_it_was_detected(
    services: Services, admin: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put("dead.pdf", DEAD_PDF)
    sync(services, connector)
    pass_time(services, "90 days")
    assert replay_dead_letters(admin, connector.id) == 1
    found = scrape()
    assert found.acme("connector_queue_depth", state="pending") == 1
    assert found.acme("connector_oldest_pending_age_seconds") == pytest.approx(0, abs=60)


def test_a_paused_connector_is_neither_late_nor_waiting(
    services: Services, bucket: Bucket, scrape: Scrape
) -> None:
    connector = bucket.register(services, enabled=False)
    bucket.put("a.txt", "one")
    scan(services, connector)
    pass_time(services, "2 hours")
    found = scrape()
    assert found.acme("connector_enabled", connector=connector.name) == 0
    assert found.acme("connector_queue_depth", state="pending") == 1
    assert found.acme("connector_oldest_pending_age_seconds") == 0
    assert found.acme("connector_poll_interval_seconds", connector=connector.name) is None


# True whatever happens


def test_counters_never_go_backwards_when_runs_and_connectors_go(
    services: Services, admin: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put("a.txt", "one")
    bucket.put("dead.pdf", DEAD_PDF)
    sync(services, connector)
    before = scrape()
    query(services, "DELETE FROM connectors.runs RETURNING id")
    removal.remove(admin, connector.id, removal.DocumentFate.REMOVE)
    after = scrape()
    assert after.counters == before.counters
    assert after.acme("connector_dead_letters", error_type="corrupt") is None
    assert after.acme("connector_enabled", connector=connector.name) is None

    bucket.put("b.txt", "two")
    sync(services, bucket.register(services))
    assert scrape().acme("connector_run_items_total", status="success") == 3


KILLED_RUN = """
import sys
from activekg_pipelines.pipeline.batching import Batching
from activekg_pipelines.pipeline.extract import extract_pending
from activekg_pipelines.services import services
connector = services().connector_of_partition(sys.argv[1])
extract_pending(
    services(),
    connector,
    sys.argv[2],
    max_objects=10_000,
    budget_seconds=600,
    batching=Batching(extract_objects=8),
)
"""


def test_a_run_killed_in_the_middle_loses_no_count(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put_many(
        {f"{number:04}.txt": f"Note number {number} is short." for number in range(600)}
    )
    scan(services, connector)
    run = start_run(services, connector)
    process = subprocess.Popen([sys.executable, "-c", KILLED_RUN, connector.partition_key, run])
    deadline = time.monotonic() + 60
    while not scrape().acme("connector_bytes_fetched_total"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()

    # A transaction that the server was still committing when the process died.
    query(services, "LOCK TABLE connectors.runs, connectors.counters")
    ((done, size),) = query(
        services, "SELECT count(*), sum(size) FROM connectors.objects WHERE state = 'extracted'"
    )
    assert 0 < done < 600, "it was killed in the middle"
    assert scrape().acme("connector_bytes_fetched_total") == size

    end_leases(services)
    drain(services, connector)
    found = scrape()
    assert found.acme("connector_run_items_total", status="success") == 600
    assert found.acme("connector_detection_to_searchable_seconds_count") == 600


def test_runs_of_one_tenant_count_at_once_without_deadlock_or_loss(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    """Each in transactions that other statements and labels share.

    Flushes of batches do so.
    """
    flushes, parallel = 60, 6

    def flush(number: int) -> None:
        run = start_run(services, connector)
        codes = ["corrupt", "encrypted", "fetch_failed"]
        codes = codes[number % 3 :] + codes[: number % 3]
        for _ in range(flushes):
            with services.database.transaction(tenant_id="acme_corp") as conn:
                counts = RunCounts(
                    indexed=2, dead=1, bytes_fetched=10, errors=dict.fromkeys(codes, 1)
                )
                services.ledger.count_run(conn, run, counts, latencies=[1.0, float(number * 100)])
            with services.database.transaction(tenant_id="acme_corp") as conn:
                services.ledger.count_objects(conn, connector.id, "deleted", 3)
        in_transaction(services, services.ledger.finish_run, run, succeeded=True)

    with ThreadPoolExecutor(parallel) as threads:
        list(threads.map(flush, range(parallel)))
    found = scrape()
    total = flushes * parallel
    assert found.acme("connector_run_items_total", status="success") == 2 * total
    assert found.acme("connector_run_items_total", status="deleted") == 3 * total
    assert found.acme("connector_bytes_fetched_total") == 10 * total
    for code in ("corrupt", "encrypted", "fetch_failed"):
        assert found.acme("connector_worker_errors_total", error_type=code) == total
    assert found.acme("connector_detection_to_searchable_seconds_count") == 2 * total
    assert found.acme("connector_runs_finished_total", status="succeeded") == parallel


def test_work_that_is_rolled_back_is_not_counted(
    services: Services, connector: Connector, scrape: Scrape
) -> None:
    run = start_run(services, connector)
    with pytest.raises(ZeroDivisionError), services.database.transaction() as conn:
        services.ledger.count_run(conn, run, RunCounts(indexed=7))
        raise ZeroDivisionError
    assert scrape().acme("connector_run_items_total", status="success") == 0


def test_another_process_tells_the_same(
    admin: Services,
    services: Services,
    bucket: Bucket,
    connector: Connector,
    prometheus: Caller,
) -> None:
    bucket.put("a.txt", "one")
    sync(services, connector)
    other = Caller(TestClient(create_app(admin)), prometheus.token)
    first, second = (
        dict(Samples(caller.get("/metrics").text).counters.items())
        for caller in (prometheus, other)
    )
    assert first == second


# What it costs


def test_a_scrape_reads_what_waits_and_never_the_whole_ledger(
    services: Services, connector: Connector, scrape: Scrape
) -> None:
    with services.database.transaction() as conn:
        conn.execute(
            "INSERT INTO connectors.objects (connector_id, tenant_id, key, etag, size, "
            "modified_at, state, error_code)"
            " SELECT %s, 'acme_corp', 'k' || n, 'e', 1, now(), s.state::connectors.object_state, "
            "s.code FROM"
            " generate_series(1, 60000) n, LATERAL (SELECT CASE WHEN n <= 50000 THEN 'indexed' "
            "WHEN n <= 55000"
            " THEN 'pending' ELSE 'dead' END, CASE WHEN n > 57000 THEN 'corrupt' WHEN n > 55000 "
            "THEN 'encrypted' END)"
            " AS s (state, code)",
            (connector.id,),
        )
    with psycopg.connect(services.settings.require_dsn(), autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE connectors.objects")
        ((plan,),) = conn.execute(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + metrics._SQL["samples"],
            {"tenant_id": None, "most": 1000, "bytes_per_day": 0, "missing": ["partly_read"]},
        ).fetchall()
    assert "Seq Scan" not in {
        node["Node Type"]
        for node in nodes_of(plan[0]["Plan"])
        if node.get("Relation Name") == "objects"
    }
    buffers = plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
    assert buffers < 200, f"{buffers} pages read"
    found = scrape()
    assert found.acme("connector_queue_depth", state="pending") == 5000
    assert found.acme("connector_dead_letters", error_type="corrupt") == 3000
    assert found.acme("connector_dead_letters", error_type="encrypted") == 2000
    with patch.object(metrics, "_MOST", 1000):
        assert scrape().acme("connector_queue_depth", state="pending") == 1000


def nodes_of(plan: dict[str, object]) -> Iterator[dict[str, object]]:
    yield plan
    for child in plan.get("Plans", []):  # type: ignore[attr-defined]
        yield from nodes_of(child)


# Who may read it


def test_a_tenants_token_reads_its_own_metrics_only(
    services: Services, client: TestClient, app_settings: Settings, bucket: Bucket, scrape: Scrape
) -> None:
    bucket.put("a.txt", "one")
    for tenant in ("acme_corp", "globex"):
        sync(services, bucket.register(services, tenant))
        query(services, ROTATED, tenant, 1)
    token = mint_token(app_settings, "grafana", "acme_corp", ["metrics:read"], 600)
    own = Samples(Caller(client, token).get("/metrics").text)
    assert own.acme("connector_run_items_total", status="success") == 1
    assert "globex" not in own.text
    assert "globex" in scrape().text


def test_other_tokens_do_not_read_metrics_and_that_one_opens_nothing_else(
    anonymous: Caller, acme: Caller, reader: Caller, root: Caller, prometheus: Caller
) -> None:
    assert_problem(anonymous.get("/metrics"), 401)
    assert_problem(acme.get("/metrics"), 403)
    assert_problem(reader.get("/metrics"), 403)
    assert root.get("/metrics").status_code == 200
    for url in (CONFIGS, f"{CONFIGS}/{uuid4()}", "/_admin/connectors/runs", "/search?q=roof"):
        assert_problem(prometheus.get(url), 403)


def test_a_token_without_tenant_may_hold_no_other_scope(app_settings: Settings) -> None:
    from activekg_pipelines.errors import SettingsError

    with pytest.raises(SettingsError, match="tenant_id"):
        mint_token(app_settings, "x", None, ["metrics:read", "search:read"], 600)


def test_metrics_can_be_opened_to_everybody_or_switched_off(
    admin: Services, prometheus: Caller
) -> None:
    def answer(switch: str, token: str | None) -> object:
        settings = admin.settings.model_copy(update={"activekg_metrics": switch})
        client = TestClient(create_app(with_parts(admin, settings=settings)))
        return Caller(client, token).get("/metrics").status_code

    assert [answer("open", token) for token in (None, prometheus.token)] == [200, 200]
    assert [answer("off", token) for token in (None, prometheus.token)] == [404, 404]
    assert [answer("token", token) for token in (None, prometheus.token)] == [401, 200]


def test_a_database_that_is_away_is_a_problem_and_no_empty_scrape(
    prometheus: Caller, admin: Services
) -> None:
    with patch.object(
        type(admin.database),
        "transaction",
        side_effect=psycopg.OperationalError("password=hunter2"),
    ):
        assert_problem(prometheus.get("/metrics"), 503)


# What it looks like

ROTATED = (
    "INSERT INTO connectors.key_rotations AS k (tenant_id, rotated) VALUES (%s, %s)"
    " ON CONFLICT (tenant_id) DO UPDATE SET rotated = k.rotated + EXCLUDED.rotated RETURNING "
    "rotated"
)


def test_key_rotations_add_up(services: Services, connector: Connector, scrape: Scrape) -> None:
    assert scrape().value("connector_key_rotations_total", tenant="acme_corp") == 0
    query(services, ROTATED, "acme_corp", 3)
    query(services, ROTATED, "acme_corp", 2)
    assert scrape().value("connector_key_rotations_total", tenant="acme_corp") == 5


def test_dagsters_parts_are_up_or_down(scrape: Scrape, orchestrator: RecordingOrchestrator) -> None:
    orchestrator.checks = [Check("dagster_webserver", True, ""), Check("dagster_daemon", False, "")]
    found = scrape()
    assert found.value("connector_component_up", component="dagster_webserver") == 1
    assert found.value("connector_component_up", component="dagster_daemon") == 0


def test_a_tenant_has_its_counters_from_the_start(connector: Connector, scrape: Scrape) -> None:
    """Prometheus sees no increase in a series that begins with it."""
    found = scrape()
    for status in ("success", "unchanged", "skipped", "failed", "dead", "deleted"):
        assert found.acme("connector_run_items_total", status=status) == 0
    assert found.acme("connector_run_duration_seconds_count") == 0
    assert found.acme("connector_detection_to_searchable_seconds_bucket", le="+Inf") == 0


def test_histograms_are_cumulative_and_have_every_bucket(
    services: Services, connector: Connector, scrape: Scrape
) -> None:
    run = start_run(services, connector)
    with services.database.transaction() as conn:
        services.ledger.count_run(conn, run, RunCounts(indexed=3), latencies=[5.0, 5.1, 1e9])
    in_transaction(services, services.ledger.finish_run, run, succeeded=True)
    found = scrape()
    name = "connector_detection_to_searchable_seconds"
    assert [found.acme(f"{name}_bucket", le=le) for le in ("5", "15", "86400", "+Inf")] == [
        1,
        2,
        2,
        3,
    ]
    for metric, buckets in (
        (name, LATENCY_BUCKETS),
        ("connector_run_duration_seconds", RUN_BUCKETS),
    ):
        assert len([key for key in found.counters if key[0] == f"{metric}_bucket"]) == len(buckets)


def test_nothing_in_a_scrape_is_a_secret_or_an_object(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put("private-name.pdf", DEAD_PDF)
    sync(services, connector)
    text = scrape().text
    for secret in (
        SECRET_ACCESS_KEY,
        ACCESS_KEY_ID,
        "private-name",
        connector.secret_hints["access_key_id"],
    ):
        assert secret not in text


def test_the_answer_is_prometheus_text(prometheus: Caller, connector: Connector) -> None:
    answer = prometheus.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE connector_run_items_total counter\n" in answer.text
    assert "# TYPE connector_run_duration_seconds histogram\n" in answer.text


def test_every_metric_and_label_that_dashboard_and_alerts_use_is_in_a_scrape(
    services: Services, bucket: Bucket, connector: Connector, scrape: Scrape
) -> None:
    bucket.put("a.txt", "one")
    bucket.put("dead.pdf", DEAD_PDF)
    sync(services, connector)
    query(services, ROTATED, "acme_corp", 1)
    record_error(services, connector.id, "invalid_credentials", "S3 refused the access key.")
    found = scrape()
    for title, parsed in queries():
        for selector in parsed.selectors:
            assert selector.metric in found.names, title
            assert selector.labels <= found.labels(selector.metric), title
        given = {label for selector in parsed.selectors for label in found.labels(selector.metric)}
        assert parsed.grouped_by <= given, title
    for rule in rules():
        parsed = next(parsed for name, parsed in queries() if name == rule["alert"])
        given = {label for selector in parsed.selectors for label in found.labels(selector.metric)}
        text = json.dumps(rule["annotations"])
        used = {label for label in LABELS if f"$labels.{label}" in text}
        assert text.count("$labels.") == sum(text.count(f"$labels.{label}") for label in used)
        assert used <= given, rule["alert"]
    for panel in panels():
        for target in panel["targets"]:
            used = {label for label in LABELS if "{{" + label + "}}" in target["legendFormat"]}
            assert target["legendFormat"].count("{{") == len(used), panel["title"]
            assert all(f"{label}" in target["expr"] for label in used - {"tenant", "connector"}), (
                panel["title"]
            )
    # And the other way round: nothing is exported that nobody looks at.
    shown = {selector.metric for _, parsed in queries() for selector in parsed.selectors}
    for family in found.families:
        names = {sample.name for sample in family.samples}
        assert names & shown, family.name


LABELS = (
    "tenant",
    "provider",
    "connector",
    "component",
    "status",
    "state",
    "error_type",
    "source",
    "kind",
)


@pytest.mark.usefixtures("connector")
def test_a_scrape_is_one_query(prometheus: Caller) -> None:
    statements: list[object] = []
    real = psycopg.Connection.execute

    def counting(
        self: psycopg.Connection, statement: object, *args: object, **kwargs: object
    ) -> object:
        statements.append(statement)
        return real(self, statement, *args, **kwargs)  # type: ignore[arg-type]

    with patch.object(psycopg.Connection, "execute", counting):
        prometheus.get("/metrics")
    assert (
        len(
            [
                text
                for text in statements
                if "set_config" not in str(text) and "connectors." in str(text)
            ]
        )
        == 1
    )
