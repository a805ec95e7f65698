"""The one list of metrics: counters and histograms, with their labels.

No label names a tenant or a participant, so the number of series depends only on the number of
kinds, routes and codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.ledgers.base import WRITE_KINDS


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """A counter, or a histogram when it has bounds."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    values: Sequence[str] = ()  # of a single label with known values: shown as 0 from the start
    bounds: tuple[float, ...] = ()  # upper ones, ascending; above them is +Inf
    unit: float = 1.0  # the unit of a sum, which is a whole number


MICROSECOND = 1e-6
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ENTRIES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000)

ACCEPTED = MetricDefinition(
    "unbroken_writes_accepted", "Writes that are durable in the intake.", ("kind",), WRITE_KINDS
)
REFUSED = MetricDefinition(
    "unbroken_writes_refused",
    "Writes that the intake refused: over a cap, inactive, full, unavailable.",
    ("reason",),
    ("tenant", "key", "participant", "inactive", "full", "unavailable", "idempotency_conflict"),
)
ERRORS = MetricDefinition(
    "unbroken_api_errors", "Errors answered, of requests and of items of batches.", ("code",)
)
REQUESTS = MetricDefinition(
    "unbroken_api_request_seconds",
    "Time of a request inside the API, including the wait for the worker.",
    ("method", "route", "status"),
    bounds=_SECONDS,
    unit=MICROSECOND,
)
BATCH_ENTRIES = MetricDefinition(
    "unbroken_batch_entries", "Entries that a drain applied in one transaction.", bounds=_ENTRIES
)
BATCH_SECONDS = MetricDefinition(
    "unbroken_batch_seconds",
    "Time of a batch, from decoding it to its commit, including retries.",
    bounds=_SECONDS,
    unit=MICROSECOND,
)
APPLIED = MetricDefinition(
    "unbroken_writes_applied",
    "Writes that a ledger holds, including repeats.",
    ("kind",),
    WRITE_KINDS,
)
REPEATED = MetricDefinition(
    "unbroken_ticks_repeated",
    "Ticks applied whose period was recorded before: they change nothing.",
)
REJECTED = MetricDefinition(
    "unbroken_writes_rejected", "Writes that were refused after they were accepted.", ("code",)
)
DEAD = MetricDefinition("unbroken_writes_dead", "Entries that became dead letters.", ("kind",))
FACTS = MetricDefinition("unbroken_facts", "Facts written with their change.", ("type",))
DELIVERIES = MetricDefinition("unbroken_deliveries_created", "Deliveries written with their facts.")
ATTEMPTS = MetricDefinition(
    "unbroken_delivery_attempts",
    "Attempts at deliveries by outcome; postponed ones failed through a fault of this service.",
    ("outcome",),
    ("delivered", "failed", "dead", "postponed"),
)
ATTEMPT_SECONDS = MetricDefinition(
    "unbroken_delivery_seconds",
    "Time of a POST to a receiver.",
    bounds=_SECONDS,
    unit=MICROSECOND,
)
DEADLINES = MetricDefinition(
    "unbroken_deadlines_told", "Facts published because a deadline was reached.", ("type",)
)
LOG_LINES_DROPPED = MetricDefinition(
    "unbroken_log_lines_dropped",
    "Log lines that were dropped: not writable, or not read in time.",
    ("reason",),
    ("unwritable", "slow"),
)

METRICS = (
    ACCEPTED, REFUSED, ERRORS, REQUESTS, BATCH_ENTRIES, BATCH_SECONDS, APPLIED, REPEATED, REJECTED,
    DEAD, FACTS, DELIVERIES, ATTEMPTS, ATTEMPT_SECONDS, DEADLINES, LOG_LINES_DROPPED,
)  # fmt: skip
