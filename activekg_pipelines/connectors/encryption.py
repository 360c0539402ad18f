"""Encrypts tenants' credentials with versioned Fernet keys.

Each ciphertext is bound to its connector.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from secrets import compare_digest
from typing import Final, Self
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from activekg_pipelines.errors import EncryptionError, SettingsError
from activekg_pipelines.settings import Settings, connector_keks

_BOUND_TO: Final = "connector_id"
_FIRST_PROVIDER: Final = "s3"
_HOW_TO_MAKE_A_KEY = (
    "Make one with: python -c 'from cryptography.fernet import Fernet; "
    "print(Fernet.generate_key().decode())'"
)


class KeyRing:
    """The key-encryption keys of this installation.

    Args:
        keys: version to Fernet key.
        active: the version that encrypts.

    Raises:
        SettingsError: there is no key, a key is not valid, or the active version has no
            key.
    """

    def __init__(self, keys: Mapping[int, SecretStr], active: int) -> None:
        self._fernets = {version: _fernet(version, key) for version, key in keys.items()}
        if active not in self._fernets:
            raise SettingsError(
                f"CONNECTOR_KEK_ACTIVE_VERSION is {active}, but CONNECTOR_KEK_V{active} is not set."
            )
        self.active_version = active

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The ring that the environment describes.

        Raises:
            SettingsError: as the constructor, and when no key is set at all.
        """
        keys = connector_keks()
        if not keys:
            raise SettingsError(
                "No key encrypts connector credentials: set CONNECTOR_KEK_V1 and "
                "CONNECTOR_KEK_ACTIVE_VERSION=1. " + _HOW_TO_MAKE_A_KEY
            )
        if settings.connector_kek_active_version is None and len(keys) > 1:
            raise SettingsError(
                "Several CONNECTOR_KEK_V<n> are set: say which one encrypts with "
                "CONNECTOR_KEK_ACTIVE_VERSION."
            )
        return cls(keys, settings.connector_kek_active_version or next(iter(keys)))

    def encrypt(
        self, provider: str, connector_id: UUID, secrets: Mapping[str, SecretStr]
    ) -> tuple[bytes, int]:
        """Ciphertext and the version of the key that made it.

        Args:
            connector_id: the connector that the ciphertext is bound to.
            secrets: by field.
        """
        clear = {name: secret.get_secret_value() for name, secret in secrets.items()}
        clear[_BOUND_TO] = _binding(provider, connector_id)
        return self._fernets[self.active_version].encrypt(
            json.dumps(clear).encode()
        ), self.active_version

    def decrypt(
        self, provider: str, connector_id: UUID, token: bytes, version: int
    ) -> dict[str, SecretStr]:
        """The secrets behind a ciphertext, by field.

        Raises:
            EncryptionError: the key of that version is missing or wrong, or the
                ciphertext is another connector's.
        """
        fernet = self._fernets.get(version)
        if fernet is None:
            raise EncryptionError(
                f"The credentials of connector {connector_id} need CONNECTOR_KEK_V{version}, which "
                "is not set."
            )
        try:
            clear: dict[str, str] = json.loads(fernet.decrypt(token))
        except InvalidToken:
            raise EncryptionError(
                f"The credentials of connector {connector_id} cannot be decrypted with "
                f"CONNECTOR_KEK_V{version}: the key was changed without raising its version, or "
                "the row was altered."
            ) from None
        # Fernet has no associated data. Without this check, a row copied over another
        # one would give a tenant another tenant's access.
        if not compare_digest(clear.pop(_BOUND_TO), _binding(provider, connector_id)):
            raise EncryptionError(
                f"The stored credentials of connector {connector_id} belong to another connector."
            )
        return {name: SecretStr(value) for name, value in clear.items()}


def _binding(provider: str, connector_id: UUID) -> str:
    """What a ciphertext is bound to.

    Ciphertexts of the first provider were made when there was no other, and are bound
    to the id alone. A process of that version may still run during an upgrade. It reads
    them as before, and refuses those of other providers with one sentence.
    """
    return str(connector_id) if provider == _FIRST_PROVIDER else f"{provider}:{connector_id}"


def _fernet(version: int, key: SecretStr) -> Fernet:
    try:
        return Fernet(key.get_secret_value())
    except ValueError:
        raise SettingsError(
            f"CONNECTOR_KEK_V{version} is not a Fernet key. {_HOW_TO_MAKE_A_KEY}"
        ) from None
