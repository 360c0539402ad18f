"""The registry of connectors in Postgres. Credentials enter encrypted and leave only
through :meth:`credentials`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow, dict_row

from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.connectors.models import (
    Connector,
    Credentials,
    S3Config,
    S3ConfigPatch,
    check_endpoint,
    default_name,
    mask,
    overlaps,
    partition_key,
)
from activekg_pipelines.database.pool import Database
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorConflict, ConnectorLimit, ConnectorNotFound

_SQL = load_queries(Path(__file__).with_name("queries.sql"))
_COLUMNS = tuple(Connector.__dataclass_fields__)


class ConnectorStore:
    """Registers, reads and changes connectors.

    Args:
        database: the graph database.
        keyring: encrypts and decrypts credentials.
        endpoint_allowlist: ``host`` or ``host:port`` that connectors may name as
            ``endpoint_url``.
        max_connectors: of a tenant that no operator set another limit for; 0 for no
            limit.
    """

    def __init__(
        self,
        database: Database,
        keyring: KeyRing,
        endpoint_allowlist: Sequence[str] = (),
        *,
        max_connectors: int = 0,
    ) -> None:
        self._database = database
        self._max_connectors = max_connectors
        self._keyring = keyring
        self._endpoint_allowlist = endpoint_allowlist

    def using(self, database: Database) -> ConnectorStore:
        """The same registry on other connections."""
        return ConnectorStore(
            database, self._keyring, self._endpoint_allowlist, max_connectors=self._max_connectors
        )

    def create(self, tenant_id: str, config: S3Config) -> Connector:
        """Register a connector.

        Raises:
            ConnectorConflict: the name is taken, or the tenant has a connector that
                shares objects with this one.
            ConnectorLimit: the tenant has as many connectors as it may have.
            InvalidConnector: the endpoint is not on the operator's list.
        """
        self._check_endpoint(config.endpoint_url)
        name = config.name or default_name(config.bucket, config.prefix)
        connector_id = uuid4()
        credentials = Credentials(
            config.access_key_id.get_secret_value(), config.secret_access_key.get_secret_value()
        )
        token, version = self._keyring.encrypt(connector_id, credentials)
        with self._database.transaction(tenant_id=tenant_id) as conn:
            self._check_overlap(conn, tenant_id, config.bucket, config.prefix, ignore=None)
            self._check_limit(conn, tenant_id)
            try:
                conn.execute(
                    _SQL["insert"],
                    {
                        "id": connector_id,
                        "tenant_id": tenant_id,
                        "name": name,
                        "partition_key": partition_key(tenant_id, name),
                        "bucket": config.bucket,
                        "prefix": config.prefix,
                        "region": config.region,
                        "endpoint_url": config.endpoint_url,
                        "poll_interval_seconds": config.poll_interval_seconds,
                        "enabled": config.enabled,
                        "secrets": token,
                        "kek_version": version,
                        "access_key_hint": mask(credentials.access_key_id),
                    },
                )
            except UniqueViolation:
                raise ConnectorConflict(
                    f"A connector named {name!r} exists already; choose another name."
                ) from None
            return _select(conn, connector_id, tenant_id)

    def get(self, connector_id: UUID, tenant_id: str | None = None) -> Connector:
        """One connector.

        Args:
            connector_id: the ``config_id``.
            tenant_id: whose it must be; None for any tenant's.

        Raises:
            ConnectorNotFound: it does not exist, or is another tenant's.
        """
        with self._database.transaction(tenant_id=tenant_id) as conn:
            return _select(conn, connector_id, tenant_id)

    def get_by_partition(self, key: str) -> Connector:
        """The connector behind a Dagster partition key.

        Raises:
            ConnectorNotFound: no connector has that key (any more).
        """
        with self._database.transaction() as conn:
            found = _fetch(conn, "select_by_partition", {"partition_key": key})
        if not found:
            raise ConnectorNotFound(
                f"No connector has the partition key {key!r}. It may have been removed."
            )
        return found[0]

    def every(self, tenant_id: str | None = None) -> Iterator[Connector]:
        """All connectors, oldest first, read page by page.

        Args:
            tenant_id: only this tenant's; None for every tenant's.
        """
        after: tuple[datetime, UUID] | None = None
        while found := self.page(tenant_id, after=after):
            yield from found
            after = found[-1].created_at, found[-1].id

    def page(
        self,
        tenant_id: str | None = None,
        *,
        after: tuple[datetime, UUID] | None = None,
        limit: int = 1000,
    ) -> list[Connector]:
        """Connectors, oldest first.

        Args:
            tenant_id: only this tenant's; None for every tenant's.
            after: ``created_at`` and ``id`` of the last one of the page before.
            limit: rows at most.
        """
        after_time, after_id = after or (None, None)
        with self._database.transaction(tenant_id=tenant_id) as conn:
            return _fetch(
                conn,
                "page",
                {
                    "tenant_id": tenant_id,
                    "after_time": after_time,
                    "after_id": after_id,
                    "limit": limit,
                },
            )

    def tenants(self) -> list[tuple[str, int]]:
        """Every tenant with an enabled connector, and its smallest poll interval in
        seconds.
        """
        with self._database.transaction() as conn:
            return cast("list[tuple[str, int]]", conn.execute(_SQL["tenants"]).fetchall())

    def due_for_poll(self, tenant_id: str) -> list[Connector]:
        """The tenant's enabled connectors whose poll interval has passed, or whose scan
        is under way.
        """
        with self._database.transaction(tenant_id=tenant_id) as conn:
            return _fetch(conn, "due_for_poll", {"tenant_id": tenant_id})

    def update(
        self, connector_id: UUID, patch: S3ConfigPatch, tenant_id: str | None = None
    ) -> Connector:
        """Change the given fields of a connector, and no others.

        Raises:
            ConnectorNotFound, ConnectorConflict, InvalidConnector: as for :meth:`get`
                and :meth:`create`.
        """
        changes = patch.changes()
        with self._database.transaction(tenant_id=tenant_id) as conn:
            conn.execute(_SQL["lock"], {"id": connector_id})
            old = _select(conn, connector_id, tenant_id)
            values: dict[str, Any] = {
                name: changes.get(name, getattr(old, name))
                for name in (
                    "bucket",
                    "prefix",
                    "region",
                    "endpoint_url",
                    "poll_interval_seconds",
                    "enabled",
                )
            }
            self._check_endpoint(values["endpoint_url"])
            self._check_overlap(
                conn, old.tenant_id, values["bucket"], values["prefix"], ignore=old.id
            )
            values |= {"id": old.id, "secrets": None, "kek_version": None, "access_key_hint": None}
            if patch.access_key_id is not None and patch.secret_access_key is not None:
                credentials = Credentials(
                    patch.access_key_id.get_secret_value(),
                    patch.secret_access_key.get_secret_value(),
                )
                values["secrets"], values["kek_version"] = self._keyring.encrypt(
                    old.id, credentials
                )
                values["access_key_hint"] = mask(credentials.access_key_id)
            return _fetch(conn, "update", values)[0]

    def delete(self, connector_id: UUID, tenant_id: str | None = None) -> None:
        """Forget a connector with its ledger and history. Its documents are the
        caller's to remove or keep.

        Raises:
            ConnectorNotFound: as for :meth:`get`.
        """
        with self._database.transaction(tenant_id=tenant_id) as conn:
            conn.execute(_SQL["delete"], {"id": _select(conn, connector_id, tenant_id).id})

    def credentials(self, connector_id: UUID) -> Credentials:
        """The connector's key pair, decrypted.

        Raises:
            ConnectorNotFound: it does not exist.
            EncryptionError: the key that encrypted it is missing.
        """
        with self._database.transaction() as conn:
            row = conn.execute(_SQL["secrets"], {"id": connector_id}).fetchone()
        if row is None:
            raise ConnectorNotFound(f"No connector has the id {connector_id}.")
        return self._keyring.decrypt(connector_id, row[0], row[1])

    def record_error(self, connector_id: UUID, code: str, message: str) -> None:
        """Keep what stops a connector as a whole, for people to see."""
        with self._database.transaction() as conn:
            conn.execute(
                _SQL["record_error"], {"id": connector_id, "code": code, "message": message}
            )

    def pause_polls(self, connector_id: UUID) -> None:
        """Leave a bucket that does not answer in peace, longer each time: its polls
        would hold up other tenants'.
        """
        with self._database.transaction() as conn:
            conn.execute(_SQL["pause_polls"], {"id": connector_id})

    def resume_polls(self, connector_id: UUID) -> None:
        """Poll a bucket again that answers."""
        with self._database.transaction() as conn:
            conn.execute(_SQL["resume_polls"], {"id": connector_id})

    def confirm_deletions(self, connector_id: UUID, tenant_id: str | None = None) -> int:
        """Let the next completed scan carry out the deletions that the guard holds
        back.

        Returns:
            How many there were; 0 when none is held back.
        """
        with self._database.transaction(tenant_id=tenant_id) as conn:
            row = conn.execute(
                _SQL["confirm_deletions"], {"id": _select(conn, connector_id, tenant_id).id}
            ).fetchone()
        return row[0] if row else 0

    def _check_endpoint(self, endpoint_url: str | None) -> None:
        if endpoint_url is not None:
            check_endpoint(endpoint_url, self._endpoint_allowlist)

    def _check_limit(self, conn: Connection[TupleRow], tenant_id: str) -> None:
        # Under the lock that registrations of one tenant take turns by.
        parameters = {"tenant_id": tenant_id, "max_connectors": self._max_connectors}
        row = conn.execute(_SQL["connector_limit"], parameters).fetchone()
        if row is not None and row[1] is not None and row[0] >= row[1]:
            raise ConnectorLimit(
                f"The tenant has {row[0]} connectors and may have {row[1]}. Remove one, or ask "
                "the operator for more: "
                "activekg-pipelines limits set."
            )

    @staticmethod
    def _check_overlap(
        conn: Connection[TupleRow], tenant_id: str, bucket: str, prefix: str, *, ignore: UUID | None
    ) -> None:
        conn.execute(_SQL["lock_tenant"], {"tenant_id": tenant_id})
        for other_id, name, other_prefix in conn.execute(
            _SQL["same_bucket"], {"tenant_id": tenant_id, "bucket": bucket}
        ):
            if other_id != ignore and overlaps(prefix, other_prefix):
                raise ConnectorConflict(
                    f"The connector {name!r} reads s3://{bucket}/{other_prefix} already, which "
                    "shares objects with "
                    f"s3://{bucket}/{prefix}. Each object belongs to one connector: choose "
                    "another prefix."
                )


def _select(conn: Connection[TupleRow], connector_id: UUID, tenant_id: str | None) -> Connector:
    found = _fetch(conn, "select", {"id": connector_id, "tenant_id": tenant_id})
    if not found:
        raise ConnectorNotFound(f"No connector has the id {connector_id}.")
    return found[0]


def _fetch(conn: Connection[TupleRow], query: str, parameters: dict[str, Any]) -> list[Connector]:
    rows = conn.cursor(row_factory=dict_row).execute(_SQL[query], parameters)
    return [Connector(**{column: row[column] for column in _COLUMNS}) for row in rows]
