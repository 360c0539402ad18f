"""Arguments and options that several commands share, with the words of their help."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

ConnectorName: TypeAlias = Annotated[
    str, typer.Argument(metavar="CONNECTOR", help="Its id, or tenant/name.", show_default=False)
]
AsJson: TypeAlias = Annotated[
    bool,
    typer.Option("--json", help="JSON as the admin API answers, for scripts, instead of text."),
]
Limit: TypeAlias = Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")]
Cursor: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Where the page before ended: its next_cursor.", show_default=False),
]
