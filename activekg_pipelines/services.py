"""What a process opens once: settings, pool, stores, encoders, the orchestrator.

Pipeline, administration, API and command line find all of it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property, lru_cache
from pathlib import Path
from uuid import UUID

from activekg_pipelines.chunking import CHUNKER_VERSION
from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.connectors.store import ConnectorStore, stored_config
from activekg_pipelines.connectors.tenant_limits import LimitStore, TenantLimits
from activekg_pipelines.database.pool import Database
from activekg_pipelines.embedding import (
    Encoder,
    EncoderConfig,
    Precision,
    encoder_version,
    load_encoder,
)
from activekg_pipelines.extraction import EXTRACTOR_VERSION, UNSUPPORTED_EXTENSIONS, Limits
from activekg_pipelines.graph.search import SearchHit, search
from activekg_pipelines.graph.store import Graph
from activekg_pipelines.ledger.states import Versions
from activekg_pipelines.ledger.store import Ledger, TenantBounds
from activekg_pipelines.orchestrator.credential import ServiceCredential
from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.settings import Settings, settings
from activekg_pipelines.sources.ordered import Ordered
from activekg_pipelines.sources.registry import provider
from activekg_pipelines.sources.source import Source

Search = Callable[[str, str, int], list[SearchHit]]
"""``(tenant_id, query, limit)`` to the tenant's best hits."""


@dataclass(frozen=True, slots=True)
class _Configured:
    """A connector, equal to itself until its configuration changes.

    Scans and polls rewrite other columns all the time. If those were compared, every
    poll would open a new source.
    """

    id: UUID
    updated_at: datetime
    connector: Connector = field(compare=False)


class Services:
    """Everything that is opened once a process.

    A part is made when it is first used. Until then no connection is opened and no
    model is loaded. A part that is assigned takes the place of the one that would be
    made: ``services.encoder = …``.

    Args:
        settings: the process's configuration.

    Raises:
        SettingsError: at the first use of what the settings leave out (the database,
            the encryption keys).
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._source = lru_cache(maxsize=256)(self._open_source)

    def prepare(self) -> None:
        """Make the parts that administration works with. Opens no connection.

        What the settings leave out shows at the start then, and threads share what was
        made: from Python 3.12 on, two that use a part first would make one each.

        Raises:
            SettingsError: the database or the encryption keys are not configured.
        """
        for name in (
            "database",
            "monitoring_database",
            "keyring",
            "connectors",
            "ledger",
            "graph",
            "orchestrator",
        ):
            getattr(self, name)

    def close(self) -> None:
        """Finish what is under way, and close the connections that were opened."""
        opened = vars(self)
        if "orchestrator" in opened:
            self.orchestrator.close()
        for name in ("database", "monitoring_database"):
            if name in opened:
                opened[name].close()

    @cached_property
    def database(self) -> Database:
        """The pool on the graph database."""
        return Database(
            self.settings.require_dsn(),
            max_size=self.settings.activekg_pool_size,
            idle_in_transaction_seconds=self.settings.activekg_lease_seconds,
        )

    @cached_property
    def monitoring_database(self) -> Database:
        """A pool for whoever watches the service, which no other work can use up."""
        return Database(self.settings.require_dsn(), max_size=2, wait_seconds=3.0)

    @cached_property
    def keyring(self) -> KeyRing:
        """The keys that encrypt stored credentials."""
        return KeyRing.from_settings(self.settings)

    @cached_property
    def connectors(self) -> ConnectorStore:
        """The registry."""
        return ConnectorStore(self.keyring, self.settings)

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
                time_slice_seconds=self.settings.activekg_fair_share_seconds,
            ),
            unsupported_extensions=UNSUPPORTED_EXTENSIONS,
        )

    @cached_property
    def graph(self) -> Graph:
        """The graph."""
        return Graph(reuse_days=self.settings.activekg_embedding_reuse_days)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of documents, loaded at the first use.

        Raises:
            ModelError: it cannot be loaded.
        """
        return load_encoder(self._encoder_config())

    @cached_property
    def question_encoder(self) -> Encoder:
        """The same model for one question at a time.

        With OpenVINO, questions that are asked at once do not wait for each other.

        Raises:
            ModelError: it cannot be loaded.
        """
        return load_encoder(self._encoder_config(single_texts=True))

    def _encoder_config(self, *, single_texts: bool = False) -> EncoderConfig:
        return EncoderConfig(
            self.settings.activekg_embedding_model,
            self.model_cache,
            backend=self.settings.activekg_embedding_backend,
            device=self.settings.activekg_embedding_device,
            precision=Precision(self.settings.activekg_embedding_precision),
            single_texts=single_texts,
        )

    @cached_property
    def search(self) -> Search:
        """Answers a question with a tenant's documents."""

        def find(tenant_id: str, query: str, limit: int) -> list[SearchHit]:
            return search(
                self.database, self.question_encoder, tenant_id=tenant_id, query=query, limit=limit
            )

        return find

    @cached_property
    def orchestrator(self) -> Orchestrator:
        """Dagster, as API and command line need it."""
        return Orchestrator(
            self.settings.activekg_webserver_url,
            credential=ServiceCredential(self.settings).make,
        )

    @cached_property
    def versions(self) -> Versions:
        """The versions that make texts and vectors here.

        They are known without loading the encoder.
        """
        encoder = encoder_version(self._encoder_config())
        return Versions(self.extractor_version, CHUNKER_VERSION, encoder)

    @cached_property
    def extractor_version(self) -> str:
        """The version that makes texts here. It is known without a model."""
        return EXTRACTOR_VERSION

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

    def connector(self, connector_id: UUID, tenant_id: str | None = None) -> Connector:
        """One connector.

        Args:
            connector_id: the ``config_id``.
            tenant_id: whose it must be; None for any tenant's.

        Raises:
            ConnectorNotFound: it does not exist, or is another tenant's.
        """
        with self.database.transaction(tenant_id=tenant_id) as conn:
            return self.connectors.get(conn, connector_id, tenant_id)

    def connector_of_partition(self, key: str) -> Connector:
        """The connector behind a Dagster partition key.

        Raises:
            ConnectorNotFound: no connector has that key (any more).
        """
        with self.database.transaction() as conn:
            return self.connectors.get_by_partition(conn, key)

    def every_connector(self, tenant_id: str | None = None) -> Iterator[Connector]:
        """All connectors, oldest first; each page of them is a transaction of its own.

        Args:
            tenant_id: only this tenant's; None for every tenant's.
        """
        after: tuple[datetime, UUID] | None = None
        while True:
            with self.database.transaction(tenant_id=tenant_id) as conn:
                found = self.connectors.page(conn, tenant_id, after=after)
            if not found:
                return
            yield from found
            after = found[-1].created_at, found[-1].id

    def delete_guard_share(self, connector: Connector) -> float:
        """The share of a connector's objects above which deletions are held back."""
        percent = connector.delete_guard_percent
        return self.settings.activekg_delete_guard_share if percent is None else percent / 100

    def source(self, connector: Connector) -> Source:
        """The connector's source, opened again when its configuration changed.

        Its pages come in the order of keys, in whatever order it lists.

        Raises:
            EncryptionError: its secrets cannot be read.
            InvalidConnector: the operator does not allow it (any more), or its provider
                is not installed here.
        """
        source = self._source(_Configured(connector.id, connector.updated_at, connector))
        source.heed(connector.store_notes)
        in_order = source.lists_in_order and connector.lists_in_order
        return source if in_order else Ordered(source)

    def _open_source(self, configured: _Configured) -> Source:
        with self.database.transaction() as conn:
            secrets = self.connectors.secrets(conn, configured.id)
        connector = configured.connector
        config = stored_config(connector, secrets)
        return provider(connector.provider).open(config, self.settings)


@cache
def services() -> Services:
    """The services of this process."""
    return Services(settings())
