"""Options of the command line that follow from the providers' configurations.

They need pydantic, which the help of all other commands can do without. So they are made
when a command is run or asked for its help, not when the command line is put together.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
import typer.core

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from activekg_pipelines.sources.config import Asked, SourceConfig

_GIVEN = "activekg_source"
_PROVIDER = "provider"


class SourceCommand(typer.core.TyperCommand):
    """A command that also takes the options of all providers.

    The command's function finds their values by :func:`given`.
    """

    @cached_property
    def _whole(self) -> Any:
        app = typer.Typer(rich_markup_mode=None, add_completion=False)
        app.command()(_with_options(inspect.unwrap(self.callback)))  # type: ignore[arg-type]
        return typer.main.get_command(app)

    def get_params(self, ctx: Any) -> Any:
        """The function's own, then the providers'."""
        return [*self._whole.params, self.get_help_option(ctx)]

    def invoke(self, ctx: Any) -> Any:
        """Run the function."""
        return self._whole.invoke(ctx)


def given(context: typer.Context) -> dict[str, Any]:
    """The providers' options that were given, by field."""
    values: Mapping[str, str | bool | None] = context.meta[_GIVEN]
    return {name: value for name, value in values.items() if value is not None}


def named(field: str) -> str:
    """What people call a field: its option, or the words of a secret that has none."""
    if field in _options() or not _is_secret_of_some(field):
        return f"--{field.replace('_', '-')}"
    return f"the {field.replace('_', ' ')}"


def check_given(kind: str, config: type[SourceConfig], values: Mapping[str, Any]) -> None:
    """Refuse options that a provider does not have.

    Raises:
        typer.BadParameter: it does not have one that was given.
    """
    if foreign := [name for name in values if name not in config.model_fields]:
        options = ", ".join(map(named, foreign))
        raise typer.BadParameter(f"{options}: not an option of provider {kind}")


def check_complete(config: type[SourceConfig], values: Mapping[str, Any]) -> None:
    """Refuse a registration that leaves out what nobody is asked for.

    Raises:
        typer.BadParameter: an option is missing.
    """
    secret = config.secret_fields()
    missing = [
        name
        for name, field in config.model_fields.items()
        if field.is_required() and name not in secret and name not in values
    ]
    if missing:
        raise typer.BadParameter(f"Missing option {', '.join(map(named, missing))}")


def asked_secrets(config: type[SourceConfig], values: Mapping[str, Any]) -> dict[str, str]:
    """The secrets of a configuration: as given, from the environment, or asked for.

    None where the other values say that there are none.

    Args:
        config: the provider's.
        values: options that were given.

    Raises:
        typer.BadParameter: nobody answers the questions, or a file cannot be read.
    """
    secrets: dict[str, str] = {}
    if not config.needs_secrets(values):
        return secrets
    for name in config.secret_fields():
        asked = _asked(config.model_fields[name])
        try:
            value = (
                values.get(name)
                or os.environ.get(asked.environment)
                or typer.prompt(
                    f"{asked.prompt} (not shown)" if asked.hidden else asked.prompt,
                    hide_input=asked.hidden,
                    err=True,
                )
            )
        except typer.Abort:
            variables = " and ".join(
                _asked(config.model_fields[one]).environment for one in config.secret_fields()
            )
            raise typer.BadParameter(
                f"The credentials are missing: set {variables}, or answer the questions."
            ) from None
        secrets[name] = _content(value) if asked.is_file else value
    return secrets


def _content(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"The file {path} cannot be read: {error}") from None


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    options = _options()

    def whole(**values: Any) -> None:
        values["context"].meta[_GIVEN] = {name: values.pop(name) for name in options}
        function(**values)

    hints = get_type_hints(function, include_extras=True) | options
    if _PROVIDER in hints:
        hints[_PROVIDER] = Annotated[str, typer.Option(help=f"Kind of source: {_kinds()}.")]
    own = [
        one.replace(annotation=hints[one.name])
        for one in inspect.signature(function).parameters.values()
    ]
    of_sources = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in options.items()
    ]
    ordered = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + of_sources
    whole.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    whole.__annotations__ = hints
    whole.__doc__ = function.__doc__
    return whole


def _is_secret_of_some(field: str) -> bool:
    from activekg_pipelines.sources.registry import providers

    return any(field in one.config.secret_fields() for one in providers().values())


def _kinds() -> str:
    from activekg_pipelines.sources.registry import providers

    return ", ".join(providers())


def _options() -> dict[str, Any]:
    """An option for each of the providers' own fields, by field.

    Providers that have the same field share its option.
    """
    from activekg_pipelines.sources.registry import providers

    fields: dict[str, FieldInfo] = {}
    owners: dict[str, list[str]] = {}
    for one in providers().values():
        for name, field in one.config.model_fields.items():
            secret = name in one.config.secret_fields()
            if name in one.config.SHARED or (secret and not _asked(field).is_option):
                continue
            fields.setdefault(name, field)
            owners.setdefault(name, []).append(one.name)
    everywhere = len(providers())
    return {
        name: _option(name, field, owners[name] if len(owners[name]) < everywhere else [])
        for name, field in fields.items()
    }


def _option(name: str, field: FieldInfo, owners: list[str]) -> Any:
    asked = any(_is_asked(one) for one in field.metadata)
    words = [
        "Asked for when it is not given." if asked else field.description or "",
        f"Default: {field.default}." if isinstance(field.default, str) and field.default else "",
        f"({', '.join(owners)})" if owners else "",
    ]
    switch, text = f"--{name.replace('_', '-')}", " ".join(filter(None, words))
    if field.annotation is bool:
        return Annotated[bool | None, typer.Option(f"{switch}/--no-{switch[2:]}", help=text)]
    return Annotated[str | None, typer.Option(switch, help=text)]


def _asked(field: FieldInfo) -> Asked:
    found: Asked = next(one for one in field.metadata if _is_asked(one))
    return found


def _is_asked(metadata: object) -> bool:
    from activekg_pipelines.sources.config import Asked

    return isinstance(metadata, Asked)
