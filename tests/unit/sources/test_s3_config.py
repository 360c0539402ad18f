"""What may be registered of a bucket on S3: keys and addresses as people paste them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from activekg_pipelines.errors import InvalidConnector
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import patch_of
from activekg_pipelines.sources.s3.config import S3Config
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY

VALUES = {
    "bucket": "documents",
    "access_key_id": ACCESS_KEY_ID,
    "secret_access_key": SECRET_ACCESS_KEY,
}
ODD = ["\n", "\r\n", " ", "\t", "\x00", "\x7f", "\u00a0", "\u200b", "\u202e", "\ufeff", "é"]


def sentences(caught: pytest.ExceptionInfo[ValidationError]) -> str:
    return " ".join(error["msg"] for error in caught.value.errors(include_url=False))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("field", ["access_key_id", "secret_access_key"])
def test_a_key_with_an_odd_character_is_refused_by_a_sentence_without_it(
    field: str, odd: str
) -> None:
    key = VALUES[field]
    keys = {name: VALUES[name] for name in ("access_key_id", "secret_access_key")}
    for pasted in (key + odd, odd + key, f"{key[:8]}{odd}{key[8:]}"):
        for model, values in ((S3Config, VALUES), (patch_of(S3Config), keys)):
            with pytest.raises(ValidationError) as caught:
                model.model_validate(values | {field: pasted})
            assert "must hold no blank, no line end" in sentences(caught)
            assert key[:8] not in str(caught.value)


def test_every_character_of_a_key_is_kept() -> None:
    secret = "wJalr+XUtn/FEMI=K7MDENG~bPxRfiCY!EXAMPLE_-."
    made = S3Config.model_validate(VALUES | {"secret_access_key": secret})
    assert made.secrets()["secret_access_key"].get_secret_value() == secret


@pytest.mark.parametrize(
    "address",
    [
        "https://s3.example.com\n",
        " https://s3.example.com",
        "https://s3.example .com",
        "https://\u212aelvin.example.com",
        "https://s3.\u200bexample.com",
        "https://ex\u00e4mple.com",
    ],
)
def test_an_address_with_an_odd_character_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        S3Config.model_validate(VALUES | {"endpoint_url": address})


def made(**changes: Any) -> S3Config:
    return S3Config.model_validate(VALUES | changes)


AWS = (None, "https://s3.eu-west-1.amazonaws.com", "https://s3.cn-north-1.amazonaws.com.cn")
OTHER = "https://minio.example.com"
ALLOWED = tuple(str(one).removeprefix("https://") for one in (*AWS[1:], OTHER))


@pytest.mark.parametrize(
    ("field", "value"), [("access_key_id", "x" * 15), ("secret_access_key", "x" * 31)]
)
def test_keys_have_the_length_of_aws_at_aws_alone(field: str, value: str) -> None:
    settings = Settings(activekg_endpoint_allowlist=ALLOWED)
    for endpoint in AWS:
        with pytest.raises(InvalidConnector, match=r"must have at least (16|32)") as caught:
            made(endpoint_url=endpoint, **{field: value}).check(settings)
        assert caught.value.field == field
        made(endpoint_url=endpoint, **{field: f"{value}x"}).check(settings)
    made(endpoint_url=OTHER, **{field: "x"}).check(settings)
    # The operator's own store is no more AWS than that of a connector.
    made(**{field: "x"}).check(Settings(activekg_s3_endpoint_url=OTHER))
    with pytest.raises(ValidationError, match="must have 1 to 256 characters"):
        made(endpoint_url=OTHER, **{field: ""})
    with pytest.raises(ValidationError, match="must have 1 to 256 characters"):
        made(endpoint_url=OTHER, **{field: "x" * 257})


@pytest.mark.parametrize("name", ["Documents", "my_documents", "x" * 64, "A" * 255])
def test_names_of_other_stores_and_of_old_buckets_in_us_east_1(name: str) -> None:
    settings = Settings(activekg_endpoint_allowlist=ALLOWED)
    made(bucket=name).check(settings)
    made(bucket=name, endpoint_url=OTHER, region="eu-west-1").check(settings)
    with pytest.raises(InvalidConnector, match="bucket: must be 3 to 63 lower-case letters"):
        made(bucket=name, region="eu-west-1").check(settings)


def test_a_bucket_before_the_host_is_a_name_before_a_name() -> None:
    endpoints = ("https://minio.example.com", "http://127.0.0.1:9000", "http://[::1]:9000")
    settings = Settings(activekg_endpoint_allowlist=[one.partition("://")[2] for one in endpoints])
    made(endpoint_url=endpoints[0], addressing_style="virtual").check(settings)
    for endpoint, bucket in (
        (endpoints[0], "with.dots"),
        (endpoints[0], "My_Documents"),
        (endpoints[1], "documents"),
        (endpoints[2], "documents"),
    ):
        asked = made(endpoint_url=endpoint, bucket=bucket, addressing_style="virtual")
        with pytest.raises(InvalidConnector, match="addressing_style: must not be virtual"):
            asked.check(settings)


@pytest.mark.parametrize(
    ("endpoint", "bucket", "in_host"),
    [
        (None, "documents", False),
        ("https://minio.example.com", "documents", False),
        ("https://s3.oss-cn-hangzhou.aliyuncs.com", "documents", True),
        ("https://s3.oss-cn-hangzhou.aliyuncs.com", "with.dots", False),
        ("https://aliyuncs.com.example.com", "documents", False),
        (None, "documents--usw2-az1--x-s3", True),
    ],
)
def test_the_path_is_the_default_where_the_store_takes_it(
    endpoint: str | None, bucket: str, in_host: bool
) -> None:
    assert made(endpoint_url=endpoint, bucket=bucket).bucket_in_host(Settings()) is in_host


def test_a_path_keeps_its_case_and_loses_its_last_slash() -> None:
    for written, kept in (
        ("HTTPS://X.Supabase.CO/Storage/v1/s3/", "https://x.supabase.co/Storage/v1/s3"),
        ("https://x.co:8443/~a/b_c.d-e", "https://x.co:8443/~a/b_c.d-e"),
        ("https://x.co/.well-known/s3", "https://x.co/.well-known/s3"),
        ("https://x.co/", "https://x.co"),
    ):
        assert made(endpoint_url=written).endpoint_url == kept
    with pytest.raises(ValidationError):
        made(endpoint_url=f"https://x.co/{'a' * 255}")


def test_no_keys_are_needed_where_the_operator_allows_that() -> None:
    public = S3Config.model_validate({"bucket": "documents", "anonymous": True})
    with pytest.raises(InvalidConnector, match="ACTIVEKG_S3_ANONYMOUS"):
        public.check(Settings())
    public.check(Settings(activekg_s3_anonymous="allowed"))
    assert public.secrets() == {}
    assert not S3Config.needs_secrets({"anonymous": True})
    assert S3Config.needs_secrets({})
    with pytest.raises(ValidationError):
        S3Config.model_validate({"bucket": "documents", "anonymous": "yes"})


def test_what_was_stored_before_these_fields_goes_on() -> None:
    before = {"bucket": "documents", "prefix": "a/", "region": "eu-west-1", "endpoint_url": None}
    stored = S3Config.stored(before, {})
    stored.check(Settings())
    assert (stored.addressing_style, stored.requester_pays, stored.anonymous) == (
        "auto",
        False,
        False,
    )
    assert not stored.bucket_in_host(Settings())


@pytest.mark.parametrize(
    ("key", "shown"), [(ACCESS_KEY_ID, "AKIA…MPLE"), ("minioadmin", "mi…in"), ("me", "…")]
)
def test_a_short_key_is_not_shown_whole(key: str, shown: str) -> None:
    assert made(access_key_id=key).hints() == {"access_key_id": shown}
