"""What a run may ask for, and whose places in the queue it takes.

Whoever starts a run can give it any tags and any configuration: in the launchpad, over
GraphQL, by ``dagster job launch``. So the tenant is read off the partition, and
configuration is held against bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from activekg_pipelines.errors import ActiveKGError

TENANT_TAG: Final = "activekg/tenant"
"""The tag by which the queue limits a tenant's runs."""

MAX_OBJECTS: Final = 100_000
"""The largest ``max_objects`` of a run: what one run can do in its longest time."""
MAX_BUDGET_SECONDS: Final = 6_000.0
"""The largest ``time_budget_seconds``: below ``run_monitoring.max_runtime_seconds``."""
_UPPER_BOUNDS: Final = {"max_objects": MAX_OBJECTS, "time_budget_seconds": MAX_BUDGET_SECONDS}

_PARTITION: Final = "dagster/partition"
_RANGE: Final = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


class RunRefused(ActiveKGError):
    """The run asks for what no run may do."""


def required_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags by which the queue keeps its limits, as the run's partition says.

    Args:
        tags: what the run was given.

    Returns:
        Partition and tenant; nothing for a run without a partition, which works on no
        connector.

    Raises:
        RunRefused: the tags name several partitions, or the same one in two ways.
    """
    key = _partition(tags)
    return {} if key is None else {_PARTITION: key, TENANT_TAG: tenant_of(key)}


def tenant_of(partition_key: str) -> str:
    """The tenant whose connector a partition is."""
    return partition_key.partition("/")[0]


def check_agreement(tags: Mapping[str, str], partition_key: str) -> None:
    """Make sure that a run was counted as what it works on.

    It holds where an instance file names another coordinator than this package's.

    Args:
        tags: the run's; one that is missing contradicts nothing.
        partition_key: the connector that the run works on.

    Raises:
        RunRefused: a tag that limits are kept by says something else.
    """
    shall = {_PARTITION: partition_key, TENANT_TAG: tenant_of(partition_key)}
    for tag, value in shall.items():
        if tags.get(tag, value) != value:
            raise RunRefused(
                f"The run's tag {tag} is {tags[tag]!r}, but the run works on the connector "
                f"{partition_key!r}. Start it again without tags of your own."
            )


def check_config(run_config: Mapping[str, Any]) -> None:
    """Hold a run's configuration against the bounds.

    Types and names are Dagster's to check.

    Raises:
        RunRefused: a value is above its bound.
    """
    steps = run_config.get("ops") or {}
    for step in steps.values() if isinstance(steps, Mapping) else ():
        config = step.get("config") if isinstance(step, Mapping) else None
        for name, bound in _UPPER_BOUNDS.items():
            value = config.get(name) if isinstance(config, Mapping) else None
            if isinstance(value, int | float) and not value <= bound:
                raise RunRefused(f"{name} is too large: it may be {bound:,.0f} at most.")


def _partition(tags: Mapping[str, str]) -> str | None:
    """The partition that Dagster will work on.

    Raises:
        RunRefused: it is not one, or not the one that the queue would count.
    """
    key = tags.get(_PARTITION)
    bounds = {tags[tag] for tag in _RANGE if tag in tags}
    if key is not None:
        bounds.add(key)
    # Dagster puts a key together from such tags before it looks at the other.
    dimensions = [tag for tag in tags if tag.startswith(f"{_PARTITION}/")]
    if dimensions or len(bounds) > 1:
        raise RunRefused(
            "The run's tags name several partitions. Start one run for each connector, or a "
            "backfill."
        )
    return next(iter(bounds), None)
