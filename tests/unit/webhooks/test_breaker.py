"""When a failing destination is left alone, tried again, given up; and how a throttle counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.delivery.destination_health import BreakerState
from webhooks import circuit_breaker, rate_limits
from webhooks.circuit_breaker import WELL, Sign, judge

NOW = datetime(2026, 5, 23, 8, 15, tzinfo=UTC)
OK, FAILURE = Sign(is_success=True), Sign(is_success=False)
PROBE_FAILED = Sign(is_success=False, is_probe=True)
FAILING, DISABLED, RECOVERED = (
    "webhook.destination_failing",
    "webhook.destination_disabled",
    "webhook.destination_recovered",
)


def low() -> float:
    return 0.0  # no jitter


def _kinds(judgement: circuit_breaker.Judgement) -> list[str]:
    return [changes.kind for changes in judgement.changes]


def test_it_parks_a_destination_after_five_failures_in_a_row_and_says_so_once() -> None:
    four = judge(WELL, [FAILURE] * 4, NOW, low)
    assert four.health == BreakerState(4, NOW)
    assert four.changes == []
    fifth = judge(four.health, [FAILURE] * 100, NOW, low)
    assert fifth.health == BreakerState(
        5, NOW, NOW + timedelta(seconds=30), is_failure_published=True
    )
    assert _kinds(fifth) == [FAILING]


def test_it_forgets_failures_with_every_success() -> None:
    judgement = judge(WELL, [FAILURE, FAILURE, FAILURE, FAILURE, OK] * 9, NOW, low)
    assert (judgement.health, judgement.changes) == (WELL, [])


def test_it_lets_only_probes_lengthen_the_time() -> None:
    """What else ends while it is parked was on its way before."""
    parked = judge(WELL, [FAILURE] * 5, NOW, low).health
    assert judge(parked, [FAILURE] * 50, NOW, low).health == parked
    longer = judge(parked, [PROBE_FAILED], NOW, low)
    assert longer.health.parked_until == NOW + timedelta(seconds=60)
    assert longer.changes == []


def test_it_doubles_the_time_up_to_an_hour_and_never_passes_it() -> None:
    seconds = [circuit_breaker.park_seconds(failures, low) for failures in range(5, 15)]
    assert seconds == [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]
    assert circuit_breaker.park_seconds(2_000_000, lambda: 0.999) > 0.8 * 3_600 - 1


def test_it_is_well_again_with_the_first_success_and_says_so() -> None:
    parked = judge(WELL, [FAILURE] * 5, NOW, low).health
    later = NOW + timedelta(hours=7)
    judgement = judge(parked, [Sign(is_success=True, is_probe=True), OK], later, low)
    assert judgement.health == WELL
    assert [(changes.kind, changes.failing_since) for changes in judgement.changes] == [
        (RECOVERED, NOW)
    ]


def test_it_gives_up_when_a_probe_fails_after_five_days_without_a_success() -> None:
    parked = judge(WELL, [FAILURE] * 5, NOW, low).health
    before = judge(parked, [PROBE_FAILED], NOW + timedelta(days=5, seconds=-1), low)
    assert (before.disables, before.changes) == (None, [])
    after = judge(before.health, [PROBE_FAILED], NOW + timedelta(days=5), low)
    assert after.disables == "failing"
    assert [(changes.kind, changes.reason) for changes in after.changes] == [(DISABLED, "failing")]


def test_it_does_not_give_up_for_a_few_failures_far_apart() -> None:
    """Two failed facts with nothing in between for a week are no week of failure."""
    once = judge(WELL, [FAILURE], NOW, low).health
    assert judge(once, [FAILURE] * 4, NOW + timedelta(days=7), low).disables is None


def test_it_disables_at_once_what_asks_for_it() -> None:
    for success in (True, False):
        judgement = judge(WELL, [Sign(success, disables="asked"), FAILURE], NOW, low)
        assert judgement.disables == "asked"
        assert [(changes.kind, changes.reason) for changes in judgement.changes] == [
            (DISABLED, "asked")
        ]


# -- the throttle ----------------------------------------------------------------------------


@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(1, 300)), max_size=60),
)
def test_it_never_lets_more_through_than_the_rate_and_one_burst(
    rate: int, claims: list[tuple[int, int]]
) -> None:
    now, free, taken = NOW, None, []
    for pause_us, wanted in claims:
        now += timedelta(microseconds=pause_us)
        count = min(wanted, rate_limits.allowance(free, rate, now))
        if count:
            free = rate_limits.spent(free, rate, count, now)
            taken.append((now, count))
    burst = max(1.0, rate * rate_limits.BURST_SECONDS)
    for first, (start, _) in enumerate(taken):
        sent = 0
        for end, count in taken[first:]:
            sent += count
            assert sent <= burst + rate * (end - start).total_seconds() + 0.1


def test_it_saves_up_no_more_than_a_burst_but_always_one() -> None:
    assert rate_limits.allowance(None, 100, NOW) == 50
    assert rate_limits.allowance(NOW - timedelta(days=1), 100, NOW) == 50
    assert rate_limits.allowance(None, 1, NOW) == 1
    free = rate_limits.spent(None, 1, 1, NOW)
    assert rate_limits.allowance(free, 1, NOW + timedelta(milliseconds=990)) == 0
    assert rate_limits.allowance(free, 1, NOW + timedelta(seconds=1)) == 1
