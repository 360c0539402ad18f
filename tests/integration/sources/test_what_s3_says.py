"""Each refusal of S3 has its name, its advice, and S3's own words beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from activekg_pipelines.administration.connection_test import try_configuration
from activekg_pipelines.errors import (
    AccessDenied,
    ActiveKGError,
    ClockSkewed,
    CredentialsExpired,
    CredentialsRefused,
    CustomerKey,
    Disposition,
    ExplicitlyDenied,
    FetchFailed,
    KeyDenied,
    KeyUnusable,
    ListingDenied,
    ListingForbidden,
    ObjectError,
    RegionNotEnabled,
    RequesterPays,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    WrongRegion,
)
from activekg_pipelines.quoting import ESCAPES
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.registry import provider
from tests.integration.syncing import query, scan, states, sync
from tests.odd_store import OddStore, Refusal, odd_store

USER = "User: arn:aws:iam::123456789012:user/reader is not authorized to perform:"
OBJECT = 'resource: "arn:aws:s3:::odd-bucket/a.txt"'
BUCKET = 'resource: "arn:aws:s3:::odd-bucket"'
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"

OF_THE_BUCKET: list[tuple[type[SourceError], Refusal]] = [
    (CredentialsExpired, Refusal(400, "ExpiredToken", "The provided token has expired.")),
    (
        CredentialsRefused,
        Refusal(403, "InvalidAccessKeyId", "The key does not exist in our records."),
    ),
    (
        ClockSkewed,
        Refusal(403, "RequestTimeTooSkewed", "The difference between the times is too large."),
    ),
    (
        RegionNotEnabled,
        Refusal(
            400,
            "IllegalLocationConstraintException",
            "The me-south-1 location constraint is incompatible for the region specific endpoint "
            "this request was sent to.",
        ),
    ),
    (RegionNotEnabled, Refusal(400, "InvalidRegion", "The region is not enabled.")),
    (
        WrongRegion,
        Refusal(
            400,
            "IllegalLocationConstraintException",
            "The us-west-2 location constraint is incompatible for the region specific endpoint "
            "this request was sent to.",
        ),
    ),
    (RequesterPays, Refusal(403, "AccessDenied", "The bucket is a Requester Pays bucket.")),
    (SourceMissing, Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")),
]

OF_LISTINGS: list[tuple[type[SourceError], Refusal]] = [
    (
        ListingDenied,
        Refusal(
            403,
            "AccessDenied",
            f"{USER} s3:ListBucket on {BUCKET} because no identity-based policy allows it",
        ),
    ),
    (
        ListingForbidden,
        Refusal(
            403,
            "AccessDenied",
            f"{USER} s3:ListBucket on {BUCKET} with an explicit deny in a service control policy",
        ),
    ),
    (SourceUnavailable, Refusal(400, "Unheard", "Something else.")),
]

OF_OBJECTS: list[tuple[type[ObjectError], Refusal]] = [
    (AccessDenied, Refusal(403, "AccessDenied", "Access Denied")),
    (
        AccessDenied,
        Refusal(
            403,
            "AccessDenied",
            # What a key is called says nothing.
            f'{USER} s3:GetObject on resource: "arn:aws:s3:::odd-bucket/requester pays/with an '
            'explicit deny in a kms:Decrypt policy.txt" because no identity-based policy allows it',
        ),
    ),
    *(
        (
            ExplicitlyDenied,
            Refusal(
                403,
                "AccessDenied",
                f"{USER} {action} on {OBJECT} with an explicit deny in a {policy}",
            ),
        )
        for action, policy in [
            ("s3:GetObject", "service control policy"),
            ("s3:GetObject", "resource control policy"),
            ("s3:GetObject", "permissions boundary"),
            ("kms:Decrypt", "service control policy"),
        ]
    ),
    (
        KeyDenied,
        Refusal(
            403,
            "AccessDenied",
            f"{USER} kms:Decrypt on resource: {KEY} because no identity-based policy allows it",
        ),
    ),
    (
        KeyDenied,
        Refusal(
            403,
            "AccessDenied",
            f"{USER} kms:Decrypt on the resource associated with this ciphertext because the "
            "resource does not exist in this Region, no resource-based policies allow access, or a "
            "resource-based policy explicitly denies access",
        ),
    ),
    (
        KeyDenied,
        Refusal(
            400,
            "AccessDenied",
            "The ciphertext refers to a customer master key that does not exist, does not exist "
            "in this region, or you are not allowed to access.",
        ),
    ),
    (KeyUnusable, Refusal(400, "KMS.DisabledException", f"{KEY} is disabled.")),
    (KeyUnusable, Refusal(400, "KMS.KMSInvalidStateException", f"{KEY} is pending deletion.")),
    (KeyUnusable, Refusal(400, "KMS.NotFoundException", f"Key '{KEY}' does not exist")),
    (FetchFailed, Refusal(400, "KMS.ThrottlingException", "Rate exceeded")),
    (FetchFailed, Refusal(400, "KMS.KMSInternalException", f"{KEY} was not found for now")),
    (
        CustomerKey,
        Refusal(
            400,
            "InvalidRequest",
            "The object was stored using a form of Server Side Encryption. The correct parameters "
            "must be provided to retrieve the object.",
        ),
    ),
    (FetchFailed, Refusal(400, "Unheard", "Something else.")),
]


@pytest.fixture
def store() -> Iterator[OddStore]:
    with odd_store() as opened:
        opened.put("a.txt", "A text about penguins.")
        yield opened


def fetched(store: OddStore, folder: Path, refusal: Refusal) -> ActiveKGError:
    """What fetching an object raises where S3 refuses it so."""
    store.put("a.txt", "A text about penguins.", refusal=refusal)
    settings = Settings(activekg_endpoint_allowlist=(store.url.removeprefix("http://"),))
    with closing(provider("s3").open(store.config(), settings)) as source:
        with pytest.raises((SourceError, ObjectError)) as by_fetch:
            source.fetch("a.txt", "0" * 32, folder / "object", max_bytes=1000)
        with pytest.raises(type(by_fetch.value)):
            source.read_one_byte("a.txt")
    return by_fetch.value


def listed(store: OddStore, refusal: Refusal) -> ActiveKGError:
    """What a listing raises where S3 refuses it so."""
    store.listing = refusal
    settings = Settings(activekg_endpoint_allowlist=(store.url.removeprefix("http://"),))
    source = provider("s3").open(store.config(), settings)
    with closing(source), pytest.raises(SourceError) as raised:
        list(source.pages())
    return raised.value


def check_words(error: ActiveKGError, refusal: Refusal) -> None:
    assert error.message.endswith(f"The store says: {refusal.message.rstrip('.')}.")
    assert error.fix


@pytest.mark.parametrize(("kind", "refusal"), [*OF_THE_BUCKET, *OF_OBJECTS])
def test_a_refused_object_says_why(
    store: OddStore, tmp_path: Path, kind: type[ActiveKGError], refusal: Refusal
) -> None:
    error = fetched(store, tmp_path, refusal)
    assert type(error) is kind
    check_words(error, refusal)
    if isinstance(error, ObjectError):
        is_permanent = not isinstance(error, FetchFailed)
        assert (error.disposition is Disposition.DEAD) is is_permanent


@pytest.mark.parametrize(("kind", "refusal"), [*OF_THE_BUCKET, *OF_LISTINGS])
def test_a_refused_listing_says_why(
    store: OddStore, kind: type[ActiveKGError], refusal: Refusal
) -> None:
    error = listed(store, refusal)
    assert type(error) is kind
    check_words(error, refusal)


def test_an_explicit_deny_names_the_policy(store: OddStore, tmp_path: Path) -> None:
    said = f"{USER} s3:GetObject on {OBJECT} with an explicit deny in a resource control policy"
    error = fetched(store, tmp_path, Refusal(403, "AccessDenied", said))
    assert "A resource control policy explicitly denies reading it." in error.message


def test_a_region_that_has_to_be_enabled_is_named(store: OddStore) -> None:
    said = "The ap-southeast-7 location constraint is incompatible for the region specific endpoint"
    error = listed(store, Refusal(400, "IllegalLocationConstraintException", said))
    assert "in the region ap-southeast-7" in error.message


def test_what_a_store_says_is_bounded_plain_and_without_secrets(
    store: OddStore, tmp_path: Path
) -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    said = f"\u202eNo, AKIAIOSFODNN7EXAMPLE with secret_key={secret}: " + "no, " * 50_000
    for error in (
        fetched(store, tmp_path, Refusal(403, "AccessDenied", said)),
        listed(store, Refusal(403, "AccessDenied", said)),
    ):
        assert len(error.message) < 1000
        assert not any(ord(character) in ESCAPES for character in error.message)
        assert secret not in error.message
        assert "AKIAIOSFODNN7EXAMPLE" not in error.message


def test_permanent_refusals_are_dead_at_once_and_others_are_tried_again(
    configured: Callable[..., Services], store: OddStore
) -> None:
    services = configured(activekg_endpoint_allowlist=(store.url.removeprefix("http://"),))
    connector = store.register(services)
    for number, (_, refusal) in enumerate(OF_OBJECTS):
        store.put(f"{number}.txt", "A text.", refusal=refusal)
    counts = sync(services, connector)
    assert counts.indexed == 1
    expected = {
        f"{number}.txt": ("failed" if kind is FetchFailed else "dead", kind.code)
        for number, (kind, _) in enumerate(OF_OBJECTS)
    }
    assert states(services, connector) == expected | {"a.txt": ("indexed", None)}
    said = query(services, "SELECT error_message FROM connectors.objects WHERE key = '0.txt'")
    assert said[0][0].endswith("The store says: Access Denied.")


def test_the_connector_and_the_connection_test_show_it(
    configured: Callable[..., Services], store: OddStore
) -> None:
    services = configured(activekg_endpoint_allowlist=(store.url.removeprefix("http://"),))
    connector = store.register(services)
    kind, refusal = OF_LISTINGS[1]
    store.listing = refusal
    with pytest.raises(kind):
        scan(services, connector)
    last = services.connector(connector.id).last_error
    assert last is not None
    assert last.code == "explicit_deny"
    assert "service control policy" in last.message
    answer = try_configuration(services, "s3", store.config())
    assert (answer.error_type, answer.message) == (last.code, last.message)
    assert answer.fix == kind.fix
