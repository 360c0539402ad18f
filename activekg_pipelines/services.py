"""What pipeline, API and command line share in one process: settings, pool, stores,
clients, the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.connectors.limits import LimitStore, TenantLimits
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.connectors.store import ConnectorStore
from activekg_pipelines.database.pool import Database
from activekg_pipelines.embedding import (
    CHUNKER_VERSION,
    Backend,
    Encoder,
    Precision,
    encoder_version,
    load_encoder,
    resolve_model,
)
from activekg_pipelines.extraction import EXTRACTOR_VERSION, Limits
from activekg_pipelines.extraction.kinds import UNSUPPORTED_EXTENSIONS
from activekg_pipelines.graph.store import Graph
from activekg_pipelines.ledger.states import Versions
from activekg_pipelines.ledger.store import Ledger, TenantBounds
from activekg_pipelines.s3.client import make_client
from activekg_pipelines.settings import Settings, settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class _Configured:
    """A connector as its S3 client sees it: the same one until somebody changes its
    configuration.

    Scans and polls rewrite other columns all the time; compared by those, every poll
    would make a client of its own.
    """

    id: UUID
    updated_at: datetime
    connector: Connector = field(compare=False)


class Services:
    """Everything that is opened once a process. Parts are made when they are first
    used.

    Args:
        settings: the process's configuration.

    Raises:
        SettingsError: at the first use of what the settings leave out (the database,
            the encryption keys).
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._client = lru_cache(maxsize=256)(self._make_client)

    @cached_property
    def database(self) -> Database:
        """The pool on the graph database."""
        return Database(
            self.settings.require_dsn(),
            max_size=self.settings.activekg_pool_size,
            frozen_seconds=self.settings.activekg_lease_seconds,
        )

    @cached_property
    def connectors(self) -> ConnectorStore:
        """The registry."""
        return ConnectorStore(
            self.database,
            KeyRing.from_settings(self.settings),
            self.settings.activekg_s3_endpoint_allowlist,
            max_connectors=self.settings.activekg_max_connectors_per_tenant,
        )

    @cached_property
    def tenant_limits(self) -> LimitStore:
        """What tenants may use, and what they have used."""
        return LimitStore(
            TenantLimits(
                connectors=self.settings.activekg_max_connectors_per_tenant,
                objects=self.settings.activekg_max_objects_per_connector,
                bytes_per_day=self.settings.activekg_max_bytes_per_day,
            ),
        )

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger."""
        return Ledger(
            lease_seconds=self.settings.activekg_lease_seconds,
            bounds=TenantBounds(
                objects=self.settings.activekg_max_objects_per_connector,
                bytes_per_day=self.settings.activekg_max_bytes_per_day,
                runs=self.settings.activekg_runs_per_tenant,
                concurrent_runs=self.settings.activekg_concurrent_runs,
                time_slice_seconds=self.settings.activekg_turn_seconds,
            ),
            unsupported_extensions=UNSUPPORTED_EXTENSIONS,
        )

    @cached_property
    def graph(self) -> Graph:
        """The graph."""
        return Graph(reuse_days=self.settings.activekg_embedding_reuse_days)

    @cached_property
    def encoder(self) -> Encoder:
        """The embedding model, loaded at the first use.

        Raises:
            ModelError: it cannot be loaded.
        """
        return self._load_encoder(single_texts=False)

    @cached_property
    def question_encoder(self) -> Encoder:
        """The same model for one question at a time, which OpenVINO answers in two
        thirds of the time so.

        Raises:
            ModelError: it cannot be loaded.
        """
        return self._load_encoder(single_texts=True)

    def _load_encoder(self, *, single_texts: bool) -> Encoder:
        return load_encoder(
            self.settings.activekg_embedding_model,
            Backend(self.settings.activekg_embedding_backend),
            self.settings.activekg_embedding_device,
            self.model_cache,
            None,
            precision=Precision(self.settings.activekg_embedding_precision),
            single_texts=single_texts,
        )

    @cached_property
    def versions(self) -> Versions:
        """What makes texts and vectors here; known without loading the model."""
        source = resolve_model(self.settings.activekg_embedding_model, self.model_cache)
        precision = Precision(self.settings.activekg_embedding_precision)
        return Versions(EXTRACTOR_VERSION, CHUNKER_VERSION, encoder_version(source, precision))

    @property
    def model_cache(self) -> Path:
        """Folder of converted models."""
        return self.settings.activekg_home / "models"

    @property
    def limits(self) -> Limits:
        """Bounds of one extraction."""
        return Limits(
            max_text_chars=self.settings.activekg_max_text_chars,
            timeout_seconds=self.settings.activekg_parse_timeout_seconds,
            memory_bytes=self.settings.activekg_parse_memory_bytes,
            pdf_engine=self.settings.activekg_pdf_engine,
        )

    def client(self, connector: Connector) -> S3Client:
        """The connector's S3 client, made anew when its configuration changed."""
        return self._client(_Configured(connector.id, connector.updated_at, connector))

    def _make_client(self, configured: _Configured) -> S3Client:
        return make_client(
            configured.connector, self.connectors.credentials(configured.id), self.settings
        )


@cache
def services() -> Services:
    """The services of this process."""
    return Services(settings())
