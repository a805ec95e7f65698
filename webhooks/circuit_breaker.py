"""The breaker: when a failing destination is parked, probed, or disabled. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from models.delivery.deliveries import DisableReason
from models.delivery.destination_health import BreakerState
from webhooks import facts
from webhooks.retry_policy import Random

FAILURES_MAX = 5  # in a row: a fact that its receiver cannot process fails less often by itself
# How long it is parked before one delivery probes it; doubled each time that fails.
PARK_SECONDS_MIN = 30.0  # a restart is over by then
PARK_SECONDS_MAX = 3_600.0  # the longest delay before we notice a recovery
PARK_JITTER = 0.2  # sooner by up to this: destinations that fail together do not return together
FAILING_DAYS_MAX = 5  # a long weekend; after that no repair is expected without a notice

WELL = BreakerState()


@dataclass(frozen=True, slots=True)
class Sign:
    """The result of one attempt, as a sign of its destination's health."""

    is_success: bool
    is_probe: bool = False
    disables: DisableReason | None = None  # the destination asked for it
    failure: str | None = None  # the error of the attempt


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A change to publish to other destinations."""

    kind: str
    reason: DisableReason | None
    failing_since: datetime | None


@dataclass(slots=True)
class Judgement:
    """A destination's new health, and the changes to publish."""

    health: BreakerState
    changes: list[HealthChange] = field(default_factory=list)
    disables: DisableReason | None = None

    def add_change(self, kind: str, failing_since: datetime | None) -> None:
        """Add a change to publish."""
        self.changes.append(HealthChange(kind, self.disables, failing_since))


def judge(health: BreakerState, signs: Iterable[Sign], now: datetime, random: Random) -> Judgement:
    """Apply the signs one by one, in the order in which the attempts ended."""
    judgement = Judgement(health)
    for sign in signs:
        before = judgement.health
        after = WELL if sign.is_success else failed(before, sign, now, random)
        judgement.health = after
        if before.is_failure_published and not after.is_failure_published:
            judgement.add_change(facts.DESTINATION_RECOVERED, before.failing_since)
        if after.is_failure_published and not before.is_failure_published:
            judgement.add_change(facts.DESTINATION_FAILING, after.failing_since)
        judgement.disables = sign.disables or _given_up(before, after, now)
        if judgement.disables is not None:
            judgement.add_change(facts.DESTINATION_DISABLED, after.failing_since)
            break
    return judgement


def failed(health: BreakerState, sign: Sign, now: datetime, random: Random) -> BreakerState:
    """Health after one more failure.

    While it is parked only probes count: other attempts were in flight before, and would double
    the time for the same failure.
    """
    if health.parked_until is not None and not sign.is_probe:
        return health
    failures = health.failures + 1
    since = health.failing_since or now
    if failures < FAILURES_MAX:
        return BreakerState(failures, since, last_failure=sign.failure)
    seconds = park_seconds(failures, random)
    until = now + timedelta(seconds=seconds)
    return BreakerState(
        failures, since, until, is_failure_published=True, last_failure=sign.failure
    )


def park_seconds(failures: int, random: Random) -> float:
    """How long a destination is parked after a number of failures."""
    doublings = min(failures - FAILURES_MAX, 10)  # 2¹⁰ × 30 s is above the maximum
    seconds = min(PARK_SECONDS_MIN * 2.0**doublings, PARK_SECONDS_MAX)
    return seconds * (1 - PARK_JITTER * random())


def _given_up(before: BreakerState, after: BreakerState, now: datetime) -> DisableReason | None:
    """Whether a probe has failed after days without a success."""
    is_news = after.parked_until is not None and after.failures > before.failures
    if not is_news or before.parked_until is None or after.failing_since is None:
        return None
    is_long = now - after.failing_since >= timedelta(days=FAILING_DAYS_MAX)
    return "failing" if is_long else None
