"""What is done to a streak is applied once: delivered again, killed half-way, mixed with ticks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.db import Engine, reading, transaction
from models.ledgers import dead_letters
from settings import Settings
from tests.calls import count, make_streak, noon, post_json, post_tick
from tests.conftest import BASE, Account
from tests.integration.batches import post, run_drain_until_death
from tests.integration.earning import award_points, of_participant
from tests.integration.letters import fail_every_try
from tests.integration.mending import WHO, day, of, pause, record_days, streak_of
from tests.pipeline import Pipeline
from workers.apply.turns import turns
from workers.intake.messages import Message, PauseRemovalV1, TickV1
from workers.intake.stream import STREAMS

Call = Callable[[FlaskClient], TestResponse]


def _pause(client: FlaskClient) -> TestResponse:
    return pause(client, 2, 1)


def _repair(client: FlaskClient) -> TestResponse:
    return post_json(client, f"{of()}/repair", {"periods": [day(1)]})


def _restore(client: FlaskClient) -> TestResponse:
    return post_json(client, f"{of()}/restore", {})


def _retract(client: FlaskClient) -> TestResponse:
    return client.delete(f"{of()}/periods/{day(3)}")


def _grant(client: FlaskClient) -> TestResponse:
    return post_json(client, f"{of()}/freezes/grant", {"amount": 2})


def _buy(client: FlaskClient) -> TestResponse:
    return post_json(client, f"{of()}/freezes/buy", {"amount": 2})


CALLS = [_pause, _repair, _restore, _retract, _grant, _buy]


@pytest.fixture
def begun(client: FlaskClient, pipeline: Pipeline) -> FlaskClient:
    """A client of a tenant with a streak that has a gap, and a participant with points."""
    make_streak(client, freezes={"price_points": 30})
    award_points(client, 100, WHO)
    record_days(client, pipeline, 4, 3, 0)
    return client


def entries_of(client: redis.Redis) -> list[bytes]:
    """The entries that wait."""
    found: list[Any] = [client.xrange(name) for name in STREAMS]
    return [fields[b"m"] for entries in found for _, fields in entries]


def everything(client: FlaskClient, engine: Engine, account: Account) -> dict[str, Any]:
    """What a change may change."""
    tables = ("streak_changes", "pauses", "facts", "point_transactions", "audit_log", "rejections")
    return {table: count(engine, table, account.live) for table in tables} | {
        "streak": streak_of(client),
        "points": of_participant(client, "points", WHO),
    }


@pytest.mark.parametrize("call", CALLS)
def test_a_change_that_is_delivered_again_is_applied_once(
    call: Call, begun: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    accepted = call(begun)
    assert accepted.status_code == 202, accepted.text
    entries = entries_of(pipeline.client)
    assert len(entries) == 1
    pipeline.drain()
    before = everything(begun, engine, account)
    assert before["streak_changes"] == 1
    for _ in range(2):
        post(pipeline.client, entries, account.live.id)
    pipeline.drain()
    assert everything(begun, engine, account) == before


def test_a_refused_change_that_is_delivered_again_stays_refused(
    begun: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    accepted = begun.delete(f"{of()}/periods/{day(1)}").get_json()
    entries = entries_of(pipeline.client)
    pipeline.drain()
    record_days(begun, pipeline, 1)  # by now it could be applied
    post(pipeline.client, entries, account.live.id)
    pipeline.drain()
    found = begun.get(accepted["status_url"]).get_json()
    assert (found["status"], found["code"]) == ("rejected", "period_not_recorded")
    assert streak_of(begun)["current_count"] == 2


@pytest.mark.parametrize(
    "failpoint", ["drain.after_read", "drain.mid_sql", "drain.after_commit_before_ack"]
)
def test_a_kill_neither_loses_nor_doubles_a_change(
    failpoint: str,
    begun: FlaskClient,
    pipeline: Pipeline,
    settings: Settings,
    engine: Engine,
    account: Account,
) -> None:
    accepted = [call(begun).get_json() for call in CALLS]
    post_tick(begun, timestamp=noon(5))
    run_drain_until_death(settings, failpoint)
    is_committed = failpoint == "drain.after_commit_before_ack"
    assert count(engine, "streak_changes", account.live) == (len(CALLS) - 1 if is_committed else 0)
    pipeline.drain()
    states = [begun.get(one["status_url"]).get_json()["status"] for one in accepted]
    assert states == ["applied", "applied", "rejected", "applied", "applied", "applied"]
    assert of_participant(begun, "points", WHO)["balance"] == 40
    assert streak_of(begun)["freezes_remaining"] == 4


def test_a_change_that_cannot_be_applied_becomes_a_dead_letter(
    begun: FlaskClient, pipeline: Pipeline, settings: Settings, engine: Engine, account: Account
) -> None:
    accepted = _restore(begun).get_json()
    with transaction(engine) as session:  # no fact about the participant can get a number
        session.execute(
            sa.text("UPDATE participants SET fact_sequence = :most WHERE tenant_id = :id"),
            {"most": 2**63 - 1, "id": account.live.id},
        )
    fail_every_try(pipeline, settings)
    assert begun.get(accepted["status_url"]).get_json()["status"] == "dead"
    with reading(engine) as session:
        wanted = dead_letters.DeadLetterQuery(10, [account.live.id])
        [letter] = dead_letters.page(session, wanted)
    assert letter.kind == "streak_change"
    shown = begun.get(f"{BASE}/admin/dead-letters/{letter.id}").get_json()
    assert shown["write"]["streak_code"] == "daily_login"


def test_an_erased_participants_change_is_refused(
    begun: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    accepted = _pause(begun).get_json()
    assert begun.delete(f"{BASE}/participants/{WHO}").status_code == 200
    pipeline.drain()
    found = begun.get(accepted["status_url"]).get_json()
    assert (found["status"], found["code"]) == ("rejected", "participant_erased")
    assert count(engine, "pauses", account.live) == 0


def test_turns_keep_each_participants_order_and_are_few() -> None:
    def tick(who: str) -> Message:
        return TickV1(1, "t", who, 1, 0)

    def change(who: str) -> Message:
        return PauseRemovalV1(1, "c", who, "p")

    writes = [change("ann"), tick("bob"), tick("ann"), change("bob"), change("cid"), tick("cid")]
    found = turns(writes)
    assert [[type(one) for one in turn] for turn in found] == [
        [TickV1], [PauseRemovalV1] * 3, [TickV1] * 2,
    ]  # fmt: skip
    for who in ("ann", "bob", "cid"):
        flat = [one for turn in found for one in turn if one.participant_id == who]
        assert flat == [one for one in writes if one.participant_id == who]
