"""A process of the version before that still runs during the upgrade, beside this one.

It works, or it ends with one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import FeatureNotSupported, RaiseException
from psycopg.rows import TupleRow

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.migrate import migrate
from activekg_pipelines.database.pool import Database
from activekg_pipelines.ledger.states import ScanCounts
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from activekg_pipelines.sources.memory import MemoryConfig, MemoryStore, memory_provider
from activekg_pipelines.sources.registry import registered
from tests.integration.syncing import drain, in_transaction, make_retries_due, scan, states
from tests.integration.upgrade.old_version import SQL, EncryptionError, OldProcess
from tests.registry import secrets_of
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket, S3ConfigPatch

KEYS = (ACCESS_KEY_ID, SECRET_ACCESS_KEY)
OTHER_KEYS = ("AKIAANOTHERKEYID1234", "another-secret-access-key-that-is-long-enough")
STATEMENTS = [(file, name) for file, statements in SQL.items() for name in statements]


@pytest.fixture
def old(services: Services) -> Iterator[OldProcess]:
    """A process of the version before, whose every statement is a transaction."""
    with psycopg.connect(services.settings.require_dsn(), autocommit=True) as conn:
        yield OldProcess(conn)


@pytest.fixture
def of_memory(services: Services) -> Iterator[Connector]:
    """A connector of a provider that the version before does not know."""
    store = MemoryStore()
    store.put("a.txt", b"A text.")
    with registered(memory_provider(store)):
        with services.database.transaction(tenant_id="acme_corp") as conn:
            made = services.connectors.create(conn, "acme_corp", "memory", MemoryConfig())
        yield made


@pytest.mark.parametrize(("file", "name"), STATEMENTS)
def test_the_database_still_understands_every_statement_of_the_version_before(
    migrated: Connection[TupleRow], file: str, name: str
) -> None:
    statement = SQL[file][name]
    parameters = dict.fromkeys(re.findall(r"%\((\w+)\)s", statement))
    migrated.execute("EXPLAIN " + statement, parameters)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def migrated(postgres: str, migrated_template: str) -> Iterator[Connection[TupleRow]]:
    """A connection to a migrated database that nothing is written to."""
    with psycopg.connect(postgres, dbname=migrated_template, autocommit=True) as conn:
        yield conn


def test_what_the_old_version_registers_the_new_one_syncs(
    services: Services, old: OldProcess, bucket: Bucket
) -> None:
    bucket.put("a.txt", "The pump P-7 runs at 40 bar.")
    row = old.register(
        "acme_corp", "new", bucket=bucket.name, endpoint_url=bucket.endpoint_url, keys=KEYS
    )
    connector = services.connector(row["id"], "acme_corp")
    assert (connector.provider, str(connector.location)) == ("s3", f"s3://{bucket.name}/")
    assert connector.secret_hints == {"access_key_id": "AKIA…MPLE"}
    assert scan(services, connector).counts.added == 1
    assert drain(services, connector).indexed == 1


def test_what_the_new_version_registers_the_old_one_reads(
    services: Services, old: OldProcess, bucket: Bucket
) -> None:
    connector = bucket.register(services, prefix="a/", region="eu-central-1")
    row = old.get(connector.id)
    assert {name: row[name] for name in ("provider", "bucket", "prefix", "region")} == {
        "provider": "s3",
        "bucket": bucket.name,
        "prefix": "a/",
        "region": "eu-central-1",
    }
    assert row["endpoint_url"] == bucket.endpoint_url
    assert row["access_key_hint"] == "AKIA…MPLE"
    assert old.credentials(connector.id) == KEYS
    assert connector.name in old.due_for_poll("acme_corp")


def test_what_the_old_version_changes_the_new_one_sees(
    services: Services, old: OldProcess, bucket: Bucket
) -> None:
    connector = bucket.register(services, prefix="a/", requester_pays=True)
    in_transaction(services, services.connectors.sort_listing, connector.id)

    old.update(connector.id, poll_interval_seconds=600)
    now = services.connector(connector.id)
    assert (now.poll_interval_seconds, now.config) == (600, connector.config)
    assert not now.lists_in_order, "the same source lists as before"

    old.update(connector.id, prefix="b/")
    now = services.connector(connector.id)
    assert now.config == {**connector.config, "prefix": "b/"}
    assert str(now.location) == f"s3://{bucket.name}/b/"
    assert now.lists_in_order, "another source may list otherwise"

    old.update(connector.id, OTHER_KEYS)
    now = services.connector(connector.id)
    assert now.secret_hints == {"access_key_id": "AKIA…1234"}
    assert secrets_of(services, connector.id) == {
        "access_key_id": OTHER_KEYS[0],
        "secret_access_key": OTHER_KEYS[1],
    }


def test_what_the_new_version_changes_the_old_one_sees_and_both_may_change_in_turn(
    services: Services, old: OldProcess, bucket: Bucket
) -> None:
    connector = bucket.register(services)

    def change(**fields: object) -> Connector:
        patch = S3ConfigPatch.model_validate(fields)
        return in_transaction(services, services.connectors.update, connector.id, patch)

    change(prefix="b/", region="eu-west-1")
    old.update(connector.id, bucket="another-bucket", endpoint_url=None)
    change(access_key_id=OTHER_KEYS[0], secret_access_key=OTHER_KEYS[1], enabled=False)
    row = old.get(connector.id)
    assert (row["bucket"], row["prefix"], row["region"], row["endpoint_url"], row["enabled"]) == (
        "another-bucket",
        "b/",
        "eu-west-1",
        None,
        False,
    )
    assert row["access_key_hint"] == "AKIA…1234"
    assert old.credentials(connector.id) == OTHER_KEYS
    assert services.connector(connector.id).config == {
        "bucket": "another-bucket",
        "prefix": "b/",
        "region": "eu-west-1",
        "endpoint_url": None,
        "addressing_style": "auto",
        "requester_pays": False,
        "anonymous": False,
    }


def test_scans_claims_and_runs_of_both_versions_take_turns(
    services: Services, old: OldProcess, bucket: Bucket
) -> None:
    bucket.put_many({f"{number}.txt": f"Text {number}." for number in range(4)})
    connector = bucket.register(services)
    scan(services, connector)
    old_run = {"connector_id": connector.id, "run": "of-the-old-version"}
    old.ledger(
        "start_run",
        **old_run,
        tenant_id="acme_corp",
        request_id=None,
        parent_run=None,
        with_scan=False,
        mode="changed",
    )
    claimed = old.ledger(
        "claim_pending",
        **old_run,
        generation=connector.generation,
        limit=2,
        extractor="2",
        busy=[],
        lease=60,
        bytes_per_day=0,
        turn=60.0,
        places=4,
    )
    assert len(claimed) == 2
    # What the old version holds is not anybody else's; what it gives back is.
    assert drain(services, connector).indexed == 2
    assert old.ledger("turn_is_over", run="of-the-old-version", turn=60.0, places=4) == [(False,)]
    old.ledger("release_claims", run="of-the-old-version")
    assert drain(services, connector).indexed == 2
    assert {state for state, _ in states(services, connector).values()} == {"indexed"}


def test_what_the_new_version_found_archived_is_a_dead_letter_to_the_old_one(
    services: Services, old: OldProcess, bucket: Bucket
) -> None:
    bucket.client.put_object(
        Bucket=bucket.name, Key="a.txt", Body=b"A text.", StorageClass="GLACIER"
    )
    connector = bucket.register(services)
    scan(services, connector)
    drain(services, connector)
    # Also when it is to be asked about: to the old version such a letter is never due.
    make_retries_due(services)
    assert old.ledger("progress", connector_id=connector.id) == [("dead", 1)]
    claim = {"run": "of-the-old-version", "generation": connector.generation, "limit": 2}
    more = {"extractor": "2", "busy": [], "lease": 60, "bytes_per_day": 0, "turn": 60.0}
    assert old.ledger("claim_pending", connector_id=connector.id, places=4, **claim, **more) == []


def test_a_scan_that_the_old_version_began_the_new_one_carries_on(
    services: Services, old: OldProcess, bucket: Bucket
) -> None:
    bucket.put_many({f"{number}.png": b"x" for number in range(5)})
    connector = bucket.register(services)
    scan(services, connector)
    values = {"connector_id": connector.id, "tenant_id": "acme_corp"}
    ((scan_id, start_after, is_current),) = old.ledger(
        "open_scan", **values, generation=connector.generation
    )
    assert (start_after, is_current) == ("", True)
    old.ledger("advance_scan", scan_id=scan_id, start_after="", upto="2.png", listed=3)
    result = scan(services, services.connector(connector.id))
    assert (result.counts, result.completed) == (ScanCounts(listed=2), True)


def test_a_connector_that_the_old_version_removed_is_gone(
    services: Services, old: OldProcess, bucket: Bucket
) -> None:
    bucket.put("a.txt", "text")
    connector = bucket.register(services)
    scan(services, connector)
    old.delete(connector.id)
    assert list(services.every_connector("acme_corp"))
    assert connector.id not in {one.id for one in services.every_connector()}
    bucket.register(services)


def test_another_provider_ends_an_old_poll_or_run_with_one_sentence(
    services: Services, old: OldProcess, of_memory: Connector
) -> None:
    assert of_memory.name in old.due_for_poll("acme_corp")
    row = old.get(of_memory.id)
    assert (row["bucket"], row["prefix"]) == (str(of_memory.location), "")
    with pytest.raises(EncryptionError, match="belong to another connector"):
        old.credentials(of_memory.id)
    # Its tick had opened a scan before it failed; this version's goes on with it.
    values = {"connector_id": of_memory.id, "tenant_id": "acme_corp"}
    old.ledger("open_scan", **values, generation=of_memory.generation)
    result = scan_connector(services, services.connector(of_memory.id), budget_seconds=None)
    assert (result.counts.added, result.completed) == (1, True)
    assert drain(services, of_memory).indexed == 1


@pytest.mark.parametrize(
    "changes",
    [{"bucket": "mine"}, {"prefix": "a/"}, {"keys": KEYS}],
    ids=["bucket", "prefix", "keys"],
)
def test_the_old_version_cannot_turn_another_providers_connector_into_one_of_s3(
    services: Services, old: OldProcess, of_memory: Connector, changes: dict[str, Any]
) -> None:
    sentence = (
        f"The connector {re.escape(of_memory.partition_key)} is of the provider memory, which only "
        "the newer version of this system can change: finish the upgrade of this process"
    )
    with pytest.raises(RaiseException, match=sentence):
        old.update(of_memory.id, **changes)
    assert services.connector(of_memory.id) == of_memory
    assert secrets_of(services, of_memory.id) == {}


def test_the_old_version_pauses_and_removes_connectors_of_every_provider(
    services: Services, old: OldProcess, of_memory: Connector
) -> None:
    old.update(of_memory.id, enabled=False, poll_interval_seconds=60)
    now = services.connector(of_memory.id)
    assert (now.enabled, now.poll_interval_seconds) == (False, 60)
    assert (now.config, now.location) == (of_memory.config, of_memory.location)
    old.delete(of_memory.id)
    assert of_memory.id not in {one.id for one in services.every_connector()}


def test_buckets_of_one_name_at_two_providers_do_not_keep_the_old_version_from_registering(
    services: Services, old: OldProcess, of_memory: Connector, bucket: Bucket
) -> None:
    assert old.same_bucket("acme_corp", of_memory.location.container) == []
    assert bucket.register(services, prefix="a/")
    assert len(old.same_bucket("acme_corp", bucket.name)) == 1


def test_a_statement_that_was_prepared_before_the_migration_fails_once_and_then_works(
    empty_dsn: str,
) -> None:
    """The version before prepares what it has executed five times; this one nothing."""
    migrate(empty_dsn, "0007")
    this = Database(empty_dsn, max_size=1)
    with psycopg.connect(empty_dsn) as old:

        def read(conn: psycopg.Connection[TupleRow]) -> list[TupleRow]:
            values = {"partition_key": "nobody/nothing"}
            return conn.execute(SQL["connectors"]["select_by_partition"], values).fetchall()

        def read_as_this() -> list[TupleRow]:
            with this.transaction() as conn:
                return read(conn)

        def read_as_old() -> list[TupleRow]:
            # A rollback would forget what is prepared.
            with old.transaction():
                return read(old)

        for _ in range(7):
            assert read_as_old() == read_as_this() == []
        migrate(empty_dsn)
        with pytest.raises(FeatureNotSupported, match="cached plan must not change result type"):
            read_as_old()
        assert read_as_old() == read_as_this() == []
    this.close()
