"""Sources that list in another order than that of their keys, and sources that are no S3."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator

import pytest

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import SourceUnavailable
from activekg_pipelines.ledger.states import Trigger
from activekg_pipelines.pipeline.preview import Change, preview_sync
from activekg_pipelines.pipeline.scan import ScanResult, scan_connector
from activekg_pipelines.services import Services
from activekg_pipelines.sources.memory import MemoryConfig, MemoryStore, memory_provider
from activekg_pipelines.sources.ordered import Ordered
from activekg_pipelines.sources.registry import registered
from tests.integration.syncing import drain, found, in_transaction, start_run, states

ANIMALS = ("penguins", "whales")
# In the order of bytes the hyphen comes before the slash; a walk through folders gives
# the folder first.
FOLDERS = ["reports/a.txt", "reports-2024.txt"]


def shuffled(keys: Iterable[str]) -> list[str]:
    """Another order each time."""
    return random.sample(list(keys), k=len(list(keys)))


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    """An empty store, whose provider this process knows."""
    made = MemoryStore(page_size=7)
    with registered(memory_provider(made)):
        yield made


@pytest.fixture
def memory(services: Services, store: MemoryStore) -> Connector:
    """A connector for the store."""
    with services.database.transaction(tenant_id="acme_corp") as conn:
        return services.connectors.create(conn, "acme_corp", "memory", MemoryConfig())


def scan_in_run(services: Services, connector: Connector) -> ScanResult:
    run = start_run(services, connector)
    return scan_connector(services, connector, budget_seconds=None, run=run)


def test_a_source_in_memory_is_synced_previewed_and_audited(
    services: Services, store: MemoryStore, memory: Connector
) -> None:
    for name in ANIMALS:
        store.put(f"{name}.txt", f"A text about {name}.".encode())
    preview = preview_sync(services, memory, max_pages=10)
    assert preview.changes[Change.ADD].objects == 2
    assert scan_connector(services, memory, budget_seconds=None).completed
    drain(services, memory)
    assert found(services, "penguins") == {f"memory://documents/{name}.txt" for name in ANIMALS}
    store.delete("whales.txt")
    scan_connector(services, memory, budget_seconds=None)
    assert states(services, memory)["whales.txt"] == ("deleted", None)
    report = audit_connector(services, memory)
    assert report.clean, report.differences


def test_a_store_that_walks_folders_is_synced_by_itself_once_a_run_sorts_its_listing(
    services: Services, store: MemoryStore, memory: Connector
) -> None:
    store.order = lambda _: FOLDERS
    for key in FOLDERS:
        store.put(key, f"The text of {key}.".encode())
    tick = scan_connector(services, memory, budget_seconds=20)
    assert (tick.completed, tick.left_to_run) == (False, True)
    result = scan_in_run(services, services.connector(memory.id))
    assert (result.completed, result.counts.added) == (True, 2)
    drain(services, memory)
    assert states(services, memory) == dict.fromkeys(FOLDERS, ("indexed", None))


def test_a_preview_before_the_first_sync_sorts_the_listing_itself(
    services: Services, store: MemoryStore, memory: Connector
) -> None:
    store.order = lambda _: FOLDERS
    for key in FOLDERS:
        store.put(key, b"text")
    preview = preview_sync(services, memory, max_pages=10)
    assert (preview.complete, preview.changes[Change.ADD].objects) == (True, 2)
    assert services.connector(memory.id).lists_in_order, "a preview writes nothing"


def test_a_listing_that_has_to_be_sorted_gets_its_run_without_a_wait(
    services: Services, store: MemoryStore, memory: Connector
) -> None:
    store.order = lambda _: FOLDERS
    for key in FOLDERS:
        store.put(key, b"text")
    scan_connector(services, memory, budget_seconds=20)

    def scans_asked_for() -> list[Trigger | None]:
        works = in_transaction(
            services,
            services.ledger.work,
            max_objects=1000,
            cap=1,
            scan_idle_seconds=3600,
            lost_after_seconds=3600,
        )
        return [work.scan for work in works]

    assert scans_asked_for() == [Trigger.SCAN]
    scan_in_run(services, services.connector(memory.id))
    assert Trigger.SCAN not in scans_asked_for()


def test_a_sorted_listing_is_not_given_up_half_way_when_others_wait(
    services: Services, store: MemoryStore, memory: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.ledger, "is_asked_for", lambda *_: False)
    monkeypatch.setattr(services.ledger, "must_yield", lambda *_: True)
    # More than one page, sorted or not.
    for number in range(1001):
        store.put(f"{number:04}.png", b"x")
    assert not scan_in_run(services, memory).completed
    store.order = shuffled
    scan_connector(services, memory, budget_seconds=20)
    connector = services.connector(memory.id)
    assert not connector.lists_in_order
    assert scan_in_run(services, connector).completed


def test_no_order_of_a_listing_loses_or_deletes_an_object(
    services: Services, store: MemoryStore, memory: Connector
) -> None:
    keys = {f"{letter}{number % 9}-{number}.png" for letter in "ab/é" for number in range(25)}
    for key in keys:
        store.put(key, b"x")
    store.order = shuffled
    for _ in range(4):
        connector = services.connector(memory.id)
        result = scan_in_run(services, connector)
        assert (result.completed, result.held_back, result.counts.deleted) == (True, 0, 0)
        assert states(services, connector).keys() == keys
    gone = {"a0-0.png", "é0-0.png"}
    for key in gone:
        store.delete(key)
    assert scan_in_run(services, services.connector(memory.id)).counts.deleted == 2


def test_a_listing_that_turned_out_unordered_half_way_marks_nothing_as_missing(
    services: Services, store: MemoryStore, memory: Connector
) -> None:
    keys = [f"{number:02}.png" for number in range(30)]
    for key in keys:
        store.put(key, b"x")
    scan_connector(services, memory, budget_seconds=None)
    # Two pages in order, of which the second leaves a gap, and then what lay in the gap.
    store.order = lambda _: keys[:7] + keys[20:27] + keys[7:20] + keys[27:]
    scan_connector(services, memory, budget_seconds=None)
    result = scan_in_run(services, services.connector(memory.id))
    assert (result.completed, result.counts.deleted, result.held_back) == (True, 0, 0)
    assert {state for state, _ in states(services, memory).values()} == {"skipped"}


def test_a_listing_in_parts_that_hides_its_disorder_deletes_nothing_that_is_there(
    services: Services, store: MemoryStore, memory: Connector
) -> None:
    store.page_size = 1
    for key in FOLDERS:
        store.put(key, f"The text of {key}.".encode())
    scan_connector(services, memory, budget_seconds=None)
    drain(services, memory)
    # The same store now walks folders: the first tick sees the one key, and what comes
    # after it in the order of bytes is nothing.
    store.order = lambda _: FOLDERS
    tick = scan_connector(services, services.connector(memory.id), budget_seconds=0)
    assert (tick.completed, tick.counts.listed) == (False, 1)
    following = scan_connector(services, services.connector(memory.id), budget_seconds=20)
    assert (following.completed, following.left_to_run) == (False, True)
    assert states(services, memory) == dict.fromkeys(FOLDERS, ("indexed", None))
    assert scan_in_run(services, services.connector(memory.id)).counts.deleted == 0


def test_a_full_disk_is_an_error_of_the_source(
    services: Services, store: MemoryStore, memory: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a.txt", b"text")

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("activekg_pipelines.sources.ordered._add", full)
    ordered = Ordered(services.source(memory))
    with pytest.raises(SourceUnavailable, match="disk is full") as refused:
        next(ordered.pages())
    assert "TMPDIR" in refused.value.fix


def test_another_source_is_given_the_benefit_of_the_doubt(
    services: Services, store: MemoryStore, memory: Connector
) -> None:
    from activekg_pipelines.sources.config import patch_of

    for key in FOLDERS:
        store.put(key, b"text")
    store.order = lambda _: FOLDERS
    scan_connector(services, memory, budget_seconds=20)
    assert not services.connector(memory.id).lists_in_order
    with services.database.transaction() as conn:
        patch = patch_of(MemoryConfig)
        same = services.connectors.update(
            conn, memory.id, patch.model_validate({"poll_interval_seconds": 60})
        )
        assert not same.lists_in_order
        moved = services.connectors.update(conn, memory.id, patch.model_validate({"prefix": "r"}))
        assert moved.lists_in_order


SORTING = """
import json, re, sys
from datetime import UTC, datetime
from activekg_pipelines.sources.memory import MemorySource, MemoryStore
from activekg_pipelines.sources.ordered import Ordered
from activekg_pipelines.sources.source import Entry, Location, Page

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)

class Backwards(MemorySource):
    def listing(self, after="", *, deadline=None):
        for begin in range(count, 0, -1000):
            numbers = range(begin, max(begin - 1000, 0), -1)
            yield Page([entry(number) for number in numbers], is_last=begin <= 1000)

def entry(number):
    scattered = number * 2654435761 % 2**32
    return Entry(f"documents/{scattered:010}/{number}.txt", f"{number:032x}", number, MOMENT)

count = int(sys.argv[1])
source = Ordered(Backwards(MemoryStore(), Location("memory", "documents")))
last, seen = "", 0
for page in source.pages():
    for one in page.entries:
        assert one.key.encode() > last.encode()
        last = one.key
        seen += 1
# Of this process alone: the usual counter remembers the one that it was forked from.
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
print(json.dumps({"seen": seen, "peak_kib": int(peak[1])}))
"""


def test_a_listing_is_sorted_in_memory_that_does_not_grow_with_it() -> None:
    def sort(count: int) -> dict[str, int]:
        done = subprocess.run(
            [sys.executable, "-c", SORTING, str(count)],
            capture_output=True,
            text=True,
            check=True,
        )
        measured: dict[str, int] = json.loads(done.stdout)
        return measured

    few, many = sort(20_000), sort(200_000)
    assert (few["seen"], many["seen"]) == (20_000, 200_000)
    assert many["peak_kib"] < few["peak_kib"] + 20 * 1024
    assert many["peak_kib"] < 200 * 1024
