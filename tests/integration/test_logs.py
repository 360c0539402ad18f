"""The log of a real sync.

The documented lines at their levels, the fields of each record, and no secret in any.
"""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from threading import Thread
from typing import Any

import dagster as dg
import pytest
from cryptography.fernet import Fernet

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.sensors import start_due_work
from activekg_pipelines.logs import Redaction, configure_logging, log_fields, redact
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.s3.source import S3Source
from tests.integration.test_dagster_runs import execute, requests_of
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket

Log = Callable[[str, str], io.StringIO]

logger = logging.getLogger("activekg_pipelines.tests")


@pytest.fixture
def log() -> Iterator[Log]:
    """Sends the package's log into a buffer.

    Level and style are those that are asked for.
    """
    root = logging.getLogger("activekg_pipelines")
    before = root.handlers, root.level

    def configure(level: str, style: str) -> io.StringIO:
        configure_logging(level, style)
        buffer = io.StringIO()
        (handler,) = root.handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(buffer)
        return buffer

    yield configure
    root.handlers, root.level = before


@pytest.fixture
def connector(services: Services, bucket: Bucket) -> Connector:
    return bucket.register(services)


def records(buffer: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in buffer.getvalue().splitlines()]


def sync(services: Services, instance: dg.DagsterInstance) -> str:
    """Whatever is due now, as a run of Dagster; returns its id."""
    (request,) = requests_of(start_due_work(services))
    return execute(instance, request).run_id


def list_objects(services: Services, bucket: Bucket, connector: Connector, *broken: str) -> None:
    """A scan of two readable objects, broken ones, and one that vanishes.

    It vanishes after it was listed.
    """
    for key in broken:
        bucket.put(key, b"%PDF-1.4 broken")
    bucket.put("a.txt", "The pump runs at 40 bar.")
    bucket.put("b.txt", "The valve is closed.")
    bucket.put("doc.pdf", b"%PDF-1.4 soon gone")
    scan_connector(services, connector, budget_seconds=None)
    bucket.delete("doc.pdf")


def test_a_sync_writes_the_documented_lines(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector, log: Log
) -> None:
    list_objects(services, bucket, connector)
    buffer = log("DEBUG", "text")
    sync(services, instance)
    scan_connector(services, connector, budget_seconds=None)
    lines = buffer.getvalue().splitlines()
    assert "INFO: S3 connector synced 2 objects for tenant acme_corp" in lines
    assert f"ERROR: Failed to fetch s3://{bucket.name}/doc.pdf: NoSuchKey" in lines
    assert f"DEBUG: Skipping s3://{bucket.name}/a.txt - ETag unchanged" in lines


def test_every_record_of_a_run_says_whose_it_is(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector, log: Log
) -> None:
    list_objects(services, bucket, connector, "broken.pdf")
    buffer = log("INFO", "json")
    run = sync(services, instance)
    written = records(buffer)
    assert len(written) >= 3
    for record in written:
        assert (record["tenant"], record["connector"], record["run"]) == (
            "acme_corp",
            connector.name,
            run,
        ), record
    failed = {record["object"]: record for record in written if record["level"] == "ERROR"}
    assert set(failed) == {f"s3://{bucket.name}/doc.pdf", f"s3://{bucket.name}/broken.pdf"}
    assert all(uri in record["message"] for uri, record in failed.items())


def test_records_of_the_download_threads_carry_the_fields(
    services: Services,
    instance: dg.DagsterInstance,
    bucket: Bucket,
    connector: Connector,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch = S3Source.fetch

    def talking_fetch(*arguments: Any, **options: Any) -> Any:
        logger.info("downloading")
        return fetch(*arguments, **options)

    monkeypatch.setattr(S3Source, "fetch", talking_fetch)
    bucket.put("a.txt", "one")
    bucket.put("b.txt", "two")
    buffer = log("INFO", "json")
    run = sync(services, instance)
    written = [record for record in records(buffer) if record["message"] == "downloading"]
    assert {record["object"] for record in written} == {
        f"s3://{bucket.name}/{key}" for key in ("a.txt", "b.txt")
    }
    assert {(record["tenant"], record["connector"], record["run"]) for record in written} == {
        ("acme_corp", connector.name, run)
    }


def test_what_holds_nothing_to_index_is_no_error(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector, log: Log
) -> None:
    bucket.put("blank.txt", "   \n ")
    buffer = log("INFO", "text")
    sync(services, instance)
    lines = buffer.getvalue().splitlines()
    assert [
        line for line in lines if line.startswith(f"INFO: Skipping s3://{bucket.name}/blank.txt - ")
    ]
    assert not [line for line in lines if line.startswith("ERROR")]


def test_fields_end_with_their_work_and_do_not_leak_into_other_threads(log: Log) -> None:
    buffer = log("INFO", "json")
    with log_fields(tenant="acme_corp", run="r1"):
        with log_fields(object="s3://b/k", run="r2"):
            logger.info("inner")
        logger.info("outer", extra={"run": "its own"})
        for thread in (
            Thread(target=logger.info, args=["bare"]),
            Thread(target=copy_context().run, args=[logger.info, "copied"]),
        ):
            thread.start()
            thread.join()
    logger.info("after")
    names = ("tenant", "run", "object")
    assert {
        r["message"]: {name: r[name] for name in names if name in r} for r in records(buffer)
    } == {
        "inner": {"tenant": "acme_corp", "run": "r2", "object": "s3://b/k"},
        "outer": {"tenant": "acme_corp", "run": "its own"},
        "bare": {},
        "copied": {"tenant": "acme_corp", "run": "r1"},
        "after": {},
    }


def test_a_line_break_in_an_object_key_makes_no_line_of_its_own(log: Log) -> None:
    buffer = log("INFO", "text")
    logger.error(
        "Failed to fetch %s: NoSuchKey",
        "s3://b/x\nINFO: S3 connector synced 9 objects for tenant acme_corp",
    )
    assert len(buffer.getvalue().splitlines()) == 1


@pytest.fixture
def secrets(app_settings: Settings) -> dict[str, str]:
    key = Fernet.generate_key()
    return {
        "AWS secret": SECRET_ACCESS_KEY,
        "AWS key id": ACCESS_KEY_ID,
        "JWT": mint_token(app_settings, "alice", "acme_corp", ["connectors:admin"], 600),
        "Fernet key": key.decode(),
        "Fernet token": Fernet(key).encrypt(b"{}").decode(),
    }


def test_what_looks_like_a_secret_is_removed_wherever_it_stands(
    secrets: dict[str, str], log: Log, subtests: pytest.Subtests
) -> None:
    for style in ("text", "json"):
        for name, secret in secrets.items():
            with subtests.test(style=style, secret=name):
                buffer = log("INFO", style)
                logger.info("It is %s.", secret)
                logger.info(
                    "It is {%r}",
                    {"given": secret},
                    extra={"context": {"deep": [secret]}, "password": "x1y2"},
                )
                logger.error("It failed", exc_info=ValueError(f"no good: {secret}"))
                assert secret not in buffer.getvalue()
                assert "x1y2" not in buffer.getvalue()
                assert "ValueError: no good: [redacted]" in buffer.getvalue()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("password=hunter2 host=db", "password=[redacted] host=db"),
        ("PGPASSWORD='hunter 2' psql", "PGPASSWORD=[redacted] psql"),
        (
            '{"secret_access_key": "hunter2", "bucket": "b"}',
            '{"secret_access_key": [redacted], "bucket": "b"}',
        ),
        ("CONNECTOR_KEK_V2=hunter2", "CONNECTOR_KEK_V2=[redacted]"),
        ("postgresql://me:hunter2@db:5432/kg", "postgresql://me:[redacted]@db:5432/kg"),
        (
            "https://b.s3/k?X-Amz-Signature=abc1&x=1",
            "https://b.s3/k?X-Amz-Signature=[redacted]&x=1",
        ),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer [redacted]"),
        ("private_key=hunter2 of b", "private_key=[redacted] of b"),
        ("got ya29.a0AfH6-SM_Bx.y from Google", "got [redacted] from Google"),
        (
            "key -----BEGIN RSA PRIVATE KEY-----\\nMIIE\\n-----END RSA PRIVATE KEY----- read",
            "key [redacted] read",
        ),
        ("cut: -----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg", "cut: [redacted]"),
    ],
)
def test_named_secrets_are_removed_and_the_rest_stays(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "S3 connector synced 15 objects for tenant acme_corp",
        "Skipping s3://bucket/Reports/2025/Q1/Engineering/Summary/final/v2 - ETag unchanged",
        "Skipping gs://bucket/Reports/2025/Q1/Engineering/Summary/final/v2 - unchanged",
        "Failed to fetch s3://bucket/doc.pdf: NoSuchKey",
        "Run 0f8fad5b-d9cb-469f-a165-70867728950e of commit "
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "ETag 9b2cf535f27731c974343645a3985328-12, sha256 "
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "The webserver at http://127.0.0.1:3000/graphql?x=a@b did not answer: the token has "
        "expired.",
        "JWT_SECRET_KEY is not set: nothing can be signed or checked.",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("repeated", ["x", "token", "token-", "eyJ-", "://:", 'password="'])
def test_no_text_of_a_store_keeps_the_search_for_secrets_busy(repeated: str) -> None:
    began = time.process_time()
    redact((repeated * 16_000)[:16_000])
    # It took 28 seconds when each letter might have begun a name.
    assert time.process_time() - began < 5


@pytest.mark.parametrize("is_trace", [False, True])
def test_a_secret_where_a_line_is_cut_is_removed_as_any_other(is_trace: bool) -> None:
    secret = "postgresql://me:hunter2-and-more@db:5432/kg"
    most = 2_000 if is_trace else 16_000
    for cut in range(1, len(secret) + 1):
        text = f"{'x' * (most - cut)} {secret} {'x' * 100}"
        record = logging.LogRecord("any", logging.INFO, "file", 1, text, None, None)
        record.exc_text = text if is_trace else None
        assert Redaction().filter(record)
        assert "hunter" not in (record.exc_text or record.getMessage())


def test_a_message_whose_arguments_do_not_fit_is_still_written(log: Log) -> None:
    buffer = log("INFO", "text")
    logger.info("%d objects", "many")
    assert "many" in buffer.getvalue()
