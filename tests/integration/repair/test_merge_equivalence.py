"""Ticks for several ids in any order, with merges in between: the state of one person.

The control is a participant who had every tick and every change from the first on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import clock, ids
from models.db import Engine
from models.rules.periods import DAILY, period_at
from models.streaks import states
from models.streaks.states import Streak
from tests.calls import make_streak
from tests.conftest import BASE, Account
from tests.integration.batches import DAY_US, ZONES, post, rows
from tests.pipeline import Pipeline
from workers.intake.messages import (
    FreezeV1,
    MergeV1,
    Message,
    PauseV1,
    RepairV1,
    TickV1,
)

pytestmark = pytest.mark.promise("P2")

IDS = ("ann", "bob", "cid", "dan")
CONTROL = "whole"
REPAIRED = ("plain", "graceful", "weekly")
FROZEN = "forgiving"  # in UTC: a freeze counts from the day of its grant in the zone of that moment
STREAKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("plain", {}),
    ("graceful", {"grace_periods": 1}),
    ("held", {"grace_periods": 1, "reset_on_miss": False, "boundary": "participant"}),
    ("weekly", {"period": "weekly"}),
    ("forgiving", {
        "grace_periods": 2, "grace_refill": "monthly",
        "freezes": {"initial": 1, "earn_every": 4, "max": 3}, "rest_days": ["sunday"],
    }),
    ("steps", {"target": {"kind": "value", "amount": 10}, "grace_periods": 1}),
    ("strides", {
        "target": {"kind": "value", "amount": 4}, "earn_back": {"times": 2, "within": 3},
    }),
    ("two_days", {"target": {"kind": "days", "amount": 2}, "period": "weekly"}),
)  # fmt: skip


@dataclass
class Story:
    """What is done to the ids, and to the control at the same time."""

    random: Random
    tenant_id: int
    streaks: Sequence[Streak]

    def messages(self, count: int) -> list[Message]:
        """Ticks, repairs, pauses and freezes in any order, each for one id and for the control;
        and merges, until all ids are one participant."""
        done = [self._change(nth) for nth in range(count)]
        self.random.shuffle(done)
        for merged in self._merges():
            done.insert(self.random.randrange(count), [merged])
        begun = [self._tick(who, streak) for who in IDS for streak in self._begun]
        return [message for pair in begun + done for message in pair]

    @property
    def _begun(self) -> list[Streak]:
        """Those that each id begins with a tick: a repair before the first one is refused."""
        return [streak for streak in self.streaks if streak.code in REPAIRED]

    def _merges(self) -> list[Message]:
        """One after another, in any tree: from the last on, each id into an earlier one."""
        order = self.random.sample(IDS, len(IDS))
        return [
            MergeV1(self.tenant_id, self._id(), self.random.choice(order[:nth]), order[nth])
            for nth in range(1, len(order))
        ]

    def _change(self, nth: int) -> list[Message]:
        who, tenant_id, now = self.random.choice(IDS), self.tenant_id, clock.now_us()
        match self.random.choices(("tick", "repair", "pause", "freeze"), (20, 2, 1, 1))[0]:
            case "repair":
                streak = self.random.choice(self._begun)
                at = now - self.random.randrange(2 * DAY_US, 60 * DAY_US)
                periods = [[period_at(streak.cadence, at, None)] * 2]
                recorded = self.random.choice((True, False))
                return [
                    RepairV1(tenant_id, self._id(), name, streak.id, periods, recorded)
                    for name in (who, CONTROL)
                ]
            case "pause":
                first = period_at(DAILY, now, None) - 3 * (nth % 18)
                streak = self.random.choice(self.streaks)
                return [
                    PauseV1(tenant_id, self._id(), name, first, first + 1, [streak.id])
                    for name in (who, CONTROL)
                ]
            case "freeze":
                [streak] = [one for one in self.streaks if one.code == FROZEN]
                return [
                    FreezeV1(tenant_id, self._id(), name, streak.id, 1 + nth % 2)
                    for name in (who, CONTROL)
                ]
        return self._tick(who, self.random.choice(self.streaks))

    def _tick(self, who: str, streak: Streak) -> list[Message]:
        at = clock.now_us() - self.random.randrange(60 * DAY_US)
        zone = None if streak.code == FROZEN else self.random.choice(ZONES)
        has_value = streak.target is not None and streak.target.kind == "value"
        value = self.random.randrange(1, 9_000) if has_value else None
        return [
            TickV1(self.tenant_id, self._id(), name, streak.id, at, zone, value=value)
            for name in (who, CONTROL)
        ]

    def _id(self) -> str:
        return str(ids.uuid7(clock.now_us()))


def seen(client: FlaskClient, who: str) -> dict[str, Any]:
    """All that is read of a participant's streaks."""
    found = client.get(f"{BASE}/participants/{who}/streaks").get_json()["streaks"]
    histories = {
        one["code"]: [
            {name: period.get(name) for name in ("period_key", "status", "by", "progress")}
            for period in client.get(
                f"{BASE}/participants/{who}/streaks/{one['code']}/history"
            ).get_json()["periods"]
        ]
        for one in found
    }
    return {"streaks": found, "histories": histories}


@pytest.mark.parametrize("seed", range(8))
def test_the_survivor_is_as_one_person_who_had_all_of_it(
    seed: int, client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    random = Random(seed)
    for code, values in STREAKS:
        make_streak(client, code, **values)
    with engine.connect() as connection:
        streaks = states.definitions.all_of(connection, account.live.id)
    messages = Story(random, account.live.id, streaks).messages(160)
    while messages:
        cut = random.choice((1, 3, 40, 1_000))
        post(pipeline.client, messages[:cut])
        pipeline.drain()
        messages = messages[cut:]
    wanted = seen(client, CONTROL)
    assert {one["code"] for one in wanted["streaks"]} > {*REPAIRED, FROZEN}
    for name in IDS:
        assert seen(client, name) == wanted
    found = rows(engine, account.live.id)
    people = {who for who, _ in found.states}
    assert len(people) == 2, "the survivor and the control"
    [survivor] = people - {CONTROL}
    for who, code in found.states:
        assert found.states[survivor, code] == found.states[CONTROL, code], who
    assert found.events[survivor] == found.events[CONTROL]
