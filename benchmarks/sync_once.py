"""What a run does, without the orchestrator, in a process of its own.

    python -m benchmarks.sync_once PARTITION_KEY MAX_OBJECTS

It scans, extracts and indexes, and prints what it did as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict

from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.pipeline.sync import extract_and_index
from activekg_pipelines.services import Services
from activekg_pipelines.settings import load_settings

RUN = "benchmark"


def main() -> None:
    """Sync once."""
    partition_key, max_objects = sys.argv[1], int(sys.argv[2])
    services = Services(load_settings())
    connector = services.connector_of_partition(partition_key)
    began = time.perf_counter()
    with services.database.transaction() as conn:
        services.ledger.start_run(
            conn,
            connector.id,
            connector.tenant_id,
            RUN,
            request_id=None,
            parent_run=None,
            with_scan=True,
            mode=Mode.CHANGED,
        )
    scan_connector(services, connector, budget_seconds=None)
    extract_and_index(services, connector, RUN, max_objects=max_objects, budget_seconds=100_000)
    seconds = time.perf_counter() - began
    with services.database.transaction() as conn:
        counts = services.ledger.run_counts(conn, RUN)
        services.ledger.finish_run(conn, RUN, succeeded=True)
    services.database.close()
    print(json.dumps({"seconds": seconds, **asdict(counts)}))


if __name__ == "__main__":
    main()
