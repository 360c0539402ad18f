"""What a customer lives to see, the same whatever place his documents lie in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import SourceUnavailable
from activekg_pipelines.pipeline.preview import Change, preview_sync
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from tests.fault_proxy import LIST, FaultProxy, fault_proxy, status, truncate
from tests.integration.sources.test_contract import ODD_KEYS
from tests.integration.syncing import (
    chunk_nodes,
    documents,
    drain,
    found,
    make_retries_due,
    outcomes,
    query,
    scan,
    states,
    sync,
)
from tests.places import GcsPlace, Place
from tests.registry import confirm_deletions

over_http = pytest.mark.parametrize("place", ["s3", "gcs"], indirect=True)
google_only = pytest.mark.parametrize("place", ["gcs"], indirect=True)


@pytest.fixture
def connector(services: Services, place: Place) -> Connector:
    """A connector for the place."""
    return place.register(services)


@pytest.fixture
def proxy(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The place's endpoint, which fails on demand. Clients try as often as ever, but
    without their pauses.
    """
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    monkeypatch.setattr(
        "google.api_core.retry.retry_unary.exponential_sleep_generator",
        lambda *_, **__: iter(lambda: 0.0, None),
    )
    with fault_proxy(place.endpoint_url) as opened:
        yield opened


@pytest.fixture
def via_proxy(proxy: FaultProxy, services: Services, place: Place) -> Connector:
    """A connector whose every request passes the proxy."""
    return place.register(services, endpoint_url=proxy.url)


def rows(services: Services) -> list[tuple[object, ...]]:
    return query(services, "SELECT xmin::text, key FROM connectors.objects ORDER BY key")


def test_a_document_becomes_searchable_under_its_uri(
    services: Services, place: Place, connector: Connector
) -> None:
    place.put("docs/penguins.md", "# Penguins\n\nPenguins live at the coast of Antarctica.")
    counts = sync(services, connector)
    assert (counts.extracted, counts.indexed, counts.failed) == (1, 1, 0)
    assert found(services, "Where do penguins live?") == {place.uri("docs/penguins.md")}
    ((properties, etag),) = query(
        services,
        "SELECT n.props, o.etag FROM nodes n, connectors.objects o WHERE 'Document' = "
        "ANY(n.classes)",
    )
    assert properties["etag"] == etag  # type: ignore[call-overload]
    external_id = f"{place.scheme}:acme_corp:{place.name}/docs/penguins.md"
    assert properties["external_id"] == external_id  # type: ignore[call-overload]


def test_what_did_not_change_costs_no_download_and_rewrites_no_row(
    services: Services, place: Place, connector: Connector
) -> None:
    for number in range(5):
        place.put(f"{number}.txt", f"This is document number {number}.")
    sync(services, connector)
    before = rows(services)
    result = scan(services, connector)
    assert (result.counts.listed, result.counts.added, result.counts.changed) == (5, 0, 0)
    assert drain(services, connector).bytes_fetched == 0
    assert rows(services) == before


def test_changes_renames_and_deletions_are_followed(
    services: Services, place: Place, connector: Connector
) -> None:
    place.put("keep.txt", "Penguins live in Antarctica.")
    place.put("change.txt", "Whales live in the sea.")
    place.put("rename.txt", "Owls live in the forest.")
    place.put("drop.txt", "Polar bears live in the Arctic.")
    sync(services, connector)
    kept = chunk_nodes(services)["Penguins live in Antarctica."]

    place.put("change.txt", "Dolphins live in the sea.")
    place.put("renamed.txt", "Owls live in the forest.")
    place.delete("rename.txt", "drop.txt")
    result = scan(services, connector)
    assert (result.counts.added, result.counts.changed, result.counts.deleted) == (1, 1, 2)
    counts = drain(services, connector)
    assert (counts.indexed, counts.embeddings_computed) == (2, 1)
    assert documents(services) == {
        place.uri(key) for key in ("keep.txt", "change.txt", "renamed.txt")
    }
    chunks = chunk_nodes(services)
    assert chunks["Penguins live in Antarctica."] == kept
    assert "Dolphins live in the sea." in chunks
    assert "Whales live in the sea." not in chunks
    assert states(services, connector)["drop.txt"] == ("deleted", None)


@google_only
def test_the_same_bytes_under_a_new_generation_update_metadata_only(
    services: Services, place: GcsPlace, connector: Connector
) -> None:
    place.put("note.txt", "The pump runs at 40 bar.")
    sync(services, connector)
    nodes = chunk_nodes(services)
    generation = place.upload("note.txt", "The pump runs at 40 bar.")
    counts = sync(services, connector)
    assert (counts.unchanged, counts.indexed, counts.embeddings_computed) == (1, 0, 0)
    assert chunk_nodes(services) == nodes
    assert query(
        services, "SELECT props ->> 'etag' FROM nodes WHERE 'Document' = ANY(classes)"
    ) == [(generation,)]


def test_odd_keys_are_documents_like_others(
    services: Services, place: Place, connector: Connector
) -> None:
    keys = [key if key.endswith((".txt", "/")) else f"{key}.txt" for key in ODD_KEYS[:-1]]
    for key in keys:
        place.put(key, "" if key.endswith("/") else f"The key of this one is {key!r}.")
    sync(services, connector)
    readable = [key for key in keys if not key.endswith("/")]
    assert documents(services) == {place.uri(key) for key in readable}
    assert states(services, connector)["folder/"][0] == "skipped"
    assert audit_connector(services, connector).clean
    place.delete(*keys[:3])
    assert scan(services, connector).counts.deleted == 3


def test_fifteen_hundred_objects_list_over_pages_and_calls(
    services: Services, place: Place, connector: Connector
) -> None:
    place.put_many({f"data/{number:05}.png": "x" for number in range(1500)})
    calls = 1
    while not scan_connector(services, connector, budget_seconds=0.0001).completed:
        calls += 1
    assert calls == 2
    assert len(states(services, connector)) == 1500
    assert query(services, "SELECT status, pages, listed, missing FROM connectors.scans") == [
        ("completed", 2, 1500, 0)
    ]


def test_what_cannot_be_read_becomes_a_dead_letter_and_nothing_else(
    services: Services, place: Place, connector: Connector
) -> None:
    place.put("good.txt", "Penguins live in Antarctica.")
    place.put("corrupt.pdf", b"%PDF-1.7\nNothing of a PDF follows.")
    place.put("photo.jpg", b"\xff\xd8\xff\xe0")
    place.put("empty.txt", "")
    counts = sync(services, connector)
    assert (counts.indexed, counts.dead, counts.failed) == (1, 1, 0)
    assert states(services, connector) == {
        "good.txt": ("indexed", None),
        "corrupt.pdf": ("dead", "corrupt"),
        "photo.jpg": ("skipped", "unsupported_type"),
        "empty.txt": ("skipped", "empty"),
    }
    place.put("corrupt.pdf", b"%PDF-1.7\nIt is another one, and no better.")
    assert sync(services, connector).dead == 1


def test_many_deletions_at_once_wait_for_confirmation(
    services: Services, place: Place, connector: Connector
) -> None:
    keys = [f"{number:02}.txt" for number in range(24)]
    place.put_many({key: f"Document {key} is about penguins." for key in keys})
    sync(services, connector)
    place.delete(*keys[:13])
    result = scan(services, connector)
    assert (result.held_back, result.counts.deleted) == (13, 0)
    assert len(documents(services)) == 24
    assert confirm_deletions(services, connector.id) == 13
    assert scan(services, connector).counts.deleted == 13
    assert documents(services) == {place.uri(key) for key in keys[13:]}


def test_a_preview_says_what_the_next_sync_does(
    services: Services, place: Place, connector: Connector
) -> None:
    for key in ("a.txt", "b.txt", "c.txt"):
        place.put(key, f"The document {key}.")
    sync(services, connector)
    before = rows(services)
    place.put("new.txt", "A new document.")
    place.put("b.txt", "The document b.txt has changed.")
    place.delete("c.txt")
    preview = preview_sync(services, connector, max_pages=10)
    counted = {change: sample.objects for change, sample in preview.changes.items()}
    assert counted[Change.ADD] == counted[Change.UPDATE] == counted[Change.DELETE] == 1
    assert rows(services) == before
    result = scan(services, connector)
    assert (result.counts.added, result.counts.changed, result.counts.deleted) == (1, 1, 1)


def test_an_audit_is_clean_after_a_sync_and_names_what_is_missing(
    services: Services, place: Place, connector: Connector
) -> None:
    for key in ("a.txt", "b.txt"):
        place.put(key, f"The document {key}.")
    sync(services, connector)
    report = audit_connector(services, connector, vectors=2)
    assert report.clean, report.differences
    assert report.listed == 2
    query(services, "DELETE FROM nodes WHERE props ->> 'uri' = %s", place.uri("a.txt"))
    assert not audit_connector(services, connector).clean


def test_two_tenants_with_the_same_key_in_the_same_place_stay_apart(
    services: Services, place: Place
) -> None:
    place.put("plan.txt", "The plan is to build a bridge.")
    for tenant in ("tenant_a", "tenant_b"):
        assert found(services, "bridge", tenant_id=tenant) == set()
        sync(services, place.register(services, tenant))
        assert found(services, "bridge", tenant_id=tenant) == {place.uri("plan.txt")}
    one, other = (chunk_nodes(services, tenant) for tenant in ("tenant_a", "tenant_b"))
    assert not set(one.values()) & set(other.values())


@over_http
def test_a_poll_is_one_listing_for_each_page_and_no_download(
    services: Services, place: Place, via_proxy: Connector, proxy: FaultProxy
) -> None:
    place.put_many({f"{number:04}.png": "x" for number in range(1001)})
    place.put("a.txt", "The only document.")
    sync(services, via_proxy)
    assert proxy.count("GET", "a.txt") == 1
    proxy.requests.clear()
    sync(services, via_proxy)
    assert [request.operation for request in proxy.requests] == [LIST, LIST]


@over_http
def test_one_key_is_looked_for_in_one_page_where_keys_come_in_order(
    services: Services, place: Place, via_proxy: Connector, proxy: FaultProxy
) -> None:
    place.put_many({f"a0{number:04}.txt": "x" for number in range(2001)})
    place.put("a", "The one.")
    source = services.source(via_proxy)
    found = source.find("a")
    assert found is not None
    assert found.key == "a"
    assert source.find("a0") is None
    assert [request.operation for request in proxy.requests] == [LIST, LIST]
    proxy.requests.clear()
    # Out of order it may stand behind all that begin with it.
    assert source.find("a0", in_order=False) is None
    assert [request.operation for request in proxy.requests] == [LIST] * 3


@over_http
def test_a_listing_that_fails_half_way_deletes_nothing_and_goes_on(
    services: Services, place: Place, via_proxy: Connector, proxy: FaultProxy
) -> None:
    place.put_many({f"{number:04}.png": "x" for number in range(1001)})
    place.put("z.txt", "The last document.")
    sync(services, via_proxy)
    for fault in (status(503, "SlowDown"), truncate(300)):
        proxy.inject(LIST, None, fault, skip=1)
        with pytest.raises(SourceUnavailable):
            scan(services, via_proxy)
        assert documents(services) == {place.uri("z.txt")}
        proxy.heal()
        assert scan(services, via_proxy).completed
    assert documents(services) == {place.uri("z.txt")}


@over_http
def test_a_download_that_fails_is_tried_again(
    services: Services, place: Place, via_proxy: Connector, proxy: FaultProxy
) -> None:
    place.put("a b.txt", "A document about penguins. " * 50)
    proxy.inject("GET", "a b.txt", truncate(100))
    sync(services, via_proxy)
    state, code, message, attempts = outcomes(services, via_proxy)["a b.txt"]
    assert (state, code, attempts) == ("failed", "fetch_failed", 1)
    assert place.uri("a b.txt") in (message or "")
    proxy.heal()
    make_retries_due(services)
    assert drain(services, via_proxy).indexed == 1
