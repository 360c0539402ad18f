"""Encrypts stored credentials again with the active key.

After that, an old key can be removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from activekg_pipelines.connectors.actions import ActionKind, record_each
from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.database.pool import Database
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import EncryptionError

logger = logging.getLogger(__name__)

_SQL = load_queries(Path(__file__).with_name("queries.sql"))

# A row that changes between reading and writing is left to the next pass. No row changes
# in three passes.
_PASSES = 3


@dataclass(frozen=True, slots=True)
class RotationFailure:
    """A connector whose credentials cannot be decrypted, and so keep their old key."""

    connector_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did, or would do.

    Attributes:
        rotated: connectors whose credentials were encrypted again.
        remaining: connectors, of those asked for, whose credentials another key than
            the active one still encrypts. An old key can be removed when this is 0 for
            all tenants.
    """

    rotated: int
    remaining: int
    failed: list[RotationFailure]
    dry_run: bool
    active_version: int


@dataclass(frozen=True, slots=True)
class _Envelope:
    """A connector's ciphertext as it was read."""

    connector_id: UUID
    provider: str
    secrets: bytes
    version: int


def rotate_keys(
    database: Database,
    keyring: KeyRing,
    *,
    tenant_id: str | None = None,
    provider: str | None = None,
    batch_size: int = 100,
    dry_run: bool = False,
) -> Rotation:
    """Encrypt credentials of old key versions with the active key.

    It is safe beside running syncs, changes of connectors and other rotations. Rows are
    not locked. They are written only where their ciphertext is still the one that was
    read.

    Args:
        keyring: holds the old keys and the active one.
        tenant_id: only this tenant's; None for every tenant's.
        provider: only connectors of this provider; None for all.
        batch_size: connectors of one transaction, at least 1.
        dry_run: read and decrypt everything, and write nothing.
    """
    scope = {"tenant_id": tenant_id, "provider": provider, "active": keyring.active_version}
    rotated = 0
    for _ in range(_PASSES):
        failed: list[RotationFailure] = []
        read = 0
        for batch in _batches(database, scope, batch_size):
            read += len(batch)
            rows, broken = _reencrypt(keyring, batch)
            failed += broken
            rotated += len(rows) if dry_run else _write(database, keyring.active_version, rows)
        if dry_run or read == len(failed):
            break
    if rotated and not dry_run:
        logger.info(
            "Encrypted the credentials of %d connectors with key version %d",
            rotated,
            keyring.active_version,
        )
    remaining = len(failed) if dry_run else _count(database, scope)
    return Rotation(rotated, remaining, failed, dry_run, keyring.active_version)


def _batches(database: Database, scope: dict[str, Any], size: int) -> Iterator[list[_Envelope]]:
    """All rows of the scope in the order of their ids. A batch is read when it is needed."""
    after: UUID | None = None
    while True:
        with database.transaction(tenant_id=scope["tenant_id"]) as conn:
            rows = conn.execute(
                _SQL["secrets_of_old_versions"],
                scope | {"after": after, "limit": size},
                binary=True,
            ).fetchall()
        if not rows:
            return
        yield [_Envelope(*row) for row in rows]
        after = rows[-1][0]


def _reencrypt(
    keyring: KeyRing, batch: list[_Envelope]
) -> tuple[list[tuple[_Envelope, bytes]], list[RotationFailure]]:
    rows: list[tuple[_Envelope, bytes]] = []
    failed: list[RotationFailure] = []
    for old in batch:
        try:
            secrets = keyring.decrypt(old.provider, old.connector_id, old.secrets, old.version)
        except EncryptionError as error:
            failed.append(RotationFailure(old.connector_id, error.message))
            continue
        token, _ = keyring.encrypt(old.provider, old.connector_id, secrets)
        rows.append((old, token))
    return rows, failed


def _write(database: Database, active: int, rows: list[tuple[_Envelope, bytes]]) -> int:
    with database.transaction() as conn:
        by_tenant = conn.execute(
            _SQL["replace_secrets"],
            {
                "active": active,
                "ids": [old.connector_id for old, _ in rows],
                "old": [old.secrets for old, _ in rows],
                "versions": [old.version for old, _ in rows],
                "new": [token for _, token in rows],
            },
        ).fetchall()
        record_each(
            conn,
            ActionKind.KEYS_ROTATED,
            {
                tenant_id: {"connectors": connectors, "key_version": active}
                for tenant_id, connectors in by_tenant
            },
        )
    return sum(connectors for _, connectors in by_tenant)


def _count(database: Database, scope: dict[str, Any]) -> int:
    with database.transaction(tenant_id=scope["tenant_id"]) as conn:
        row = conn.execute(_SQL["count_old_versions"], scope).fetchone()
    return int(row[0]) if row else 0
