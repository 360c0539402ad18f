"""What every command prints with: consoles, tables, JSON, exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn
from unicodedata import category

import typer
import typer.core
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from activekg_pipelines.errors import ActiveKGError, first_line

if TYPE_CHECKING:
    from pydantic import BaseModel

    from activekg_pipelines.connectors.models import Connector
    from activekg_pipelines.services import Services

FAILED: Final = 1
TEST_FAILED: Final = 3
PART_BROKEN: Final = 4
CONNECTORS_NEED_SOMEBODY: Final = 5

EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 failed, with a sentence that says why; "
    "2 the command was called wrongly; "
    "3 `connectors test` found a fault; 4 `doctor` found a broken part. "
    "`audit`: 1 something differs, 2 it could not look."
)

# Sentences in tables are folded at this width; keys and URIs never are.
_SENTENCE_WIDTH = 60
_WIDEST = 100_000

# Those that JSON leaves as they are: DEL, the second set of controls, directions of
# writing, line ends of Unicode, tags.
_COMMANDING: Final = re.compile(
    "[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class CommandFailed(ActiveKGError):
    """The command failed."""


class KnownErrors(typer.core.TyperGroup):
    """A group of commands in which a known error is one sentence and an exit code.

    It is never a traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ActiveKGError as error:
            fail(error.message)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the command with a sentence for people."""
    err.print(f"[bold red]Error:[/] {escape(printable(message, lines=True))}", soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def administration() -> Iterator[Services]:
    """The services of this installation; closed afterwards.

    They come from the environment or from the local system.

    Raises:
        CommandFailed: the database cannot be used.
        SettingsError: the configuration is unusable.
    """
    import psycopg
    from psycopg_pool import PoolTimeout

    from activekg_pipelines.cli.environment import open_dagster, prepare_environment
    from activekg_pipelines.logs import configure_logging
    from activekg_pipelines.orchestrator.orchestrator import Orchestrator
    from activekg_pipelines.services import Services
    from activekg_pipelines.settings import settings

    prepare_environment(generate_keys=False, dagster=False)
    configure_logging("WARNING", "text")
    services = Services(settings())
    services.orchestrator = Orchestrator(
        services.settings.activekg_webserver_url, instance=open_dagster
    )
    services.prepare()
    try:
        try:
            yield services
        finally:
            services.close()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        raise CommandFailed(
            "The database was never migrated. Run: activekg-pipelines migrate"
        ) from None
    except PoolTimeout:
        raise CommandFailed(
            "The database does not answer. Run: activekg-pipelines doctor"
        ) from None
    except psycopg.Error as error:
        raise CommandFailed(
            f"The database refused: {first_line(error)}. Run: activekg-pipelines doctor"
        ) from None


def resolve(services: Services, name: str) -> Connector:
    """The connector that a person means: by its id, or as tenant/name.

    Raises:
        ConnectorNotFound: nobody is called that.
    """
    from uuid import UUID

    from activekg_pipelines.errors import ConnectorNotFound

    try:
        try:
            return services.connector(UUID(name))
        except ValueError:
            return services.connector_of_partition(name)
    except ConnectorNotFound:
        raise ConnectorNotFound(
            f"No connector is called {name!r}. Name it by its id or as tenant/name: "
            "activekg-pipelines connectors list"
        ) from None


def print_json(value: BaseModel | Mapping[str, Any]) -> None:
    """A shape of the API on standard output.

    What commands a terminal or turns the direction of writing is escaped as JSON does it.
    """
    data = value if isinstance(value, Mapping) else value.model_dump(mode="json")
    written = json.dumps(data, indent=2, ensure_ascii=False)
    typer.echo(_COMMANDING.sub(_escaped, written))


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex()
    return re.sub("(....)", r"\\u\1", units)


def table(*columns: str) -> Table:
    """A table without rules, for :func:`print_table`.

    Columns whose name ends in "#" hold numbers.
    """
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            column.rstrip("#"),
            justify="right" if column.endswith("#") else "left",
            no_wrap=True,
            overflow="ignore",
        )
    return made


def sentences(made: Table, *columns: str) -> Table:
    """``made`` with further columns, whose text may be folded."""
    for column in columns:
        made.add_column(column, max_width=_SENTENCE_WIDTH, overflow="fold")
    return made


def add_row(made: Table, *cells: object) -> None:
    """Add a row.

    What is stored elsewhere is shown as it is. It is never taken for markup or for the
    terminal's commands.
    """
    made.add_row(
        *(Text("" if cell is None else printable(str(cell), lines=True)) for cell in cells)
    )


def print_table(made: Table) -> None:
    """Print a table as wide as it is.

    A terminal wraps what it cannot show, and copied keys and URIs stay whole.
    """
    needed = Measurement.get(out, out.options.update(max_width=_WIDEST), made).maximum
    if needed <= out.width:
        out.print(made)
    else:
        Console(width=needed, highlight=False, force_terminal=out.is_terminal).print(
            made, crop=False
        )


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Names and values below each other; empty values are left out."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        if value is not None and value != "":
            out.print(Text(f"{name:{width}}  {printable(str(value), lines=True)}"), soft_wrap=True)


def print_more(next_cursor: str | None) -> None:
    """How to see the next page, on standard error."""
    if next_cursor is not None:
        err.print(
            f"There is more: repeat with --cursor {next_cursor}", soft_wrap=True, markup=False
        )


def printable(text: str, *, lines: bool = False) -> str:
    """``text`` with characters that command terminals written as escapes.

    S3 keys may hold any character.

    Args:
        text: from outside.
        lines: line ends may stay.
    """
    return "".join(
        character
        if character.isprintable() or (lines and character == "\n")
        else character.encode("unicode_escape").decode()
        for character in text
    )


def readable(text: str) -> str:
    """A document's text as :func:`printable` lines; tabs, blanks and joiners stay.

    Persian, Hindi and emoji need the joiners, and neither moves a cursor.
    """
    return "".join(
        character
        if character in "\t\u200c\u200d" or category(character) == "Zs"
        else printable(character, lines=True)
        for character in text
    )


def moment(value: Any) -> str:
    """A time as people read it, in UTC; "-" for never."""
    from datetime import UTC

    return "-" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
