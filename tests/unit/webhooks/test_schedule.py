"""When a delivery is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks import retry_policy
from webhooks.retry_policy import Failed

NOW = datetime(2026, 5, 23, 8, 15, tzinfo=UTC)
MINUTE, HOUR = 60, 3_600


def middle() -> float:
    return 0.5  # no jitter


def _seconds(attempts: int, wish: float | None = None) -> float | None:
    at = retry_policy.after_answer(Failed(attempts, wish), NOW, middle)
    return None if at is None else (at - NOW).total_seconds()


def test_it_follows_the_published_schedule_and_then_gives_up() -> None:
    delays = [_seconds(attempts) for attempts in range(11)]
    hours = [2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR]
    assert delays == [0, 5, 5 * MINUTE, 30 * MINUTE, *hours, None]


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_it_spreads_each_delay_by_a_fifth_either_way(attempts: int, random: float) -> None:
    at = retry_policy.next_attempt_at(Failed(attempts), NOW, lambda: random)
    assert at is not None
    share = (at - NOW).total_seconds() / retry_policy.DELAYS_SECONDS[attempts]
    assert 0.8 - 1e-6 <= share <= 1.2 + 1e-6


def test_it_uses_the_whole_width_of_the_jitter() -> None:
    low = retry_policy.next_attempt_at(Failed(1), NOW, lambda: 0.0)
    high = retry_policy.next_attempt_at(Failed(1), NOW, lambda: 0.999_999)
    assert low == NOW + timedelta(seconds=4)
    assert high is not None
    assert high > NOW + timedelta(seconds=5.99)


def test_it_follows_the_schedule_that_a_destination_asked_for() -> None:
    own = [1, 10]
    at = [retry_policy.after_answer(Failed(n, None, own), NOW, middle) for n in (1, 2, 3)]
    assert at == [NOW + timedelta(seconds=1), NOW + timedelta(seconds=10), None]
    assert retry_policy.after_answer(Failed(1, 60, []), NOW, middle) is None, "no retry at all"
    low = retry_policy.after_answer(Failed(2, None, own), NOW, lambda: 0.0)
    assert low == NOW + timedelta(seconds=8)


# -- Retry-After -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 1),
        ("1", 1),
        ("86400", 86_400),
        ("86401", 86_400),
        ("9" * 400, 86_400),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 1),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), 86_400),
        ("Sat, 23 May 2026 08:16:00 -0000", 60),
    ],
)
def test_it_reads_retry_after_within_bounds(header: str, seconds: float) -> None:
    assert retry_policy.retry_after(429, header, NOW) == seconds
    assert retry_policy.retry_after(503, header, NOW) == seconds


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-5",
        "1.5",
        "soon",
        "１２",
        "Sat, 99 Foo 2026 08:16:00 GMT",
    ],
)
def test_it_ignores_a_retry_after_that_says_nothing(header: str) -> None:
    assert retry_policy.retry_after(503, header, NOW) is None


@pytest.mark.parametrize("status", [200, 301, 400, 410, 500, 502, 504])
def test_it_heeds_retry_after_only_where_it_is_defined(status: int) -> None:
    assert retry_policy.retry_after(status, "120", NOW) is None
    assert retry_policy.retry_after(429, None, NOW) is None


def test_it_waits_as_long_as_the_receiver_asks_and_never_less() -> None:
    for random in (0.0, 0.5, 0.99):
        at = retry_policy.after_answer(Failed(1, 600), NOW, lambda random=random: random)  # type: ignore[misc]
        assert at is not None
        assert 600 <= (at - NOW).total_seconds() <= 720


def test_it_is_never_asked_to_wait_for_more_than_a_day() -> None:
    at = retry_policy.after_answer(Failed(9, 24 * HOUR), NOW, lambda: 0.99)
    planned = retry_policy.next_attempt_at(Failed(9), NOW, lambda: 0.99)
    assert at == planned
    assert retry_policy.after_answer(Failed(1, 24 * HOUR), NOW, lambda: 0.99) == NOW + timedelta(
        days=1
    )


def test_it_lets_the_receiver_ask_for_sooner_only_on_the_first_attempts() -> None:
    """Always obeyed, `Retry-After: 1` would use up every attempt within seconds."""
    assert [_seconds(attempts, 1) for attempts in (1, 2, 3)] == [1.1, 1.1, 1.1]
    assert _seconds(4, 1) == 2 * HOUR
    assert _seconds(4, 24 * HOUR) == 24 * HOUR


def test_it_gives_up_at_the_end_of_the_schedule_whatever_is_asked() -> None:
    assert _seconds(10, 1) is None
