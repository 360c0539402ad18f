"""A provider is one record, which the registry lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import SourceConfig
from activekg_pipelines.sources.source import Source


@dataclass(frozen=True, slots=True)
class Proposal:
    """Another configuration with which a source may be read that could not be.

    Attributes:
        changes: new values of its fields.
        fix: the same as a sentence.
    """

    changes: Mapping[str, str | bool]
    fix: str


@dataclass(frozen=True, slots=True)
class Provider:
    """A kind of source, such as S3.

    Attributes:
        name: in requests, in metrics and in the registry's rows; it never changes.
        title: the service's name for people.
        place: the name of one source of it for people.
        config: its configuration. Fields of type ``SecretStr`` are stored encrypted.
        open: makes a source from a configuration that holds its secrets. Heavy imports
            belong inside it. It raises ``InvalidConnector`` where the operator does not
            allow the source, or where a package is missing.
        propose: finds another configuration with which the source can be read, given the
            one with which it could not, and the error; it may try some. None where the
            provider proposes nothing.
    """

    name: str
    title: str
    place: str
    config: type[SourceConfig]
    open: Callable[[Any, Settings], Source]
    propose: Callable[[Any, Settings, Exception], Proposal | None] | None = None
