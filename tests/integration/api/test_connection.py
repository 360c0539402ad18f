"""Testing a connection against S3 over HTTP.

The documented answer, and each way in which it fails.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from cryptography.fernet import Fernet
from pydantic import SecretStr

from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.services import Services
from tests.integration.api.conftest import CONFIGS, Caller, assert_problem, registration
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket


def config_of(source: Bucket, **changes: Any) -> dict[str, Any]:
    return {"bucket": source.name, "endpoint_url": source.endpoint_url, "prefix": ""} | changes


@contextmanager
def iam_enforced(endpoint: str, *actions: str) -> Iterator[dict[str, str]]:
    """The S3 server checks signatures and policies meanwhile.

    Gives the keys of a user who may do ``actions``.
    """
    iam = boto3.client(
        "iam",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
    )
    name = f"user-{abs(hash(actions))}"
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    httpx.post(f"{endpoint}/moto-api/reset-auth", content="0")
    try:
        yield {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
    finally:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content="inf")


def test_a_registered_connector_answers_as_documented(acme: Caller, bucket: Bucket) -> None:
    for number in range(42):
        bucket.put(f"documents/{number}.txt", "text")
    bucket.put("elsewhere/a.txt", "text")
    created = acme.register(**config_of(bucket, prefix="documents/"))
    answer = acme.post(f"{CONFIGS}/{created['id']}/test")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "success",
        "message": "Successfully connected to S3 bucket",
        "objects_found": 42,
    }


def test_a_configuration_is_tried_before_it_is_registered(acme: Caller, bucket: Bucket) -> None:
    answer = acme.post(f"{CONFIGS}/test", registration(**config_of(bucket)))
    assert answer.json() == {
        "status": "success",
        "message": "Successfully connected to S3 bucket",
        "objects_found": 0,
    }
    assert acme.get(CONFIGS).json()["items"] == []


def test_empty_objects_and_folder_markers_are_no_reason_to_fail(
    acme: Caller, bucket: Bucket
) -> None:
    bucket.put("folder/", "")
    bucket.put("folder/empty.txt", "")
    assert (
        acme.post(f"{CONFIGS}/test", registration(**config_of(bucket))).json()["objects_found"] == 2
    )


def test_a_missing_bucket_is_named_with_its_fix(acme: Caller, bucket: Bucket) -> None:
    answer = acme.post(
        f"{CONFIGS}/test", registration(**config_of(bucket, bucket="no-such-bucket-here"))
    ).json()
    assert (answer["status"], answer["error_type"]) == ("error", "no_such_bucket")
    assert "no-such-bucket-here" in answer["message"]
    assert answer["fix"]
    assert "objects_found" not in answer


def test_listing_without_permission_is_access_denied(acme: Caller, bucket: Bucket) -> None:
    with iam_enforced(bucket.endpoint_url, "s3:GetObject") as keys:
        answer = acme.post(f"{CONFIGS}/test", registration(**config_of(bucket, **keys))).json()
    assert (answer["status"], answer["error_type"]) == ("error", "access_denied")
    assert "s3:ListBucket" in answer["fix"]


def test_reading_without_permission_is_access_denied_although_listing_works(
    acme: Caller, bucket: Bucket
) -> None:
    bucket.put("a.txt", "text")
    with iam_enforced(bucket.endpoint_url, "s3:ListBucket") as keys:
        answer = acme.post(f"{CONFIGS}/test", registration(**config_of(bucket, **keys))).json()
    assert (answer["status"], answer["error_type"]) == ("error", "access_denied")
    assert "s3:GetObject" in answer["message"]
    assert "s3:GetObject" in answer["fix"]


def test_the_documents_two_permissions_are_enough(acme: Caller, bucket: Bucket) -> None:
    bucket.put("a.txt", "text")
    with iam_enforced(
        bucket.endpoint_url, "s3:ListBucket", "s3:GetObject", "s3:GetObjectVersion"
    ) as keys:
        answer = acme.post(f"{CONFIGS}/test", registration(**config_of(bucket, **keys)))
    assert answer.json()["status"] == "success"
    assert keys["secret_access_key"] not in answer.text


def test_unknown_and_wrong_keys_are_invalid_credentials(acme: Caller, bucket: Bucket) -> None:
    with iam_enforced(bucket.endpoint_url, "s3:*") as keys:
        for wrong in ({"access_key_id": "AKIA0000000000000000"}, {"secret_access_key": "z" * 40}):
            body = registration(**config_of(bucket, **(keys | wrong)))
            answer = acme.post(f"{CONFIGS}/test", body).json()
            assert (answer["status"], answer["error_type"]) == ("error", "invalid_credentials")
            assert "IAM console" in answer["fix"]


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        ("PermanentRedirect", "wrong_region"),
        ("RequestTimeTooSkewed", "clock_skew"),
        ("ExpiredToken", "expired_token"),
        ("InternalError", "source_unavailable"),
    ],
)
def test_what_the_server_of_the_tests_cannot_do_is_named_too(
    acme: Caller, bucket: Bucket, code: str, error_type: str
) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "no"}}, "ListObjectsV2")
    with patch("botocore.client.BaseClient._make_api_call", side_effect=error):
        answer = acme.post(f"{CONFIGS}/test", registration(**config_of(bucket))).json()
    assert (answer["status"], answer["error_type"]) == ("error", error_type)
    assert answer["fix"]


def test_an_endpoint_that_nobody_serves_is_unreachable(
    acme: Caller, admin: Services, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    created = acme.register(**config_of(bucket))
    with admin.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.connectors SET endpoint_url = %s", (f"http://127.0.0.1:{port}",)
        )
    # Also shows that an endpoint that the operator took off the list is not called any
    # more.
    assert_problem(acme.post(f"{CONFIGS}/{created['id']}/test"), 422)
    monkeypatch.setattr("activekg_pipelines.sources.s3.config.check_endpoint", lambda *_: None)
    monkeypatch.setattr("time.sleep", lambda _: None)
    answer = acme.post(f"{CONFIGS}/{created['id']}/test").json()
    assert (answer["status"], answer["error_type"]) == ("error", "endpoint_unreachable")


def test_credentials_that_cannot_be_decrypted_say_so(
    acme: Caller, admin: Services, bucket: Bucket
) -> None:
    created = acme.register(**config_of(bucket))
    other = KeyRing({2: SecretStr(Fernet.generate_key().decode())}, 2)
    with patch.object(admin.connectors, "_keyring", other):
        answer = acme.post(f"{CONFIGS}/{created['id']}/test").json()
    assert (answer["status"], answer["error_type"]) == ("error", "credentials_unreadable")
    assert "CONNECTOR_KEK_V1" in answer["message"]


def test_an_endpoint_that_is_not_allowed_is_not_called(acme: Caller, bucket: Bucket) -> None:
    body = registration(**config_of(bucket, endpoint_url="http://169.254.169.254"))
    assert_problem(acme.post(f"{CONFIGS}/test", body), 422)
