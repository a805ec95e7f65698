"""Fair shares of a claim, and whose fault a failure was."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from models import clock, ids
from models.deliveries import Claimed, LaneKey
from webhooks.attempts import OUR_FAULT_DAYS_MAX, decide
from webhooks.lanes import Limits, lane_cap, shares
from webhooks.sender import Result

NOW = datetime(2026, 5, 23, 8, 15, tzinfo=UTC)
LIMITS = Limits()


def _keys(count: int) -> list[LaneKey]:
    return [(1, uuid.UUID(int=nth)) for nth in range(1, count + 1)]


@given(st.integers(0, 600), st.integers(1, 512), st.data())
def test_it_never_passes_a_limit(lanes: int, room: int, data: st.DataObject) -> None:
    keys = _keys(lanes)
    busy = {key: data.draw(st.integers(0, 128)) for key in keys[:20]}
    slots = shares(keys, busy, room, LIMITS)
    assert sum(slot.count for slot in slots) <= min(room, LIMITS.claim_max)
    assert len({slot.key for slot in slots}) == len(slots)
    cap = lane_cap(lanes, LIMITS)
    assert all(1 <= slot.count <= cap - busy.get(slot.key, 0) for slot in slots)


def test_it_shares_equally_among_lanes() -> None:
    assert {slot.count for slot in shares(_keys(8), {}, 512, LIMITS)} == {32}
    assert len(shares(_keys(256), {}, 512, LIMITS)) == 256


def test_it_gives_a_lane_at_its_cap_nothing_and_the_others_their_share() -> None:
    full, free = _keys(2)
    (slot,) = shares([full, free], {full: 128}, 384, LIMITS)
    assert slot.key == free
    assert slot.count == 128


def test_it_leaves_room_for_one_lane_more_however_many_are_stuck() -> None:
    for lanes in range(1, 400):
        assert lane_cap(lanes, LIMITS) * lanes < LIMITS.in_flight_max


# -- whose fault -----------------------------------------------------------------------------


def _claimed(age: timedelta) -> Claimed:
    fact_id = ids.uuid7(clock.to_us(NOW - age))
    return Claimed(1, fact_id, uuid.uuid4(), uuid.uuid4(), 3, "(0,1)", "https://x/", "", "{}")


def test_it_counts_no_attempt_for_its_own_fault() -> None:
    outcome = decide(_claimed(timedelta(0)), Result(1, is_ours=True), NOW, lambda: 0.5)
    assert (outcome.status, outcome.attempt) == ("pending", None)
    assert outcome.next_attempt_at is not None
    assert outcome.next_attempt_at > NOW


def test_it_does_not_blame_itself_for_ever() -> None:
    """A name service that answers for all names but one looks like one that is away."""
    old = _claimed(timedelta(days=OUR_FAULT_DAYS_MAX + 1))
    outcome = decide(old, Result(1, error="unreachable", is_ours=True), NOW, lambda: 0.5)
    assert outcome.attempt is not None
    assert outcome.attempt.number == 4
