"""The command ``preview``: what a sync would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from activekg_pipelines.cli.arguments import AsJson, ConnectorName
from activekg_pipelines.cli.console import (
    add_row,
    administration,
    out,
    print_json,
    print_table,
    resolve,
    table,
)

if TYPE_CHECKING:
    from activekg_pipelines.administration.schemas import PreviewView


def preview(
    connector: ConnectorName,
    max_pages: Annotated[
        int, typer.Option(min=1, max=100_000, help="Pages of 1,000 keys that are listed at most.")
    ] = 1000,
    keys: Annotated[bool, typer.Option("--keys", help="Also show some of the keys.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a sync would do; changes nothing.

    What it would add, update, delete and skip, how many bytes it would fetch, and how
    much work that is.

    \b
    Example:
      activekg-pipelines preview acme_corp/my-documents --keys
    """
    from activekg_pipelines.administration.schemas import PreviewView
    from activekg_pipelines.pipeline.preview import preview_sync

    with administration() as services:
        found = resolve(services, connector)
        view = PreviewView.of(
            preview_sync(services, found, max_pages=max_pages), config_id=found.id
        )
    if as_json:
        print_json(view)
        return
    _print(view, found.location.uri_root, keys=keys)


def _print(view: PreviewView, root: str, *, keys: bool) -> None:
    made = table("", "OBJECTS#", "BYTES#")
    changes = [(name, getattr(view.changes, name)) for name in type(view.changes).model_fields]
    for name, change in changes:
        add_row(made, name, f"{change.objects:,}", f"{change.bytes:,}")
    print_table(made)
    if keys:
        listed = table("", "URI")
        for name, change in changes:
            for key in change.sample:
                add_row(listed, name, root + key)
        print_table(listed)
    out.print(f"To fetch: {view.bytes_to_fetch:,} bytes.")
    estimate = view.estimate
    if estimate.chunks is None:
        out.print("Chunks and time cannot be estimated: nothing was indexed before.")
    elif estimate.chunks:
        time = "" if estimate.seconds is None else f", some {estimate.seconds:,.0f} seconds of work"
        source = (
            f", judged by {estimate.documents:,} documents of this {estimate.basis}"
            if estimate.basis
            else ""
        )
        out.print(f"Estimated: {estimate.chunks:,} chunks{time}{source}.")
    if view.deletions_held_back:
        out.print(
            "The deletions would be held back, because there are so many: connectors "
            "confirm-deletes."
        )
    if not view.complete:
        out.print(
            f"Only the first {view.listed:,} objects were listed; the numbers are lower bounds "
            "(--max-pages)."
        )
