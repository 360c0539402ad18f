"""One scenario against every store that can be had: moto's server, SeaweedFS and rclone.

An oracle reads bucket and graph by ways of its own and compares them.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.ledger.run_counts import RunCounts
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.pipeline.sync import extract_and_index
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings, load_settings
from activekg_pipelines.sources.probe import probe
from activekg_pipelines.sources.s3 import open_s3
from activekg_pipelines.sources.s3.config import S3Config
from tests.fault_proxy import LIST, FaultProxy, fault_proxy
from tests.integration.endpoint_server import Resolver, resolver
from tests.integration.syncing import (
    chunk_nodes,
    documents,
    in_transaction,
    start_run,
    states,
    texts,
)
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket
from tests.systems import rclone

__all__ = ["resolver"]

ODD = (
    " leading space.txt",
    "%41.txt",
    "Z.txt",
    "a&b<c>'d\".txt",
    "a+b/ x .txt",
    "emoji 🐧.txt",
    "ü/größe.txt",
    "u\u0308 in two.txt",
    "x.txt",
    "x/y.txt",
    "x-y.txt",
    "reports/a.txt",
    "reports-2024.txt",
    "~tilde!(1)*.txt",
)
_numbers = itertools.count()


@pytest.fixture(scope="session")
def rclone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where rclone's buckets lie."""
    return tmp_path_factory.mktemp("rclone")


@pytest.fixture(scope="session")
def rclone_endpoint(rclone_folder: Path) -> Iterator[str]:
    """Address of rclone's server."""
    with rclone.running(rclone_folder, keys=(ACCESS_KEY_ID, SECRET_ACCESS_KEY)) as endpoint:
        yield endpoint


@pytest.fixture(params=["s3_endpoint", "weed_endpoint", "rclone_endpoint"])
def proxy(request: pytest.FixtureRequest) -> Iterator[FaultProxy]:
    """A store, behind a proxy that counts its requests."""
    with fault_proxy(request.getfixturevalue(request.param)) as opened:
        yield opened


@pytest.fixture
def bucket(proxy: FaultProxy) -> Bucket:
    """A new, empty bucket."""
    return Bucket.create(proxy.url, f"scenario-{next(_numbers)}")


@pytest.fixture
def app_settings(app_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with which connectors may read from every store of this machine."""
    monkeypatch.setenv("ACTIVEKG_ENDPOINT_ALLOWLIST", "127.0.0.1")
    return load_settings()


def put_all(bucket: Bucket, objects: Mapping[str, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: bucket.put(*item), objects.items()))


def held(bucket: Bucket) -> dict[str, str]:
    """What the bucket holds, as its owner reads it."""
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def read(key: str) -> str:
        return bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read().decode()

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(keys, pool.map(read, keys), strict=True))


def check(services: Services, bucket: Bucket, connector: Connector) -> None:
    """Compare the bucket with ledger, texts and graph."""
    objects = held(bucket)
    assert documents(services) == {f"s3://{bucket.name}/{key}" for key in objects}
    # Keys are kept byte for byte, and texts are composed.
    composed = {key: unicodedata.normalize("NFC", text) for key, text in objects.items()}
    assert texts(services) == composed
    assert set(chunk_nodes(services)) == set(composed.values())
    known = states(services, connector)
    assert {key for key, (state, _) in known.items() if state != "deleted"} == set(objects)
    report = audit_connector(services, services.connector(connector.id))
    assert report.clean, report.differences


def synced(services: Services, connector: Connector) -> RunCounts:
    """What one run does and counts, of the connector as it is now."""
    now = services.connector(connector.id)
    run = start_run(services, now)
    scan_connector(services, now, budget_seconds=None, run=run)
    extract_and_index(services, now, run, max_objects=1000, budget_seconds=600)
    in_transaction(services, services.ledger.finish_run, run, succeeded=True)
    return in_transaction(services, services.ledger.run_counts, run)


def test_sync_no_change_change_delete_rename_and_odd_keys(
    services: Services, bucket: Bucket, proxy: FaultProxy
) -> None:
    connector = bucket.register(services)
    put_all(bucket, {key: f"The text of {key}." for key in ODD})
    counts = synced(services, connector)
    assert (counts.indexed, counts.failed, counts.dead) == (len(ODD), 0, 0)
    check(services, bucket, connector)
    for key in ODD:
        assert states(services, connector)[key] == ("indexed", None)

    proxy.requests.clear()
    counts = synced(services, connector)
    assert (counts.indexed, counts.bytes_fetched) == (0, 0)
    assert [request.operation for request in proxy.requests] == [LIST]

    bucket.put("x.txt", "Penguins are birds that cannot fly.")
    bucket.delete("Z.txt")
    counts = synced(services, connector)
    assert (counts.indexed, counts.embeddings_computed) == (1, 1)
    check(services, bucket, connector)

    bucket.put("ü/renamed größe.txt", "The text of ü/größe.txt.")
    bucket.delete("ü/größe.txt")
    counts = synced(services, connector)
    assert (counts.indexed, counts.embeddings_computed) == (1, 0), "its vector is known"
    check(services, bucket, connector)


def test_1500_objects(
    services: Services, bucket: Bucket, proxy: FaultProxy, rclone_folder: Path
) -> None:
    # Of each ten, half lie beside the folder that has their name.
    keys = [f"{n % 10}{'/' if n % 2 else '-'}{n:04}.png" for n in range(1500)]
    if (folder := rclone_folder / bucket.name).is_dir():
        # Somebody's files, which nobody sent over S3.
        for key in keys:
            (folder / key).parent.mkdir(exist_ok=True)
            (folder / key).write_text("x")
    else:
        put_all(bucket, dict.fromkeys(keys, "x"))
    connector = bucket.register(services)
    synced(services, connector)
    assert states(services, connector) == dict.fromkeys(keys, ("skipped", "unsupported_type"))
    proxy.requests.clear()
    synced(services, connector)
    assert [request.operation for request in proxy.requests] == [LIST, LIST]
    bucket.delete(keys[0], keys[-1])
    synced(services, connector)
    known = states(services, connector)
    assert {key for key, (state, _) in known.items() if state == "deleted"} == {keys[0], keys[-1]}
    assert len(known) == 1500


def test_a_store_without_keys_is_read_where_the_operator_allows_it(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "a b.txt").write_text("A public text.")
    with rclone.running(tmp_path, keys=None) as endpoint:
        bucket = {"bucket": "public", "endpoint_url": endpoint, "anonymous": True}
        settings = Settings(
            activekg_endpoint_allowlist=("127.0.0.1",), activekg_s3_anonymous="allowed"
        )
        with closing(open_s3(S3Config.model_validate(bucket), settings)) as source:
            assert probe(source).objects == 1


def test_a_store_that_has_its_buckets_in_front_of_the_host(
    tmp_path: Path, resolver: Resolver
) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "ü.txt").write_text("A text.")
    with rclone.running(tmp_path, keys=("reader", "short"), bucket_in_host=True) as endpoint:
        for name in ("store.example.com", "documents.store.example.com"):
            resolver.set(name, ["127.0.0.1"])
        settings = Settings(
            activekg_endpoint_allowlist=("store.example.com",),
            activekg_private_networks=(ip_network("127.0.0.1/32"),),
        )
        bucket = Bucket(endpoint.replace("127.0.0.1", "store.example.com"), "documents", None)  # type: ignore[arg-type]
        config = bucket.config(
            addressing_style="virtual", access_key_id="reader", secret_access_key="short"
        )
        with closing(open_s3(config, settings)) as source:
            assert probe(source).objects == 1
