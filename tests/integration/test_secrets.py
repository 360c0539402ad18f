"""A tenant's secret access key must never appear in tables, logs or errors."""

from __future__ import annotations

import logging

import psycopg
import pytest
from psycopg import sql

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import ActiveKGError, SourceError
from activekg_pipelines.services import Services
from tests.fault_proxy import LIST, FaultProxy, reset, status, truncate
from tests.integration.syncing import query, scan, sync
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket


def everything_stored(dsn: str) -> str:
    """Every row of every table of the database, as text."""
    with psycopg.connect(dsn) as conn:
        tables = conn.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', "
            "'information_schema')"
        ).fetchall()
        assert ("connectors", "connectors") in tables
        return "\n".join(
            row[0]
            for schema, table in tables
            for row in conn.execute(
                sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
            )
        )


def test_no_secret_is_stored_or_logged_in_clear_whatever_fails(
    proxied: Services,
    via_proxy: Connector,
    bucket: Bucket,
    proxy: FaultProxy,
    dsn: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Not DEBUG for the AWS library, whose debug records hold signed requests.
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="activekg_pipelines")
    bucket.put_many(
        {"good.txt": "A text about penguins.", "broken.pdf": b"%PDF-1.7\nbroken", "empty.txt": b""}
    )
    for key in ("500.txt", "403.txt", "short.txt", "reset.txt"):
        bucket.put(key, "A text that does not come as it should.")
    proxy.inject("GET", "500.txt", status(500, "InternalError"))
    proxy.inject("GET", "403.txt", status(403, "AccessDenied"))
    proxy.inject("GET", "short.txt", truncate(5))
    proxy.inject("GET", "reset.txt", reset())
    counts = sync(proxied, via_proxy)
    assert (counts.indexed, counts.failed, counts.dead) == (1, 3, 2)
    messages = []
    # S3 quotes the key id, and a store may quote what it likes.
    quoted = f"The key {ACCESS_KEY_ID} with {SECRET_ACCESS_KEY} does not exist"
    for code, name in [
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "AccessDenied"),
        (500, "Odd"),
    ]:
        proxy.heal()
        proxy.inject(LIST, None, status(code, name, quoted))
        with pytest.raises(SourceError) as raised:
            scan(proxied, via_proxy)
        messages.append(str(raised.value))
        proxy.heal()
        proxy.inject("GET", None, status(code, name, quoted))
        query(proxied, "UPDATE connectors.objects SET state = 'pending' RETURNING 1")
        try:
            sync(proxied, via_proxy)
        except ActiveKGError as error:
            messages.append(str(error))

    assert len(messages) >= 4
    logged = caplog.text + "\n".join(str(record.__dict__) for record in caplog.records)
    assert "broken.pdf" in logged
    for where, text in {
        "tables": everything_stored(dsn),
        "logs": logged,
        "errors": "\n".join(messages),
        "reprs": repr(
            (
                via_proxy,
                stored_secrets(proxied, via_proxy),
                proxied.settings,
                bucket.config(),
            )
        ),
    }.items():
        assert text
        assert SECRET_ACCESS_KEY not in text, where
        assert SECRET_ACCESS_KEY[8:24] not in text, where
        assert ACCESS_KEY_ID not in text, where
        assert bytes(SECRET_ACCESS_KEY, "ascii").hex() not in text, where
    assert f"{ACCESS_KEY_ID[:4]}…{ACCESS_KEY_ID[-4:]}" in everything_stored(dsn), (
        "enough to tell keys apart"
    )


def stored_secrets(services: Services, connector: Connector) -> object:
    """What decryption hands on."""
    with services.database.transaction() as conn:
        return services.connectors.secrets(conn, connector.id)
