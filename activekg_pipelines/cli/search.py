"""The command ``search``: a question, and the passages that answer it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from activekg_pipelines.cli.arguments import AsJson
from activekg_pipelines.cli.console import administration, err, out, print_json, printable


def search(
    question: Annotated[str, typer.Argument(help="A question or words.", show_default=False)],
    tenant: Annotated[str, typer.Option(help="Whose documents.", show_default=False)],
    limit: Annotated[int, typer.Option(min=1, max=100, help="Answers at most.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Answer a question with a tenant's documents.

    \b
    Example:
      activekg-pipelines search 'Who signs contracts?' --tenant acme_corp
    """
    from activekg_pipelines.administration.schemas import HitView, SearchAnswer

    if not question.strip():
        raise typer.BadParameter("The question holds no word.")
    with administration() as services:
        hits = [HitView.of(hit) for hit in services.search(tenant, question, limit)]
    if as_json:
        print_json(SearchAnswer(hits=hits))
        return
    if not hits:
        err.print(f"Tenant {printable(tenant)} has no searchable document.", markup=False)
    for rank, hit in enumerate(hits, 1):
        out.print(Text(f"{rank}. {printable(hit.title)}", style="bold"), soft_wrap=True)
        out.print(Text(f"   {printable(hit.link)}"), soft_wrap=True)
        if hit.headings:
            out.print(Text(f"   {printable(' > '.join(hit.headings))}"), soft_wrap=True)
        if hit.warnings:
            out.print(Text(f"   warnings: {printable(', '.join(hit.warnings))}"), soft_wrap=True)
        out.print(Padding(Text(printable(" ".join(hit.snippet.split()))), (0, 0, 1, 3)))
