"""What counts as a change, with stores whose ETags are not those of AWS."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.audit.differences import Difference
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.ledger.conditions import OBJECT_CONDITIONS
from activekg_pipelines.ledger.planner import is_changed
from activekg_pipelines.ledger.states import KnownVersion, Mode, ScanCounts
from activekg_pipelines.pipeline.preview import Change, preview_sync
from activekg_pipelines.services import Services
from tests.fault_proxy import LIST, Answer, FaultProxy, status
from tests.integration.syncing import drain, query, scan, sync, texts
from tests.registry import change
from tests.s3_bucket import Bucket, S3ConfigPatch

CONSTANT = "00000000000000000000000000000000-1"


class Store:
    """What the store behind the proxy says of its objects.

    Attributes:
        listed: what stands in the place of each ETag element of a listing; None for what
            the store lists by itself.
        answered: the ETag header of a download; None for the store's own.
        written: time of change of all objects; None for the store's own.
        refuses_lists: whether a policy denies them.
    """

    def __init__(self, proxy: FaultProxy) -> None:
        self.listed: str | None = None
        self.answered: str | None = None
        self.written: datetime | None = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.refuses_lists = False
        proxy.inject(LIST, None, self.change_listing)
        for key in ("a.txt", "b.txt"):
            proxy.inject("GET", key, self.change_answer)

    def change_listing(self, answer: Answer) -> Answer:
        if self.refuses_lists:
            return status(403, "AccessDenied")(answer)
        body = answer.body.decode()
        if self.listed is not None:
            body = re.sub(r"<ETag>.*?</ETag>", self.listed, body)
        if self.written is not None:
            said = f"<LastModified>{self.written:%Y-%m-%dT%H:%M:%S}.789Z<"
            body = re.sub(r"<LastModified>[^<]*<", said, body)
        answer.body = body.encode()
        answer.declared = len(answer.body)
        return answer

    def change_answer(self, answer: Answer) -> Answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if self.answered is not None:
            headers["etag"] = self.answered
        if self.written is not None:
            headers["last-modified"] = f"{self.written:%a, %d %b %Y %H:%M:%S GMT}"
        answer.headers = headers
        return answer

    def rewrite_at(self, seconds: int) -> None:
        """Let the objects be written this much later."""
        assert self.written is not None
        self.written += timedelta(seconds=seconds)


@pytest.fixture
def store(proxy: FaultProxy) -> Store:
    return Store(proxy)


def tag(etag: str) -> str:
    return f"<ETag>&quot;{etag}&quot;</ETag>"


def trusts(services: Services, connector: Connector) -> bool:
    return services.connector(connector.id).trusts_etags


@pytest.mark.parametrize(
    ("listed", "answered"),
    [
        (tag("inode-7"), None),
        (None, '"inode-7"'),
        (tag("9e107d9d372bb6826bd81d3542a419d6"), None),
        ("<ETag>W/&quot;weak&quot;</ETag>", '"weak"'),
        (tag("weak"), 'W/"weak"'),
        ("<ETag></ETag>", None),
        ("", '"something"'),
        ("<ETag>&quot;&quot;</ETag>", ""),
        (tag(CONSTANT), f'"{CONSTANT}"'),
    ],
)
def test_an_unchanged_object_is_not_read_again_whatever_the_store_calls_it(
    proxied: Services,
    via_proxy: Connector,
    bucket: Bucket,
    proxy: FaultProxy,
    store: Store,
    listed: str | None,
    answered: str | None,
) -> None:
    store.listed, store.answered = listed, answered
    bucket.put("a.txt", "Penguins live in Antarctica.")
    assert sync(proxied, via_proxy).indexed == 1
    downloads, lists = proxy.count("GET"), proxy.count(LIST)

    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)
    assert (proxy.count("GET"), proxy.count("HEAD"), proxy.count(LIST)) == (downloads, 0, lists + 1)
    assert audit_connector(proxied, via_proxy).clean
    assert preview_sync(proxied, via_proxy, max_pages=1).changes[Change.UNCHANGED].objects == 1

    store.rewrite_at(60)
    bucket.put("a.txt", "Penguins live at the coast of Antarctica, in colonies.")
    assert scan(proxied, via_proxy).counts.changed == 1
    assert drain(proxied, via_proxy).indexed == 1
    assert texts(proxied) == {"a.txt": "Penguins live at the coast of Antarctica, in colonies."}
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)


def test_a_store_whose_tokens_differ_is_not_asked_about_each_object(
    configured: Callable[..., Services], bucket: Bucket, proxy: FaultProxy, store: Store
) -> None:
    services = configured(activekg_download_threads=1)
    connector = bucket.register(services, endpoint_url=proxy.url)
    store.listed = tag("inode-7")
    keys = [f"{number:02}.txt" for number in range(20)]
    bucket.put_many(dict.fromkeys(keys, "Penguins live in Antarctica."))
    for key in keys:
        proxy.inject("GET", key, store.change_answer)
    assert sync(services, connector).indexed == 20
    assert proxy.count(LIST) == 1 + 3
    assert scan(services, connector).counts == ScanCounts(listed=20)


@pytest.mark.parametrize("is_overwritten", [False, True])
def test_a_listing_of_one_object_that_is_refused_ends_no_run(
    proxied: Services,
    via_proxy: Connector,
    bucket: Bucket,
    store: Store,
    is_overwritten: bool,
) -> None:
    if not is_overwritten:
        store.listed = tag("inode-7")
    bucket.put("a.txt", "Penguins live in Antarctica.")
    bucket.put("b.txt", "Owls live in the forest.")
    scan(proxied, via_proxy)
    if is_overwritten:
        store.rewrite_at(60)
        bucket.put("a.txt", "Penguins live at the coast of Antarctica.")
    # A policy with StringEquals of s3:prefix allows no other prefix.
    store.refuses_lists = True
    assert drain(proxied, via_proxy).indexed == 2
    store.refuses_lists = False
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=2)


def test_the_document_carries_the_listed_etag(
    proxied: Services, via_proxy: Connector, bucket: Bucket, store: Store
) -> None:
    store.listed = "<ETag>W/&quot;inode-7&quot;</ETag>"
    arrived = bucket.put("a.txt", "Penguins live in Antarctica.")
    sync(proxied, via_proxy)
    assert query(
        proxied,
        "SELECT o.etag, o.arrived_etag, o.indexed_etag, n.props ->> 'etag'"
        " FROM connectors.objects o, nodes n WHERE n.id = o.document_id",
    ) == [("inode-7", arrived, "inode-7", "inode-7")]


def test_what_was_overwritten_between_listing_and_download_is_read_once(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    first = bucket.put("a.txt", "penguin")
    scan(proxied, via_proxy)
    second = bucket.put("a.txt", "walruse")
    drain(proxied, via_proxy)
    rows = "SELECT etag, arrived_etag, indexed_etag FROM connectors.objects"
    assert query(proxied, rows) == [(second, None, second)]
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)
    assert bucket.put("a.txt", "penguin") == first
    assert scan(proxied, via_proxy).counts.changed == 1
    drain(proxied, via_proxy)
    assert texts(proxied) == {"a.txt": "penguin"}


@pytest.mark.parametrize("others", [{}, {"b.txt": "A text about walruses, which is longer."}])
def test_a_constant_etag_hides_no_change(
    proxied: Services,
    via_proxy: Connector,
    bucket: Bucket,
    proxy: FaultProxy,
    store: Store,
    others: dict[str, str],
) -> None:
    store.listed, store.answered = tag(CONSTANT), f'"{CONSTANT}"'
    for key, text in ({"a.txt": "penguin"} | others).items():
        bucket.put(key, text)
    sync(proxied, via_proxy)
    assert trusts(proxied, via_proxy) == (not others), "two sizes under one ETag are a proof"

    bucket.put("a.txt", "walruse")
    store.rewrite_at(60)
    assert not audit_connector(proxied, via_proxy).clean
    assert preview_sync(proxied, via_proxy, max_pages=1).changes[Change.UPDATE].objects >= 1
    assert scan(proxied, via_proxy).counts.changed == 1 + len(others)
    counts = drain(proxied, via_proxy)
    assert (counts.indexed, counts.unchanged) == (1, len(others))
    assert texts(proxied)["a.txt"] == "walruse"
    assert not trusts(proxied, via_proxy)
    assert audit_connector(proxied, via_proxy).clean
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1 + len(others))


def test_a_new_time_over_a_doubtful_etag_costs_one_download(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy, store: Store
) -> None:
    store.listed, store.answered = tag(CONSTANT), f'"{CONSTANT}"'
    bucket.put("a.txt", "penguin")
    sync(proxied, via_proxy)
    store.rewrite_at(60)
    counts = sync(proxied, via_proxy)
    assert (counts.unchanged, counts.indexed) == (1, 0)
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)
    assert trusts(proxied, via_proxy), "the same bytes prove nothing"


def test_the_same_etag_with_another_size_is_a_change_and_a_proof(
    proxied: Services, via_proxy: Connector, bucket: Bucket, store: Store
) -> None:
    etag = bucket.put("a.txt", "penguin")
    store.listed, store.answered = tag(etag), f'"{etag}"'
    sync(proxied, via_proxy)
    store.rewrite_at(60)
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1), (
        "the ETag is the digest of the bytes"
    )
    bucket.put("a.txt", "penguins")
    assert preview_sync(proxied, via_proxy, max_pages=1).changes[Change.UPDATE].objects == 1
    assert audit_connector(proxied, via_proxy).differences.keys() == {Difference.ETAG_DIFFERS}
    assert scan(proxied, via_proxy).counts.changed == 1
    assert drain(proxied, via_proxy).indexed == 1
    assert not trusts(proxied, via_proxy)

    bucket.put("a.txt", "walruses")
    store.rewrite_at(60)
    assert scan(proxied, via_proxy).counts.changed == 1
    drain(proxied, via_proxy)
    assert texts(proxied) == {"a.txt": "walruses"}


def test_other_bytes_under_an_etag_that_was_read_before_are_a_proof(
    proxied: Services, via_proxy: Connector, bucket: Bucket, store: Store
) -> None:
    etag = bucket.put("a.txt", "penguin")
    store.listed, store.answered = tag(etag), f'"{etag}"'
    sync(proxied, via_proxy)
    drain(proxied, via_proxy, Mode.ALL)
    assert trusts(proxied, via_proxy), "the same bytes again are none"

    # A gateway that keeps the ETag of the upload while the file is written past it.
    bucket.put("a.txt", "walruse")
    drain(proxied, via_proxy, Mode.ALL)
    assert texts(proxied) == {"a.txt": "walruse"}
    assert not trusts(proxied, via_proxy)

    bucket.put("a.txt", "seagull")
    store.rewrite_at(60)
    assert scan(proxied, via_proxy).counts.changed == 1


@pytest.mark.parametrize("mode", [Mode.CHANGED, Mode.ALL])
def test_what_another_version_made_of_the_same_bytes_is_no_proof(
    services: Services, connector: Connector, bucket: Bucket, mode: Mode
) -> None:
    packed = gzip.compress(b"Penguins live in Antarctica.")
    bucket.client.put_object(Bucket=bucket.name, Key="a.txt", Body=packed, ContentEncoding="gzip")
    sync(services, connector)
    # An older version kept the digest of what was sent, and not of what it unpacked to.
    query(
        services,
        "UPDATE connectors.texts SET content_hash = %s, extractor_version = 'older' RETURNING 1",
        hashlib.sha256(packed).digest(),
    )
    query(services, "UPDATE connectors.connectors SET versions = 'older 1 1' RETURNING 1")
    if mode is Mode.CHANGED:
        scan(services, connector)
    assert drain(services, connector, mode).indexed == 1
    assert trusts(services, connector)
    assert drain(services, connector, mode).errors == {}
    assert trusts(services, connector)


def test_another_source_is_trusted_again(
    proxied: Services, via_proxy: Connector, bucket: Bucket
) -> None:
    with proxied.database.transaction() as conn:
        assert proxied.connectors.distrust_etags(conn, via_proxy.id)
        assert not proxied.connectors.distrust_etags(conn, via_proxy.id)
    change(proxied, via_proxy.id, S3ConfigPatch(poll_interval_seconds=600))
    assert not trusts(proxied, via_proxy)
    change(proxied, via_proxy.id, S3ConfigPatch(prefix="b/"))
    assert trusts(proxied, via_proxy)


def test_what_was_read_before_the_upgrade_is_not_due_again(
    proxied: Services, via_proxy: Connector, bucket: Bucket, store: Store
) -> None:
    store.listed, store.answered = tag("inode-7"), '"inode-7"'
    bucket.put("a.txt", "penguin")
    sync(proxied, via_proxy)
    query(
        proxied,
        "UPDATE connectors.objects SET arrived_etag = NULL, etag_is_digest = NULL RETURNING id",
    )
    store.rewrite_at(1)
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)


def test_old_texts_under_a_constant_etag_are_found_after_the_upgrade(
    proxied: Services, via_proxy: Connector, bucket: Bucket, store: Store
) -> None:
    store.listed, store.answered = tag(CONSTANT), f'"{CONSTANT}"'
    bucket.put("a.txt", "penguin")
    bucket.put("b.txt", "A text about owls.")
    sync(proxied, via_proxy)
    query(
        proxied,
        "UPDATE connectors.objects SET arrived_etag = NULL, etag_is_digest = NULL RETURNING id",
    )
    query(proxied, "UPDATE connectors.connectors SET trusts_etags = true RETURNING id")
    bucket.put("a.txt", "walruse")
    store.rewrite_at(60)
    assert not audit_connector(proxied, via_proxy).clean
    assert sync(proxied, via_proxy).indexed == 1
    assert texts(proxied)["a.txt"] == "walruse"


def test_the_statements_decide_as_the_planner_does(services: Services, tmp_path: Path) -> None:
    then = datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)
    tmp_path.joinpath("compare.sql").write_text(
        "-- name: compare\n"
        "SELECT {is_changed} FROM (SELECT %(etag)s::text AS etag, %(size)s::bigint AS size,"
        " %(modified_at)s::timestamptz AS modified_at, %(arrived_etag)s::text AS arrived_etag,"
        " %(etag_is_digest)s::bool AS etag_is_digest) o, (SELECT 'a'::text AS etag,"
        " 5::bigint AS size, %(now)s::timestamptz AS modified_at) l"
    )
    statement = load_queries(tmp_path / "compare.sql", OBJECT_CONDITIONS)["compare"]
    both = []
    with services.database.transaction() as conn:
        for etag, size, later, arrived, digest, distrusted in itertools.product(
            ("a", "b"),
            (5, 6),
            (timedelta(0), timedelta(milliseconds=500), timedelta(seconds=1)),
            (None, "a", "b", "c"),
            (None, True, False),
            (True, False),
        ):
            known = KnownVersion(etag, size, then, arrived, digest)
            row = conn.execute(
                statement,
                {
                    **{name: getattr(known, name) for name in KnownVersion.__slots__},
                    "now": then + later,
                    "distrusted": distrusted,
                },
            ).fetchone()
            decided = is_changed(known, "a", 5, then + later, distrusted=distrusted)
            assert row == (decided,), (known, later, distrusted)
            both.append(decided)
    assert set(both) == {True, False}


def test_an_object_with_bytes_whose_key_ends_like_a_folder_is_tried_again(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    bucket.put("letters/", "\x00\x01\x02" * 500)
    assert sync(services, connector).skipped == 1
    counts = drain(services, connector, Mode.ALL)
    assert (counts.again, counts.skipped) == (1, 1)
