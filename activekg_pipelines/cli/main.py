"""The console script ``activekg-pipelines``: puts the groups of commands together.

It imports nothing heavy.
"""

from __future__ import annotations

import sys

import typer

from activekg_pipelines.cli import (
    actions,
    audit,
    connectors,
    dead_letters,
    doctor,
    export,
    history,
    inspection,
    keys,
    local,
    preview,
    search,
    tenant_limits,
    tenants,
    webserver,
)
from activekg_pipelines.cli.console import EXIT_CODES, KnownErrors

app = typer.Typer(
    name="activekg-pipelines",
    cls=KnownErrors,
    help=(
        "Makes the documents in your object stores searchable in your own Postgres.\n\n"
        "A connector is one registered source of a tenant: a bucket, or a prefix of it. Commands "
        "take it by its id or as tenant/name, as `connectors list` shows it. They work beside a "
        "running `activekg-pipelines up`, and with nothing but ACTIVEKG_DSN and the "
        "CONNECTOR_KEK_V<n> keys set.\n\n"
        "\b\n"
        "  activekg-pipelines demo                                the whole way, on samples\n"
        "  activekg-pipelines up                                  everything on this machine\n"
        "  activekg-pipelines connectors add --tenant acme_corp --bucket my-documents\n"
        "  activekg-pipelines connectors sync acme_corp/my-documents --wait\n"
        "  activekg-pipelines search 'Who signs contracts?' --tenant acme_corp\n"
        "  activekg-pipelines inspect handbook.pdf                what is read of a document\n"
        "  activekg-pipelines doctor                              what is broken, and what to do"
    ),
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

local.add_to(app)
app.add_typer(connectors.app, name="connectors")
app.command("runs")(history.runs)
app.command("objects")(history.objects)
app.add_typer(dead_letters.app, name="dead-letters")
app.command("preview")(preview.preview)
app.command("inspect")(inspection.inspect)
app.command("audit")(audit.audit)
app.add_typer(tenant_limits.app, name="limits")
app.add_typer(tenants.app, name="tenants")
app.command("rotate-keys")(keys.rotate)
app.command("actions")(actions.actions)
app.command("search")(search.search)
app.command("webserver")(webserver.webserver)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line.

    A known error is one sentence and exit code 1, Ctrl-C is exit code 130.
    """
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
