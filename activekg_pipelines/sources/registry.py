"""The providers that this installation knows.

A provider of this package is one line below. Another package registers its own by an
entry point of the group ``activekg_pipelines.sources`` that names a :class:`Provider`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from typing import Final

from activekg_pipelines.errors import InvalidConnector
from activekg_pipelines.sources.gcs import PROVIDER as GCS
from activekg_pipelines.sources.provider import Provider
from activekg_pipelines.sources.s3 import PROVIDER as S3

logger = logging.getLogger(__name__)

BUILT_IN: Final = (S3, GCS)
ENTRY_POINTS: Final = "activekg_pipelines.sources"

_added: dict[str, Provider] = {}


def providers() -> Mapping[str, Provider]:
    """All providers by name, in the order of their registration."""
    return {**_registered(), **_added}


def provider(name: str) -> Provider:
    """One provider.

    Raises:
        InvalidConnector: it is not registered in this process.
    """
    try:
        return providers()[name]
    except KeyError:
        raise InvalidConnector(
            f"The provider {name!r} is not known here; known are: {', '.join(providers())}. "
            "If it comes from another package, install that package for every process."
        ) from None


@contextmanager
def registered(added: Provider) -> Iterator[None]:
    """Register one more provider for a while, in this process.

    It is for tests, and for programs that embed this package.
    """
    _added[added.name] = added
    try:
        yield
    finally:
        del _added[added.name]


@cache
def _registered() -> Mapping[str, Provider]:
    found = {one.name: one for one in BUILT_IN}
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            one = entry.load()
        except Exception:
            # Whatever another package does at its import.
            # Its connectors say that their provider is missing; all others go on.
            logger.exception("The source provider %s cannot be loaded.", entry.value)
            continue
        if found.setdefault(one.name, one) is not one:
            logger.error(
                "The source provider %s is left out: the name %r is taken.", entry.value, one.name
            )
    return found
