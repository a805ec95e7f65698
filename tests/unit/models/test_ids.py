"""Identifiers: ordered by time, recognised by their tag, bounded by their day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from models import clock, ids

SECRET, ANOTHER_SECRET = b"s" * 16, b"t" * 16
NOW_US = 1_795_219_200_123_456  # 2026-11-21T00:00:00.123456Z
ANY_INSTANT_US = st.integers(0, 4_000_000_000_000_000)


@given(ANY_INSTANT_US)
def test_an_id_is_a_uuid7_that_tells_its_millisecond(instant_us: int) -> None:
    for value in (ids.uuid7(instant_us), *ids.issue(instant_us, SECRET, 2)):
        assert (value.version, value.variant) == (7, "specified in RFC 4122")
        assert ids.issued_at_us(value) == instant_us // 1_000 * 1_000


def test_an_id_reads_as_rfc_9562_writes_it() -> None:
    """RFC 9562, appendix A.6: 017F22E2-79B0-7CC3-98C4-DC0C0C07398F is 2022-02-22 19:22:22 UTC."""
    value = UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert clock.to_text(ids.issued_at_us(value)) == "2022-02-22T19:22:22Z"


@given(ANY_INSTANT_US, st.integers(1_000, 10**12))
def test_a_later_id_sorts_after_an_earlier_one(instant_us: int, later_us: int) -> None:
    early, late = ids.uuid7(instant_us), ids.uuid7(instant_us + later_us)
    assert early < late
    assert str(early) < str(late)


def test_ids_of_one_call_differ() -> None:
    assert len(set(ids.issue(NOW_US, SECRET, 5_000))) == 5_000
    assert len({ids.uuid7(NOW_US) for _ in range(5_000)}) == 5_000


def test_an_issued_id_is_recognised_by_its_tenant_alone() -> None:
    for value in ids.issue(NOW_US, SECRET, 200):
        assert ids.is_issued(value, SECRET)
        assert not ids.is_issued(value, ANOTHER_SECRET)


def test_an_id_that_nobody_issued_is_not_recognised() -> None:
    assert not any(ids.is_issued(ids.uuid7(NOW_US), SECRET) for _ in range(200))
    assert not any(ids.is_issued(uuid4(), SECRET) for _ in range(200))
    assert not ids.is_issued(UUID(int=0), SECRET)
    assert not ids.is_issued(UUID(int=(1 << 128) - 1), SECRET)


@given(st.integers(0, 127))
def test_an_issued_id_with_any_bit_changed_is_not_recognised(bit: int) -> None:
    issued = next(ids.issue(NOW_US, SECRET))
    assert not ids.is_issued(UUID(int=issued.int ^ (1 << bit)), SECRET)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  hypothesis wants naive bounds
def test_a_days_ids_lie_between_its_floor_and_the_next(instant: datetime) -> None:
    value = ids.uuid7(clock.to_us(instant))
    assert ids.floor(instant) <= value < ids.floor(instant + timedelta(days=1))


def test_the_floor_of_a_day_is_smaller_than_its_first_id() -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    assert ids.floor(midnight) < ids.uuid7(clock.to_us(midnight))
    assert ids.uuid7(clock.to_us(midnight) - 1) < ids.floor(midnight)
