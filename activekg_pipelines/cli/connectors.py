"""Commands on connectors: register, look at, change, test, sync, pause, remove."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar
from uuid import UUID

import typer

from activekg_pipelines.cli.arguments import AsJson, ConnectorName, Cursor, Limit
from activekg_pipelines.cli.console import (
    TEST_FAILED,
    add_row,
    administration,
    err,
    fail,
    moment,
    out,
    print_fields,
    print_json,
    print_more,
    print_table,
    resolve,
    table,
)
from activekg_pipelines.cli.sources import (
    SourceCommand,
    asked_secrets,
    check_complete,
    check_given,
    given,
    named,
)
from activekg_pipelines.errors import ConnectorLimit, InvalidConnector
from activekg_pipelines.ledger.states import Mode

if TYPE_CHECKING:
    from pydantic import BaseModel

    from activekg_pipelines.administration.removal import SettledDocuments
    from activekg_pipelines.administration.schemas import ConnectorView

Model = TypeVar("Model", bound="BaseModel")

app = typer.Typer(
    help="Register, look at, change, test, sync, cancel, pause, remove sources.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_WAIT_SECONDS = 3600.0


@app.command(cls=SourceCommand)
def add(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="Whose connector it is.", show_default=False)],
    provider: Annotated[str, typer.Option(help="Kind of source.")] = "s3",
    name: Annotated[
        str | None,
        typer.Option(help="What people call it; made from the source by default."),
    ] = None,
    poll_interval: Annotated[
        int, typer.Option(help="Seconds between two looks, 60 to 3600.")
    ] = 900,
    delete_guard_percent: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="A scan that would delete a larger share of the objects waits for a "
            "confirmation; by default as the settings say.",
        ),
    ] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Register it, but sync nothing yet.")] = (
        False
    ),
    as_json: AsJson = False,
) -> None:
    """Register a source; its first sync starts by itself.

    Secrets come from the environment (AWS_SECRET_ACCESS_KEY; for Google Cloud Storage,
    the file that GOOGLE_APPLICATION_CREDENTIALS names), or are asked for without being
    shown. They are never arguments, which other users of the machine could read. They
    are stored encrypted.

    \b
    Example:
      activekg-pipelines connectors add --tenant acme_corp --bucket my-documents --prefix documents/
    """
    from activekg_pipelines.sources import registry

    kind = registry.provider(provider).config
    values = given(context)
    check_given(provider, kind, values)
    check_complete(kind, values)
    shared = {
        "name": name,
        "poll_interval_seconds": poll_interval,
        "enabled": not paused,
        "delete_guard_percent": delete_guard_percent,
    }
    config = _validated(kind, {**shared, **values, **asked_secrets(kind, values)})
    from activekg_pipelines.administration.operations import register
    from activekg_pipelines.administration.schemas import ConnectorView

    with administration() as services, _as_options():
        try:
            connector = register(services, _tenant(tenant), provider, config)
        except ConnectorLimit as error:
            fail(f"{error.message} Remove one, or allow more: activekg-pipelines limits set")
        if as_json:
            print_json(ConnectorView.of(connector))
            return
        out.print(
            f"Registered {connector.partition_key} ({connector.id}).", soft_wrap=True, markup=False
        )
        waits = (
            "It is paused: activekg-pipelines connectors resume"
            if paused
            else "Its first sync starts within seconds while Dagster runs: activekg-pipelines runs"
        )
        out.print(f"{waits} {connector.partition_key}", soft_wrap=True, markup=False)


@app.command("list")
def list_connectors(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List connectors, oldest first.

    \b
    Example:
      activekg-pipelines connectors list --tenant acme_corp --json | jq -r '.items[].id'
    """
    from activekg_pipelines.administration.paging import by_time, page_of
    from activekg_pipelines.administration.schemas import ConnectorView

    with administration() as services:
        with services.database.transaction(tenant_id=tenant) as conn:
            rows = services.connectors.page(
                conn, tenant, after=by_time.decode(cursor), limit=limit + 1
            )
        page = page_of(
            rows,
            limit,
            ConnectorView.of,
            lambda connector: by_time.encode((connector.created_at, connector.id)),
        )
    if as_json:
        print_json(page)
        return
    made = table("CONNECTOR", "SOURCE", "STATUS", "EVERY#", "LAST SCAN", "ID")
    for item in page.items:
        scanned = moment(item.last_scan_completed_at)
        add_row(
            made,
            item.partition_key,
            item.location,
            item.status.value,
            f"{item.config.poll_interval_seconds} s",
            scanned,
            item.id,
        )
    if page.items:
        print_table(made)
    else:
        err.print(
            "No connector is registered. Begin with: activekg-pipelines connectors add --help"
        )
    print_more(page.next_cursor)


@app.command()
def show(connector: ConnectorName, as_json: AsJson = False) -> None:
    """Show one connector: configuration, status, objects by state.

    \b
    Example:
      activekg-pipelines connectors show acme_corp/my-documents
    """
    from activekg_pipelines.administration import reads
    from activekg_pipelines.administration.launches import look_at_dagster
    from activekg_pipelines.administration.schemas import ConnectorDetail

    with administration() as services:
        look_at_dagster(services)
        found = resolve(services, connector)
        with services.database.transaction() as conn:
            states = services.ledger.progress(conn, found.id)
            usage = services.tenant_limits.usage(conn, found.tenant_id)
            waits_for = reads.waits_for(conn, found.id)
        detail = ConnectorDetail.of(found, objects=states, limits=usage, waits_for=waits_for)
    if as_json:
        print_json(detail)
        return
    print_fields(
        [
            *_fields(detail),
            (
                "objects",
                ", ".join(f"{count} {state}" for state, count in sorted(detail.objects.items()))
                or "none yet",
            ),
            ("sync waits for", detail.waits_for),
            (
                "downloads wait until",
                detail.limits.waits_until and moment(detail.limits.waits_until),
            ),
        ]
    )


@app.command(cls=SourceCommand)
def update(
    context: typer.Context,
    connector: ConnectorName,
    poll_interval: Annotated[
        int | None, typer.Option(help="Seconds between two looks, 60 to 3600.")
    ] = None,
    delete_guard_percent: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            help="A scan that would delete a larger share of the objects waits for a "
            "confirmation; 0: as the settings say.",
        ),
    ] = None,
    credentials: Annotated[
        bool, typer.Option("--credentials", help="Ask for new credentials.")
    ] = False,
    documents: Annotated[
        Literal["remove", "keep"] | None,
        typer.Option(help="What becomes of documents that another source leaves behind."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change a connector; what is not given stays, and "" takes away what may be absent.

    A new access key id asks for its secret, and --credentials for all new credentials.
    They come from the environment, as for `connectors add`, or are asked for without
    being shown.

    \b
    Examples:
      activekg-pipelines connectors update acme_corp/docs --access-key-id AKIAIOSFODNN7EXAMPLE
      activekg-pipelines connectors update acme_corp/docs --prefix contracts/ --documents remove
    """
    from activekg_pipelines.administration import operations
    from activekg_pipelines.administration.removal import DocumentFate, DocumentsAffected
    from activekg_pipelines.administration.schemas import ChangedConnector
    from activekg_pipelines.sources import registry
    from activekg_pipelines.sources.config import patch_of

    values = given(context)
    shared = (poll_interval, delete_guard_percent)
    if not values and shared == (None, None) and not credentials:
        raise typer.BadParameter("Say what to change: activekg-pipelines connectors update --help")
    with administration() as services:
        found = resolve(services, connector)
    kind = registry.provider(found.provider).config
    check_given(found.provider, kind, values)
    patch_model = patch_of(kind)
    changes: dict[str, Any] = {
        field: None if value == "" and field in patch_model.NULLABLE else value
        for field, value in values.items()
    }
    if poll_interval is not None:
        changes["poll_interval_seconds"] = poll_interval
    if delete_guard_percent is not None:
        changes["delete_guard_percent"] = delete_guard_percent or None
    if credentials or values.keys() & set(kind.secret_fields()):
        changes |= asked_secrets(kind, values)
    patch = _validated(patch_model, changes)
    fate = DocumentFate(documents) if documents else None
    with administration() as services, _as_options():
        try:
            changed = operations.reconfigure(
                services, resolve(services, connector).id, patch, documents=fate
            )
        except DocumentsAffected as error:
            fail(
                f"{error.message} Nothing was changed. {error.fix[:-1]}: repeat the command with "
                "--documents remove or --documents keep."
            )
    if as_json:
        print_json(ChangedConnector.of(changed.connector, changed))
        return
    out.print(f"{changed.connector.partition_key} is changed.", soft_wrap=True, markup=False)
    if changed.fate is not None:
        out.print(f"{_settled(changed)}.")


@app.command()
def test(connector: ConnectorName, as_json: AsJson = False) -> None:
    """Test what a sync needs: listing and reading.

    Where that fails, it says what to do and exits with 3.

    \b
    Example:
      activekg-pipelines connectors test acme_corp/my-documents
    """
    from activekg_pipelines.administration.connection_test import try_connector

    with administration() as services:
        answer = try_connector(services, resolve(services, connector))
    if as_json:
        print_json(answer.model_dump(mode="json", exclude_none=True))
    elif answer.status == "success":
        least = "at least " if answer.objects_found_is_lower_bound else ""
        out.print(f"{answer.message}: {least}{answer.objects_found} objects.", markup=False)
        if answer.warning:
            out.print(f"Warning: {answer.warning}", markup=False, soft_wrap=True)
    if answer.status == "error":
        fail(f"{answer.message} ({answer.error_type})\n{answer.fix}", TEST_FAILED)


@app.command()
def sync(
    connector: ConnectorName,
    mode: Annotated[
        Mode,
        typer.Option(
            help="changed: what is new or changed; failed: failures and dead letters too; all: all."
        ),
    ] = Mode.CHANGED,
    key: Annotated[
        list[str] | None, typer.Option(help="Repeatable: process this object again.")
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Follow the sync until its end; exits with 1 where it fails."),
    ] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait at most.")] = _WAIT_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Sync now. Joins a sync of the same mode that waits already.

    \b
    Examples:
      activekg-pipelines connectors sync acme_corp/my-documents --wait
      activekg-pipelines connectors sync acme_corp/my-documents --key documents/contract.pdf
    """
    from activekg_pipelines.administration import reads
    from activekg_pipelines.administration.operations import ConnectorDisabled, request_sync
    from activekg_pipelines.administration.schemas import RunView, SyncAccepted
    from activekg_pipelines.cli.following import follow_sync

    with administration() as services:
        found = resolve(services, connector)
        try:
            accepted = request_sync(services, found.id, mode=mode, keys=key or [])
        except ConnectorDisabled as error:
            resume_it = f"activekg-pipelines connectors resume {found.partition_key}"
            fail(f"{error.message} {error.fix[:-1]}: {resume_it}")
        queued = accepted.objects_queued if key else None
        if not wait:
            if as_json:
                shape = SyncAccepted(sync_id=accepted.id, objects_queued=queued)
                print_json(shape.model_dump(mode="json", exclude_none=True))
            else:
                out.print(
                    f"Sync {accepted.id} waits; it starts within seconds while Dagster runs.",
                    soft_wrap=True,
                )
                if queued is not None:
                    out.print(
                        f"{queued} of the {len(key or [])} objects are known and will be "
                        "processed again."
                    )
            return
        row = follow_sync(services, found, accepted.id, seconds=timeout)
        view = RunView.of(row, dagster_run_url=reads.run_url(services, row))
        now = services.connector(found.id)
    if as_json:
        print_json(view)
    if view.status != "succeeded":
        where = f" See {view.dagster_run_url}" if view.dagster_run_url else ""
        ended = {
            "cancelled": f"was cancelled by {view.cancelled_by}",
            "launch_failed": "could not be started",
        }.get(view.status, view.status)
        said = view.launch_error or now.last_error_message
        why = f" {said}" if said else ""
        fail(f"The sync {ended}.{why}{where}")
    if not as_json:
        did = {name: count for name, count in view.objects.model_dump().items() if count}
        out.print(
            "Done: "
            + (", ".join(f"{count} {name}" for name, count in did.items()) or "nothing to do")
            + "."
        )
        if view.errors:
            causes = ", ".join(f"{count} {cause}" for cause, count in view.errors.items())
            see = f"activekg-pipelines dead-letters list {found.partition_key}"
            err.print(f"Not indexed: {causes}. See: {see}", soft_wrap=True)
        if now.needs_confirmation:
            look = f"activekg-pipelines preview {found.partition_key}"
            confirm = f"activekg-pipelines connectors confirm-deletes {found.partition_key}"
            err.print(
                f"{now.deletions_held_back} deletions are held back. Look with: {look}. Confirm "
                f"with: {confirm}",
                soft_wrap=True,
            )


@app.command()
def cancel(
    connector: ConnectorName,
    sync_id: Annotated[
        UUID | None,
        typer.Option("--sync", help="Only this sync; by default all that wait or run."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Stop a connector's syncs. What they finished is stored.

    The rest waits for the next poll, or for a sync that somebody asks for.

    \b
    Examples:
      activekg-pipelines connectors cancel acme_corp/my-documents
      activekg-pipelines connectors cancel acme_corp/my-documents --sync SYNC_ID
    """
    from activekg_pipelines.administration import operations
    from activekg_pipelines.administration.schemas import SyncsCancelled

    with administration() as services:
        found = resolve(services, connector)
        if sync_id is None:
            ids = operations.cancel_syncs(services, found.id)
        else:
            ids = [operations.cancel_sync(services, sync_id, connector_id=found.id).id]
    if as_json:
        print_json(SyncsCancelled(sync_ids=ids))
    elif ids:
        out.print(
            f"Syncs that end within seconds: {len(ids)}. See: activekg-pipelines runs "
            f"{found.partition_key}",
            soft_wrap=True,
            markup=False,
        )
    else:
        out.print("No sync waits or runs.")


@app.command()
def pause(connector: ConnectorName, as_json: AsJson = False) -> None:
    """Stop syncing a connector, also a sync under way. Its documents stay searchable.

    \b
    Example:
      activekg-pipelines connectors pause acme_corp/my-documents
    """
    _enable(connector, enabled=False, as_json=as_json)


@app.command()
def resume(connector: ConnectorName, as_json: AsJson = False) -> None:
    """Sync a paused connector again.

    \b
    Example:
      activekg-pipelines connectors resume acme_corp/my-documents
    """
    _enable(connector, enabled=True, as_json=as_json)


@app.command("confirm-deletes")
def confirm_deletes(connector: ConnectorName, as_json: AsJson = False) -> None:
    """Let deletions go on that are held back because there are suspiciously many.

    \b
    Example:
      activekg-pipelines preview acme_corp/my-documents
      activekg-pipelines connectors confirm-deletes acme_corp/my-documents
    """
    from activekg_pipelines.administration.operations import confirm_deletions
    from activekg_pipelines.administration.schemas import DeletionsConfirmed

    with administration() as services:
        confirmed = confirm_deletions(services, resolve(services, connector).id)
    if as_json:
        print_json(DeletionsConfirmed.of(confirmed))
    elif confirmed.deletions == 0:
        out.print("No deletion is held back.")
    else:
        out.print(f"{confirmed.deletions} deletions go on with the next sync.")


@app.command()
def remove(
    connector: ConnectorName,
    documents: Annotated[
        Literal["remove", "keep"],
        typer.Option(
            help="What becomes of its documents: they leave the graph, or stay as they are."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a connector with its ledger, history, partition and sensor.

    \b
    Example:
      activekg-pipelines connectors remove acme_corp/my-documents --documents keep
    """
    from activekg_pipelines.administration.removal import DocumentFate
    from activekg_pipelines.administration.removal import remove as remove_connector
    from activekg_pipelines.administration.schemas import RemovedConnector

    fate = DocumentFate(documents)
    with administration() as services:
        found = resolve(services, connector)
        if not yes:
            typer.confirm(
                f"Remove {found.partition_key} and {documents} its documents?", abort=True, err=True
            )
        removed = remove_connector(services, found.id, fate)
    if as_json:
        print_json(RemovedConnector.of(removed, id=found.id))
    else:
        out.print(
            f"Removed {found.partition_key}; {_settled(removed)}.",
            soft_wrap=True,
            markup=False,
        )


def _settled(settled: SettledDocuments) -> str:
    return f"{settled.documents} documents {'kept' if settled.fate == 'keep' else 'removed'}"


def _enable(name: str, *, enabled: bool, as_json: bool) -> None:
    from activekg_pipelines.administration.operations import reconfigure
    from activekg_pipelines.administration.schemas import ConnectorView
    from activekg_pipelines.sources.config import patch_of
    from activekg_pipelines.sources.registry import provider

    with administration() as services:
        found = resolve(services, name)
        patch = patch_of(provider(found.provider).config).model_validate({"enabled": enabled})
        changed = reconfigure(services, found.id, patch).connector
    if as_json:
        print_json(ConnectorView.of(changed))
    else:
        state = "is synced again" if enabled else "is paused"
        out.print(f"{changed.partition_key} {state}.", soft_wrap=True, markup=False)


def _validated(model: type[Model], values: dict[str, Any]) -> Model:
    """The values as the model takes them, or the rules that they break.

    What is raised never holds the values, of which some are secret.
    """
    from pydantic import ValidationError

    options = {"poll_interval_seconds": "--poll-interval"}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        rules = [
            (
                str(item["loc"][0]) if item["loc"] else "",
                str(item["msg"]).removeprefix("Value error, "),
            )
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        ]
    raise typer.BadParameter(
        "; ".join(f"{options.get(name) or named(name)}: {rule}" for name, rule in rules)
    )


@contextmanager
def _as_options() -> Iterator[None]:
    """Tell a rule that depends on the store as one of the option that breaks it."""
    try:
        yield
    except InvalidConnector as error:
        if error.field is None:
            raise
        raise typer.BadParameter(f"{named(error.field)}: {error.rule}") from None


def _tenant(value: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from activekg_pipelines.connectors.models import TenantId

    try:
        return TypeAdapter[str](TenantId).validate_python(value)
    except ValidationError:
        raise typer.BadParameter(
            "--tenant: letters, digits, '_', '.', '@' and '-', at most 128, beginning with a "
            "letter or digit"
        ) from None


def _fields(view: ConnectorView) -> list[tuple[str, object]]:
    shared = {"name", "poll_interval_seconds", "enabled"}
    own = view.config.model_dump(exclude=shared)
    error = view.last_error
    held_back = f"{view.deletions_held_back}; see preview and connectors confirm-deletes"
    return [
        ("connector", view.partition_key),
        ("id", view.id),
        ("source", view.location),
        *((name.replace("_", " "), value) for name, value in own.items() if value),
        ("polled every", f"{view.config.poll_interval_seconds} s"),
        ("status", view.status.value),
        ("last error", error and f"{error.error_type} at {moment(error.at)}: {error.message}"),
        ("what to do", error and error.fix),
        *(("note", note.message) for note in view.notes),
        ("deletions held back", held_back if view.deletions_held_back else None),
        ("objects over limit", view.objects_over_limit or None),
        ("ETags", None if view.trusts_etags else "not trusted: sizes and times count, too"),
        ("last scan", moment(view.last_scan_completed_at)),
        ("registered", moment(view.created_at)),
        ("changed", moment(view.updated_at)),
    ]
