"""Where an S3 client connects to, by attack.

Names, redirects, proxies and the environment try to lead it elsewhere.
"""

from __future__ import annotations

import datetime
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import ValidationError

from activekg_pipelines.administration.connection_test import try_configuration, try_connector
from activekg_pipelines.defs.sensors import poll_tenant
from activekg_pipelines.errors import (
    ClockSkewed,
    EndpointForbidden,
    EndpointUnreachable,
    FetchFailed,
    InvalidConnector,
    SourceError,
    SourceUnavailable,
    WrongRegion,
)
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.registry import provider, registered
from activekg_pipelines.sources.s3 import PROVIDER, client, open_s3
from activekg_pipelines.sources.s3.config import S3Config
from activekg_pipelines.sources.source import Page, Source
from tests.fault_proxy import Answer, FaultProxy, fault_proxy, slow, status
from tests.integration.endpoint_server import (
    EMPTY_LISTING,
    Resolver,
    Server,
    reply,
    resolver,
    serve,
)
from tests.integration.syncing import drain, make_retries_due, outcomes, query, scan, states, sync
from tests.registry import change
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket, S3ConfigPatch

__all__ = ["resolver"]

METADATA_ADDRESS = "169.254.169.254"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The AWS library tries as often as ever, but without its pauses."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


@pytest.fixture
def canary() -> Iterator[Server]:
    """A server of the operator's own that nobody may connect to."""
    with serve(reply()) as server:
        yield server
    assert server.connections == 0


def config(endpoint_url: str | None, **changes: object) -> S3Config:
    values = {
        "bucket": "bucket",
        "endpoint_url": endpoint_url,
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
    }
    return S3Config.model_validate(values | changes)


def opened(endpoint_url: str | None, settings: Settings, **changes: object) -> Source:
    """The source of a connector with that endpoint."""
    return provider("s3").open(config(endpoint_url, **changes), settings)


def listing(
    endpoint_url: str | None, settings: Settings, *, deadline: float | None = None
) -> list[Page]:
    """List the bucket of a connector with that endpoint, which the operator lists."""
    allowlist = settings.activekg_endpoint_allowlist
    if endpoint_url is not None:
        allowlist = (*allowlist, urlsplit(endpoint_url).netloc)
    settings = settings.model_copy(update={"activekg_endpoint_allowlist": allowlist})
    with closing(opened(endpoint_url, settings)) as source:
        return list(source.pages(deadline=deadline))


# Names


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_public_name_that_leads_into_the_operators_network_is_not_connected_to(
    resolver: Resolver, canary: Server, scheme: str
) -> None:
    for address in (
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "10.0.0.1",
        METADATA_ADDRESS,
        "::1",
        "fd00:ec2::254",
    ):
        resolver.set("s3.wasabisys.com", [address])
        with pytest.raises(EndpointForbidden, match=r"s3\.wasabisys\.com has the address"):
            listing(f"{scheme}://s3.wasabisys.com:{canary.port}", Settings())
    assert len(resolver.asked) == 6, "what is forbidden is not tried again"


def test_an_address_in_odd_notation_is_an_address(canary: Server) -> None:
    for host in ("2130706433", "0x7f000001", "127.1", "017700000001"):
        with pytest.raises((EndpointForbidden, EndpointUnreachable)):
            listing(f"http://{host}:{canary.port}", Settings())


def test_a_name_that_changes_between_check_and_connection_changes_nothing(
    resolver: Resolver, canary: Server
) -> None:
    settings = Settings(activekg_private_networks=(ip_network("127.0.0.2/32"),))
    with serve(reply(), host="127.0.0.2", port=canary.port) as store:
        resolver.set("store.example.com", ["127.0.0.2"], ["127.0.0.1"])
        listing(f"http://store.example.com:{store.port}", settings)
        assert resolver.asked == ["store.example.com"], "one resolution for check and connection"
        assert f"Host: store.example.com:{store.port}" in store.requests[0]
        with pytest.raises(EndpointForbidden):
            listing(f"http://store.example.com:{store.port}", settings)
        assert store.connections == 1


def test_each_new_connection_of_a_client_is_checked(resolver: Resolver, canary: Server) -> None:
    settings = Settings(
        activekg_private_networks=(ip_network("127.0.0.2/32"),),
        activekg_endpoint_allowlist=("store.example.com",),
    )
    with serve(reply(), host="127.0.0.2", port=canary.port) as store:
        resolver.set("store.example.com", ["127.0.0.2"], ["127.0.0.2"], ["127.0.0.1"])
        source = opened(f"http://store.example.com:{store.port}", settings)
        for _ in range(2):
            list(source.pages())
        with pytest.raises(EndpointForbidden):
            list(source.pages())


def test_of_several_addresses_only_allowed_ones_are_connected_to(
    resolver: Resolver, canary: Server
) -> None:
    settings = Settings(activekg_private_networks=(ip_network("127.0.0.2/32"),))
    with serve(reply(), host="127.0.0.2", port=canary.port) as store:
        resolver.set("store.example.com", [METADATA_ADDRESS, "127.0.0.1", "127.0.0.2", "10.0.0.1"])
        listing(f"http://store.example.com:{store.port}", settings)
        assert store.connections == 1


def test_an_address_that_does_not_answer_is_followed_by_the_next(resolver: Resolver) -> None:
    settings = Settings(activekg_private_networks=(ip_network("127.0.0.0/8"),))
    with serve(reply(), host="127.0.0.2") as store:
        resolver.set("store.example.com", ["127.0.0.9", "127.0.0.2"])
        listing(f"http://store.example.com:{store.port}", settings)
        assert store.connections == 1


def test_an_address_that_swallows_connections_leaves_time_for_the_next(resolver: Resolver) -> None:
    settings = Settings(activekg_private_networks=(ip_network("127.0.0.0/8"),))
    with serve(reply(), host="127.0.0.2") as store, socket.socket() as swallowing:
        # Its queue is full: further connections are neither accepted nor refused.
        swallowing.bind(("127.0.0.3", store.port))
        swallowing.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.3", store.port))
        resolver.set("store.example.com", ["127.0.0.3", "127.0.0.2"])
        listing(f"http://store.example.com:{store.port}", settings)
        assert store.connections == 1
        for client in waiting:
            client.close()


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    with pytest.raises(EndpointUnreachable):
        listing("http://nowhere.invalid", Settings())


def test_the_operators_own_endpoint_and_aws_may_be_private_but_never_metadata(
    resolver: Resolver,
) -> None:
    with serve(reply()) as store:
        resolver.set("s3.us-east-1.amazonaws.com", ["127.0.0.1"])
        own = Settings(activekg_s3_endpoint_url=f"http://127.0.0.1:{store.port}")
        listing(None, own)
        assert store.connections == 1
        # A VPC endpoint with private DNS: refused by TLS here, not by the rule.
        with pytest.raises(EndpointUnreachable):
            listing(None, Settings())
        resolver.set("s3.us-east-1.amazonaws.com", [METADATA_ADDRESS])
        with pytest.raises(EndpointForbidden):
            listing(None, Settings())
    with pytest.raises(EndpointForbidden):
        listing(None, Settings(activekg_s3_endpoint_url=f"http://{METADATA_ADDRESS}"))


def test_a_listed_metadata_address_is_refused_all_the_same() -> None:
    for endpoint in (
        f"http://{METADATA_ADDRESS}",
        f"http://[::ffff:{METADATA_ADDRESS}]",
        "http://0.0.0.0:9",
    ):
        with pytest.raises(EndpointForbidden):
            listing(endpoint, Settings())


def test_a_host_that_is_not_listed_is_not_even_resolved(resolver: Resolver, canary: Server) -> None:
    resolver.set("evil.example.com", ["127.0.0.1"])
    settings = Settings(
        activekg_endpoint_allowlist=("store.example.com", f"127.0.0.1:{canary.port + 1}")
    )
    for endpoint in (
        "http://evil.example.com",
        "http://store.example.com.evil.example.com",
        "http://xstore.example.com",
        f"http://127.0.0.1:{canary.port}",
    ):
        with pytest.raises(InvalidConnector):
            opened(endpoint, settings)
    assert resolver.asked == []


@pytest.mark.parametrize(
    ("entry", "endpoint"),
    [
        ("Store.Example.com", "http://STORE.example.com:9000"),
        ("store.example.com:443", "https://store.example.com"),
        ("store.example.com:80", "http://store.example.com/"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("::1", "http://[::1]:9000"),
        ("[::1]", "http://[::1]"),
    ],
)
def test_a_list_entry_is_a_host_with_or_without_its_port(entry: str, endpoint: str) -> None:
    opened(endpoint, Settings(activekg_endpoint_allowlist=(entry,)))
    with pytest.raises(InvalidConnector):
        opened(
            "http://store.example.com:1",
            Settings(activekg_endpoint_allowlist=(f"{entry}:2",)),
        )


# What a tenant writes


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://store.example.com\\@evil.example.com",
        "http://store.example.com@evil.example.com",
        "http://store.example.com:80@evil.example.com",
        "http://store.example.com#@evil.example.com",
        "http://store.example.com?.evil.example.com",
        "http://store.example.com/path?query",
        "http://store.example.com/a/../b",
        "http://store.example.com/..",
        "http://store.example.com/a//b",
        "http://store.example.com//evil.example.com",
        "http://store.example.com/%2e%2e/a",
        "http://store.example.com/a@evil.example.com",
        "http://store.example.com/a\\b",
        "http://store.example.com\n.evil.example.com",
        "http://sto\tre.example.com",
        " http://store.example.com",
        "http://store.example.com ",
        "http://store.example.com:0",
        "http://store.example.com:65536",
        "http://store.example.com:8o",
        "http://store.example.com:",
        "http://store.example.com.",
        "http://store_1",
        "http://-store",
        "http://\u017ftore.example.com",
        "http://store\u3002example.com",
        "http://[::1",
        "http://[fe80::1%25eth0]",
        "http://[store]",
        "http://",
        "//store.example.com",
        "file:///etc/passwd",
        "gopher://store.example.com",
        "store.example.com",
        "http://%73tore.example.com",
        "http://store.example.com\x00",
    ],
)
def test_an_endpoint_is_a_scheme_a_host_a_port_and_a_plain_path(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        config(endpoint)


@pytest.mark.parametrize(
    "region",
    [
        "x.evil.example.com/#",
        "us-east-1.",
        "a.b",
        "us east",
        "US-EAST-1",
        "-a",
        "a-",
        "1",
        "",
        "a\n",
        "é",
        "a@b",
    ],
)
def test_a_region_is_one_label_of_a_host_name(region: str) -> None:
    with pytest.raises(ValidationError):
        config(None, region=region)


@pytest.mark.parametrize(
    "bucket",
    ["a/b", "a:b", "a@b", "arn:aws:s3:::b", "..", "a..b/", "A", "a b", "a%2fb", "a\n", "é" * 4],
)
def test_a_bucket_is_a_bucket_name(bucket: str) -> None:
    with pytest.raises(ValidationError):
        config(None, bucket=bucket)


_BUCKETS = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}[a-z0-9]", fullmatch=True) | st.sampled_from(
    [
        "abc--x-s3",
        "abc--usw2-az1--x-s3",
        "abc--op-s3",
        "abc-s3alias",
        "abc.mrap",
        "169.254.169.254",
        "xn--abc",
        "a.b.c",
    ]
)
_REGIONS = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True) | st.sampled_from(
    [
        "us-east-1",
        "aws-global",
        "cn-north-1",
        "us-gov-west-1",
        "fips-us-east-1",
        "s3-external-1",
        "local",
        "us-iso-east-1",
    ]
)


@examples(max_examples=50, deadline=None, database=None)
@given(bucket=_BUCKETS, region=_REGIONS)
def test_no_bucket_or_region_leads_a_request_away_from_its_endpoint(
    bucket: str, region: str
) -> None:
    settings = Settings(activekg_endpoint_allowlist=("store.example.com",))
    for endpoint in (None, "http://store.example.com:9000"):
        made = opened(endpoint, settings, bucket=bucket, region=region)
        asked: list[str] = []

        def nothing(host: str, *_: object, to: list[str] = asked, **__: object) -> list[object]:
            to.append(host)
            raise socket.gaierror

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("socket.getaddrinfo", nothing)
            with pytest.raises(SourceError):
                list(made.pages())
        zone = config(None, bucket=bucket).directory_zone
        first = f"{bucket}.s3express-{zone}" if zone else "s3"
        for host in asked:
            if endpoint:
                assert host == (f"{bucket}.store.example.com" if zone else "store.example.com")
            else:
                assert host.startswith(f"{first}.{region}.amazonaws.com")


def test_a_bucket_before_a_host_leads_where_the_host_leads(
    resolver: Resolver, canary: Server
) -> None:
    """The tenant chooses it: of the operator's network it must not make a second store."""
    hosts = {"minio.internal": "127.0.0.2", "store.example.com": "203.0.113.1"}
    settings = Settings(activekg_endpoint_allowlist=tuple(hosts))
    for host, address in hosts.items():
        resolver.set(host, [address])
        for leads_to in ("127.0.0.1", "10.0.0.7", METADATA_ADDRESS):
            resolver.set(f"bucket.{host}", [leads_to])
            source = opened(f"http://{host}:{canary.port}", settings, addressing_style="virtual")
            with (
                closing(source),
                pytest.raises(EndpointForbidden, match=f"bucket.{host} has the address"),
            ):
                list(source.pages())


def test_a_bucket_before_a_host_of_the_own_network_is_read(resolver: Resolver) -> None:
    settings = Settings(activekg_endpoint_allowlist=("minio.internal",))
    with serve(reply(), host="127.0.0.2") as store:
        resolver.set("minio.internal", ["10.0.0.7", "127.0.0.2"])
        resolver.set("bucket.minio.internal", ["127.0.0.2"])
        url = f"http://minio.internal:{store.port}"
        with pytest.raises(EndpointForbidden):
            # Loopback is not the network that such a name means.
            list(opened(url, settings, addressing_style="virtual").pages())
        settings = settings.model_copy(
            update={"activekg_private_networks": (ip_network("127.0.0.0/8"),)}
        )
        list(opened(url, settings, addressing_style="virtual").pages())
        (request,) = store.requests
        assert request.startswith("GET /?list-type=2")
        assert f"Host: bucket.minio.internal:{store.port}" in request


def test_only_the_bucket_itself_stands_before_the_host(resolver: Resolver) -> None:
    settings = Settings(activekg_endpoint_allowlist=("minio.internal",))
    source = opened("http://minio.internal", settings, addressing_style="virtual")
    with closing(source), pytest.raises(EndpointForbidden, match="and was not sent"):
        source.client.list_objects_v2(Bucket="another")  # type: ignore[attr-defined]
    assert resolver.asked == []


# Redirects


def moved(
    code: int, location: str, error: str | None, **elements: str
) -> Callable[[Answer], Answer]:
    """An answer that leads elsewhere; with S3's error document or without."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in elements.items())
    body = (
        f"<Error><Code>{error}</Code><Message>m</Message>{inner}</Error>".encode() if error else b""
    )
    headers = {
        "Location": location,
        "Content-Type": "application/xml",
        "x-amz-bucket-region": "eu-west-1",
    }
    return lambda _: Answer(code, headers, body, len(body))


@pytest.mark.parametrize("code", [301, 302, 307, 308])
@pytest.mark.parametrize("error", [None, "PermanentRedirect", "TemporaryRedirect"])
@pytest.mark.parametrize("region", ["eu-west-1", "evil.example.com/#", ""])
def test_no_redirect_is_followed_to_another_host(
    s3_endpoint: str, canary: Server, code: int, error: str | None, region: str
) -> None:
    with fault_proxy(s3_endpoint) as proxy:
        fault = moved(code, canary.url, error, Endpoint=f"127.0.0.1:{canary.port}", Region=region)
        for operation in ("LIST", "GET", "HEAD"):
            proxy.inject(operation, None, fault)
        with pytest.raises(WrongRegion, match="correct `region`"):
            listing(proxy.url, Settings())
        assert len(proxy.requests) <= 3


def test_a_see_other_is_not_followed_either(s3_endpoint: str, canary: Server) -> None:
    with fault_proxy(s3_endpoint) as proxy:
        proxy.inject("LIST", None, moved(303, canary.url, None))
        with pytest.raises(SourceUnavailable):
            listing(proxy.url, Settings())


@pytest.mark.parametrize(
    ("code", "error", "elements"),
    [
        (301, "PermanentRedirect", {"Endpoint": "bucket.s3.eu-west-1.amazonaws.com"}),
        (307, "TemporaryRedirect", {"Endpoint": "bucket.s3.eu-west-1.amazonaws.com"}),
        (400, "IllegalLocationConstraintException", {}),
        (400, "AuthorizationHeaderMalformed", {"Region": "eu-west-1"}),
    ],
)
def test_a_wrong_region_names_the_right_one(
    s3_endpoint: str,
    bucket: Bucket,
    tmp_path: Path,
    code: int,
    error: str,
    elements: dict[str, str],
) -> None:
    message = (
        "The authorization header is malformed; the region 'us-east-1' is wrong; expecting "
        "'eu-west-1'"
    )
    body = f"<Error><Code>{error}</Code><Message>{message}</Message>"
    body += "".join(f"<{name}>{value}</{name}>" for name, value in elements.items()) + "</Error>"
    answer = Answer(code, {"x-amz-bucket-region": "eu-west-1"}, body.encode(), len(body))
    with fault_proxy(s3_endpoint) as proxy:
        for operation in ("LIST", "GET", "HEAD"):
            proxy.inject(operation, None, lambda _: answer)
        with pytest.raises(WrongRegion, match="in the region eu-west-1"):
            listing(proxy.url, Settings())
        settings = Settings(activekg_endpoint_allowlist=(urlsplit(proxy.url).netloc,))
        source = opened(proxy.url, settings)
        with pytest.raises(WrongRegion, match="in the region eu-west-1"):
            source.fetch("a.txt", "etag", tmp_path / "a", max_bytes=1000)


def test_a_clock_that_is_wrong_is_no_fault_of_the_object(s3_endpoint: str, tmp_path: Path) -> None:
    with fault_proxy(s3_endpoint) as proxy:
        proxy.inject("GET", None, status(403, "RequestTimeTooSkewed"))
        settings = Settings(activekg_endpoint_allowlist=(urlsplit(proxy.url).netloc,))
        with pytest.raises(ClockSkewed):
            opened(proxy.url, settings).fetch("a.txt", "etag", tmp_path / "a", max_bytes=1000)


# Proxies


def test_a_proxy_of_the_environment_is_used_and_resolves_the_name(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(reply()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        listing("http://store.example.com", Settings())
        assert proxy.requests[0].startswith("GET http://store.example.com/bucket?list-type=2")
    assert resolver.asked == []


def test_behind_a_proxy_an_address_that_nobody_may_reach_is_still_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve(reply()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(EndpointForbidden):
            listing(f"http://{METADATA_ADDRESS}", Settings())
        assert proxy.connections == 0


# The environment


def test_nothing_of_the_operators_aws_environment_reaches_a_tenants_requests(
    canary: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = tmp_path / "stolen"
    (tmp_path / ".aws").mkdir()
    profile = "\n".join(
        [
            "aws_access_key_id = AKIAOPERATOROPERATOR",
            "aws_secret_access_key = operator",
            "aws_session_token = operator-token",
            f"credential_process = touch {stolen}",
            f"endpoint_url = {canary.url}",
            "region = eu-north-1",
            "defaults_mode = auto",
            "s3 =\n  addressing_style = virtual\n  use_accelerate_endpoint = true",
        ]
    )
    for name in ("config", "credentials"):
        (tmp_path / ".aws" / name).write_text(
            f"[default]\n{profile}\n[operator]\n{profile}\n[profile operator]\n{profile}\n"
        )
    environment = {
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "AKIAOPERATOROPERATOR",
        "AWS_SECRET_ACCESS_KEY": "operator",
        "AWS_SESSION_TOKEN": "operator-token",
        "AWS_SECURITY_TOKEN": "operator-token",
        "AWS_PROFILE": "operator",
        "AWS_DEFAULT_PROFILE": "nobody",
        "AWS_CONFIG_FILE": str(tmp_path / ".aws" / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / ".aws" / "credentials"),
        "AWS_REGION": "eu-north-1",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": canary.url,
        "AWS_ENDPOINT_URL_S3": canary.url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": canary.url,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": canary.url,
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/operator",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / ".aws" / "config"),
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_DEFAULTS_MODE": "auto",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CSM_ENABLED": "true",
        "AWS_S3_USE_ARN_REGION": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client._session.cache_clear()
    with serve(reply()) as store:
        listing(store.url, Settings())
        (request,) = store.requests
    assert f"Credential={ACCESS_KEY_ID}/" in request
    assert "/us-east-1/s3/aws4_request" in request
    assert "operator" not in request.lower()
    assert "security-token" not in request.lower()
    assert "request-payer" not in request.lower()
    assert not stolen.exists()
    on_aws = client.make_client(config(None, region="eu-west-1"), Settings())
    url = on_aws.generate_presigned_url("list_objects_v2", Params={"Bucket": "bucket"})
    assert urlsplit(url).hostname == "s3.eu-west-1.amazonaws.com"
    assert "operator" not in url.lower()


@pytest.mark.parametrize("missing", ["access_key_id", "secret_access_key"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_connector_without_keys_of_its_own_is_refused(missing: str, value: str | None) -> None:
    with pytest.raises(ValidationError, match=missing):
        config(None, **{missing: value})


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[str, ssl.SSLContext]]:
    """A certificate of the operator's own for store.example.com.

    Gives the file that trusts it, and the server's side.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("store.example.com")]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "authority.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, tmp_path / "key.pem")
    yield str(pem), context


def test_certificates_are_checked_against_the_name_and_the_operators_authorities(
    resolver: Resolver, authority: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, context = authority
    for variable in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    networks = (ip_network("127.0.0.1/32"),)
    resolver.set("store.example.com", ["127.0.0.1"])
    resolver.set("other.example.com", ["127.0.0.1"])
    with serve(reply(), tls=context) as store:
        with pytest.raises(EndpointUnreachable):
            listing(
                f"https://store.example.com:{store.port}",
                Settings(activekg_private_networks=networks),
            )
        for variable in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            with monkeypatch.context() as environment:
                environment.setenv(variable, bundle)
                trusting = Settings(activekg_private_networks=networks)
                listing(f"https://store.example.com:{store.port}", trusting)
                with pytest.raises(EndpointUnreachable):
                    listing(f"https://other.example.com:{store.port}", trusting)
        assert len(store.requests) == 2


def test_tls_is_proposed_where_the_port_speaks_it(
    resolver: Resolver, authority: tuple[str, ssl.SSLContext]
) -> None:
    bundle, context = authority
    resolver.set("store.example.com", ["127.0.0.1"])
    settings = Settings(
        activekg_endpoint_allowlist=("store.example.com",),
        activekg_private_networks=(ip_network("127.0.0.1/32"),),
        aws_ca_bundle=bundle,
    )
    with serve(reply(), tls=context) as store:
        plain = config(f"http://store.example.com:{store.port}")
        answer = try_configuration(Services(settings), "s3", plain)
        assert answer.status == "error"
        assert answer.proposed == {"endpoint_url": f"https://store.example.com:{store.port}"}


# Endpoints that take their time


def dribble(head: bytes, body: bytes, pause: float) -> Callable[[socket.socket], None]:
    """A head at once, and a body byte by byte."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        for byte in body:
            time.sleep(pause)
            connection.sendall(bytes([byte]))

    return answer


OBJECT_HEAD = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nETag: "e"\r\nLast-Modified: Tue, 01 '
    b"Jan 2030 00:00:00 GMT\r\n\r\n"
)


@pytest.fixture
def short_answers() -> Iterator[None]:
    """Answers have half a second, instead of a minute."""
    with registered(replace(PROVIDER, open=partial(open_s3, answer_seconds=0.5))):
        yield


@pytest.fixture
def short_pages() -> Iterator[None]:
    """A page has half a second at least, instead of ten."""
    with registered(replace(PROVIDER, open=partial(open_s3, least_page_seconds=0.5))):
        yield


@pytest.mark.usefixtures("short_answers")
@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 100000\r\n\r\n",
    ],
    ids=["status line", "headers", "body", "chunks", "error"],
)
def test_a_listing_that_comes_byte_by_byte_is_given_up(head: bytes) -> None:
    # At this pace the answer takes an hour, and no pause in it is long enough for a
    # timeout.
    with serve(dribble(head, b"1" * 100_000, 0.04)) as store, pytest.raises(SourceUnavailable):
        listing(store.url, Settings())


@pytest.mark.usefixtures("short_answers")
@pytest.mark.parametrize("head", [b"", OBJECT_HEAD], ids=["from the start", "in the body"])
def test_an_object_that_comes_byte_by_byte_is_given_up_and_fetched_again_later(
    head: bytes, tmp_path: Path
) -> None:
    with serve(dribble(head, b"x" * 100_000, 0.04)) as store:
        settings = Settings(activekg_endpoint_allowlist=(urlsplit(store.url).netloc,))
        source = opened(store.url, settings)
        with pytest.raises(FetchFailed, match="ACTIVEKG_MIN_BYTES_PER_SECOND"):
            source.fetch("a.txt", "e", tmp_path / "a", max_bytes=1_000_000)


@pytest.mark.usefixtures("short_answers")
def test_a_slow_object_that_keeps_up_the_minimum_rate_arrives(tmp_path: Path) -> None:
    def steady(connection: socket.socket) -> None:
        connection.sendall(OBJECT_HEAD)
        for _ in range(20):
            time.sleep(0.05)
            connection.sendall(b"x" * 5000)

    with serve(steady) as store:
        settings = Settings(
            activekg_endpoint_allowlist=(urlsplit(store.url).netloc,),
            activekg_min_bytes_per_second=10_000,
        )
        source = opened(store.url, settings)
        assert source.fetch("a.txt", "e", tmp_path / "a", max_bytes=1_000_000).size == 100_000


@pytest.mark.usefixtures("short_pages")
@pytest.mark.parametrize("pause", [None, 0.05], ids=["silent", "byte by byte"])
def test_a_listing_within_a_tick_ends_with_the_tick(pause: float | None) -> None:
    ended: list[str] = []

    def hang(connection: socket.socket) -> None:
        if pause is None:
            connection.recv(1)
        else:
            dribble(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 100_000, pause)(connection)

    with serve(hang) as store:
        with pytest.raises(SourceUnavailable, match="did not answer in time"):
            listing(store.url, Settings(), deadline=time.monotonic())
        ended.append("before any timeout of the connection")
        assert store.connections == 1, "no time was left for another attempt"


@pytest.mark.usefixtures("short_pages")
def test_an_endpoint_that_hangs_does_not_hold_a_sensors_tick(
    configured: Callable[..., Services], bucket: Bucket
) -> None:
    with serve(lambda connection: connection.recv(1)) as store:
        services = configured(
            activekg_tick_budget_seconds=0.5, activekg_endpoint_allowlist=("127.0.0.1",)
        )
        connector = bucket.register(services, endpoint_url=store.url)
        tick = poll_tenant(services, connector.tenant_id)
        assert "did not answer in time" in str(tick.skip_reason)
        assert store.connections == 1
    stored = services.connector(connector.id)
    assert stored.last_error_code == "source_unavailable"
    assert query(services, "SELECT status FROM connectors.scans") == [("running",)], (
        "a run goes on, with more patience"
    )


@pytest.mark.usefixtures("short_answers")
def test_an_object_that_comes_too_slowly_costs_itself_an_attempt_and_nothing_else(
    configured: Callable[..., Services], bucket: Bucket, proxy: FaultProxy
) -> None:
    services = configured(activekg_min_bytes_per_second=1_000_000)
    connector = bucket.register(services, endpoint_url=proxy.url)
    bucket.put_many({"slow.txt": "A text about penguins. " * 1000, "b.txt": "Another one."})
    proxy.inject("GET", "slow.txt", slow(0.05, piece=10))
    sync(services, connector)
    assert states(services, connector) == {
        "slow.txt": ("failed", "fetch_failed"),
        "b.txt": ("indexed", None),
    }
    proxy.heal()
    make_retries_due(services)
    drain(services, connector)
    assert states(services, connector)["slow.txt"] == ("indexed", None)


def test_an_endpoint_that_may_not_be_reached_is_the_connectors_error_and_no_objects(
    configured: Callable[..., Services], bucket: Bucket, resolver: Resolver, canary: Server
) -> None:
    services = configured(
        activekg_endpoint_allowlist=("store.example.com", urlsplit(bucket.endpoint_url).netloc)
    )
    connector = bucket.register(services)
    bucket.put("a.txt", "A text about penguins.")
    scan(services, connector)
    resolver.set("store.example.com", ["127.0.0.1"])
    patch = S3ConfigPatch(endpoint_url=f"http://store.example.com:{canary.port}")
    moved = change(services, connector.id, patch)
    for work in (scan, drain):
        with pytest.raises(EndpointForbidden):
            work(services, moved)
        assert services.connector(connector.id).last_error_code == "endpoint_forbidden"
    assert outcomes(services, connector)["a.txt"][:2] == ("pending", None)
    answer = try_connector(services, moved)
    assert (answer.status, answer.error_type) == ("error", "endpoint_forbidden")
    assert "ACTIVEKG_PRIVATE_NETWORKS" in str(answer.fix)


TIMES_THAT_ARE_NONE = (
    "soon",
    "2030-13-01T00:00:00Z",
    "9999-12-31T23:59:59-10:00",
    "0001-01-01T00:00:00+10:00",
)


@pytest.mark.parametrize(
    "written",
    [
        "2030-01-01T00:00:00.000Z",
        "2030-01-01T00:00:00",
        "2030-01-01T05:30:00+05:30",
        "2030-01-01T20:00:00+20:00",
        "2030-01-01T00:00:15.5+00:00:15.5",
    ],
)
def test_times_of_every_zone_are_kept_in_utc_which_postgres_takes(written: str) -> None:
    fields = f"<Key>a</Key><LastModified>{written}</LastModified><ETag>e</ETag><Size>1</Size>"
    end = b"</ListBucketResult>"
    body = EMPTY_LISTING.replace(end, f"<Contents>{fields}</Contents>".encode() + end)
    with serve(reply(body)) as store:
        (page,) = listing(store.url, Settings())
    assert [(one.modified_at, one.modified_at.tzinfo) for one in page.entries] == [
        (datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC), datetime.UTC)
    ]


@pytest.mark.parametrize(
    "headers", ["", "Last-Modified: soon\r\n", "Last-Modified: Fri, 31 Dec 9999 23:59:59 -1000\r\n"]
)
def test_an_answer_without_a_time_that_can_be_read_is_an_object_that_cannot_be_fetched(
    headers: str, tmp_path: Path
) -> None:
    with serve(reply(b"text", headers=f'ETag: "e"\r\n{headers}')) as store:
        settings = Settings(activekg_endpoint_allowlist=(urlsplit(store.url).netloc,))
        with (
            closing(opened(store.url, settings)) as source,
            pytest.raises(FetchFailed, match="cannot be read"),
        ):
            source.fetch("a.txt", "e", tmp_path / "a", max_bytes=100)


def test_an_endpoint_that_answers_with_no_listing_is_an_error_of_the_source() -> None:
    entry = "<Contents><Key>{}</Key><LastModified>2030-01-01T00:00:00Z</LastModified><ETag>e</ETag>"
    entry += "<Size>{}</Size></Contents>"
    strange = [
        entry.format("a", -1),
        entry.format("a", 10**30),
        entry.format("b", 1) + entry.format("a", 1),
        "<Contents><Key>a</Key><Size>1</Size></Contents>",
        entry.format("a", "many"),
        "<Contents>",
        *(
            entry.replace("2030-01-01T00:00:00Z", time).format("a", 1)
            for time in TIMES_THAT_ARE_NONE
        ),
    ]
    for contents in strange:
        body = EMPTY_LISTING.replace(
            b"</ListBucketResult>", contents.encode() + b"</ListBucketResult>"
        )
        with serve(reply(body)) as store, pytest.raises(SourceError):
            listing(store.url, Settings())
    too_long = entry.format("k" * 1025, 1)
    body = EMPTY_LISTING.replace(b"</ListBucketResult>", too_long.encode() + b"</ListBucketResult>")
    with serve(reply(body)) as store:
        assert listing(store.url, Settings()) == [Page([], is_last=True)]
