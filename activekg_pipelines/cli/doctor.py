"""The command ``doctor``: each part of the installation, and what to do about what is
broken.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from activekg_pipelines.cli.arguments import AsJson
from activekg_pipelines.cli.console import PART_BROKEN, out, print_json, printable


def doctor(
    skip: Annotated[
        list[str] | None,
        typer.Option(help="Repeatable: leave this part out, where this machine has none of it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every part and say what to fix.

    Exits with 4 where a part is broken, or cannot be judged because of one that is.

    \b
    Examples:
      activekg-pipelines doctor
      activekg-pipelines doctor --skip dagster_webserver --skip dagster_daemon
    """
    from activekg_pipelines.cli.diagnosis import PARTS, Finding, diagnose

    if unknown := set(skip or ()) - set(PARTS):
        raise typer.BadParameter(
            f"Unknown parts: {', '.join(sorted(unknown))}. Known are: {', '.join(PARTS)}."
        )
    findings: list[Finding] = []
    for finding in diagnose(frozenset(skip or ())):
        findings.append(finding)
        if not as_json:
            _print(finding.name, finding.ok, finding.detail, finding.fix)
    healthy = all(finding.ok for finding in findings)
    if as_json:
        print_json(
            {
                "healthy": healthy,
                "checks": [
                    {
                        "name": item.name,
                        "ok": item.ok,
                        "detail": item.detail,
                        "fix": item.fix or None,
                    }
                    for item in findings
                ],
            }
        )
    elif healthy:
        out.print("Everything works.")
    if not healthy:
        raise typer.Exit(PART_BROKEN)


def _print(name: str, ok: bool | None, detail: str, fix: str) -> None:
    mark, style = {True: ("ok", "green"), False: ("BROKEN", "bold red"), None: ("?", "yellow")}[ok]
    out.print(Text.assemble((f"{mark:7}", style), f"{name:22}", printable(detail)), soft_wrap=True)
    if fix:
        out.print(Text(f"{'':29}{fix}", style="italic"), soft_wrap=True)
