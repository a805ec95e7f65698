"""Metrics in Prometheus' text format: counts of all processes, and the state of both servers.

A scrape reads Redis once and Postgres once, each with a time-out. A server that does not answer is
`unbroken_server_up 0`, and its metrics are missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from models import clock
from models.db import Engine, reading
from models.ledgers.base import WRITE_KINDS
from models.operator import metrics
from models.operator.metrics import DatabaseMetrics
from workers.intake import redis_keys
from workers.intake.client import Counted, Intake, IntakeStatus, Unavailable
from workers.telemetry.metrics import METRICS, MetricDefinition
from workers.telemetry.metrics_store import INF, SUM, Series

log = logging.getLogger("unbroken.metrics")

KEPT_SECONDS = 1.0  # two monitors, or one that retries, cost one read


@dataclass(eq=False)  # a registry compares it by identity
class Exposition(Collector):
    """All exported metrics."""

    engine: Engine
    intake: Intake
    _text: bytes = b""
    _made: float = field(default=-1e9)
    _registry: CollectorRegistry = field(init=False)

    def __post_init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: describing would need a scrape."""
        return ()

    def text(self) -> bytes:
        """The response to a scrape."""
        if time.monotonic() - self._made > KEPT_SECONDS:
            self._text, self._made = generate_latest(self._registry), time.monotonic()
        return self._text

    def collect(self) -> Iterator[Metric]:
        """Read both servers and yield their metrics."""
        redis_seen, postgres_seen = self._redis(), self._postgres()
        up = GaugeMetricFamily("unbroken_server_up", "Whether a server answers.", labels=["server"])
        up.add_metric(["redis"], float(redis_seen is not None))
        up.add_metric(["postgres"], float(postgres_seen is not None))
        yield up
        schema = postgres_seen.schema if postgres_seen else "unknown"
        build = GaugeMetricFamily(
            "unbroken_build_info", "This release.", labels=["version", "schema"]
        )
        build.add_metric([version("unbroken"), schema], 1)
        yield build
        yield from of_redis(redis_seen[0] if redis_seen else None)
        yield from of_postgres(postgres_seen, clock.now_us() / 1e6)
        counted = redis_seen[1] if redis_seen else {}
        for metric in METRICS if redis_seen else ():  # missing is better than reset to 0
            yield family(metric, counted.get(metric.name, {}))

    def _redis(self) -> tuple[IntakeStatus, Counted] | None:
        try:
            return self.intake.read_status(), self.intake.counted()
        except Unavailable as error:
            log.warning("Redis does not answer: %s", type(error.__cause__).__name__)
            return None

    def _postgres(self) -> DatabaseMetrics | None:
        try:
            with reading(self.engine) as connection:
                return metrics.read(connection, clock.now())
        except Exception as error:  # noqa: BLE001 - whatever fails, the other metrics are exported
            log.warning("Postgres does not answer: %s", type(error).__name__)
            return None


def _gauge(name: str, text: str, *values: float | None) -> GaugeMetricFamily:
    """A gauge without labels; it has no sample if no value is known."""
    family = GaugeMetricFamily(f"unbroken_{name}", text)
    for value in values:
        if value is not None:
            family.add_metric([], value)
    return family


# -- Redis -----------------------------------------------------------------------------------


def of_redis(seen: IntakeStatus | None) -> Iterator[Metric]:
    """The metrics of Redis."""
    labels = ["kind", "stream"]
    entries = GaugeMetricFamily(
        "unbroken_intake_entries", "Entries accepted and not applied yet.", labels=labels
    )
    pending = GaugeMetricFamily(
        "unbroken_intake_pending", "Entries that a drain has read, not applied.", labels=labels
    )
    age = GaugeMetricFamily(
        "unbroken_intake_oldest_age_seconds", "Age of the oldest entry; 0: none.", labels=labels
    )
    found = {(stream.kind, stream.number): stream for stream in seen.streams} if seen else {}
    for place in [
        (kind, nth) for kind in ("fresh", "backlog") for nth in range(redis_keys.STREAM_COUNT)
    ]:
        if seen is None:
            break
        one, names = found.get(place), [place[0], str(place[1])]
        entries.add_metric(names, one.entries if one else 0)
        pending.add_metric(names, one.pending if one else 0)
        age.add_metric(names, one.oldest_age_seconds if one else 0)
    yield from (entries, pending, age)
    yield from _of_server(seen)


def _of_server(seen: IntakeStatus | None) -> Iterator[Metric]:
    workers = GaugeMetricFamily(
        "unbroken_workers_alive",
        "Processes that gave a sign of life lately, idle ones included.",
        labels=["kind"],
    )
    if seen:
        workers.add_metric(["drain"], max(seen.alive("drain"), seen.drains))
        workers.add_metric(["deliverer"], max(seen.alive("webhooks"), seen.deliverers))
        workers.add_metric(["upkeep"], seen.alive("upkeep"))
        workers.add_metric(["api"], seen.alive("api"))
    yield workers
    yield _gauge(
        "sweep_age_seconds",
        "Since upkeep last swept; beat asks for it each second.",
        seen.swept_seconds_ago if seen else None,
    )
    used, most = (seen.used_memory_bytes, seen.settings["maxmemory"]) if seen else (None, None)
    yield _gauge("redis_memory_bytes", "Memory that Redis uses.", used)
    yield _gauge(
        "redis_memory_max_bytes",
        "Redis' maxmemory; 0: none.",
        None if most is None else float(most),
    )
    yield _gauge(
        "redis_aof_bytes", "Size of Redis' append-only file.", seen.aof_bytes if seen else None
    )
    yield _gauge(
        "redis_aof_ok",
        "Whether its last write and rewrite succeeded: 0 with a full disk.",
        float(seen.is_aof_well) if seen else None,
    )


# -- Postgres --------------------------------------------------------------------------------


def of_postgres(seen: DatabaseMetrics | None, now: float) -> Iterator[Metric]:
    """The metrics of the database."""
    oldest = seen.backlog.oldest_due.timestamp() if seen and seen.backlog.oldest_due else now
    yield _gauge(
        "outbox_due",
        "Deliveries that might be sent now; at most 100,000 are counted.",
        seen.backlog.due if seen else None,
    )
    yield _gauge(
        "outbox_oldest_age_seconds",
        "Since when the oldest of them is due; 0: none.",
        max(0.0, now - oldest) if seen else None,
    )
    states = GaugeMetricFamily(
        "unbroken_destinations",
        "Destinations by their breaker: closed, open (parked for failing), disabled.",
        labels=["breaker"],
    )
    letters = GaugeMetricFamily(
        "unbroken_dead_letters", "Writes that wait for the operator.", labels=["kind"]
    )
    if seen:
        states.add_metric(["closed"], seen.destinations)
        states.add_metric(["open"], seen.parked)
        states.add_metric(["disabled"], seen.disabled)
        for kind in WRITE_KINDS:
            letters.add_metric([kind], seen.dead_letters.get(kind, 0))
    yield from (states, letters)


# -- counters --------------------------------------------------------------------------------


def family(metric: MetricDefinition, series: Series) -> Metric:
    """A metric in Prometheus' form."""
    if metric.bounds:
        return _histogram(metric, series)
    counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    known = {(value,): 0 for value in metric.values} if metric.labels else {(): 0}
    for labels, count in sorted((known | series).items()):
        counter.add_metric(labels, count)
    return counter


def _histogram(metric: MetricDefinition, series: Series) -> HistogramMetricFamily:
    found = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    none: set[tuple[str, ...]] = set() if metric.labels else {()}
    for labels in sorted({key[:-1] for key in series} | none):
        total, buckets = 0, []
        for bound in [*(f"{limit:g}" for limit in metric.bounds), INF]:
            total += series.get((*labels, bound), 0)
            buckets.append((bound, total))
        found.add_metric(labels, buckets, series.get((*labels, SUM), 0) * metric.unit)
    return found
