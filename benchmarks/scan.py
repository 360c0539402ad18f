"""What a scan of an unchanged bucket costs beyond its LIST requests.

    python -m benchmarks.scan [--objects 10000 200000 1000000] [--rounds 3]

It also shows how that grows with the bucket. The S3 server makes its listing up, so
that a million objects need not exist; everything else is real.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from statistics import median
from typing import TYPE_CHECKING
from uuid import UUID

import boto3

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.source import S3Source
from benchmarks.measure import Result, interleave, measure, print_results
from benchmarks.system import folder, register, server, services

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_SCAN = """
import resource, sys
from uuid import UUID
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from activekg_pipelines.settings import load_settings
services = Services(load_settings())
scan_connector(services, services.connector(UUID(sys.argv[1])), budget_seconds=None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
services.database.close()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--objects", type=int, nargs="+", default=[10_000, 200_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sizes = sorted(arguments.objects)
    results: list[Result] = []
    memory: dict[int, float] = {}
    with folder() as home, services(home) as opened:
        for number, objects in enumerate(sizes):
            with server("benchmarks.listing_server", objects) as address:
                connector = register(opened, address, f"bucket-{number}")
                results += _measure(opened, connector, address, objects, arguments.rounds)
                memory[objects] = _peak_mebibytes(connector.id)
    for objects, mebibytes in memory.items():
        grown = mebibytes - memory[sizes[0]]
        results.append(
            Result(
                f"peak memory of a process that scans {objects:,} objects",
                f"{mebibytes:.0f} MiB",
                f"± 20 MiB of {sizes[0]:,}",
                abs(grown) <= 20,
            )
        )
    print_results("Scan", results)


def _measure(
    services: Services, connector: Connector, endpoint_url: str, objects: int, rounds: int
) -> list[Result]:
    source = services.source(connector)
    assert isinstance(source, S3Source)
    ours = source.client
    stock = boto3.client(
        "s3",
        "us-east-1",
        endpoint_url=endpoint_url,
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )

    def scan() -> None:
        scan_connector(services, connector, budget_seconds=None)

    first = measure(scan).wall
    ways = {
        "stock": lambda: _list(stock, connector.location.container),
        "ours": lambda: _list(ours, connector.location.container),
        "scan": scan,
    }
    samples = interleave(ways, rounds)
    wall = {name: median(sample.wall for sample in samples[name]) for name in ways}
    beyond = objects / max(wall["scan"] - wall["ours"], 1e-9)
    share = wall["scan"] / wall["stock"]
    return [
        Result(f"{objects:,} objects, all new: objects/s", f"{objects / first:,.0f}"),
        Result(
            f"{objects:,} objects, nothing changed: time as a multiple of boto3's bare LIST",
            f"{share:.2f} x",
            "≤ 1.3 x",
            share <= 1.3,
        ),
        Result(
            "- beyond a bare LIST by its own client, which reads times faster: objects/s",
            f"{beyond:,.0f} ({wall['scan'] / wall['ours']:.2f} x that LIST)",
            "≥ 20,000",
            beyond >= 20_000,
        ),
    ]


def _list(client: S3Client, bucket: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        page["Contents"]


def _peak_mebibytes(connector: UUID) -> float:
    command = [sys.executable, "-c", _SCAN, str(connector)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output) / 1024


if __name__ == "__main__":
    main()
