"""Google Cloud Storage."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import Asked, Prefix, SourceConfig
from activekg_pipelines.sources.provider import Provider
from activekg_pipelines.sources.source import Location, Source


class GcsConfig(SourceConfig):
    """A bucket, a prefix, and the service account that may read them."""

    bucket: Annotated[str, Field(description="The bucket's name.")]
    prefix: Prefix = ""
    service_account_json: Annotated[
        SecretStr, Asked("GOOGLE_APPLICATION_CREDENTIALS", "File with the key", is_file=True)
    ]

    def location(self) -> Location:
        """``gs://bucket/prefix``."""
        return Location("gs", self.bucket, self.prefix)


def open_gcs(config: GcsConfig, settings: Settings) -> Source:
    """A bucket."""
    raise NotImplementedError


PROVIDER = Provider(
    "gcs",
    title="Google Cloud Storage",
    place="Google Cloud Storage bucket",
    config=GcsConfig,
    open=open_gcs,
)
