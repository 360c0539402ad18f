"""Whole syncs, from the first listing to the last commit.

    python -m benchmarks.whole [--files 300] [--documents 1000] [--objects 10000]

It syncs many Markdown files, then mixed documents, compared with the naive pipeline,
and then one changed document among many. A number of 0 leaves a part out. S3 is moto's
server in another process, on the same machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from activekg_pipelines.services import Services
from benchmarks.changed import one_changed
from benchmarks.encoder import gflop, gflops_peak
from benchmarks.measure import Result, print_results
from benchmarks.processes import Watched, watch
from benchmarks.system import folder, register, server, services

if TYPE_CHECKING:
    from activekg_pipelines.embedding.local_encoder import LocalEncoder

_GIB = 1024**3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--objects", type=int, default=10_000)
    arguments = parser.parse_args()
    with folder() as home:
        if arguments.files:
            print_results(
                f"{arguments.files} Markdown files, cold", markdown_files(home, arguments.files)
            )
        if arguments.documents:
            print_results("Mixed documents, cold", mixed_documents(home, arguments.documents))
        if arguments.objects:
            print_results(
                f"1 changed document among {arguments.objects:,}",
                one_changed(home, arguments.objects),
            )


def markdown_files(home: Path, number: int) -> list[Result]:
    """Many Markdown files, in a process that starts with a converted model."""
    with (
        _system(home / "markdown", home) as opened,
        server("benchmarks.object_server", "markdown", number) as endpoint,
    ):
        ours = _sync(opened, endpoint, number)
        least = _least_seconds(opened)
    speed = ours.output["chunks"] / ours.output["seconds"]
    return [
        Result(
            f"{ours.output['chunks']:,} chunks",
            f"{speed:.0f} chunks/s",
            ">= 80 chunks/s",
            speed >= 80,
        ),
        Result(
            "- at the cores' peak, with nothing but the encoder",
            f"{ours.output['chunks'] / least:.0f} chunks/s",
        ),
        Result(
            "for a CPU second of the run's processes",
            f"{ours.output['chunks'] / ours.cpu_seconds:.0f} chunks",
        ),
        Result("CPU that nobody used", f"{ours.idle:.0%}", "< 10 %", ours.idle < 0.1),
        _memory(ours, 1.5),
    ]


def mixed_documents(home: Path, number: int) -> list[Result]:
    """The same documents by the naive pipeline too.

    It has the same server, and a database of its own.
    """
    with server("benchmarks.object_server", "mixed", number) as endpoint:
        with _system(home / "mixed", home) as opened:
            ours = _sync(opened, endpoint, number)
            least = _least_seconds(opened)
        with _system(home / "naive", home) as opened:
            theirs = watch("benchmarks.naive", endpoint, opened.settings.require_dsn())
    share = theirs.output["seconds"] / ours.output["seconds"]
    settled = sum(ours.output[name] for name in ("indexed", "skipped", "failed", "dead"))
    return [
        Result(
            f"{settled} documents, {ours.output['indexed']} of them indexed in "
            f"{ours.output['chunks']:,} chunks"
            f" (naive: {theirs.output['indexed']} in {theirs.output['chunks']:,})",
            f"{share:.1f} x the naive pipeline",
            ">= 5 x",
            share >= 5,
        ),
        Result(
            "- at the cores' peak, with nothing but the encoder",
            f"{theirs.output['seconds'] / least:.1f} x the naive pipeline",
        ),
        Result(
            "in CPU seconds of the processes",
            f"{theirs.cpu_seconds / ours.cpu_seconds:.1f} x the naive pipeline",
        ),
        _memory(ours, 3.0),
        Result("the naive pipeline's memory", f"{theirs.peak_bytes / _GIB:.2f} GiB"),
    ]


@contextmanager
def _system(folder: Path, home: Path) -> Iterator[Services]:
    """A new database; the converted model is shared."""
    with services(folder, ACTIVEKG_HOME=str(home)) as opened:
        # In another process: converting takes torch, which would stay in this one.
        load = "from activekg_pipelines.services import services; services().encoder"
        subprocess.run([sys.executable, "-c", load], check=True)
        yield opened


def _sync(services: Services, endpoint: str, objects: int) -> Watched:
    connector = register(services, endpoint, "benchmark")
    return watch("benchmarks.sync_once", connector.partition_key, objects)


def _least_seconds(services: Services) -> float:
    """What encoding the graph's chunks takes at least.

    All cores are then at their peak, and nothing is padded.
    """
    with services.database.transaction() as conn:
        rows = conn.execute(
            "SELECT (props ->> 'tokens')::int FROM nodes WHERE classes @> '{Chunk}'"
        ).fetchall()
    return (
        gflop([tokens for (tokens,) in rows])
        / gflops_peak(cast("LocalEncoder", services.encoder).precision)
        / (os.cpu_count() or 1)
    )


def _memory(watched: Watched, most: float) -> Result:
    peak = watched.peak_bytes / _GIB
    name = f"memory of all {watched.processes} processes of the run"
    return Result(name, f"{peak:.2f} GiB", f"< {most} GB", watched.peak_bytes < most * 1e9)


if __name__ == "__main__":
    main()
