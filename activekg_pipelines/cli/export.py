"""The command ``export``: a tenant's chunks and vectors as a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from activekg_pipelines.cli.console import administration, out


def export(
    target: Annotated[
        Path, typer.Argument(help="The file to write.", dir_okay=False, show_default=False)
    ],
    tenant: Annotated[str, typer.Option(help="Whose chunks.", show_default=False)],
) -> None:
    """Write a tenant's chunks with their vectors into a Parquet file.

    \b
    Example:
      activekg-pipelines export chunks.parquet --tenant acme_corp
      python -c "import pandas; print(pandas.read_parquet('chunks.parquet'))"
    """
    from activekg_pipelines.graph.export import export_chunks

    if not target.absolute().parent.is_dir():
        raise typer.BadParameter(f"The folder {target.absolute().parent} does not exist.")
    with administration() as services, out.status("Exporting …"):
        rows = export_chunks(services.database, tenant, target)
    out.print(f"{rows:,} chunks in {target}", markup=False, soft_wrap=True)
