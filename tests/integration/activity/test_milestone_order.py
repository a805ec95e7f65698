"""What milestones give depends on the set of ticks alone: not on order, duplicates or batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from models import clock
from models.db import Engine, reading
from models.streaks.states import Streak
from tests.calls import make_badge, make_streak
from tests.conftest import BASE, Account
from tests.integration.batches import DAILY, DAY_US, count, post, tick
from tests.integration.batches import make_streak as define
from tests.pipeline import Pipeline
from workers.intake.stream import depth

pytestmark = pytest.mark.promise("P2")

MILESTONES: list[dict[str, Any]] = [
    {"count": 3, "badge_code": "three", "points": 50},
    {"count": 4, "badge_code": None, "points": 7},
    {"count": 7, "badge_code": "week", "points": None},
]
ELEVEN = list(range(11))


class Given(NamedTuple):
    """What somebody has."""

    balance: int
    tier: str | None
    badges: list[str]
    milestones: list[int]  # that facts told of


def milestone_streak(
    engine: Engine, account: Account, milestones: list[dict[str, Any]], **values: Any
) -> Streak:
    """A daily streak that gives points."""
    plain = DAILY | {"grace_periods": 0, "milestones": milestones}
    return define(engine, account.live.id, plain | values)


def send(
    pipeline: Pipeline, streak: Streak, who: str, days: Sequence[int], batch_max: int = 1_000
) -> None:
    """Ticks of days (0 was 59 days ago), applied in this order by batches of a size."""
    start = clock.now_us() - 59 * DAY_US
    post(pipeline.client, [tick(streak, who, occurred_us=start + day * DAY_US) for day in days])
    drain = pipeline.make_drain("order", batch_max, lambda: depth(pipeline.client) == 0)
    drain.streams.create_groups()
    drain.run(30)


_GIVEN = """
    SELECT p.points_earned - p.points_spent AS balance, t.code,
      ARRAY(SELECT b.code FROM participant_badges e JOIN badges b USING (tenant_id)
        WHERE e.tenant_id = p.tenant_id AND e.participant_id = p.id AND b.id = e.badge_id
        ORDER BY 1) AS badges,
      ARRAY(SELECT (f.body::json #>> '{payload,milestone}')::int FROM facts f
        WHERE f.tenant_id = p.tenant_id AND f.participant_id = p.id
          AND f.type = 'behavior.streak_milestone' ORDER BY 1) AS milestones
    FROM participants p LEFT JOIN tiers t ON t.tenant_id = p.tenant_id AND t.id = p.tier_id
    WHERE p.tenant_id = :tenant_id AND p.external_id = :who
"""


def given_to(engine: Engine, account: Account, who: str) -> Given:
    """What a participant has."""
    with reading(engine) as session:
        values = {"tenant_id": account.live.id, "who": who}
        return Given(*session.execute(sa.text(_GIVEN), values).one())


@pytest.fixture
def prizes(client: FlaskClient) -> None:
    """The badges of the milestones, and a tier that their points lead to."""
    for code in ("three", "week"):
        make_badge(client, code)
    tier = {"code": "silver", "name": "Silver", "level": 1, "criteria_config": {"min_points": 55}}
    assert client.post(f"{BASE}/admin/tiers", json=tier).status_code == 201


@pytest.mark.parametrize(
    "days", [ELEVEN, ELEVEN[::-1], [0, 1, 2, 4, 5, 6, 8, 9, 10, 3, 7]], ids=str
)
def test_the_same_eleven_days_give_the_same_points_in_any_order(
    days: list[int], prizes: None, engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    streak = milestone_streak(engine, account, MILESTONES)
    send(pipeline, streak, "ann", days)
    assert given_to(engine, account, "ann") == (57, "silver", ["three", "week"], [3, 4, 7])


def test_any_order_with_duplicates_in_any_batches_gives_the_same(
    prizes: None, client: FlaskClient, engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    streaks = {
        (grace, reset): milestone_streak(
            engine, account, MILESTONES, grace_periods=grace, reset_on_miss=reset,
            code=f"s{grace}{reset}",
        )
        for grace in (0, 1, 2)
        for reset in (True, False)
    }  # fmt: skip
    challenge(client, "s1True")
    made = iter(range(1_000_000))

    @settings(max_examples=40, deadline=None)
    @given(
        st.sampled_from(sorted(streaks)),
        st.lists(st.integers(0, 24), min_size=1, max_size=16, unique=True),
        st.randoms(use_true_random=False),
        st.integers(1, 20),
    )
    def holds(rules: tuple[int, bool], days: list[int], random: Any, batch_max: int) -> None:
        one, other = f"a{next(made)}", f"b{next(made)}"
        send(pipeline, streaks[rules], one, sorted(days))
        shuffled = days + random.choices(days, k=len(days) // 2)
        random.shuffle(shuffled)
        send(pipeline, streaks[rules], other, shuffled, batch_max)
        assert given_to(engine, account, one) == given_to(engine, account, other)

    holds()


def challenge(client: FlaskClient, streak_code: str) -> None:
    """One that counts to five and gives points."""
    body = {
        "code": "five", "name": "Five", "target": 5, "points": 1_000,
        "objective": {"type": "count", "streak_code": streak_code},
    }  # fmt: skip
    assert client.post(f"{BASE}/admin/challenges", json=body).status_code == 201


# -- once, and in each run -----------------------------------------------------------------------


def test_a_streak_that_starts_again_gives_a_milestone_again_only_if_it_repeats(
    engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    twice = [0, 1, 2, 10, 11, 12]
    once = milestone_streak(engine, account, [{"count": 3, "points": 50}])
    again = milestone_streak(
        engine, account, [{"count": 3, "points": 50, "repeat": "each_run"}], code="again"
    )
    send(pipeline, once, "once", twice)
    send(pipeline, again, "again", twice)
    assert given_to(engine, account, "once").balance == 50
    assert given_to(engine, account, "again").balance == 100


def test_a_late_tick_that_joins_a_rewarded_run_with_another_gives_no_more(
    engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    streak = milestone_streak(engine, account, [{"count": 3, "points": 50, "repeat": "each_run"}])
    send(pipeline, streak, "ann", [0, 1, 2, 4, 5])
    send(pipeline, streak, "ann", [3])
    assert given_to(engine, account, "ann").balance == 50
    send(pipeline, streak, "bob", [0, 1, 2, 4, 5, 6, 3])  # both had reached it: both keep theirs
    assert given_to(engine, account, "bob").balance == 100


def test_a_run_that_grace_cuts_and_mends_again_is_rewarded_once(
    engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    milestones = [{"count": 4, "points": 50, "repeat": "each_run"}]
    streak = milestone_streak(engine, account, milestones, grace_periods=1)
    for days in ([5, 7, 8, 9], [3], [10]):  # 4 in a row; then 3 only; then 4 again
        send(pipeline, streak, "ann", days)
    assert given_to(engine, account, "ann").balance == 50


def test_a_late_tick_that_completes_an_earlier_run_reaches_its_milestone(
    engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    streak = milestone_streak(engine, account, [{"count": 3, "points": 50}])
    send(pipeline, streak, "ann", [0, 2, 20])
    send(pipeline, streak, "ann", [1])
    assert given_to(engine, account, "ann").balance == 50


def test_rules_that_change_and_change_back_give_nothing_twice(
    client: FlaskClient, engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    streak = milestone_streak(engine, account, [{"count": 3, "points": 50}], grace_periods=2)
    send(pipeline, streak, "ann", [0, 2, 4])
    for grace, days in ((0, [5, 6]), (2, [8])):
        changed = client.patch(f"{BASE}/streaks/daily", json={"grace_periods": grace})
        assert changed.status_code == 200
        send(pipeline, streak, "ann", days)
    assert given_to(engine, account, "ann").balance == 50


def test_a_milestone_added_later_is_reached_by_those_who_come_to_it_again(
    client: FlaskClient, engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    streak = milestone_streak(engine, account, [])
    send(pipeline, streak, "ann", [0, 1, 2, 3])
    milestones = [{"count": 3, "points": 50}]
    assert client.patch(f"{BASE}/streaks/daily", json={"milestones": milestones}).status_code == 200
    send(pipeline, streak, "ann", [4])
    assert given_to(engine, account, "ann").balance == 0
    for days in ([10, 11, 12], [20, 21, 22]):
        send(pipeline, streak, "ann", days)
    assert given_to(engine, account, "ann").balance == 50


# -- what there was before the record --------------------------------------------------------------


def test_what_was_reached_before_the_upgrade_is_not_given_again(
    client: FlaskClient, engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    streak = milestone_streak(engine, account, [{"count": 3, "badge_code": None, "points": 50}])
    send(pipeline, streak, "ann", [0, 1, 2])
    with engine.begin() as session:  # as an earlier release left it
        session.execute(sa.text("DELETE FROM streak_milestones"))
    same = [{"count": 3, "points": 60}]
    assert client.patch(f"{BASE}/streaks/daily", json={"milestones": same}).status_code == 200
    send(pipeline, streak, "ann", [10, 11, 12])
    assert given_to(engine, account, "ann").balance == 50


def test_an_erased_participant_leaves_no_milestone_behind(
    client: FlaskClient, engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    streak = milestone_streak(engine, account, [{"count": 3, "points": 50}])
    send(pipeline, streak, "ann", [0, 1, 2])
    assert count(engine, "streak_milestones", account.live.id) == 1
    assert client.delete(f"{BASE}/participants/ann").status_code in (200, 204)
    assert count(engine, "streak_milestones", account.live.id) == 0


def test_a_definition_says_how_often_its_milestones_are_reached(client: FlaskClient) -> None:
    made = make_streak(client, milestones=[{"count": 3}, {"count": 7, "repeat": "each_run"}])
    assert made["milestones"] == [
        {"count": 3, "badge_code": None, "repeat": "once"},
        {"count": 7, "badge_code": None, "repeat": "each_run"},
    ]
