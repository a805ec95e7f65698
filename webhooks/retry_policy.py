"""When a delivery is retried, and when it is exhausted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

Random = Callable[[], float]  # uniform in 0 ≤ x < 1

# Seconds before each attempt, counted from the previous one. Quick at first, because most failures
# are restarts; in the end as long as a weekend, because people sleep.
DELAYS_SECONDS = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.2  # either way: deliveries that fail together do not return together

RETRY_AFTER_SECONDS_MIN = 1
RETRY_AFTER_SECONDS_MAX = 86_400  # a day, as our own longest: a typo must not park a fact for years
RETRY_AFTER_STATUSES = frozenset({429, 503})
# How often a receiver may ask for a retry before the schedule's. Always obeyed, `Retry-After: 1`
# would use up ten attempts in ten seconds and exhaust the delivery.
SOONER_MAX = 3


@dataclass(frozen=True, slots=True)
class Failed:
    """The facts that decide the next attempt at a delivery."""

    attempts: int  # counted, all failed
    wish_seconds: float | None = None  # the receiver's request (`retry_after`)
    retry_seconds: Sequence[int] | None = None  # the destination's own schedule

    @property
    def delays_seconds(self) -> Sequence[int]:
        """Seconds before each attempt, the first included."""
        return DELAYS_SECONDS if self.retry_seconds is None else (0, *self.retry_seconds)


def next_attempt_at(failed: Failed, now: datetime, random: Random) -> datetime | None:
    """The scheduled time of the next attempt; None when the delivery is exhausted."""
    delays = failed.delays_seconds
    if failed.attempts >= len(delays):
        return None
    return now + timedelta(seconds=delays[failed.attempts] * (1 + JITTER * (2 * random() - 1)))


def after_answer(failed: Failed, now: datetime, random: Random) -> datetime | None:
    """`next_attempt_at`, or the time that the receiver asked for.

    That time is spread by up to 20 % later, never sooner, within a day. It adds no attempts.
    """
    planned = next_attempt_at(failed, now, random)
    if planned is None or failed.wish_seconds is None:
        return planned
    wished = _wished(failed.wish_seconds, now, random)
    return wished if failed.attempts <= SOONER_MAX else max(planned, wished)


def after_probe(failed: Failed, now: datetime, random: Random) -> datetime | None:
    """When to retry a delivery that probed a parked destination.

    The probe was our need, so it uses up no attempt: the delivery stays due, behind other due ones,
    and is sent at the destination's next probe. A destination without retries gets none.
    """
    if not failed.delays_seconds[1:]:
        return None
    return now if failed.wish_seconds is None else _wished(failed.wish_seconds, now, random)


def _wished(wish_seconds: float, now: datetime, random: Random) -> datetime:
    spread_seconds = wish_seconds * (1 + JITTER * random())
    return now + timedelta(seconds=min(spread_seconds, RETRY_AFTER_SECONDS_MAX))


def retry_after(status: int, header: str | None, now: datetime) -> float | None:
    """The seconds that a 429 or 503 asks us to wait, bounded; None without a readable request."""
    if header is None or status not in RETRY_AFTER_STATUSES:
        return None
    seconds = _seconds(header.strip(), now)
    if seconds is None:
        return None
    return min(max(seconds, RETRY_AFTER_SECONDS_MIN), RETRY_AFTER_SECONDS_MAX)


def _seconds(header: str, now: datetime) -> float | None:
    """Seconds or an HTTP date (RFC 9110 §10.2.3)."""
    if header.isascii() and header.isdigit():
        return float(header[:10])  # ten digits are three centuries: the caller bounds it
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": RFC 5322 for UTC of unknown origin
        moment = moment.replace(tzinfo=UTC)
    return (moment - now).total_seconds()
