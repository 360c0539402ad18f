"""The command ``doctor``: each part of the installation, and what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from activekg_pipelines.cli.arguments import AsJson
from activekg_pipelines.cli.console import (
    CONNECTORS_NEED_SOMEBODY,
    PART_BROKEN,
    out,
    print_json,
    printable,
)
from activekg_pipelines.errors import ActiveKGError

if TYPE_CHECKING:
    from activekg_pipelines.administration.checks import Finding

_SETTINGS: Final = "settings"
# The commands that repair a part.
_COMMANDS: Final = {
    "migrations": "activekg-pipelines migrate",
    "dagster_webserver": "activekg-pipelines up",
    "connector_errors": "activekg-pipelines connectors test TENANT/NAME",
    "dead_letters": "activekg-pipelines dead-letters replay TENANT/NAME",
    "held_deletions": "activekg-pipelines connectors confirm-deletes TENANT/NAME",
}
# The commands for what works and is better changed.
_LATER: Final = {"encryption_keys": "activekg-pipelines rotate-keys"}


def doctor(
    skip: Annotated[
        list[str] | None,
        typer.Option(help="Repeatable: leave this part out, where this machine has none of it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every part and every connector, and say what to fix.

    Exits with 4 where a part is broken, or where nobody can know because of one that is.
    Exits with 5 where all parts work and connectors need somebody.

    \b
    Examples:
      activekg-pipelines doctor
      activekg-pipelines doctor --skip dagster_webserver --skip dagster_daemon
      activekg-pipelines doctor --skip dead_letters
    """
    from activekg_pipelines.administration.checks import CHECKS

    parts = (_SETTINGS, *(check.name for check in CHECKS))
    skipped = set(skip or ())
    if unknown := skipped - set(parts):
        raise typer.BadParameter(
            f"Unknown parts: {', '.join(sorted(unknown))}. Known are: {', '.join(parts)}."
        )
    found: list[Finding] = []
    for finding in _findings([name for name in parts if name not in skipped]):
        found.append(finding)
        if not as_json:
            _print(finding)
    healthy = all(finding.ok for finding in found)
    if as_json:
        print_json(
            {
                "healthy": healthy,
                "checks": [
                    {
                        "name": item.name,
                        "ok": item.ok,
                        "detail": _detail(item),
                        "fix": _fix(item) or None,
                    }
                    for item in found
                ],
            }
        )
    elif healthy:
        out.print("Everything works.")
    if not healthy:
        of_connectors = {check.name for check in CHECKS if check.of_connectors}
        wrong = {finding.name for finding in found if not finding.ok}
        raise typer.Exit(CONNECTORS_NEED_SOMEBODY if wrong <= of_connectors else PART_BROKEN)


def _findings(names: Collection[str]) -> Iterator[Finding]:
    """How these parts are; unknown where the settings cannot be read."""
    from activekg_pipelines.administration.checks import CHECKS, Finding, Installation, findings
    from activekg_pipelines.cli.environment import open_dagster, prepare_environment
    from activekg_pipelines.orchestrator.orchestrator import Orchestrator
    from activekg_pipelines.services import Services
    from activekg_pipelines.settings import load_settings, settings

    try:
        current = load_settings()
    except ActiveKGError as error:
        broken = Finding(
            _SETTINGS, False, error.message, fix="Correct these variables in the environment."
        )
        unknown = "unknown, because the settings cannot be read"
        rest = [Finding(check.name, None, unknown) for check in CHECKS]
        yield from (finding for finding in (broken, *rest) if finding.name in names)
        return
    no_database = None
    try:
        prepare_environment(generate_keys=False, dagster=False)
        current = settings()
    except ActiveKGError as error:
        no_database = error.message
    if _SETTINGS in names:
        yield Finding(_SETTINGS, True, f"read; what is local lies in {current.activekg_home}")
    services = Services(current)
    services.orchestrator = Orchestrator(current.activekg_webserver_url, instance=open_dagster)
    try:
        with Installation(services, no_database=no_database) as installation:
            yield from findings(installation, names)
    finally:
        services.close()


def _detail(finding: Finding) -> str:
    # An old key is no fault: what to do about it stands beside what was found.
    command = _LATER.get(finding.name) if finding.ok and finding.fix else None
    return f"{finding.told()}: {command}" if command else finding.told()


def _fix(finding: Finding) -> str:
    if finding.ok or not finding.fix:
        return ""
    command = _COMMANDS.get(finding.name)
    return f"{finding.fix.removesuffix('.')}: {command}" if command else finding.fix


def _print(finding: Finding) -> None:
    mark, style = {
        True: ("ok", "green"),
        False: ("BROKEN", "bold red"),
        None: ("?", "yellow"),
    }[finding.ok]
    line = Text.assemble((f"{mark:7}", style), f"{finding.name:22}", printable(_detail(finding)))
    out.print(line, soft_wrap=True)
    if fix := _fix(finding):
        out.print(Text(f"{'':29}{fix}", style="italic"), soft_wrap=True)
