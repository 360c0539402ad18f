"""The command ``inspect``: what the extractor makes of a document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from activekg_pipelines.cli.console import (
    administration,
    err,
    print_fields,
    print_json,
    printable,
    readable,
)

if TYPE_CHECKING:
    from activekg_pipelines.administration.inspection import Inspection
    from activekg_pipelines.chunking import Place
    from activekg_pipelines.services import Services


def inspect(
    document: Annotated[
        str,
        typer.Argument(
            metavar="FILE-or-URI",
            help="A file of this machine, or an object of a connector, as s3://bucket/key.",
            show_default=False,
        ),
    ],
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Show the text as its chunks, with their places.")
    ] = False,
    tenant: Annotated[
        str | None,
        typer.Option(help="Whose connector, where several tenants have one.", show_default=False),
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option(help="Of a file: the type that a store would declare.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON, for scripts, instead of text.")
    ] = False,
) -> None:
    """Show what the extractor makes of a document; stores nothing.

    Its text, title, pages and tables, the warnings, what was left out, and the chunks.
    A file needs no database and no connector.

    \b
    Examples:
      activekg-pipelines inspect handbook.pdf
      activekg-pipelines inspect s3://my-documents/handbook.pdf --chunks
    """
    if "://" in document:
        if content_type is not None:
            raise typer.BadParameter("The store declares the type of an object.")
        with administration() as services:
            found = _inspected(services, document, tenant, None, with_chunks=chunks or as_json)
    else:
        from activekg_pipelines.logs import configure_logging
        from activekg_pipelines.services import Services
        from activekg_pipelines.settings import load_settings

        configure_logging("WARNING", "text")
        found = _inspected(
            Services(load_settings()), document, None, content_type, with_chunks=chunks or as_json
        )
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)


def _inspected(
    services: Services,
    document: str,
    tenant: str | None,
    content_type: str | None,
    *,
    with_chunks: bool,
) -> Inspection:
    from activekg_pipelines.administration.inspection import (
        chunks_of,
        inspect_file,
        inspect_object,
    )

    with err.status("Reading …"):
        found = (
            inspect_object(services, document, tenant)
            if "://" in document
            else inspect_file(services, Path(document), content_type)
        )
        return replace(found, chunks=chunks_of(services, found.document)) if with_chunks else found


def _print(found: Inspection) -> None:
    facts = found.document.facts
    print_fields(
        [
            ("document", found.name),
            ("title", found.title.text),
            ("title from", found.title.source.value),
            ("type", found.document.mime_type),
            ("engine", facts.get("engine")),
            ("encoding", facts.get("encoding")),
            ("pages", found.pages),
            ("tables", facts.get("tables")),
            ("characters", f"{len(found.document.text):,}"),
            ("chunks", None if found.chunks is None else f"{len(found.chunks):,}"),
            *(("warning", each.sentence) for each in found.warnings),
        ]
    )
    if found.chunks is None:
        typer.echo(f"\n{readable(found.document.text)}")
        return
    for chunk in found.chunks:
        typer.echo(
            f"\n--- chunk {chunk.index + 1:,} of {len(found.chunks):,}, characters {chunk.start:,} "
            f"to {chunk.end:,}, {chunk.tokens:,} tokens{_place(chunk.place)} ---"
        )
        typer.echo(readable(chunk.text))


def _place(place: Place) -> str:
    parts = []
    if place.page_from is not None:
        is_one = place.page_from == place.page_to
        parts.append(
            f"page {place.page_from}" if is_one else f"pages {place.page_from} to {place.page_to}"
        )
    if place.headings:
        parts.append(f"under {' > '.join(map(printable, place.headings))}")
    if place.table_head is not None:
        parts.append(f"in the table {printable(place.table_head)}")
    return "".join(f", {part}" for part in parts)
