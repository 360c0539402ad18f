"""A bucket on the tests' S3 server, filled and changed the way a customer does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.services import Services
from activekg_pipelines.sources.config import patch_of
from activekg_pipelines.sources.s3.config import S3Config

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

S3ConfigPatch = patch_of(S3Config)
ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@dataclass(frozen=True)
class Bucket:
    """A bucket and a client that owns it."""

    endpoint_url: str
    name: str
    client: S3Client

    @classmethod
    def create(cls, endpoint_url: str, name: str) -> Bucket:
        """Make a new bucket."""
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY_ID,
            aws_secret_access_key=SECRET_ACCESS_KEY,
        )
        client.create_bucket(Bucket=name)
        return cls(endpoint_url, name, client)

    def put(self, key: str, body: bytes | str) -> str:
        """Write an object; returns its ETag without quotes."""
        data = body.encode() if isinstance(body, str) else body
        return self.client.put_object(Bucket=self.name, Key=key, Body=data)["ETag"].strip('"')

    def put_many(self, objects: dict[str, bytes | str]) -> None:
        """Write many objects without HTTP: the server runs in this process."""
        from moto.backends import get_backend
        from moto.core import DEFAULT_ACCOUNT_ID

        backend = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
        for key, body in objects.items():
            backend.put_object(self.name, key, body.encode() if isinstance(body, str) else body)

    def delete(self, *keys: str) -> None:
        """Delete objects."""
        for key in keys:
            self.client.delete_object(Bucket=self.name, Key=key)

    def config(self, **changes: object) -> S3Config:
        """A connector configuration for the bucket."""
        values = {
            "bucket": self.name,
            "endpoint_url": self.endpoint_url,
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
        }
        return S3Config.model_validate(values | changes)

    def register(
        self, services: Services, tenant_id: str = "acme_corp", **changes: object
    ) -> Connector:
        """Register a connector for the bucket."""
        with services.database.transaction(tenant_id=tenant_id) as conn:
            return services.connectors.create(conn, tenant_id, "s3", self.config(**changes))
