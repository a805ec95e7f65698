"""The books balance, whatever runs at once, is cut or is handed out again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import clock, ids
from models.db import Engine, RefusedData, reading, transaction
from models.streaks.states import Streak
from tests.conftest import Account
from tests.integration.batches import DAILY, award, make_badge, make_streak, post, sequences, tick
from tests.integration.earning import (
    assert_the_books_balance,
    balances,
    claimed,
    facts_of,
    ledger,
    moved,
)
from tests.integration.workers.test_equivalence import drain_side_by_side
from tests.pipeline import Pipeline
from workers.intake.messages import AssignmentV1, Message, PointsV1, RedemptionV1

pytestmark = pytest.mark.promise("P14")

MakeAccount = Callable[..., Account]
TIERS = (("silver", 1, 100), ("gold", 2, 500), ("platinum", 3, 2_000))
PEOPLE = [f"user_{nth}" for nth in range(8)]
STOCK, LIMIT = 12, 3


class World:
    """A tenant in which everything gives something."""

    def __init__(self, engine: Engine, tenant_id: int) -> None:
        self.engine, self.tenant_id = engine, tenant_id
        self.badge_id = make_badge(engine, tenant_id, "warrior")
        self.streak: Streak = make_streak(
            engine,
            tenant_id,
            DAILY | {"milestones": [{"count": 3, "badge_code": "warrior", "points": 40}]},
        )
        self.tier_ids = [self._tier(*one) for one in TIERS]
        self.reward_id = self._reward()
        for objective, target in (
            ('{"type": "points"}', 300),
            ('{"type": "badges"}', 1),
            ('{"type": "ticks", "streak_code": "daily"}', 5),
            ('{"type": "count", "streak_code": "daily"}', 4),
        ):
            self._insert(
                "challenges", objective=objective, target=target, points=25,
                code=f"goal_{target}", name="Goal",
            )  # fmt: skip

    def _tier(self, code: str, level: int, min_points: int) -> str:
        return self._insert("tiers", code=code, name=code, level=level, min_points=min_points)

    def _reward(self) -> str:
        made = self._insert(
            "rewards", code="mug", name="Mug", points_cost=30, max_claims_per_user=LIMIT
        )
        with transaction(self.engine) as session:
            session.execute(
                sa.text("INSERT INTO reward_stock VALUES (:tenant_id, :id, :stock)"),
                {"tenant_id": self.tenant_id, "id": made, "stock": STOCK},
            )
        return made

    def _insert(self, table: str, **values: Any) -> str:
        number = str(ids.uuid7(clock.now_us()))
        values |= {"tenant_id": self.tenant_id, "id": number}
        names = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        with transaction(self.engine) as session:
            session.execute(sa.text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)
        return number

    def messages(self, seed: int, count: int) -> list[Message]:
        """Writes of every kind in an order of chance."""
        chance = random.Random(seed)
        return [self._message(chance) for _ in range(count)]

    def _message(self, chance: random.Random) -> Message:
        who = chance.choice(PEOPLE)
        match chance.randrange(8):
            case 0 | 1 | 2:
                return moved(self.tenant_id, chance.randrange(1, 90), who)
            case 3 | 4:
                return moved(self.tenant_id, -chance.randrange(1, 120), who)
            case 5:
                return claimed(self.tenant_id, self.reward_id, who)
            case 6:
                now = clock.now_us() - chance.randrange(9) * 86_400_000_000
                return tick(self.streak, who, occurred_us=now)
            case _:
                if chance.random() < 0.5:
                    return award(self.tenant_id, self.badge_id, who)
                number = str(ids.uuid7(clock.now_us()))
                return AssignmentV1(self.tenant_id, number, who, chance.choice(self.tier_ids))

    def rows(self, statement: str) -> list[Any]:
        """The rows of a statement about the tenant."""
        with reading(self.engine) as session:
            return list(session.execute(sa.text(statement), {"id": self.tenant_id}))


def assert_invariants(world: World, messages: list[Message]) -> None:
    """What must hold after any set of writes."""
    assert_the_books_balance(world.engine, world.tenant_id)
    _assert_settled_once(world, messages)
    _assert_claims(world)
    _assert_challenges(world)
    _assert_facts(world)


def _assert_settled_once(world: World, messages: list[Message]) -> None:
    """Every deduction and claim stands in its ledger or among the rejections: once, in one."""
    moves = {one.id for one in ledger(world.engine, world.tenant_id)}
    claims = {
        row[0] for row in world.rows("SELECT id::text FROM reward_claims WHERE tenant_id = :id")
    }
    refused = Counter(
        row[0] for row in world.rows("SELECT id::text FROM rejections WHERE tenant_id = :id")
    )
    for one in messages:
        if isinstance(one, PointsV1):
            assert (one.id in moves) != (one.id in refused), one
            assert one.amount < 0 or one.id in moves
        elif isinstance(one, RedemptionV1):
            assert (one.id in claims) != (one.id in refused), one
            assert (one.id in moves) == (one.id in claims)
    assert set(refused.values()) <= {1}


def _assert_claims(world: World) -> None:
    by_person = Counter(
        row[0]
        for row in world.rows("SELECT participant_id FROM reward_claims WHERE tenant_id = :id")
    )
    ((stock, gone),) = world.rows("SELECT stock, claimed FROM reward_stock WHERE tenant_id = :id")
    assert gone == by_person.total() <= stock
    assert all(count <= LIMIT for count in by_person.values())
    counted = world.rows(
        "SELECT id, rewards_claimed FROM participants WHERE tenant_id = :id AND rewards_claimed > 0"
    )
    assert {row[0]: row[1] for row in counted} == by_person


def _assert_challenges(world: World) -> None:
    """Completed exactly when the target is reached, and paid for exactly then."""
    rows = world.rows(
        "SELECT g.progress, c.target, g.completed_at FROM challenge_progress g"
        " JOIN challenges c ON c.tenant_id = g.tenant_id AND c.id = g.challenge_id"
        " WHERE g.tenant_id = :id"
    )
    assert all((one.progress >= one.target) == (one.completed_at is not None) for one in rows)
    paid = world.rows(
        "SELECT id FROM point_transactions WHERE tenant_id = :id AND kind = 'challenge'"
    )
    assert len(paid) == sum(one.completed_at is not None for one in rows)


def _assert_facts(world: World) -> None:
    """One fact a change, numbered without gaps."""
    for numbers in sequences(world.engine, world.tenant_id).values():
        assert numbers == list(range(1, len(numbers) + 1))
    told = Counter(one["type"] for one in facts_of(world.engine, world.tenant_id))
    moves = ledger(world.engine, world.tenant_id)
    assert told["points.awarded"] == sum(one.credit == "available" for one in moves)
    assert told["points.deducted"] == sum(one.debit == "available" for one in moves)
    for kind, statement in (
        ("reward.claimed", "reward_claims WHERE tenant_id = :id"),
        (
            "tier.changed",
            "tier_changes WHERE tenant_id = :id AND tier_id IS DISTINCT FROM previous_tier_id",
        ),
        (
            "challenge.completed",
            "challenge_progress WHERE tenant_id = :id AND completed_at IS NOT NULL",
        ),
    ):
        ((count,),) = world.rows(f"SELECT count(*) FROM {statement}")
        assert told[kind] == count, kind


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_they_hold_with_four_drains_and_entries_that_are_handed_out_again(
    seed: int, engine: Engine, pipeline: Pipeline, account: Account
) -> None:
    world = World(engine, account.live.id)
    messages = world.messages(seed, 400)
    again = random.Random(seed).sample(messages, 120)
    post(pipeline.client, [*messages[:200], *again[:60], *messages[200:], *again[60:]])
    drain_side_by_side(pipeline, 4, 25)
    assert_invariants(world, messages)
    post(pipeline.client, random.Random(seed).sample(messages, 200))
    before = balances(engine, account.live.id)
    drain_side_by_side(pipeline, 2, 50)
    assert balances(engine, account.live.id) == before
    assert_invariants(world, messages)


@pytest.mark.parametrize("seed", [4, 5])
def test_however_the_batches_are_cut_everybody_has_the_same(
    seed: int, engine: Engine, pipeline: Pipeline, make_account: MakeAccount
) -> None:
    found = []
    for batch_max in (1_000, 7, 1):
        world = World(engine, make_account().live.id)
        messages = world.messages(seed, 150)
        post(pipeline.client, messages)
        drain_side_by_side(pipeline, 1, batch_max)
        assert_invariants(world, messages)
        found.append(balances(engine, world.tenant_id))
    assert found[0] == found[1] == found[2]


Amounts = st.lists(st.integers(-60, 60).filter(bool), min_size=1, max_size=25)


@given(amounts=Amounts, batch_max=st.integers(1, 30))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_it_is_what_adding_up_one_by_one_finds(
    engine: Engine, pipeline: Pipeline, amounts: list[int], batch_max: int, account: Account
) -> None:
    """The oracle: whatever would take more than there is, takes nothing."""
    who = f"user_{ids.uuid7(clock.now_us())}"
    earned = spent = 0
    for amount in amounts:
        if amount > 0:
            earned += amount
        elif -amount <= earned - spent:
            spent -= amount
    post(pipeline.client, [moved(account.live.id, amount, who) for amount in amounts])
    drain_side_by_side(pipeline, 1, batch_max)
    assert balances(engine, account.live.id)[who] == (earned, spent)


@pytest.mark.parametrize(
    "broken",
    [
        "UPDATE participants SET points_spent = points_earned + 1 WHERE tenant_id = :id",
        "UPDATE reward_stock SET claimed = stock + 1 WHERE tenant_id = :id",
        "UPDATE point_transactions SET amount = 0 WHERE tenant_id = :id",
        "UPDATE point_transactions SET credit = 'available' WHERE debit = 'available'",
    ],
)
def test_the_database_itself_refuses_what_must_not_be(
    engine: Engine, pipeline: Pipeline, account: Account, broken: str
) -> None:
    world = World(engine, account.live.id)
    post(pipeline.client, [moved(world.tenant_id, 100), moved(world.tenant_id, -10)])
    pipeline.drain()
    with pytest.raises(RefusedData), transaction(engine) as session:
        session.execute(sa.text(broken), {"id": world.tenant_id})
