"""Route ``/rotate_keys``: stored credentials under a new encryption key."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from activekg_pipelines.administration.schemas import KeyRotation, ProviderName
from activekg_pipelines.api.auth import Admin
from activekg_pipelines.api.problems import documented
from activekg_pipelines.api.requests import Body, ServicesOfApp
from activekg_pipelines.connectors.models import TenantId
from activekg_pipelines.connectors.rotation import rotate_keys

router = APIRouter(tags=["keys"])


class RotationRequest(Body):
    """Whose credentials to encrypt anew, and how."""

    dry_run: bool = Field(
        default=False, strict=True, description="Change nothing; say what would be done."
    )
    tenant_id: TenantId | None = Field(
        default=None,
        description="Only this tenant's; a super admin who leaves it out means every tenant.",
    )
    provider: ProviderName | None = None
    batch_size: Annotated[
        int, Field(ge=1, le=1000, strict=True, description="Connectors of one transaction.")
    ] = 100


@router.post("/rotate_keys", responses=documented(401, 403, 413, 422, 503))
def rotate(
    caller: Admin, services: ServicesOfApp, body: RotationRequest | None = None
) -> KeyRotation:
    """Encrypt stored credentials of old key versions with the active key. Syncs go on
    meanwhile.
    """
    wanted = body or RotationRequest()
    return KeyRotation.of(
        rotate_keys(
            services.database,
            services.keyring,
            tenant_id=caller.acting_for(wanted.tenant_id),
            provider=wanted.provider,
            batch_size=wanted.batch_size,
            dry_run=wanted.dry_run,
        )
    )
