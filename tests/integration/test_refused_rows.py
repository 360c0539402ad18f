"""A row that the database refuses gets its own state; its neighbours are indexed.

The database refuses by constraints and triggers of the tests', as it does by itself for
a value that no check of ours has foreseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from psycopg import Connection
from psycopg.errors import DeadlockDetected, ForeignKeyViolation, SerializationFailure
from psycopg.rows import TupleRow

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.batches import write_apart
from activekg_pipelines.ledger.states import ListedObject, Scan
from activekg_pipelines.ledger.store import Ledger, PageComparison
from activekg_pipelines.pipeline.scan import _DEADLOCKS
from activekg_pipelines.services import Services
from tests.integration.syncing import (
    chunk_nodes,
    documents,
    drain,
    outcomes,
    query,
    scan,
    states,
    sync,
)
from tests.s3_bucket import Bucket

KEYS = [f"{number:02}.txt" for number in range(20)]
REFUSE = "do not take this row"


def fill(bucket: Bucket, keys: list[str] = KEYS) -> None:
    bucket.put_many({key: f"This is the text of the object {key}." for key in keys})


def refuse(services: Services, table: str, condition: str) -> None:
    """Let the database refuse rows of a table, as a trigger of somebody else would."""
    query(
        services,
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {condition} THEN RAISE '{REFUSE}' USING ERRCODE = 'data_exception'; END IF; "
        "RETURN NEW; END $$",
    )
    query(
        services,
        f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW "
        "EXECUTE FUNCTION refuse()",
    )


def allow(services: Services, table: str) -> None:
    query(services, f"DROP TRIGGER refuse ON {table}")


@pytest.mark.parametrize(
    ("table", "condition"),
    [
        ("connectors.texts", "NEW.text ~ 'object 07'"),
        ("public.nodes", "NEW.props ->> 'text' ~ 'object 07'"),
        ("connectors.objects", "NEW.key = '07.txt' AND NEW.state = 'indexed'"),
    ],
)
def test_an_object_whose_row_is_refused_is_dead_and_the_others_are_indexed(
    services: Services,
    bucket: Bucket,
    connector: Connector,
    table: str,
    condition: str,
) -> None:
    fill(bucket)
    refuse(services, table, condition)
    counts = sync(services, connector)
    ended = outcomes(services, connector)
    refused = ended.pop("07.txt")
    assert (refused.state, refused.code) == ("dead", "not_storable")
    assert refused.message is not None
    assert REFUSE in refused.message
    assert {end.state for end in ended.values()} == {"indexed"}
    assert documents(services) == {f"s3://{bucket.name}/{key}" for key in ended}
    assert (counts.indexed, counts.dead, counts.failed) == (19, 1, 0)
    # Each text was computed once and counted once, however often the batch was split.
    assert counts.chunks == len(chunk_nodes(services)) == 19
    assert counts.embeddings_computed + counts.embeddings_reused in (19, 20)

    allow(services, table)
    query(services, "UPDATE connectors.objects SET state = 'pending' WHERE state = 'dead'")
    drain(services, connector)
    assert states(services, connector)["07.txt"] == ("indexed", None)


def test_a_listed_object_whose_row_is_refused_is_skipped_and_the_scan_goes_on(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    fill(bucket)
    refuse(services, "connectors.objects", "NEW.key = '19.txt' AND NEW.state = 'pending'")
    result = scan(services, connector)
    assert result.completed
    assert (result.counts.listed, result.counts.added) == (20, 20)
    assert states(services, connector)["19.txt"] == ("skipped", "not_storable")
    # It is not refused again at every poll.
    assert scan(services, connector).counts.changed == 0
    assert drain(services, connector).indexed == 19


@pytest.mark.parametrize("key", ["00.txt", "07.txt", "19.txt"])
def test_a_listed_object_that_the_ledger_cannot_hold_at_all_is_left_out(
    services: Services,
    bucket: Bucket,
    connector: Connector,
    key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fill(bucket, [*KEYS, "gone.txt"])
    assert sync(services, connector).indexed == 21
    bucket.delete("gone.txt")
    query(services, "DELETE FROM connectors.objects WHERE key = %s RETURNING id", key)
    refuse(services, "connectors.objects", f"NEW.key = '{key}'")
    result = scan(services, connector)
    assert result.completed
    assert states(services, connector)["gone.txt"][0] == "deleted"
    assert states(services, connector).keys() == {*KEYS, "gone.txt"} - {key}
    assert any("is left out" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("key", ["07.txt", "19.txt"])
def test_an_object_that_is_known_and_left_out_now_keeps_its_document(
    services: Services, bucket: Bucket, connector: Connector, key: str
) -> None:
    fill(bucket)
    sync(services, connector)
    bucket.put(key, "Another text.")
    # The mark of what is gone could be written.
    refuse(services, "connectors.objects", f"NEW.key = '{key}' AND NEW.etag <> OLD.etag")
    result = scan(services, connector)
    assert (result.completed, result.counts.missing, result.counts.deleted) == (True, 0, 0)
    assert states(services, connector)[key] == ("indexed", None)
    assert len(documents(services)) == len(KEYS)

    allow(services, "connectors.objects")
    assert sync(services, connector).indexed == 1


def test_what_comes_after_a_part_that_could_not_be_compared_is_not_compared_either(
    services: Services,
    bucket: Bucket,
    connector: Connector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(bucket)
    sync(services, connector)
    bucket.put("19.txt", "Another text.")
    refuse(services, "connectors.objects", "NEW.key = '19.txt' AND NEW.state = 'pending'")
    compare, deadlocks = Ledger.compare_page, iter(range(_DEADLOCKS))

    def deadlocked(
        ledger: Ledger,
        conn: Connection[TupleRow],
        scan: Scan,
        page: Sequence[ListedObject],
        **more: Any,
    ) -> PageComparison | None:
        # The third quarter: the page is split because of its last object.
        if [entry.key for entry in page] == KEYS[10:15] and next(deadlocks, None) is not None:
            raise DeadlockDetected
        return compare(ledger, conn, scan, page, **more)

    monkeypatch.setattr(Ledger, "compare_page", deadlocked)
    result = scan(services, connector)
    assert next(deadlocks, None) is None
    assert (result.completed, result.counts.missing, result.counts.deleted) == (True, 0, 0)
    assert states(services, connector)["10.txt"] == ("indexed", None)
    assert states(services, connector)["19.txt"] == ("skipped", "not_storable")


def test_one_refused_row_costs_a_few_statements_more_and_keeps_the_order() -> None:
    calls: list[list[int]] = []

    def write(items: list[int] | tuple[int, ...]) -> list[int]:
        calls.append(list(items))
        if 700 in items:
            raise UnicodeEncodeError("utf-8", "x", 0, 1, "refused")
        return list(items)

    written = write_apart(range(1000), write, lambda item, _: -item)
    assert [item for part in written for item in part] == [*range(700), -700, *range(701, 1000)]
    assert len(calls) <= 2 * 10 + 3
    assert write_apart([], write, lambda item, _: item) == [[]]


@pytest.mark.parametrize("error", [ForeignKeyViolation, SerializationFailure, ConnectionError])
def test_what_is_no_rows_fault_is_raised_at_once(error: type[Exception]) -> None:
    calls: list[object] = []

    def write(items: object) -> None:
        calls.append(items)
        raise error

    with pytest.raises(error):
        write_apart([1, 2, 3], write, lambda item, _: item)
    assert len(calls) == 1
