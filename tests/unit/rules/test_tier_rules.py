"""Which tier points lead to, against the plainest way to say it."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from models.rules.tiers import following, reached


@dataclass(frozen=True)
class Rung:
    """A tier as the rules see it."""

    level: int
    min_points: int | None


LADDER = [Rung(1, 0), Rung(2, 1_000), Rung(3, 5_000), Rung(4, 10_000)]
rungs = st.lists(
    st.builds(Rung, st.integers(0, 20), st.one_of(st.none(), st.integers(0, 500))),
    unique_by=lambda one: one.level,
)
levels = st.one_of(st.none(), st.integers(0, 20))


def test_points_lead_to_the_highest_tier_whose_threshold_they_reach() -> None:
    assert reached(LADDER, None, 0) == LADDER[0]
    assert reached(LADDER, 1, 999) is None
    assert reached(LADDER, 1, 1_000) == LADDER[1]
    assert reached(LADDER, 1, 20_000) == LADDER[3]


def test_nobody_is_taken_down_by_points() -> None:
    assert reached(LADDER, 4, 0) is None
    assert reached(LADDER, 9, 20_000) is None


def test_the_next_tier_is_the_lowest_one_above() -> None:
    assert following(LADDER, None) == LADDER[0]
    assert following(LADDER, 2) == LADDER[2]
    assert following(LADDER, 4) is None


@given(rungs, levels, st.integers(0, 600))
def test_it_is_what_trying_every_tier_finds(
    ladder: list[Rung], level: int | None, earned: int
) -> None:
    best: Rung | None = None
    for one in ladder:
        is_reached = one.min_points is not None and one.min_points <= earned
        if is_reached and (level is None or one.level > level):
            best = one if best is None or one.level > best.level else best
    assert reached(ladder, level, earned) == best


@given(rungs, st.lists(st.integers(1, 200), max_size=12))
def test_points_one_by_one_lead_where_points_at_once_do(
    ladder: list[Rung], amounts: list[int]
) -> None:
    level: int | None = None
    earned = 0
    for amount in amounts:
        earned += amount
        found = reached(ladder, level, earned)
        level = level if found is None else found.level
    at_once = reached(ladder, None, earned) if amounts else None
    assert level == (None if at_once is None else at_once.level)
