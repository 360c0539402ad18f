"""The real model, loaded once a session.

Two processes convert it at once, which is itself under test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from activekg_pipelines.embedding import DEFAULT_MODEL, Encoder, EncoderConfig, load_encoder

# Prints whether torch was imported, every host name that was looked up, and the first
# vector's beginning.
LOAD_AND_ENCODE = """
import socket, sys
from pathlib import Path
from activekg_pipelines.embedding import DEFAULT_MODEL, EncoderConfig, load_encoder

looked_up = []
def refuse(host, *args, **kwargs):
    looked_up.append(host)
    raise OSError("no network in this test")
socket.getaddrinfo = refuse

config = EncoderConfig(DEFAULT_MODEL, Path(sys.argv[1]), backend="openvino", threads=1)
encoder = load_encoder(config)
vector = encoder.encode(["one text"])[0]
print("torch" in sys.modules, looked_up, vector[:3].round(3).tolist(), sep=" | ")
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    torch_imported: str
    looked_up: str
    vector: str


def start_loading(cache_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOAD_AND_ENCODE, str(cache_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_loading(process: subprocess.Popen[str]) -> Loaded:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return Loaded(*out.strip().split(" | "))


@dataclass(frozen=True, slots=True)
class Converted:
    cache_dir: Path
    loads: list[Loaded]


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # shared by all workers
    cache_dir = root / "models"
    processes = [start_loading(cache_dir) for _ in range(2)]
    return Converted(cache_dir, [finish_loading(process) for process in processes])


@pytest.fixture(scope="session")
def cache_dir(converted: Converted) -> Path:
    return converted.cache_dir


@pytest.fixture(scope="session")
def encoder(cache_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(DEFAULT_MODEL, cache_dir, backend="openvino"))


@pytest.fixture(scope="session")
def torch_encoder(cache_dir: Path) -> Encoder:
    return load_encoder(EncoderConfig(DEFAULT_MODEL, cache_dir, backend="torch", device="cpu"))
