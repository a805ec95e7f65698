"""Targets: a period is recorded once its ticks, days or values reach an amount."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import clock
from models.db import Engine, reading
from models.rules.periods import day_at, period_at
from models.rules.streaks import Ranges, Rules, add, walk
from models.streaks.states import Streak, parse_ranges
from tests.calls import draining, make_streak, noon, post_batch, post_tick, problem, tick
from tests.conftest import BASE, Account
from tests.integration import batches
from tests.pipeline import Pipeline

ROOT = Path(__file__).parents[3]
WAIT = {"Prefer": "wait=10"}
STEPS: dict[str, Any] = {"target": {"kind": "value", "amount": 10_000}}
URL = f"{BASE}/participants/user_42/streaks"


def send(client: FlaskClient, **values: Any) -> dict[str, Any]:
    """Record a tick and return its answer."""
    response = post_tick(client, headers=WAIT, **values)
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def history(client: FlaskClient) -> list[dict[str, Any]]:
    """The periods of the history."""
    found: list[dict[str, Any]] = client.get(f"{URL}/daily_login/history").get_json()["periods"]
    return found


# -- over HTTP -------------------------------------------------------------------------------


def test_a_day_counts_once_its_values_reach_the_target(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **STEPS)
    with draining(pipeline):
        first = send(client, value=4_000)
        assert (first["outcome"], first["new_count"], first["already_recorded"]) == (
            "progressed", 0, False,
        )  # fmt: skip
        assert first["progress"] == {"value": 4_000, "target": 10_000}
        assert client.get(URL).get_json()["streaks"] == []
        second = send(client, value=6_000.5)
        assert (second["outcome"], second["new_count"]) == ("started", 1)
        assert second["progress"] == {"value": 10_000.5, "target": 10_000}
        third = send(client, value=2_000)
        assert (third["outcome"], third["new_count"]) == ("repeated", 1)
        assert third["progress"] == {"value": 12_000.5, "target": 10_000}
        for answer in (first, second, third):
            found = client.get(f"{BASE}/ticks/{answer['tick_id']}").get_json()
            assert found == {"tick_id": answer["tick_id"], "status": "applied", "result": answer}
        send(client, value=1, timestamp=noon(2))
    (entry,) = client.get(URL).get_json()["streaks"]
    assert (entry["current_count"], entry["status"]) == (1, "active")
    (today,) = history(client)
    assert today["progress"] == {"value": 12_000.5, "target": 10_000}
    assert today["tick_id"] == second["tick_id"]


def test_only_the_tick_that_reaches_the_target_sends_a_fact(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **STEPS)
    with draining(pipeline):
        for value in (9_999, 1, 5):
            send(client, value=value)
    items = client.get(f"{BASE}/facts?types=behavior.streak_recorded").get_json()["items"]
    (fact,) = items
    body = fact["payload"]
    assert (body["count"], body["progress"]) == (1, {"value": 10_000, "target": 10_000})


def test_a_milestone_and_a_later_day_count_recorded_periods_only(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(
        client, target={"kind": "ticks", "amount": 2}, milestones=[{"count": 2, "points": 5}]
    )
    with draining(pipeline):
        for day in (1, 1, 0):
            send(client, timestamp=noon(day))
        assert client.get(URL).get_json()["streaks"][0]["current_count"] == 1
        pending = history(client)[-1]
        assert (pending["status"], pending["progress"]) == ("pending", {"value": 1, "target": 2})
        answer = send(client, timestamp=noon(0))
        assert (answer["outcome"], answer["new_count"]) == ("extended", 2)
    found = client.get(f"{BASE}/participants/user_42/points").get_json()
    assert found["balance"] == 5


def test_days_are_distinct_local_days(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client, period="weekly", target={"kind": "days", "amount": 2})
    monday = clock.now() - timedelta(days=clock.now().weekday() + 7)
    at = f"{monday:%Y-%m-%d}"
    with draining(pipeline):
        assert send(client, timestamp=f"{at}T01:00:00Z")["outcome"] == "progressed"
        assert send(client, timestamp=f"{at}T23:00:00Z")["progress"] == {"value": 1, "target": 2}
        sydney = send(client, timestamp=f"{at}T22:00:00Z", timezone="Australia/Sydney")
        assert (sydney["outcome"], sydney["progress"]["value"]) == ("started", 2)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_latest_tick_of_a_period_is_the_latest_recorded_whichever_reaches_the_target(
    client: FlaskClient, pipeline: Pipeline, order: tuple[int, int]
) -> None:
    make_streak(client, target={"kind": "ticks", "amount": 2})
    day = f"{clock.now() - timedelta(days=1):%Y-%m-%d}"
    with draining(pipeline):
        for index in order:
            send(client, timestamp=f"{day}T1{index}:00:00Z")
    (entry,) = client.get(URL).get_json()["streaks"]
    assert entry["last_recorded_at"].startswith(f"{day}T11:00:00")


def test_a_retracted_tick_takes_its_value_out_of_the_period(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **STEPS)
    with draining(pipeline):
        first, second = send(client, value=4_000), send(client, value=7_000)
        gone = client.delete(f"{BASE}/ticks/{first['tick_id']}", headers=WAIT)
        assert gone.status_code == 200, gone.text
        again = send(client, value=1_000)
        assert (again["outcome"], again["progress"]["value"]) == ("progressed", 8_000)
        last = send(client, value=2_000)
        assert (last["outcome"], last["new_count"]) == ("started", 1)
        kept = client.delete(f"{BASE}/ticks/{last['tick_id']}", headers=WAIT)
        assert kept.status_code == 200, kept.text
        client.delete(f"{BASE}/ticks/{second['tick_id']}", headers=WAIT)
        assert send(client, value=1)["progress"]["value"] == 1_001


def test_a_batch_and_an_idempotent_repeat_add_up_once(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, target={"kind": "ticks", "amount": 3})
    with draining(pipeline):
        key = WAIT | {"Idempotency-Key": "a"}
        for _ in range(3):
            post_tick(client, headers=key)
        assert post_batch(client, tick(), tick()).get_json()["accepted"] == 2
        assert send(client)["outcome"] == "repeated"
    assert client.get(URL).get_json()["streaks"][0]["current_count"] == 1


BAD_VALUES = [0, -1, 1_000_000_001, 0.0001, "5", True, [], 2**63, 1e300]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_value_that_is_none_is_refused(client: FlaskClient, value: Any) -> None:
    make_streak(client, **STEPS)
    problem(post_tick(client, value=value), 422, "validation_error", "value")
    batch = post_batch(client, tick(value=value), tick(value=1)).get_json()
    assert (batch["accepted"], batch["rejected"]) == (1, 1)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_a_value_that_json_does_not_have_is_refused(client: FlaskClient, text: str) -> None:
    make_streak(client, **STEPS)
    body = json.dumps({"participant_id": "u", "streak_code": "daily_login"})
    response = client.post(
        f"{BASE}/streaks/record",
        data=body[:-1] + f', "value": {text}}}',
        content_type="application/json",
    )
    assert response.status_code in (400, 422)


def test_a_value_is_needed_for_a_target_of_values_and_refused_elsewhere(
    client: FlaskClient,
) -> None:
    make_streak(client, **STEPS)
    make_streak(client, code="plain")
    make_streak(client, code="thrice", target={"kind": "ticks", "amount": 3})
    problem(post_tick(client), 422, "validation_error", "value")
    for code in ("plain", "thrice"):
        problem(post_tick(client, streak_code=code, value=1), 422, "validation_error", "value")


BAD_TARGETS: list[tuple[Any, str]] = [
    ({"kind": "ticks", "amount": 0}, "target.amount"),
    ({"kind": "ticks", "amount": 1_000_000_001}, "target.amount"),
    ({"kind": "ticks", "amount": 1.5}, "target.amount"),
    ({"kind": "ticks", "amount": "3"}, "target.amount"),
    ({"kind": "ticks", "amount": None}, "target.amount"),
    ({"kind": "ticks"}, "target.amount"),
    ({"kind": "minutes", "amount": 3}, "target.kind"),
    ({"amount": 3}, "target.kind"),
    ({"kind": "days", "amount": 1}, "target.kind"),
    (3, "target"),
]


@pytest.mark.parametrize(("target", "field"), BAD_TARGETS)
def test_a_target_that_makes_no_sense_is_refused(
    client: FlaskClient, target: Any, field: str
) -> None:
    body = {"code": "daily", "name": "D", "target": target}
    problem(client.post(f"{BASE}/streaks", json=body), 422, "validation_error", field)


@pytest.mark.parametrize(("period", "days"), [("weekly", 8), ("monthly", 29)])
def test_no_target_asks_for_more_days_than_every_period_has(
    client: FlaskClient, period: str, days: int
) -> None:
    target = {"kind": "days", "amount": days}
    body = {"code": "d", "name": "D", "period": period, "target": target}
    problem(client.post(f"{BASE}/streaks", json=body), 422, "validation_error", "target.amount")


def test_the_table_of_the_documents_is_what_is_answered(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    page = (ROOT / "docs" / "forgiveness.md").read_text()
    rows = re.findall(
        r"^\| (Mon|Tues)day (\d\d:\d\d) \| (\d+) \| `(\w+)` \| (\d+) \| `(.*?)` \|$", page, re.M
    )
    assert len(rows) == 5
    make_streak(client, **json.loads(re.findall(r"`(\{\"target\".*?\}\})`", page)[0]))
    days = {"Mon": clock.now() - timedelta(days=9), "Tues": clock.now() - timedelta(days=8)}
    with draining(pipeline):
        for day, at, value, outcome, count, progress in rows:
            instant = f"{days[day]:%Y-%m-%d}T{at}:00Z"
            answer = send(client, value=int(value), timestamp=instant)
            assert (answer["outcome"], answer["new_count"]) == (outcome, int(count))
            assert answer["progress"] == json.loads(progress)


# -- whatever the order ----------------------------------------------------------------------

Sent = tuple[int, str | None, int]  # hours ago, zone, thousandths
ZONES = (None, "Pacific/Auckland", "America/Los_Angeles")
KINDS = (("ticks", "daily"), ("value", "daily"), ("days", "weekly"), ("value", "weekly"))
_counter = iter(range(1_000_000))


def definition(engine: Engine, account: Account, kind: str, period: str) -> Streak:
    """A streak with a target of its kind."""
    amount = {"ticks": 2, "value": 3, "days": 2}[kind]
    values = batches.DAILY | {
        "code": f"t{next(_counter)}", "period": period,
        "forgiveness": {"target": {"kind": kind, "amount": amount}},
    }  # fmt: skip
    return batches.make_streak(engine, account.live.id, values)


def naive(streak: Streak, sent: list[Sent], now_us: int) -> Ranges:
    """The recorded periods, by adding up every period on its own."""
    assert streak.target is not None
    sums: dict[int, int] = defaultdict(int)
    days: dict[int, set[int]] = defaultdict(set)
    for hours, zone, value in sent:
        instant = now_us - hours * 3_600_000_000
        period = period_at(streak.cadence, instant, zone)
        sums[period] += value if streak.target.kind == "value" else 1_000
        days[period].add(day_at(instant, zone))
    if streak.target.kind == "days":
        sums = defaultdict(int, {period: 1_000 * len(found) for period, found in days.items()})
    ranges: Ranges = ()
    for period, value in sums.items():
        if value >= streak.target.amount:
            ranges = add(ranges, period)
    return ranges


def state(engine: Engine, streak: Streak) -> Any:
    """The row of the only state of a streak."""
    with reading(engine) as connection:
        return connection.execute(
            sa.text(
                "SELECT recorded::text AS recorded, current_count, longest_count,"
                " last_recorded_at, last_timezone FROM streak_states WHERE streak_id = :id"
            ),
            {"id": streak.id},
        ).one_or_none()


def cut(messages: list[Any], random: Random) -> Iterator[list[Any]]:
    """Some messages in batches of any length."""
    while messages:
        length = random.randint(1, len(messages))
        yield messages[:length]
        messages = messages[length:]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(KINDS),
    st.lists(
        st.tuples(
            st.integers(0, 24 * 12), st.sampled_from(ZONES), st.sampled_from((1, 500, 1_000, 2_999))
        ),
        max_size=14,
    ),
    st.randoms(use_true_random=False),
)
def test_order_duplicates_and_cuts_change_nothing(
    engine: Engine,
    pipeline: Pipeline,
    redis_client: redis.Redis,
    account: Account,
    kind: tuple[str, str],
    sent: list[Sent],
    random: Random,
) -> None:
    now_us = clock.now_us()
    rows = []
    for _ in range(2):
        streak = definition(engine, account, *kind)
        messages = [
            batches.tick(
                streak, occurred_us=now_us - hours * 3_600_000_000, timezone=zone, value=value
            )
            for hours, zone, value in sent
        ]
        random.shuffle(messages)
        again = messages + random.choices(messages, k=len(messages) // 3) if messages else []
        for batch in cut(again, random):
            batches.post(redis_client, batch)
            pipeline.drain()
        rows.append(state(engine, streak))
    assert rows[0] == rows[1]
    expected = naive(streak, sent, now_us)
    if not expected:
        assert rows[0] is None
        return
    assert parse_ranges(rows[0].recorded) == expected
    totals = walk(expected, Rules(1, True))
    assert (rows[0].current_count, rows[0].longest_count) == (totals.count, totals.longest)
