"""What a process of the version before this one does to the database.

Its statements are those of commit 806cc37, word for word, in ``sql_0007``; the methods are
its methods without what the database does not see. Goes with the columns and the trigger
that revision 0008 keeps for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from secrets import compare_digest
from typing import Any
from uuid import UUID, uuid4

from cryptography.fernet import Fernet
from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from activekg_pipelines.database.queries import load_queries
from tests.integration.upgrade.objects import KEKS

FILES = sorted(Path(__file__).with_name("sql_0007").glob("*.sql"))
SQL = {path.stem: load_queries(path) for path in FILES}

Row = dict[str, Any]


class EncryptionError(Exception):
    """A connector's credentials cannot be read."""


class OldProcess:
    """A process of the version before, on one connection."""

    def __init__(self, conn: Connection[TupleRow]) -> None:
        self._conn = conn

    def register(
        self, tenant_id: str, name: str, *, bucket: str, endpoint_url: str, keys: tuple[str, str]
    ) -> Row:
        """``ConnectorStore.create``, with whether a bucket of the name is taken."""
        connector_id = uuid4()
        values = {
            "id": connector_id,
            "tenant_id": tenant_id,
            "name": name,
            "partition_key": f"{tenant_id}/{name}",
            "bucket": bucket,
            "prefix": "",
            "region": "us-east-1",
            "endpoint_url": endpoint_url,
            "poll_interval_seconds": 900,
            "enabled": True,
            **self._encrypted(connector_id, keys),
        }
        self._conn.execute(SQL["connectors"]["lock_tenant"], values)
        self._conn.execute(SQL["connectors"]["insert"], values)
        return self.get(connector_id)

    def same_bucket(self, tenant_id: str, bucket: str) -> list[TupleRow]:
        """What a registration would be refused for."""
        values = {"tenant_id": tenant_id, "bucket": bucket}
        return self._conn.execute(SQL["connectors"]["same_bucket"], values).fetchall()

    def get(self, connector_id: UUID) -> Row:
        """``ConnectorStore.get``."""
        (row,) = self._rows("select", {"id": connector_id, "tenant_id": None})
        return row

    def due_for_poll(self, tenant_id: str) -> list[str]:
        """Names of the connectors that its tick would poll."""
        return [row["name"] for row in self._rows("due_for_poll", {"tenant_id": tenant_id})]

    def update(
        self, connector_id: UUID, keys: tuple[str, str] | None = None, **changes: object
    ) -> Row:
        """``ConnectorStore.update``: every column is written."""
        self._conn.execute(SQL["connectors"]["lock"], {"id": connector_id})
        old = self.get(connector_id)
        names = ("bucket", "prefix", "region", "endpoint_url", "poll_interval_seconds", "enabled")
        values = {name: changes.get(name, old[name]) for name in names}
        values |= {"id": connector_id, "secrets": None, "kek_version": None}
        values["access_key_hint"] = None
        if keys is not None:
            values |= self._encrypted(connector_id, keys)
        (row,) = self._rows("update", values)
        return row

    def delete(self, connector_id: UUID) -> None:
        """``ConnectorStore.delete``."""
        self._conn.execute(SQL["connectors"]["delete"], {"id": connector_id})

    def credentials(self, connector_id: UUID) -> tuple[str, str]:
        """``ConnectorStore.credentials`` with ``KeyRing.decrypt``."""
        row = self._conn.execute(SQL["connectors"]["secrets"], {"id": connector_id}).fetchone()
        assert row is not None
        token, version = row
        clear = json.loads(Fernet(KEKS[f"CONNECTOR_KEK_V{version}"]).decrypt(token))
        if not compare_digest(clear["connector_id"], str(connector_id)):
            raise EncryptionError(
                f"The stored credentials of connector {connector_id} belong to another connector."
            )
        return clear["access_key_id"], clear["secret_access_key"]

    def ledger(self, query: str, **values: object) -> list[TupleRow]:
        """A statement of its ledger."""
        cursor = self._conn.execute(SQL["ledger"][query], values)
        return cursor.fetchall() if cursor.description else []

    def _encrypted(self, connector_id: UUID, keys: tuple[str, str]) -> Row:
        access_key_id, secret_access_key = keys
        clear = {
            "connector_id": str(connector_id),
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
        }
        token = Fernet(KEKS["CONNECTOR_KEK_V1"]).encrypt(json.dumps(clear).encode())
        hint = f"{access_key_id[:4]}…{access_key_id[-4:]}"
        return {"secrets": token, "kek_version": 1, "access_key_hint": hint}

    def _rows(self, query: str, values: Row) -> list[Row]:
        cursor = self._conn.cursor(row_factory=dict_row)
        return cursor.execute(SQL["connectors"][query], values).fetchall()
