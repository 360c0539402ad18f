"""Google Cloud Storage: its errors, its tokens, and where its requests may go."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from activekg_pipelines.deadline import give_up_at
from activekg_pipelines.errors import (
    AccessDenied,
    ActiveKGError,
    ClockSkewed,
    CredentialsRefused,
    CustomerKey,
    EndpointForbidden,
    EndpointUnreachable,
    FetchFailed,
    InvalidConnector,
    ListingDenied,
    ListingOutOfOrder,
    ObjectGone,
    RequesterPays,
    SourceMissing,
    SourceUnavailable,
    TooLarge,
)
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.gcs import GcsConfig, open_gcs
from activekg_pipelines.sources.probe import probe
from activekg_pipelines.sources.source import Source
from tests.integration.endpoint_server import Resolver, resolver
from tests.integration.sources.google_server import (
    TOKEN_PATH,
    Answer,
    GoogleServer,
    answer,
    google_server,
    item,
    media,
    refusal,
    token,
)
from tests.places import SERVICE_ACCOUNT, GcsPlace, key_file, private_key

__all__ = ["resolver"]

pytest.importorskip("google.cloud.storage", reason="the extra [gcs] is not installed")

READ_ONLY = "https://www.googleapis.com/auth/devstorage.read_only"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's client tries as often as ever, but without its pauses."""
    monkeypatch.setattr("google.api_core.retry.retry_unary.exponential_sleep_generator", _none)
    pause = SimpleNamespace(sleep=lambda _: None)
    monkeypatch.setattr("google.auth._exponential_backoff.time", pause)


def _none(*_: float, **__: float) -> Iterator[float]:
    return itertools.repeat(0.0)


@pytest.fixture
def google() -> Iterator[GoogleServer]:
    with google_server() as server:
        yield server


@pytest.fixture
def canary() -> Iterator[GoogleServer]:
    """A server of the operator's own that nobody may ask anything."""
    with google_server() as server:
        yield server
    assert server.requests == []


def config(**changes: object) -> GcsConfig:
    values = {"bucket": "documents", "service_account_json": key_file()}
    return GcsConfig.model_validate(values | changes)


def opened(google: GoogleServer, *, with_tokens: bool = False, **settings: object) -> Source:
    """The bucket on a server that the operator lists.

    Args:
        google: answers.
        with_tokens: the key file names the server's token service, too.
        settings: of the operator.
    """
    token_uri = google.url + TOKEN_PATH if with_tokens else "https://oauth2.googleapis.com/token"
    allowed = Settings(activekg_endpoint_allowlist=(google.host,)).model_copy(update=settings)
    made = config(
        endpoint_url=google.url, service_account_json=key_file(token_uri=token_uri), prefix="a"
    )
    return open_gcs(made, allowed)


def keys(source: Source) -> list[str]:
    return [entry.key for page in source.pages() for entry in page.entries]


# Errors of the bucket


@pytest.mark.parametrize(
    ("refused", "error", "message", "fix"),
    [
        (
            refusal(401, "Invalid Credentials", "authError"),
            CredentialsRefused,
            "refused the service account's key for bucket 'documents'",
            "create a new JSON key",
        ),
        (
            refusal(403, "reader does not have storage.objects.list access", "forbidden"),
            ListingDenied,
            "storage.objects.list",
            "roles/storage.objectViewer",
        ),
        (
            refusal(404, "The specified bucket does not exist.", "notFound"),
            SourceMissing,
            "The bucket 'documents' does not exist.",
            "Check the spelling",
        ),
        (
            refusal(
                400, "Bucket is a requester pays bucket but no user project provided.", "required"
            ),
            RequesterPays,
            "requester-pays",
            "Turn off Requester Pays",
        ),
        (
            refusal(
                403, "The billing account for the owning project is disabled.", "accountDisabled"
            ),
            ListingDenied,
            "no active billing account",
            "Activate billing",
        ),
        (refusal(403, "Slow down", "rateLimitExceeded"), SourceUnavailable, "(403)", "Test again"),
        (refusal(503, "Backend Error", "backendError"), SourceUnavailable, "(503)", "Test again"),
        (refusal(418, "What?"), SourceUnavailable, "(418)", "Test again"),
        (Answer(500, b"<html>"), SourceUnavailable, "(500)", "Test again"),
        (answer({"error": "text"}, 500), SourceUnavailable, "cannot be read", "Test again"),
    ],
)
def test_what_the_bucket_refuses_has_a_name_and_a_fix(
    google: GoogleServer, refused: Answer, error: type[ActiveKGError], message: str, fix: str
) -> None:
    google.api = [refused]
    with closing(opened(google)) as source:
        for ask in (lambda: probe(source), lambda: keys(source), lambda: source.find("a")):
            with pytest.raises(error) as caught:
                ask()
            assert type(caught.value) is error
            assert message in str(caught.value)
            assert fix in caught.value.fix


def test_what_may_pass_is_tried_four_times(google: GoogleServer) -> None:
    with closing(opened(google)) as source:
        google.api = [refusal(503, "Backend Error")]
        with pytest.raises(SourceUnavailable):
            keys(source)
        assert len(google.requests) == 4
        google.api = [refusal(429, "x"), refusal(500, "x"), answer({"items": [item("a.txt")]})]
        assert keys(source) == ["a.txt"]
        google.api = [refusal(403, "x")]
        google.requests.clear()
        with pytest.raises(ListingDenied):
            keys(source)
        assert len(google.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"7",
        b'{"items": 7}',
        b'{"items": [7]}',
        b'{"items": [[]]}',
        json.dumps({"items": [item("a.txt", generation=None)]}).encode(),
        json.dumps({"items": [item("a.txt", generation="x")]}).encode(),
        json.dumps({"items": [item("a.txt", size="NaN")]}).encode(),
        json.dumps({"items": [item("a.txt", size="-1")]}).encode(),
        json.dumps({"items": [item("a.txt", size="9" * 20)]}).encode(),
        json.dumps({"items": [item("a.txt", updated="yesterday")]}).encode(),
        json.dumps({"items": [item("a.txt", updated=7)]}).encode(),
        json.dumps({"items": [item("a.txt", updated="9999-12-31T23:59:59-08:00")]}).encode(),
        json.dumps({"items": [item("b.txt")]}).encode(),
    ],
)
def test_a_listing_that_cannot_be_read_deletes_nothing(google: GoogleServer, body: bytes) -> None:
    google.api = [Answer(200, body)]
    with closing(opened(google)) as source, pytest.raises(SourceUnavailable):
        keys(source)


def test_a_name_that_is_no_unicode_text_is_left_out(google: GoogleServer) -> None:
    google.api = [answer({"items": [item("a/1"), item("a/2\ud800"), item("a/3")]})]
    with closing(opened(google)) as source:
        assert keys(source) == ["a/1", "a/3"]


def test_a_listing_out_of_order_is_noticed(google: GoogleServer) -> None:
    google.api = [answer({"items": [item("a/2"), item("a/1")]})]
    with closing(opened(google)) as source, pytest.raises(ListingOutOfOrder):
        keys(source)
        (page,) = source.listing()
        assert [entry.key for entry in page.entries] == ["a/2", "a/1"]


def test_a_listing_asks_for_what_it_needs_and_a_thousand_a_page(google: GoogleServer) -> None:
    google.api = [
        answer({"items": [item("a/1"), item("a/2")], "nextPageToken": "next"}),
        answer({"items": [item("a/3", storageClass=None)]}),
    ]
    with closing(opened(google)) as source:
        first, second = source.pages("a/1")
    # The offset is listed, but was known already.
    assert [entry.key for entry in first.entries] == ["a/2"]
    assert (first.is_last, second.is_last) == (False, True)
    assert second.entries[0].storage_class is None
    asked = google.requests[0].query
    assert asked["startOffset"] == "a/1"
    assert asked["prefix"] == "a"
    assert asked["maxResults"] == "1000"
    assert asked["fields"] == "items(name,generation,size,updated,storageClass),nextPageToken"
    assert google.requests[1].query["pageToken"] == "next"


def test_a_key_with_nul_is_left_out(gcs_endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    place = GcsPlace(gcs_endpoint, "test-nul")
    place.put("a.txt", "x")
    place.put("b\x00.txt", "x")
    with closing(place.open()) as source:
        assert keys(source) == ["a.txt"]
    assert "the first is one with the character NUL" in caplog.text


# Errors of an object


@pytest.mark.parametrize(
    ("refused", "error", "message"),
    [
        (Answer(401, b"Invalid Credentials"), CredentialsRefused, "service account's key"),
        (
            Answer(403, b"reader does not have storage.objects.get access to the object."),
            AccessDenied,
            "storage.objects.get",
        ),
        (Answer(404, b"No such object: documents/a b.txt"), ObjectGone, "it is gone"),
        (Answer(404, b"The specified bucket does not exist."), SourceMissing, "does not exist"),
        (Answer(400, b"Bucket is a requester pays bucket but no"), RequesterPays, "requester-pays"),
        (Answer(403, b"The billing account for the owning project is"), ListingDenied, "billing"),
        (
            Answer(400, b"The target object is encrypted by a customer-supplied encryption key."),
            CustomerKey,
            "customer-supplied key",
        ),
        (Answer(400, b"Something else"), FetchFailed, "400"),
        (Answer(429, b"Slow down"), SourceUnavailable, "429"),
        (Answer(503, b""), SourceUnavailable, "503"),
        (media(b"hell", Content_Length="5"), FetchFailed, "Failed to fetch"),
        (media(X_Goog_Hash="crc32c=AAAAAA==,md5=x"), FetchFailed, "another checksum (CRC32C)"),
        (media(X_Goog_Generation=None), FetchFailed, "no generation"),
        (media(X_Goog_Generation="x"), FetchFailed, "no generation"),
        (media(Last_Modified=None), FetchFailed, "time that can be"),
        (media(Last_Modified="yesterday"), FetchFailed, "time that can be"),
        (media(Content_Length="101"), TooLarge, "101 bytes, limit 100"),
        (media(b"x" * 101, Content_Length=""), TooLarge, "limit 100"),
    ],
)
def test_what_happens_to_an_object_has_a_name(
    google: GoogleServer, refused: Answer, error: type[ActiveKGError], message: str, tmp_path: Path
) -> None:
    google.api = [refused]
    with closing(opened(google)) as source, pytest.raises(error) as caught:
        source.fetch("a b.txt", "1", tmp_path / "object", max_bytes=100)
    assert type(caught.value) is error
    assert message in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
def test_a_failed_download_is_of_the_object_where_the_bucket_can_be_listed(
    google: GoogleServer, status: int, tmp_path: Path
) -> None:
    google.api = [*[Answer(status, b"")] * 4, answer({"items": []})]
    with closing(opened(google)) as source, pytest.raises(FetchFailed, match=str(status)):
        source.fetch("a.txt", "1", tmp_path / "object", max_bytes=100)


def test_an_object_is_asked_for_by_its_whole_key_and_as_it_is_stored(
    google: GoogleServer, tmp_path: Path
) -> None:
    google.api = [media(X_Goog_Hash="crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==")]
    with closing(opened(google)) as source:
        fetched = source.fetch("a/../b c?%#+.txt", "1", tmp_path / "object", max_bytes=100)
        assert fetched.etag == "1795860650983330"
        source.read_one_byte("a/b")
    first, second = google.requests
    assert first.path == "/download/storage/v1/b/documents/o/a%2F..%2Fb%20c%3F%25%23%2B.txt"
    assert first.query == {"alt": "media"}
    assert first.headers["Accept-Encoding"] == "gzip"
    assert second.headers["Range"] == "bytes=0-0"


def test_what_was_uploaded_as_gzip_comes_as_it_is_stored_and_is_unpacked(
    gcs_endpoint: str, tmp_path: Path
) -> None:
    place = GcsPlace(gcs_endpoint, "test-gzip")
    text = b"A text about penguins. " * 100
    stored = gzip.compress(text)
    generation = place.upload("a.txt", stored, content_encoding="gzip")
    with closing(place.open()) as source:
        fetched = source.fetch("a.txt", generation, tmp_path / "object", max_bytes=5000)
    assert fetched.path.read_bytes() == text
    assert (fetched.size, fetched.etag) == (len(stored), generation)


def test_a_long_error_is_not_read_to_its_end(google: GoogleServer, tmp_path: Path) -> None:
    def endless(connection: IO[bytes]) -> None:
        while True:
            connection.write(b"x" * 65536)

    google.api = [Answer(403, b"", {"Content-Length": str(2**40)}, endless)]
    with closing(opened(google)) as source, pytest.raises(AccessDenied):
        source.fetch("a.txt", "1", tmp_path / "object", max_bytes=100)


def test_of_one_byte_only_a_refusal_matters(google: GoogleServer) -> None:
    with closing(opened(google)) as source:
        for allowed in (media(), Answer(404, b"No such object"), Answer(416, b"")):
            google.api = [allowed]
            source.read_one_byte("a.txt")
        google.api = [Answer(403, b"does not have storage.objects.get access")]
        with pytest.raises(AccessDenied, match=r"storage\.objects\.get"):
            source.read_one_byte("a.txt")


# Time


def test_requests_end_when_their_caller_gives_up_retries_included(
    google: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silence(_: IO[bytes]) -> None:
        time.sleep(5)

    monkeypatch.undo()
    silent = Answer(200, b"", {"Content-Length": "9"}, silence)
    refused = Answer(403, b"", {"Content-Length": "9"}, silence)
    for api, tokens, with_tokens in (
        (Answer(503), token("x"), False),
        (refused, token("x"), False),
        (media(), Answer(503), True),
        (media(), silent, True),
    ):
        google.api, google.tokens = [api], [tokens]
        with closing(opened(google, with_tokens=with_tokens)) as source:
            begun = time.monotonic()
            with give_up_at(begun + 1), pytest.raises((SourceUnavailable, FetchFailed)):
                source.read_one_byte("a.txt")
            assert time.monotonic() - begun < 4


def test_bytes_that_come_too_slowly_are_given_up(google: GoogleServer, tmp_path: Path) -> None:
    def trickle(connection: IO[bytes]) -> None:
        for _ in range(100):
            connection.write(b"x")
            connection.flush()
            time.sleep(0.1)

    headers = media(b"").headers | {"Content-Length": "100"}
    google.api = [Answer(200, b"", headers, trickle)]
    with closing(opened(google)) as source, give_up_at(time.monotonic() + 1):
        begun = time.monotonic()
        with pytest.raises(FetchFailed, match="more slowly than ACTIVEKG_MIN_BYTES_PER_SECOND"):
            source.fetch("a.txt", "1", tmp_path / "object", max_bytes=100)
        assert time.monotonic() - begun < 3


# Tokens


def test_another_endpoint_gets_a_token_that_is_good_for_nothing_else(google: GoogleServer) -> None:
    with closing(opened(google)) as source:
        keys(source)
    (asked,) = google.requests
    scheme, _, value = asked.headers["Authorization"].partition(" ")
    assert scheme == "Bearer"
    public = load_pem_private_key(private_key().encode(), None).public_key()
    claims = jwt.decode(value, public, algorithms=["RS256"], audience=f"{google.url}/")  # type: ignore[arg-type]
    assert claims["iss"] == claims["sub"] == SERVICE_ACCOUNT
    assert "scope" not in claims
    assert claims["exp"] - claims["iat"] <= 3600


def test_a_token_service_that_the_operator_lists_is_asked_once(google: GoogleServer) -> None:
    with closing(opened(google, with_tokens=True)) as source:
        keys(source)
        keys(source)
    (asked,) = google.token_requests
    claims = jwt.decode(asked.body["assertion"], options={"verify_signature": False})
    assert claims["scope"] == READ_ONLY
    sent = {one.headers["Authorization"] for one in google.api_requests}
    assert sent == {"Bearer ya29.a-token"}


def test_an_expired_token_is_replaced(google: GoogleServer) -> None:
    google.tokens = [token("first"), token("second")]
    google.api = [refusal(401, "Invalid Credentials"), answer({"items": [item("a.txt")]})]
    with closing(opened(google, with_tokens=True)) as source:
        assert keys(source) == ["a.txt"]
    assert google.api_requests[-1].headers["Authorization"] == "Bearer second"


@pytest.mark.parametrize(
    ("code", "description", "error", "message"),
    [
        ("invalid_grant", "Invalid JWT Signature.", CredentialsRefused, "deleted or disabled"),
        ("invalid_grant", "Invalid grant: account not found", CredentialsRefused, "was deleted"),
        ("disabled_client", "The client was disabled.", CredentialsRefused, "is disabled"),
        ("unauthorized_client", "Something new.", CredentialsRefused, "(unauthorized_client)"),
        (
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
            "timeframe. Check your iat and exp values in the JWT claim.",
            ClockSkewed,
            "clock is minutes off",
        ),
    ],
)
def test_what_the_token_service_refuses_has_a_name(
    google: GoogleServer,
    code: str,
    description: str,
    error: type[ActiveKGError],
    message: str,
    tmp_path: Path,
) -> None:
    google.tokens = [answer({"error": code, "error_description": description}, 400)]
    with closing(opened(google, with_tokens=True)) as source:
        for ask in (
            lambda: keys(source),
            lambda: source.fetch("a", "1", tmp_path / "object", max_bytes=9),
        ):
            with pytest.raises(error) as caught:
                ask()
            assert message in str(caught.value)
    assert google.api_requests == []


@pytest.mark.parametrize(
    "failed",
    [Answer(503, b"x"), Answer(200, b"x"), answer({"expires_in": 1}), answer({"a": 1}, 500)],
)
def test_a_token_service_that_fails_is_no_refusal(google: GoogleServer, failed: Answer) -> None:
    google.tokens = [failed]
    with (
        closing(opened(google, with_tokens=True)) as source,
        pytest.raises((SourceUnavailable, CredentialsRefused)) as caught,
    ):
        keys(source)
    if failed.status != 200:
        assert isinstance(caught.value, SourceUnavailable)


# Where requests go


def test_hosts_that_the_operator_does_not_list_are_not_opened(canary: GoogleServer) -> None:
    for made in (
        config(endpoint_url=canary.url),
        config(service_account_json=key_file(token_uri=canary.url + TOKEN_PATH)),
    ):
        with pytest.raises(InvalidConnector, match=r"list|not allowed"):
            open_gcs(made, Settings())


def test_nothing_follows_a_redirect(google: GoogleServer, canary: GoogleServer) -> None:
    google.api = [Answer(302, b"", {"Location": canary.url + "/storage/v1/b/documents/o"})]
    google.tokens = [Answer(307, b"", {"Location": canary.url + TOKEN_PATH})]
    for with_tokens in (False, True):
        with (
            closing(opened(google, with_tokens=with_tokens)) as source,
            pytest.raises(SourceUnavailable, match="redirect"),
        ):
            keys(source)


def test_the_environment_leads_nowhere(
    google: GoogleServer, canary: GoogleServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "API_ENDPOINT_OVERRIDE", "GCE_METADATA_HOST"):
        monkeypatch.setenv(name, canary.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "another")
    monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "another")
    monkeypatch.setenv("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "example.com")
    monkeypatch.setenv("GOOGLE_API_USE_CLIENT_CERTIFICATE", "true")
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    google.api = [answer({"items": [item("a.txt")]})]
    with closing(opened(google, with_tokens=True)) as source:
        assert keys(source) == ["a.txt"]
    assert google.api_requests[0].headers["Authorization"] == "Bearer ya29.a-token"
    assert "another" not in repr(google.requests)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "0.0.0.0"])
def test_googles_own_names_lead_to_no_metadata_service(resolver: Resolver, address: str) -> None:
    resolver.set("oauth2.googleapis.com", [address])
    with (
        closing(open_gcs(config(), Settings())) as source,
        pytest.raises(EndpointForbidden, match="Google token endpoint"),
    ):
        keys(source)
    assert resolver.asked == ["oauth2.googleapis.com"], "what is forbidden is not tried again"


def test_a_public_name_that_leads_into_the_operators_network_is_not_connected_to(
    resolver: Resolver, canary: GoogleServer
) -> None:
    name = f"storage.example.com:{canary.url.rpartition(':')[2]}"
    settings = Settings(activekg_endpoint_allowlist=(name,))
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1"):
        resolver.set("storage.example.com", [address])
        with (
            closing(open_gcs(config(endpoint_url=f"http://{name}"), settings)) as source,
            pytest.raises(EndpointForbidden, match=r"storage\.example\.com has the address"),
        ):
            keys(source)


def test_a_private_network_is_reached_where_the_operator_says_so(
    resolver: Resolver, google: GoogleServer
) -> None:
    name = f"storage.example.com:{google.url.rpartition(':')[2]}"
    resolver.set("storage.example.com", ["127.0.0.1"])
    settings = Settings(
        activekg_endpoint_allowlist=(name,),
        activekg_private_networks=(ip_network("127.0.0.1/32"),),
    )
    with closing(open_gcs(config(endpoint_url=f"http://{name}"), settings)) as source:
        keys(source)
    assert google.requests[0].headers["Host"] == name


def test_an_endpoint_that_does_not_answer_is_unreachable() -> None:
    nobody = Settings(activekg_endpoint_allowlist=("127.0.0.1:9",))
    with (
        closing(open_gcs(config(endpoint_url="http://127.0.0.1:9"), nobody)) as source,
        pytest.raises(EndpointUnreachable, match="cannot be reached"),
    ):
        keys(source)
        with pytest.raises(EndpointUnreachable):
            source.read_one_byte("a.txt")


def test_a_proxy_of_the_environment_is_used(
    google: GoogleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, google.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    settings = Settings(activekg_endpoint_allowlist=("storage.example.com",))
    made = config(endpoint_url="http://storage.example.com")
    with closing(open_gcs(made, settings)) as source:
        keys(source)
    assert google.requests[0].headers["Host"] == "storage.example.com"


# Secrets


def test_no_error_and_no_log_line_holds_a_secret(
    google: GoogleServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    scripts: list[Callable[[], None]] = [
        lambda: setattr(google, "api", [refusal(403, "no")]),
        lambda: setattr(google, "api", [Answer(200, b"junk")]),
        lambda: setattr(google, "api", [Answer(302, b"", {"Location": "http://127.0.0.1:9/"})]),
        lambda: setattr(google, "tokens", [answer({"error": "invalid_grant"}, 400)]),
        lambda: setattr(google, "tokens", [Answer(500, b"junk")]),
    ]
    secrets = [*private_key().splitlines()[1:-1], "ya29.a-token"]
    for script in scripts:
        script()
        with closing(opened(google, with_tokens=True)) as source:
            for ask in (
                lambda: keys(source),
                lambda: source.fetch("a", "1", tmp_path / "object", max_bytes=9),
            ):
                with pytest.raises(ActiveKGError) as caught:
                    ask()
                text = "".join(traceback.format_exception(caught.value)) + caught.value.fix
                assert caught.value.__suppress_context__ or caught.value.__context__ is None
                assert not [secret for secret in secrets if secret in text]
    assert not [secret for secret in secrets if secret in caplog.text]
