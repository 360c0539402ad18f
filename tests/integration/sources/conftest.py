"""One place after the other, for what every provider must do alike."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from tests.places import GcsPlace, MemoryPlace, Place, S3Place, gcs_server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def gcs_endpoint() -> Iterator[str]:
    """Address of a server that answers Google Cloud Storage's JSON interface."""
    with gcs_server() as url:
        yield url


@pytest.fixture(params=["s3", "gcs", "memory"])
def place(request: pytest.FixtureRequest) -> Place:
    """A new, empty place of each provider."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    if request.param == "s3":
        return S3Place(request.getfixturevalue("s3_endpoint"), name)
    if request.param == "gcs":
        return GcsPlace(request.getfixturevalue("gcs_endpoint"), name)
    return MemoryPlace(name)
