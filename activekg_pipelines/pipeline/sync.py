"""Extracts and indexes at the same time, under one lease.

So neither the parsers nor the encoder wait for the other.
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import NamedTuple

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.logs import log_fields, logs_connector
from activekg_pipelines.pipeline.backlog import Backlog
from activekg_pipelines.pipeline.batching import DEFAULT, Batching
from activekg_pipelines.pipeline.extract import extract
from activekg_pipelines.pipeline.index import index
from activekg_pipelines.pipeline.lease import lease
from activekg_pipelines.pipeline.stop import Stop, threads
from activekg_pipelines.services import Services

logger = logging.getLogger(__name__)


class Taken(NamedTuple):
    """How many objects each step of a run claimed."""

    extracted: int
    indexed: int


@logs_connector
def extract_and_index(
    services: Services,
    connector: Connector,
    run: str,
    *,
    max_objects: int,
    budget_seconds: float,
    batching: Batching = DEFAULT,
    stop: Stop | None = None,
) -> Taken:
    """Extract the connector's pending objects, and index the texts as they come.

    Each text is stored before it is indexed. Extraction pauses while too many texts
    wait. When one of the two steps fails, the other stores what it had finished and
    ends soon after. The error that came first is raised.

    Args:
        run: Dagster's run id, which holds the leases.
        max_objects: objects at most, extracted and indexed each.
        budget_seconds: wall time after which nothing more is claimed.
        batching: the sizes of its batches.
        stop: says when somebody asked for the end of the run.

    Raises:
        RunCancelled: somebody did; what was finished is stored.
        SourceError: no object of the source can be read.
        ModelError: the model cannot be loaded, or does not make the vectors that the
            graph holds.
    """
    backlog = Backlog(extracts=True, indexes=True, batching=batching)
    with (
        log_fields(run=run),
        lease(
            services, run, max_objects=max_objects, budget_seconds=budget_seconds, stop=stop
        ) as held,
        threads(1, name="index") as index_thread,
    ):
        indexing = index_thread.submit(
            copy_context().run, index, services, connector, held, backlog, batching
        )
        try:
            extracted = extract(services, connector, held, backlog, batching)
            backlog.end_extraction()
            return Taken(extracted, indexing.result())
        except Exception as error:
            held.stop(error)
            backlog.end_extraction()
            if (other := indexing.exception()) is None or other is error:
                raise
            first, second = (error, other) if held.cause is error else (other, error)
            name = type(second).__name__
            logger.error("The other half of the run failed, too: %s: %s", name, second)  # noqa: TRY400
            raise first from None
        except BaseException as interruption:
            held.stop(interruption)
            backlog.end_extraction()
            raise
