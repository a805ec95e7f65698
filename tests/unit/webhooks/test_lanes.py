"""Fair shares of a claim, and whose fault a failure was."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from models import clock, ids
from models.delivery.deliveries import AttemptOutcome, DestinationId, LeasedDelivery, LeaseShare
from models.delivery.destination_queues import DestinationQueue
from webhooks.attempt import OUR_FAULT_DAYS_MAX, decide
from webhooks.destination_queues import Limits, kinds, queue_cap, shares
from webhooks.http_client import HttpResult

NOW = datetime(2026, 5, 23, 8, 15, tzinfo=UTC)
LIMITS = Limits()


def _key(nth: int) -> DestinationId:
    return (1, uuid.UUID(int=nth))


def _lanes(count: int) -> list[DestinationQueue]:
    return [DestinationQueue(_key(nth)) for nth in range(1, count + 1)]


@given(st.integers(0, 600), st.integers(1, 512), st.data())
def test_it_never_passes_a_limit(queues: int, room: int, data: st.DataObject) -> None:
    busy = {_key(nth): data.draw(st.integers(0, 128)) for nth in range(1, 20)}
    slots = shares(_lanes(queues), busy, room, LIMITS)
    assert sum(slot.count for slot in slots) <= min(room, LIMITS.lease_max)
    assert len({slot.key for slot in slots}) == len(slots)
    cap = queue_cap(queues, LIMITS)
    assert all(1 <= slot.count <= cap - busy.get(slot.key, 0) for slot in slots)


def test_it_shares_equally_among_lanes() -> None:
    assert {slot.count for slot in shares(_lanes(8), {}, 512, LIMITS)} == {32}
    assert len(shares(_lanes(256), {}, 512, LIMITS)) == 256


def test_it_gives_a_lane_at_its_cap_nothing_and_the_others_their_share() -> None:
    (slot,) = shares(_lanes(2), {_key(1): 128}, 384, LIMITS)
    assert slot.key == _key(2)
    assert slot.count == 128


def test_it_leaves_room_for_one_lane_more_however_many_are_stuck() -> None:
    for queues in range(1, 400):
        assert queue_cap(queues, LIMITS) * queues < LIMITS.in_flight_max


def test_it_keeps_to_what_a_destination_asks_for() -> None:
    queues = [
        DestinationQueue(_key(1), in_flight_max=3),
        DestinationQueue(_key(2), is_parked=True),
        DestinationQueue(_key(3)),
    ]
    counts = {slot.key: slot.count for slot in shares(queues, {_key(1): 2}, 512, LIMITS)}
    assert counts == {_key(1): 1, _key(2): 1, _key(3): 85}
    assert shares(queues[:2], {_key(1): 3, _key(2): 1}, 512, LIMITS) == []


def test_it_gives_what_goes_in_order_and_what_does_not_their_halves() -> None:
    queues = {
        _key(1): DestinationQueue(_key(1)),
        _key(2): DestinationQueue(_key(2), has_loose=False, has_ordered=True),
        _key(3): DestinationQueue(_key(3), has_ordered=True),
    }
    slots = [LeaseShare(key, 10) for key in queues]
    loose, ordered = kinds(slots, queues)
    assert {slot.key: slot.count for slot in loose} == {_key(1): 10, _key(3): 5}
    assert {slot.key: slot.count for slot in ordered} == {_key(2): 10, _key(3): 5}
    singles = [kinds([LeaseShare(_key(3), 1)], queues) for _ in range(64)]
    assert {bool(loose) for loose, _ in singles} == {True, False}, "neither is starved"


# -- whose fault -----------------------------------------------------------------------------


def _claimed(age: timedelta) -> LeasedDelivery:
    fact_id = ids.uuid7(clock.to_us(NOW - age))
    return LeasedDelivery(
        1, fact_id, uuid.uuid4(), uuid.uuid4(), 3, "(0,1)", "https://x/", "", "{}"
    )


def test_it_counts_no_attempt_for_its_own_fault() -> None:
    outcome = decide(_claimed(timedelta(0)), HttpResult(1, is_ours=True), NOW, lambda: 0.5)
    assert (outcome.status, outcome.attempt) == ("pending", None)
    assert outcome.next_attempt_at is not None
    assert outcome.next_attempt_at > NOW


def test_it_does_not_blame_itself_for_ever() -> None:
    """A name service that answers for all names but one looks like one that is away."""
    old = _claimed(timedelta(days=OUR_FAULT_DAYS_MAX + 1))
    outcome = decide(old, HttpResult(1, error="unreachable", is_ours=True), NOW, lambda: 0.5)
    assert outcome.attempt is not None
    assert outcome.attempt.number == 4


# -- what a receiver asks for ----------------------------------------------------------------


def _decided(result: HttpResult, **fields: Any) -> AttemptOutcome:
    return decide(replace(_claimed(timedelta(0)), **fields), result, NOW, lambda: 0.5)


def test_it_heeds_410_and_the_header_whatever_the_status() -> None:
    gone = _decided(HttpResult(1, status=410))
    assert (gone.status, gone.disables) == ("pending", "gone")
    asked = _decided(HttpResult(1, status=204, wishes=frozenset({"disable"})))
    assert (asked.status, asked.disables) == ("delivered", "asked")
    aborted = _decided(HttpResult(1, status=500, wishes=frozenset({"abort-message"})))
    assert (aborted.status, aborted.disables) == ("dead", None)
    done = _decided(HttpResult(1, status=200, wishes=frozenset({"abort-message"})))
    assert done.status == "delivered"


def test_it_uses_up_no_attempt_of_what_was_only_a_probe() -> None:
    late = {"is_probe": True, "attempts": 9}
    outcome = _decided(HttpResult(1, status=500), **late)
    assert (outcome.status, outcome.is_counted) == ("pending", False)
    assert outcome.next_attempt_at == NOW + timedelta(milliseconds=1)
    once = _decided(HttpResult(1, status=500), **late, retry_seconds=[])
    assert (once.status, once.is_counted) == ("dead", True), "it wants no retries"
    busy = _decided(HttpResult(1, status=503, retry_after="600"), **late)
    assert busy.next_attempt_at is not None
    assert busy.next_attempt_at >= NOW + timedelta(seconds=600)
