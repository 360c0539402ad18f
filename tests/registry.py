"""What tests ask the registry for, each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from pydantic import SecretStr

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.services import Services
from activekg_pipelines.sources.config import ConfigPatch


def change(services: Services, connector_id: UUID, patch: ConfigPatch) -> Connector:
    """Change a connector past administration."""
    with services.database.transaction() as conn:
        return services.connectors.update(conn, connector_id, patch)


def secrets_of(services: Services, connector_id: UUID) -> dict[str, str]:
    """A connector's secrets in clear."""
    with services.database.transaction() as conn:
        return in_clear(services.connectors.secrets(conn, connector_id))


def in_clear(secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    """Secrets as a customer writes them."""
    return {name: secret.get_secret_value() for name, secret in secrets.items()}


def record_error(services: Services, connector_id: UUID, code: str, message: str) -> None:
    """Something stops a connector as a whole."""
    with services.database.transaction() as conn:
        services.connectors.record_error(conn, connector_id, code, message)


def confirm_deletions(services: Services, connector_id: UUID) -> int:
    """Somebody confirms; returns how many deletions were held back."""
    with services.database.transaction() as conn:
        return services.connectors.confirm_deletions(conn, connector_id)


def due_for_poll(services: Services, tenant_id: str) -> list[Connector]:
    """What a tick would look at."""
    with services.database.transaction() as conn:
        return services.connectors.due_for_poll(conn, tenant_id)
