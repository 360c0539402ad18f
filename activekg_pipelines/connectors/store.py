"""The registry of connectors in Postgres.

Secrets enter encrypted, and leave only through :meth:`ConnectorStore.secrets`. Every
method works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow, class_row, dict_row
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.connectors.listings import LISTING_PARTS
from activekg_pipelines.connectors.models import Connector, Listing, partition_key
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorConflict, ConnectorLimit, ConnectorNotFound
from activekg_pipelines.logs import redact
from activekg_pipelines.quoting import printable
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import ConfigPatch, SourceConfig
from activekg_pipelines.sources.registry import provider
from activekg_pipelines.sources.source import Location

_SQL = load_queries(Path(__file__).with_name("queries.sql"), LISTING_PARTS)
_MESSAGE_CHARACTERS = 2000
_COLUMNS = tuple(Connector.__dataclass_fields__)


class ConnectorStore:
    """Registers, reads and changes connectors.

    Args:
        keyring: encrypts and decrypts secrets.
        settings: they say what the operator allows.
    """

    def __init__(self, keyring: KeyRing, settings: Settings) -> None:
        self._keyring = keyring
        self._settings = settings

    def create(
        self, conn: Connection[TupleRow], tenant_id: str, kind: str, config: SourceConfig
    ) -> Connector:
        """Register a connector.

        Args:
            kind: name of the provider.
            config: with its secrets.

        Raises:
            ConnectorConflict: the name is taken, or the tenant has a connector that
                shares objects with this one.
            ConnectorLimit: the tenant has as many connectors as it may have.
            InvalidConnector: the operator does not allow the source.
        """
        config.check(self._settings)
        name = config.name or config.default_name()
        connector_id = uuid4()
        token, version = self._keyring.encrypt(kind, connector_id, config.secrets())
        self._check_overlap(conn, tenant_id, config.location(), ignore=None)
        self._check_limit(conn, tenant_id)
        try:
            with conn.transaction():
                conn.execute(
                    _SQL["insert"],
                    {
                        "id": connector_id,
                        "tenant_id": tenant_id,
                        "provider": kind,
                        "name": name,
                        "partition_key": partition_key(tenant_id, name),
                        "config": Jsonb(config.own()),
                        "location": str(config.location()),
                        "poll_interval_seconds": config.poll_interval_seconds,
                        "enabled": config.enabled,
                        "delete_guard_percent": config.delete_guard_percent,
                        "secrets": token,
                        "kek_version": version,
                        "secret_hints": Jsonb(config.hints()),
                    },
                )
        except UniqueViolation:
            raise ConnectorConflict(
                f"A connector named {name!r} exists already; choose another name."
            ) from None
        return _select(conn, connector_id, tenant_id)

    def get(
        self, conn: Connection[TupleRow], connector_id: UUID, tenant_id: str | None = None
    ) -> Connector:
        """One connector.

        Args:
            connector_id: the ``config_id``.
            tenant_id: whose it must be; None for any tenant's.

        Raises:
            ConnectorNotFound: it does not exist, or is another tenant's.
        """
        return _select(conn, connector_id, tenant_id)

    def get_by_partition(self, conn: Connection[TupleRow], key: str) -> Connector:
        """The connector behind a Dagster partition key.

        Raises:
            ConnectorNotFound: no connector has that key (any more).
        """
        found = _fetch(conn, "select_by_partition", {"partition_key": key})
        if not found:
            raise ConnectorNotFound(
                f"No connector has the partition key {key!r}. It may have been removed."
            )
        return found[0]

    def page(
        self,
        conn: Connection[TupleRow],
        tenant_id: str | None = None,
        *,
        kind: str | None = None,
        after: tuple[datetime, UUID] | None = None,
        limit: int = 1000,
    ) -> list[Connector]:
        """Connectors, oldest first.

        Args:
            tenant_id: only this tenant's; None for every tenant's.
            kind: only those of this provider.
            after: ``created_at`` and ``id`` of the last one of the page before.
            limit: rows at most.
        """
        after_time, after_id = after or (None, None)
        return _fetch(
            conn,
            "page",
            {
                "tenant_id": tenant_id,
                "provider": kind,
                "after_time": after_time,
                "after_id": after_id,
                "limit": limit,
            },
        )

    def tenants(self, conn: Connection[TupleRow]) -> list[tuple[str, int]]:
        """Every tenant with an enabled connector, and its smallest poll interval in seconds."""
        return cast("list[tuple[str, int]]", conn.execute(_SQL["tenants"]).fetchall())

    def due_for_poll(self, conn: Connection[TupleRow], tenant_id: str) -> list[Connector]:
        """The tenant's connectors to poll now.

        They are enabled, and their poll interval has passed or their scan is under way.
        """
        return _fetch(conn, "due_for_poll", {"tenant_id": tenant_id})

    def turned_listings(self, conn: Connection[TupleRow], *, limit: int) -> list[Listing]:
        """Connectors whose last listing has become late, or is no longer, by id.

        Args:
            limit: connectors at most.
        """
        cursor = conn.cursor(row_factory=class_row(Listing))
        return cursor.execute(_SQL["turned_listings"], {"limit": limit}).fetchall()

    def note_listings(self, conn: Connection[TupleRow], listings: Sequence[Listing]) -> None:
        """Remember what Dagster was told of these connectors."""
        parameters = {
            "ids": [listing.id for listing in listings],
            "in_time": [listing.in_time for listing in listings],
        }
        conn.execute(_SQL["note_listings"], parameters)

    def update(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        patch: ConfigPatch,
        tenant_id: str | None = None,
    ) -> Connector:
        """Change the given fields of a connector, and no others.

        Raises:
            ConnectorNotFound, ConnectorConflict, InvalidConnector: as for :meth:`get`
                and :meth:`create`.
        """
        conn.execute(_SQL["lock"], {"id": connector_id})
        old = _select(conn, connector_id, tenant_id)
        before, after = stored_config(old), changed_config(old, patch)
        secrets = after.secrets()
        after.check(self._settings)
        self._check_overlap(conn, old.tenant_id, after.location(), ignore=old.id)
        token, version = None, None
        if secrets:
            token, version = self._keyring.encrypt(old.provider, old.id, secrets)
        values = {
            "id": old.id,
            "config": Jsonb(after.own()),
            "location": str(after.location()),
            "moved": before.origin() != after.origin(),
            "poll_interval_seconds": after.poll_interval_seconds,
            "enabled": after.enabled,
            "delete_guard_percent": after.delete_guard_percent,
            "secrets": token,
            "kek_version": version,
            "secret_hints": Jsonb(after.hints()) if secrets else None,
        }
        return _fetch(conn, "update", values)[0]

    def delete(
        self, conn: Connection[TupleRow], connector_id: UUID, tenant_id: str | None = None
    ) -> None:
        """Delete a connector with its ledger and history.

        The caller removes or keeps its documents.

        Raises:
            ConnectorNotFound: as for :meth:`get`.
        """
        conn.execute(_SQL["delete"], {"id": _select(conn, connector_id, tenant_id).id})

    def secrets(self, conn: Connection[TupleRow], connector_id: UUID) -> dict[str, SecretStr]:
        """The connector's secrets, by field.

        Raises:
            ConnectorNotFound: it does not exist.
            EncryptionError: the key that encrypted them is missing.
        """
        row = conn.execute(_SQL["secrets"], {"id": connector_id}).fetchone()
        if row is None:
            raise ConnectorNotFound(f"No connector has the id {connector_id}.")
        kind, token, version = row
        return self._keyring.decrypt(kind, connector_id, token, version)

    def record_error(
        self, conn: Connection[TupleRow], connector_id: UUID, code: str, message: str
    ) -> None:
        """Store an error that stops the whole connector, so that people see it.

        Args:
            message: a sentence. It is kept bounded, plain and without what looks like a
                secret, whoever made it.
        """
        kept = redact(printable(message, _MESSAGE_CHARACTERS))
        conn.execute(_SQL["record_error"], {"id": connector_id, "code": code, "message": kept})

    def sort_listing(self, conn: Connection[TupleRow], connector_id: UUID) -> None:
        """Remember that the source does not list in order: runs sort its listing."""
        conn.execute(_SQL["sort_listing"], {"id": connector_id})

    def distrust_etags(self, conn: Connection[TupleRow], connector_id: UUID) -> bool:
        """Remember that the source's ETags do not change with the bytes.

        Returns:
            Whether that is news.
        """
        return bool(conn.execute(_SQL["distrust_etags"], {"id": connector_id}).rowcount)

    def note_store(
        self, conn: Connection[TupleRow], connector: Connector, notes: Collection[str]
    ) -> None:
        """Remember what was found out about the store, until the connector is changed."""
        parameters = {
            "id": connector.id,
            "updated_at": connector.updated_at,
            "notes": sorted(notes),
        }
        conn.execute(_SQL["note_store"], parameters)

    def delay_polls(
        self, conn: Connection[TupleRow], connector_id: UUID, *, seconds: float
    ) -> None:
        """Do not poll a source that does not answer for some time.

        Its polls would delay those of other tenants.
        """
        conn.execute(_SQL["delay_polls"], {"id": connector_id, "seconds": seconds})

    def resume_polls(self, conn: Connection[TupleRow], connector_id: UUID) -> None:
        """Poll a source again at its usual interval, because it answers."""
        conn.execute(_SQL["resume_polls"], {"id": connector_id})

    def confirm_deletions(
        self, conn: Connection[TupleRow], connector_id: UUID, tenant_id: str | None = None
    ) -> int:
        """Let the next completed scan carry out the deletions that the guard holds back.

        Returns:
            How many there were; 0 when none is held back.
        """
        connector_id = _select(conn, connector_id, tenant_id).id
        row = conn.execute(_SQL["confirm_deletions"], {"id": connector_id}).fetchone()
        return row[0] if row else 0

    def _check_limit(self, conn: Connection[TupleRow], tenant_id: str) -> None:
        # Registrations of one tenant hold its lock here, one after the other.
        parameters = {
            "tenant_id": tenant_id,
            "max_connectors": self._settings.activekg_max_connectors_per_tenant,
        }
        row = conn.execute(_SQL["connector_limit"], parameters).fetchone()
        if row is not None and row[1] is not None and row[0] >= row[1]:
            raise ConnectorLimit(f"The tenant has {row[0]} connectors and may have {row[1]}.")

    @staticmethod
    def _check_overlap(
        conn: Connection[TupleRow],
        tenant_id: str,
        location: Location,
        *,
        ignore: UUID | None,
    ) -> None:
        conn.execute(_SQL["lock_tenant"], {"tenant_id": tenant_id})
        registered = conn.execute(_SQL["locations"], {"tenant_id": tenant_id})
        for other_id, name, other in registered:
            if other_id != ignore and location.overlaps(Location.parse(other)):
                raise ConnectorConflict(
                    f"The connector {name!r} reads {other} already, which shares objects with "
                    f"{location}. Each object belongs to one connector: choose another prefix."
                )


def stored_config(
    connector: Connector, secrets: Mapping[str, SecretStr] | None = None
) -> SourceConfig:
    """A connector's configuration, with its secrets where they are given.

    Raises:
        InvalidConnector: nobody registered its provider in this process.
    """
    shared = {
        "name": connector.name,
        "poll_interval_seconds": connector.poll_interval_seconds,
        "enabled": connector.enabled,
        "delete_guard_percent": connector.delete_guard_percent,
    }
    kind = provider(connector.provider).config
    return kind.stored({**connector.config, **shared}, secrets or {})


def changed_config(connector: Connector, patch: ConfigPatch) -> SourceConfig:
    """What a connector's configuration becomes; secrets are those of the patch alone."""
    before = stored_config(connector)
    changes = patch.changes()
    secrets = {name: changes.pop(name) for name in before.secret_fields() if name in changes}
    return before.stored({**dict(before), **changes}, secrets)


def _select(conn: Connection[TupleRow], connector_id: UUID, tenant_id: str | None) -> Connector:
    found = _fetch(conn, "select", {"id": connector_id, "tenant_id": tenant_id})
    if not found:
        raise ConnectorNotFound(f"No connector has the id {connector_id}.")
    return found[0]


def _fetch(conn: Connection[TupleRow], query: str, parameters: dict[str, Any]) -> list[Connector]:
    rows = conn.cursor(row_factory=dict_row).execute(_SQL[query], parameters)
    return [
        Connector(
            **{column: row[column] for column in _COLUMNS}
            | {"location": Location.parse(row["location"])}
        )
        for row in rows
    ]
