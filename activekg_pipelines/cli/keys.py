"""The command ``rotate-keys``: stored credentials under a new encryption key."""

from __future__ import annotations

from typing import Annotated

import typer

from activekg_pipelines.cli.arguments import AsJson
from activekg_pipelines.cli.console import administration, err, fail, out, print_json, printable


def rotate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")
    ] = False,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's connectors.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only connectors of this provider.")] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1000, help="Connectors of one transaction.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """Encrypt stored credentials with the active key.

    Syncs go on meanwhile.

    First give every process the new key beside the old one (CONNECTOR_KEK_V2) and make
    it active (CONNECTOR_KEK_ACTIVE_VERSION=2). Then rotate. When nothing remains, take
    the old key away. Exits with 1 where credentials could not be read.

    \b
    Example:
      activekg-pipelines rotate-keys --dry-run
      activekg-pipelines rotate-keys
    """
    from activekg_pipelines.administration.schemas import KeyRotation
    from activekg_pipelines.connectors.rotation import rotate_keys

    with administration() as services:
        view = KeyRotation.of(
            rotate_keys(
                services.database,
                services.keyring,
                tenant_id=tenant,
                provider=provider,
                batch_size=batch_size,
                dry_run=dry_run,
            )
        )
    if as_json:
        print_json(view)
    else:
        verb = "would be encrypted" if dry_run else "encrypted"
        out.print(
            f"{view.rotated} connectors {verb} with key version {view.active_version}; "
            f"{view.remaining} remain."
        )
        for failure in view.failed:
            err.print(
                f"{failure.config_id}: {printable(failure.reason)}", soft_wrap=True, markup=False
            )
    if view.failed:
        fail(f"The credentials of {len(view.failed)} connectors cannot be read.")
