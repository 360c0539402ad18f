"""Route ``/metrics``: what Postgres has counted, in Prometheus' text format.

This process counts nothing itself.

So the numbers are the same from every process, and neither a restart nor a killed run
changes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from activekg_pipelines.administration.tokens import Principal
from activekg_pipelines.api.auth import metrics_reader
from activekg_pipelines.api.monitoring import SharedAnswers
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.extraction.warnings import TEXT_IS_MISSING, WarningKind
from activekg_pipelines.ledger.counters import (
    LATENCY_BUCKETS,
    RUN_BUCKETS,
    RUN_STATUSES,
    SUM,
    Counter,
    histogram_label,
)
from activekg_pipelines.ledger.run_counts import EMBEDDING_SOURCES, ITEM_STATUSES
from activekg_pipelines.ledger.states import ObjectState
from activekg_pipelines.orchestrator.health import Check
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings

METRICS_PATH: Final = "/metrics"

_SQL = load_queries(Path(__file__).with_name("metrics.sql"))
# Rows that one part of the scrape counts at most. With a million objects, 300,000 of
# them waiting, and a thousand connectors a scrape took 60 to 150 ms, and 0.4 to 0.8 s
# before their first vacuum, when index entries alone do not do.
_MOST = 100_000
# Prometheus gives up after 10 seconds by default; a scrape that nobody waits for must
# not go on.
_STATEMENT_TIMEOUT = "8s"


class Sample(NamedTuple):
    """One row of the scrape's query."""

    name: str
    tenant: str
    provider: str
    label: str
    value: float


@dataclass(frozen=True, slots=True)
class _Family:
    """A metric by tenant, provider and at most one label more.

    Attributes:
        metric: its name, of a counter without ``_total``.
        label: name of the further label; None where there is none.
        zeros: values of that label that every tenant has from the start, so that the
            first increase shows as one.
    """

    metric: str
    help: str
    label: str | None = None
    zeros: Sequence[str] = ()


_COUNTERS: Final[Mapping[str, _Family]] = {
    Counter.ITEMS: _Family(
        "connector_run_items",
        "Objects that syncs settled, by what became of them.",
        "status",
        ITEM_STATUSES,
    ),
    Counter.ERRORS: _Family(
        "connector_worker_errors", "Failed attempts at objects, by error code.", "error_type"
    ),
    Counter.BYTES: _Family(
        "connector_bytes_fetched", "Bytes downloaded from buckets.", zeros=("",)
    ),
    Counter.EMBEDDINGS: _Family(
        "connector_embeddings",
        "Vectors of indexed chunks: computed by the model, or reused because the text had one.",
        "source",
        EMBEDDING_SOURCES,
    ),
    Counter.RUNS: _Family(
        "connector_runs_finished",
        "Runs that ended, by how. One that is tried again after it failed ends once more.",
        "status",
        RUN_STATUSES,
    ),
}
_HISTOGRAMS: Final[Mapping[str, tuple[_Family, Sequence[float]]]] = {
    Counter.RUN_SECONDS: (
        _Family("connector_run_duration_seconds", "Seconds from a run's start to its end."),
        RUN_BUCKETS,
    ),
    Counter.LATENCY: (
        _Family(
            "connector_detection_to_searchable_seconds",
            "Seconds from the listing that showed a new or changed object to the commit that made "
            "it searchable.",
        ),
        LATENCY_BUCKETS,
    ),
}
_GAUGES: Final[Mapping[str, _Family]] = {
    "queue_depth": _Family(
        "connector_queue_depth",
        f"Objects that wait, by state; {_MOST} of a connector stand for that many or more.",
        "state",
        (ObjectState.PENDING, ObjectState.EXTRACTED, ObjectState.FAILED),
    ),
    "oldest_pending": _Family(
        "connector_oldest_pending_age_seconds",
        "Seconds that the object waits which waits longest for being extracted or indexed; "
        "retries do not count.",
        zeros=("",),
    ),
    "dead_letters": _Family(
        "connector_dead_letters", "Objects that nobody tries any more, by error code.", "error_type"
    ),
    "warnings": _Family(
        "connector_documents_with_warnings",
        "Documents whose text has a warning, by its kind; of a connector with more than "
        f"{_MOST} of them, that many are counted.",
        "kind",
        tuple(WarningKind),
    ),
    "not_read_whole": _Family(
        "connector_documents_not_read_whole",
        "Documents of which some text is missing, as their warnings say.",
        zeros=("",),
    ),
    "runs_live": _Family(
        "connector_runs",
        "Runs that wait or are under way, by status.",
        "status",
        ("waiting", "running"),
    ),
    "enabled": _Family(
        "connector_enabled", "1 for a connector that is polled, 0 for a paused one.", "connector"
    ),
    "registered_at": _Family(
        "connector_registered_timestamp_seconds",
        "When a polled connector was registered, in Unix time.",
        "connector",
    ),
    "last_scan": _Family(
        "connector_last_completed_scan_timestamp_seconds",
        "When a polled connector's bucket was last listed to the end, in Unix time; absent before "
        "the first time.",
        "connector",
    ),
    "poll_interval": _Family(
        "connector_poll_interval_seconds",
        "Seconds between two polls of a polled connector.",
        "connector",
    ),
    "held_back": _Family(
        "connector_deletions_held_back",
        "Deletions that wait for somebody to confirm them.",
        "connector",
    ),
    "objects_over_limit": _Family(
        "connector_objects_over_limit",
        "New objects that the last scan did not take in, because the connector holds as many as "
        "its tenant may have.",
        "connector",
    ),
    "bytes_limit_reached": _Family(
        "connector_daily_bytes_used_up",
        "1 for a tenant that has downloaded its bytes of the day; its pending objects wait for "
        "midnight, UTC.",
        zeros=("",),
    ),
}


class SyncCollector(Collector):
    """The metrics of one scrape.

    Args:
        tenant_id: whose; None for every tenant's.
    """

    def __init__(self, services: Services, tenant_id: str | None) -> None:
        self._services = services
        self._tenant_id = tenant_id

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        return families(self._samples(), self._services.orchestrator.health())

    def _samples(self) -> list[Sample]:
        with self._services.monitoring_database.transaction(tenant_id=self._tenant_id) as conn:
            conn.execute("SELECT set_config('statement_timeout', %s, true)", (_STATEMENT_TIMEOUT,))
            parameters = {
                "tenant_id": self._tenant_id,
                "most": _MOST,
                "bytes_per_day": self._services.settings.activekg_max_bytes_per_day,
                "missing": list(TEXT_IS_MISSING),
            }
            rows = conn.execute(_SQL["samples"], parameters).fetchall()
        return [Sample(*row) for row in rows]


def families(samples: Iterable[Sample], components: Sequence[Check]) -> Iterator[Metric]:
    """Samples as metrics.

    Args:
        samples: rows of the scrape's query.
        components: Dagster's parts, and whether they work.
    """
    series: dict[str, dict[tuple[str, str], dict[str, float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    owners: dict[tuple[str, str], None] = {}
    for name, tenant, provider, label, value in sorted(samples):
        series[name][tenant, provider][label] = value
        if provider:
            owners[tenant, provider] = None
    for name, family in _COUNTERS.items():
        counter = CounterMetricFamily(family.metric, family.help, labels=_label_names(family))
        for labels, value in _values(family, series[name], owners):
            counter.add_metric(labels, value)
        yield counter
    for name, (family, buckets) in _HISTOGRAMS.items():
        histogram = HistogramMetricFamily(family.metric, family.help, labels=_label_names(family))
        for owner in owners:
            observed = series[name].get(owner, {})
            histogram.add_metric(owner, _cumulative(observed, buckets), observed.get(SUM, 0.0))
        yield histogram
    for name, family in _GAUGES.items():
        gauge = GaugeMetricFamily(family.metric, family.help, labels=_label_names(family))
        for labels, value in _values(family, series[name], owners):
            gauge.add_metric(labels, value)
        yield gauge
    yield _errors(series["error"])
    yield _rotations(series["key_rotations"], owners)
    yield _components(components)


def router(settings: Settings) -> APIRouter:
    """The route, open to whom ``ACTIVEKG_METRICS`` says; empty when that is ``off``."""
    made = APIRouter()
    if settings.activekg_metrics != "off":
        route = _all_metrics if settings.activekg_metrics == "open" else _metrics_of_caller
        # Not in the OpenAPI document: its format is Prometheus', and its reader a
        # scrape configuration.
        made.add_api_route(METRICS_PATH, route, include_in_schema=False)
    return made


def open_paths(settings: Settings) -> frozenset[str]:
    """The paths here that need no token.

    Where metrics are switched off there is nothing to protect: 404 for everybody.
    """
    return frozenset() if settings.activekg_metrics == "token" else frozenset({METRICS_PATH})


async def _all_metrics(request: Request) -> Response:
    return await _exposition(request, None)


async def _metrics_of_caller(
    request: Request, caller: Annotated[Principal, Depends(metrics_reader)]
) -> Response:
    return await _exposition(request, caller.boundary)


async def _exposition(request: Request, tenant_id: str | None) -> Response:
    services: Services = request.app.state.services
    shared: SharedAnswers = request.app.state.scrapes

    def scrape() -> bytes:
        registry = CollectorRegistry()
        registry.register(SyncCollector(services, tenant_id))
        return generate_latest(registry)

    return Response(await shared.get(tenant_id, scrape), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _label_names(family: _Family) -> list[str]:
    return ["tenant", "provider", *([family.label] if family.label else [])]


def _values(
    family: _Family,
    series: Mapping[tuple[str, str], Mapping[str, float]],
    owners: Iterable[tuple[str, str]],
) -> Iterator[tuple[list[str], float]]:
    for owner in owners:
        for label, value in (
            dict.fromkeys(family.zeros, 0.0) | dict(series.get(owner, {}))
        ).items():
            yield [*owner, label] if family.label else [*owner], value


def _cumulative(observed: Mapping[str, float], buckets: Sequence[float]) -> list[tuple[str, float]]:
    """Bucket counts as Prometheus wants them.

    Bounds of an older version of this package stay as they were counted.
    """
    counts = dict.fromkeys(buckets, 0.0) | {
        float(label): n for label, n in observed.items() if label != SUM
    }
    bounds = sorted(counts)
    return [
        (histogram_label(bound), total)
        for bound, total in zip(bounds, accumulate(counts[bound] for bound in bounds), strict=True)
    ]


def _errors(series: Mapping[tuple[str, str], Mapping[str, float]]) -> Metric:
    gauge = GaugeMetricFamily(
        "connector_error",
        "1 for a connector that an error stops as a whole, by error code.",
        labels=["tenant", "provider", "connector", "error_type"],
    )
    for owner, labels in series.items():
        for label in labels:
            gauge.add_metric([*owner, *label.split(" ")], 1)
    return gauge


def _rotations(
    series: Mapping[tuple[str, str], Mapping[str, float]], owners: Iterable[tuple[str, str]]
) -> Metric:
    counter = CounterMetricFamily(
        "connector_key_rotations",
        "Credentials that were encrypted again under another key.",
        labels=["tenant"],
    )
    rotated = {tenant: 0.0 for tenant, _ in owners} | {
        tenant: labels[""] for (tenant, _), labels in series.items()
    }
    for tenant, value in rotated.items():
        counter.add_metric([tenant], value)
    return counter


def _components(components: Sequence[Check]) -> Metric:
    gauge = GaugeMetricFamily(
        "connector_component_up",
        "1 for a part of Dagster that works; the daemon does while all of its heartbeats are "
        "current.",
        labels=["component"],
    )
    for check in components:
        gauge.add_metric([check.name], float(check.ok))
    return gauge
