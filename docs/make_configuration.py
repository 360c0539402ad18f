"""Writes docs/configuration.md from the settings.

Run it as ``python docs/make_configuration.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from activekg_pipelines.settings import READ_ELSEWHERE, Settings, Unit, variables_of

PAGE = Path(__file__).with_name("configuration.md")

HEAD = """# Configuration

<!-- Made by docs/make_configuration.py from settings.py; change that, and run it. -->

Every process reads its configuration from environment variables.
An empty variable counts as one that is not set.
A value that breaks a rule stops the process.
The sentence that says so names the variable and never the value.

Some variables had another name in earlier versions.
Both names work.
Where both are set, they must say the same.
"""

_SIMPLE = {
    str: "text",
    SecretStr: "text, shown nowhere",
    int: "whole number",
    float: "number",
    Path: "folder",
}


def configuration() -> str:
    """The page for the settings of this version."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield HEAD
    for section in Settings.__bases__:
        heading, _, introduction = inspect.cleandoc(str(section.__doc__)).partition("\n")
        yield from (f"## {heading}", "")
        if introduction:
            yield from (introduction.strip(), "")
        yield from ("| variable | default | values | meaning |", "|---|---|---|---|")
        yield from _rows(section)
        yield ""


def _rows(section: type[BaseSettings]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        variable, *older = variables_of(name)
        meaning = " ".join(
            [str(field.description), *(f"Its older name is `{other}`." for other in older)]
        )
        yield _row(f"`{variable}`", _default(field), _values(field), meaning)
    for other in READ_ELSEWHERE:
        if other.section is section:
            yield _row(f"`{other.name}`", other.default, other.values, other.description)


def _default(field: FieldInfo) -> str:
    """The default in words. A factory's docstring says what it gives."""
    if field.default is PydanticUndefined:
        return str(inspect.getdoc(field.default_factory)).rstrip(".").lower()
    if field.default in (None, ()):
        return "not set"
    if isinstance(field.default, float) and field.default.is_integer():
        return f"`{field.default:.0f}`"
    return f"`{field.default}`"


def _values(field: FieldInfo) -> str:
    """What the variable may be, in words, with its bounds and unit."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = [option for option in get_args(annotation) if option is not NoneType]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "list, separated by commas"
    unit = "".join(f" of {rule.name}" for rule in field.metadata if isinstance(rule, Unit))
    return f"{_SIMPLE[annotation]}{unit}{_bounds(field)}"


def _bounds(field: FieldInfo) -> str:
    rules = {type(rule): rule for rule in field.metadata}
    match rules.get(Ge), rules.get(Gt), rules.get(Le):
        case Ge(ge=least), None, Le(le=most):
            return f", {least:,} to {most:,}"
        case Ge(ge=least), None, None:
            return f", {least:,} or more"
        case None, Gt(gt=least), Le(le=most):
            return f", more than {least:,} and at most {most:,}"
        case None, Gt(gt=least), None:
            return f", more than {least:,}"
    return ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(configuration(), encoding="utf-8")
