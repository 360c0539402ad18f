"""Takes over from Dagster why syncs have not begun."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from uuid import UUID

from activekg_pipelines.ledger.store import Launched
from activekg_pipelines.orchestrator.instance import OrchestratorError
from activekg_pipelines.services import Services

logger = logging.getLogger(__name__)

DAGSTER = "Dagster"
"""Who cancels a sync where Dagster's UI or command line does. It knows no users."""


def look_at_dagster(services: Services) -> None:
    """Ask Dagster about the syncs that wait for it, before they are shown.

    A sensor does so as well, but not while the code server is away. Where Dagster's
    storage cannot be reached, what is known already is shown.
    """
    with services.database.transaction() as conn:
        asked = services.ledger.syncs_at_dagster(conn)
    if not asked:
        return
    try:
        launches = services.orchestrator.launches(asked)
    except OrchestratorError as error:
        logger.warning("Why %d syncs wait could not be asked: %s", len(asked), error.message)
        return
    record_launches(services, launches)


def record_launches(services: Services, launches: Mapping[UUID, Launched]) -> None:
    """Store what Dagster knows of syncs that have not begun."""
    if launches:
        with services.database.transaction() as conn:
            services.ledger.record_launches(conn, launches, by=DAGSTER)
