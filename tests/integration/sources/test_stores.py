"""The stores of ``docs/stores.md``, each a stand-in with the manners its maker documents.

What the page says to set is set here, and what people set instead is proposed away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from activekg_pipelines.administration.connection_test import try_configuration
from activekg_pipelines.errors import InvalidConnector, ListingOutOfOrder, SourceError
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.ordered import Ordered
from activekg_pipelines.sources.probe import Found, probe
from activekg_pipelines.sources.s3 import client, open_s3
from activekg_pipelines.sources.s3.config import S3Config
from tests.integration.endpoint_server import Resolver, resolver
from tests.store_server import BUCKETS, Store, refusal, serve

__all__ = ["resolver"]

LOOPBACK = (ip_network("127.0.0.1/32"),)
OBJECTS = {"a.txt": b"one", "ordner/b ü+%41.txt": b"two", "ordner/c.txt": b"three"}


def malformed(region: str) -> Any:
    """What MinIO and AWS say to a signature for another region."""
    return refusal(
        400,
        "AuthorizationHeaderMalformed",
        f"The authorization header is malformed; the region is wrong; expecting '{region}'.",
        Region=region,
    )


@dataclass(frozen=True)
class Row:
    """A row of the page.

    Attributes:
        store: the stand-in.
        given: what a connector needs beside endpoint, bucket and keys.
        mistakes: what people set instead, each with what is proposed: nothing where the
            bucket can be read all the same.
    """

    store: Store
    given: Mapping[str, Any] = field(default_factory=dict)
    mistakes: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...] = ()


ROWS = {
    "MinIO": Row(
        Store(
            "minio.internal",
            "documents",
            ("minioadmin", "minioadmin"),
            regions=("eu-berlin",),
            styles=("path",),
            in_host=BUCKETS,
            wrong_region=malformed("eu-berlin"),
        ),
        {"region": "eu-berlin"},
        (
            ({"region": "us-east-1"}, {}),
            ({"addressing_style": "virtual"}, {"addressing_style": "path"}),
        ),
    ),
    "Ceph": Row(
        Store("rgw.corp", "Legacy_Documents", ("TESTER", "test123"), styles=("path",)),
    ),
    "Cloudflare R2": Row(
        Store(
            "4f3c2b1a.r2.cloudflarestorage.com",
            "documents",
            ("0123456789abcdef" * 2, "0123456789abcdef" * 4),
            regions=("auto", "us-east-1"),
            wrong_region=refusal(
                400,
                "InvalidRegionName",
                "The region name 'eu-west-1' is not valid. Must be one of: wnam, enam, weur, "
                "eeur, apac, oc, auto",
            ),
        ),
        {"region": "auto"},
        (
            ({"region": "eu-west-1"}, {"region": "auto"}),
            # The dashboard shows the bucket's own address.
            ({"endpoint_url": "{url}/documents"}, {"endpoint_url": "{url}"}),
        ),
    ),
    "Backblaze B2": Row(
        Store(
            "s3.us-west-004.backblazeb2.com",
            "company-documents",
            ("0045f0571db506a0000000007", "K004Fs/bgmTk5dgo6GAVm2Waj3Ka+TE"),
            regions=("us-west-004",),
        ),
        {"region": "us-west-004"},
    ),
    "Wasabi": Row(
        Store(
            "s3.eu-central-1.wasabisys.com",
            "documents",
            ("WASABIEXAMPLEKEY0123", "w" * 40),
        ),
        {"region": "eu-central-1"},
    ),
    "Supabase Storage": Row(
        Store(
            "abcdefghijklmnop.supabase.co",
            "documents",
            ("625729a08b95bf1b7ff351a663f3a23c", "850181e4652dd023b7a98c58ae0d2d34" * 2),
            regions=("eu-central-1",),
            styles=("path",),
            path="/storage/v1/s3",
            elsewhere=(404, '{"error":"requested path is invalid"}', {}),
            wrong_region=refusal(403, "SignatureDoesNotMatch", "Invalid region"),
        ),
        {"region": "eu-central-1"},
        (
            (
                {"endpoint_url": "{origin}"},
                {"endpoint_url": "{origin}/storage/v1/s3"},
            ),
        ),
    ),
    "Alibaba OSS": Row(
        Store(
            "s3.oss-cn-hangzhou.aliyuncs.com",
            "documents",
            ("LTAI5tEXAMPLEEXAMPLEEXAM", "GhqDwDdXHxEXAMPLEEXAMPLEEXAMPL"),
            styles=("virtual",),
            in_path=refusal(
                403, "SecondLevelDomainForbidden", "Please use virtual hosted style to access."
            ),
        ),
        {"region": "cn-hangzhou"},
        (({"addressing_style": "path"}, {"addressing_style": "virtual"}),),
    ),
    "Garage": Row(
        Store(
            "garage.lan",
            "documents",
            ("GK3515373e4c851ebaad366558", "7d37d093435a41f2aab8f13c19ba067d" * 2),
            regions=("garage",),
            styles=("path",),
            wrong_region=refusal(
                400,
                "AuthorizationHeaderMalformed",
                "Authorization header malformed, unexpected scope: "
                "20260519/us-east-1/s3/aws4_request",
                Region="garage",
            ),
        ),
        {"region": "garage"},
        (({"region": "us-east-1"}, {}),),
    ),
    "Directory buckets": Row(
        Store(
            "s3express-usw2-az1.us-west-2.amazonaws.com",
            "documents--usw2-az1--x-s3",
            ("AKIAIOSFODNN7EXAMPLE", "w" * 40),
            regions=("us-west-2",),
            styles=("virtual",),
            has_sessions=True,
        ),
        {"region": "us-west-2"},
    ),
    "A bucket whose reader pays": Row(
        Store(
            "s3.example.com",
            "documents",
            ("AKIAIOSFODNN7EXAMPLE", "w" * 40),
            wants_payer=True,
        ),
        {"requester_pays": True},
        (({"requester_pays": False}, {"requester_pays": True}),),
    ),
    "A public bucket": Row(
        Store("public.example.com", "documents", None),
        {"anonymous": True},
    ),
}
# What the suites beside this one have in the flesh, or, for AWS, a server made after it.
REAL = {"AWS S3", "SeaweedFS", "rclone serve s3"}
MISTAKES = [(name, *mistake) for name, row in ROWS.items() for mistake in row.mistakes]


@contextmanager
def opened(store: Store, resolver: Resolver) -> Iterator[Settings]:
    """Let a stand-in answer; yields settings of an operator who allows it."""
    store.requests.clear()
    store.objects.update(OBJECTS)
    for name in (store.host, f"{store.bucket}.{store.host}"):
        resolver.set(name, ["127.0.0.1"])
    with serve(store):
        yield Settings(
            activekg_endpoint_allowlist=(store.host,),
            activekg_private_networks=LOOPBACK,
            activekg_s3_anonymous="refused" if store.keys else "allowed",
        )


def config(store: Store, **changes: Any) -> S3Config:
    """A connector's configuration, as its owner writes it."""
    values: dict[str, Any] = {"bucket": store.bucket, "endpoint_url": store.url}
    if store.keys is not None:
        values |= dict(zip(("access_key_id", "secret_access_key"), store.keys, strict=True))
    return S3Config.model_validate(values | changes)


def written(value: Any, store: Store) -> Any:
    """A value with the store's address in it."""
    origin = store.url.removesuffix(store.path)
    return value.format(url=store.url, origin=origin) if isinstance(value, str) else value


@pytest.mark.parametrize("name", ROWS)
def test_what_the_page_says_is_enough_to_list_and_to_read(
    name: str, resolver: Resolver, tmp_path: Path
) -> None:
    row = ROWS[name]
    with opened(row.store, resolver) as settings:
        given = config(row.store, **row.given)
        with closing(open_s3(given, settings)) as source:
            assert probe(source) == Found(3, is_lower_bound=False)
            pages = Ordered(source).pages() if row.store.has_sessions else source.pages()
            entries = [entry for page in pages for entry in page.entries]
            assert [entry.key for entry in entries] == sorted(OBJECTS)
            for entry in entries:
                fetched = source.fetch(entry.key, entry.etag, tmp_path / "body", max_bytes=100)
                assert fetched.path.read_bytes() == OBJECTS[entry.key]
                found = source.find(entry.key, in_order=not row.store.has_sessions)
                assert found == entry
            assert source.find("ordner/b") is None


@pytest.mark.parametrize(("name", "mistake", "proposed"), MISTAKES)
def test_what_people_set_instead_is_found_out(
    name: str,
    mistake: Mapping[str, Any],
    proposed: Mapping[str, Any],
    resolver: Resolver,
) -> None:
    row = ROWS[name]
    with opened(row.store, resolver) as settings:
        services = Services(settings)
        given = {**row.given, **{key: written(value, row.store) for key, value in mistake.items()}}
        answer = try_configuration(services, "s3", config(row.store, **given))
        if not proposed:
            # The client takes the region that the store names.
            assert (answer.status, answer.objects_found) == ("success", 3)
            return
        assert answer.status == "error"
        assert answer.proposed == {
            key: written(value, row.store) for key, value in proposed.items()
        }
        for key, value in answer.proposed.items():
            assert f"`{key}` to `{str(value).lower() if value is True else value}`" in answer.fix
        again = try_configuration(services, "s3", config(row.store, **(given | answer.proposed)))
        assert (again.status, again.objects_found) == ("success", 3)


def test_a_bucket_of_aws_in_another_region_is_found(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ("AKIAIOSFODNN7EXAMPLE", "w" * 40)
    there = Store("s3.eu-west-1.amazonaws.com", "documents", keys, regions=("eu-west-1",))
    status, body, headers = refusal(301, "PermanentRedirect", "m", Endpoint=there.host)
    here = Store(
        "s3.us-east-1.amazonaws.com",
        "documents",
        keys,
        regions=("nowhere",),
        wrong_region=(status, body, {**headers, "x-amz-bucket-region": "eu-west-1"}),
    )
    with opened(here, resolver), opened(there, resolver):
        urls = {"us-east-1": here.url, "eu-west-1": there.url}
        monkeypatch.setattr(client, "_aws_endpoint", lambda region, _: urls[region])
        services = Services(Settings())
        answer = try_configuration(services, "s3", config(here, endpoint_url=None))
        assert (answer.error_type, answer.proposed) == ("wrong_region", {"region": "eu-west-1"})
        again = config(here, endpoint_url=None, region="eu-west-1")
        assert try_configuration(services, "s3", again).status == "success"


def test_a_redirect_to_an_address_that_is_not_allowed_names_it(
    resolver: Resolver,
) -> None:
    store = Store(
        "s3.wasabisys.com",
        "documents",
        ("WASABIEXAMPLEKEY0123", "w" * 40),
        regions=("nowhere",),
        wrong_region=refusal(
            301,
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified "
            "endpoint.",
            Endpoint="documents.s3.eu-central-1.wasabisys.com",
        ),
    )
    with opened(store, resolver) as settings:
        services = Services(settings)
        answer = try_configuration(services, "s3", config(store))
        assert answer.error_type == "wrong_region"
        assert answer.proposed == {"endpoint_url": "http://s3.eu-central-1.wasabisys.com"}
        assert "once the operator allows" in (answer.fix or "")
        store.wrong_region = refusal(301, "PermanentRedirect", "m", Endpoint="evil.example.com")
        answer = try_configuration(services, "s3", config(store))
        assert answer.proposed is None
        assert "evil" not in (answer.fix or "")


def test_a_list_of_buckets_is_no_empty_bucket(resolver: Resolver) -> None:
    store = ROWS["MinIO"].store
    with opened(store, resolver) as settings:
        given = config(store, region="eu-berlin", addressing_style="virtual")
        with (
            closing(open_s3(given, settings)) as source,
            pytest.raises(SourceError, match="no listing of bucket 'documents'"),
        ):
            list(source.pages())


def test_plain_http_is_proposed_without_a_signature_on_the_line(resolver: Resolver) -> None:
    store = Store("minio.internal", "documents", ("minioadmin", "minioadmin"))
    with opened(store, resolver) as settings:
        services = Services(settings)
        given = config(store, endpoint_url=store.url.replace("http:", "https:"))
        answer = try_configuration(services, "s3", given)
        assert answer.error_type == "endpoint_unreachable"
        assert answer.proposed == {"endpoint_url": store.url}
        assert store.signatures == [None]


def test_nothing_is_proposed_where_nothing_helps(resolver: Resolver) -> None:
    store = Store("minio.internal", "documents", ("minioadmin", "minioadmin"))
    with opened(store, resolver) as settings:
        services = Services(settings)
        for changes, error_type in (
            ({"bucket": "other-documents"}, "no_such_bucket"),
            ({"secret_access_key": "wrong"}, "invalid_credentials"),
        ):
            resolver.set("other-documents.minio.internal", ["127.0.0.1"])
            answer = try_configuration(services, "s3", config(store, **changes))
            assert (answer.error_type, answer.proposed) == (error_type, None)
            assert answer.fix


def test_a_directory_bucket_is_sorted_by_a_run_and_never_asked_to_go_on(
    resolver: Resolver,
) -> None:
    row = ROWS["Directory buckets"]
    with opened(row.store, resolver) as settings:
        given = config(row.store, **row.given)
        with (
            closing(open_s3(given, settings)) as source,
            pytest.raises(ListingOutOfOrder),
        ):
            list(source.pages(after="a.txt"))
        with pytest.raises(InvalidConnector, match="prefix: must end in a slash"):
            open_s3(config(row.store, **row.given, prefix="ordner"), settings)
        folder = config(row.store, **row.given, prefix="ordner/")
        with closing(open_s3(folder, settings)) as source:
            assert probe(source).objects == 2
    sessions = [one for one in row.store.requests if "?session" in one]
    assert len(sessions) == 2, "one for each client"


def test_nobody_agrees_to_pay_unasked(resolver: Resolver) -> None:
    row = ROWS["A bucket whose reader pays"]
    with (
        opened(row.store, resolver) as settings,
        closing(open_s3(config(row.store), settings)) as source,
        pytest.raises(SourceError),
    ):
        list(source.pages())


def test_every_row_of_the_page_is_tried(project_root: Path) -> None:
    page = (project_root / "docs" / "stores.md").read_text()
    table = page.partition("| store |")[2].partition("\n\n")[0]
    rows = {line.split("|")[1].strip() for line in table.splitlines()[2:]}
    assert rows == ROWS.keys() | REAL
