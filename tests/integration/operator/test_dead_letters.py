"""What could not be applied is looked at, mended, and tried once more; or given up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.resources.operator.dead_letter_actions import REPLAYED_MAX
from models import clock, ids
from models.db import Engine, reading, transaction
from models.ledgers import dead_letters
from models.streaks.states import Streak
from settings import Settings
from tests.calls import (
    another_app,
    client_of,
    make_badge,
    make_streak,
    noon,
    post_tick,
    problem,
)
from tests.conftest import BASE, Account
from tests.integration.batches import award, count, post, sequences
from tests.integration.letters import acts, fail_every_try, keep
from tests.pipeline import Pipeline
from workers.intake.stream import depth

LETTERS = f"{BASE}/admin/dead-letters"
MOST = 2**63 - 1  # events of a participant: one more is out of every range
FIELDS = ["id", "kind", "participant_id", "status", "error", "tries", "accepted_at"]
FIELDS += ["dead_since", "settled_at"]


def set_events(engine: Engine, account: Account, events: int, who: str = "user_42") -> None:
    """Break a participant so that no write of theirs can be applied, or mend them."""
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "INSERT INTO participants (tenant_id, external_id, total_events)"
                " VALUES (:tenant_id, :who, :events)"
                " ON CONFLICT (tenant_id, external_id) DO UPDATE SET total_events = :events"
            ),
            {"tenant_id": account.live.id, "who": who, "events": events},
        )


@pytest.fixture
def bury(
    engine: Engine, account: Account, client: FlaskClient, pipeline: Pipeline, settings: Settings
) -> Callable[..., str]:
    """Post a tick that cannot be applied, for the reason that its participant is broken."""
    make_streak(client)

    def one(**values: Any) -> str:
        set_events(engine, account, MOST)
        posted = post_tick(client, **values)
        assert posted.status_code == 202, posted.text
        fail_every_try(pipeline, settings)
        return str(posted.get_json()["tick_id"])

    return one


def status_of(client: FlaskClient, tick_id: str) -> str:
    return str(client.get(f"{BASE}/ticks/{tick_id}").get_json()["status"])


def letter_of(client: FlaskClient, letter_id: str) -> dict[str, Any]:
    response = client.get(f"{LETTERS}/{letter_id}")
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def replay(client: FlaskClient, letter_id: object) -> TestResponse:
    return client.post(f"{LETTERS}/{letter_id}/replay", json={})


# -- one -------------------------------------------------------------------------------------


def test_a_mended_write_is_replayed_and_applied_once_with_its_fact(
    bury: Callable[..., str],
    engine: Engine,
    account: Account,
    client: FlaskClient,
    pipeline: Pipeline,
) -> None:
    tick_id = bury(timestamp=noon(1), metadata={"a": "ü"})
    assert status_of(client, tick_id) == "dead"
    letter = letter_of(client, tick_id)
    assert list(letter) == [*FIELDS, "write"]
    assert (letter["status"], letter["tries"], letter["settled_at"]) == ("dead", 5, None)
    assert "bigint out of range" in letter["error"]
    assert letter["write"] == {
        "participant_id": "user_42",
        "streak_code": "daily_login",
        "badge_code": None,
        "tier_code": None,
        "reward_code": None,
        "amount": None,
        "reason": None,
        "timestamp": noon(1),
        "timezone": None,
        "metadata": {"a": "ü"},
    }
    set_events(engine, account, 0)
    for _ in range(2):  # once more does no harm
        answer = replay(client, tick_id)
        assert (answer.status_code, answer.get_json()["status"]) == (202, "replayed")
        assert list(answer.get_json()) == FIELDS
        assert status_of(client, tick_id) == "accepted"
    pipeline.drain()
    told = client.get(f"{BASE}/ticks/{tick_id}").get_json()
    assert (told["status"], told["result"]["new_count"]) == ("applied", 1)
    assert replay(client, tick_id).status_code == 202
    pipeline.drain()
    assert status_of(client, tick_id) == "applied"
    assert letter_of(client, tick_id)["status"] == "replayed"
    assert count(engine, "ticks", account.live.id) == 1
    assert sequences(engine, account.live.id) == {"user_42": [1]}
    assert acts(engine, account.live.id) == [("dead_letter.replayed", tick_id)] * 3


def test_what_fails_every_try_again_is_dead_again_and_its_tries_count_on(
    bury: Callable[..., str], client: FlaskClient, pipeline: Pipeline, settings: Settings
) -> None:
    tick_id = bury()
    before = letter_of(client, tick_id)
    assert replay(client, tick_id).status_code == 202
    fail_every_try(pipeline, settings)
    after = letter_of(client, tick_id)
    assert (after["status"], after["tries"], after["settled_at"]) == ("dead", 10, None)
    assert after["dead_since"] > before["dead_since"]
    assert status_of(client, tick_id) == "dead"


def test_a_discarded_one_is_told_as_dead_and_is_never_replayed(
    bury: Callable[..., str],
    engine: Engine,
    account: Account,
    client: FlaskClient,
    redis_client: redis.Redis,
) -> None:
    tick_id = bury()
    for _ in range(2):
        answer = client.post(f"{LETTERS}/{tick_id}/discard", json={})
        assert (answer.status_code, answer.get_json()["status"]) == (200, "discarded")
    problem(replay(client, tick_id), 409, "dead_letter_discarded")
    everybody = client.post(f"{LETTERS}/replay", json={})
    assert everybody.get_json() == {"replayed": 0, "left": 0}
    assert depth(redis_client) == 0
    assert status_of(client, tick_id) == "dead"
    assert acts(engine, account.live.id) == [("dead_letter.discarded", tick_id)]


def test_a_replayed_one_cannot_be_discarded(
    engine: Engine, streak: Streak, client: FlaskClient
) -> None:
    letter = keep(engine, streak)
    assert replay(client, letter.id).status_code == 202
    refused = client.post(f"{LETTERS}/{letter.id}/discard", json={})
    problem(refused, 409, "dead_letter_replayed")


def test_an_award_of_a_badge_that_was_missing_is_replayed_too(
    engine: Engine, account: Account, client: FlaskClient, pipeline: Pipeline, settings: Settings
) -> None:
    missing = str(ids.uuid7(clock.now_us()))
    message = award(account.live.id, missing)
    post(pipeline.client, [message])
    fail_every_try(pipeline, settings)
    letter = letter_of(client, message.id)
    assert (letter["kind"], letter["write"]["badge_code"]) == ("award", None)
    there = make_badge(client)["id"]
    with transaction(engine) as session:
        values = {"there": there, "missing": missing}
        session.execute(sa.text("UPDATE badges SET id = :missing WHERE id = :there"), values)
    assert letter_of(client, message.id)["kind"] == "award"
    assert replay(client, message.id).status_code == 202
    pipeline.drain()
    assert client.get(f"{BASE}/awards/{message.id}").get_json()["status"] == "applied"


def test_one_that_this_release_cannot_read_is_shown_and_not_replayed(
    engine: Engine, streak: Streak, client: FlaskClient, redis_client: redis.Redis
) -> None:
    letter = keep(engine, streak, message='["tick.99",1]')
    assert letter_of(client, str(letter.id))["write"] is None
    problem(replay(client, letter.id), 409, "dead_letter_unreadable")
    answer = client.post(f"{LETTERS}/replay", json={})
    assert answer.get_json() == {"replayed": 0, "left": 1}
    assert depth(redis_client) == 0


def test_without_redis_nothing_is_replayed(
    engine: Engine, streak: Streak, account: Account, settings: Settings, client: FlaskClient
) -> None:
    letter = keep(engine, streak)
    with another_app(settings, redis_url="redis://127.0.0.1:1") as lonely:
        problem(replay(client_of(lonely, account.keys["live"]), letter.id), 503, "unavailable")
    assert letter_of(client, str(letter.id))["status"] == "dead"


def test_with_a_full_intake_nothing_is_replayed(
    engine: Engine, streak: Streak, account: Account, settings: Settings, client: FlaskClient
) -> None:
    letter = keep(engine, streak)
    with another_app(settings, intake_entries_max=0) as full:
        there = client_of(full, account.keys["live"])
        problem(replay(there, letter.id), 503, "overloaded")
        problem(there.post(f"{LETTERS}/replay", json={}), 503, "overloaded")
    assert letter_of(client, str(letter.id))["status"] == "dead"
    assert acts(engine, account.live.id) == []


def test_a_write_that_fails_while_it_is_being_replayed_is_dead_in_the_end(
    engine: Engine, streak: Streak
) -> None:
    letter = keep(engine, streak)

    def bury_again() -> None:
        with transaction(engine) as session:
            dead_letters.append(session, letter)

    burying = threading.Thread(target=bury_again)
    with transaction(engine) as session:
        locked = dead_letters.lock(session, letter.tenant_id, letter.id)
        burying.start()
        burying.join(0.3)
        assert burying.is_alive(), "it waits for who replays"
        dead_letters.close(session, locked, "replayed", locked.dead_since)
    burying.join()
    with reading(engine) as session:
        found = dead_letters.find(session, letter.tenant_id, letter.id)
    assert found is not None
    assert (found.status, found.tries) == ("dead", 10)


def test_the_same_entry_buried_twice_is_one_letter_with_its_tries(
    engine: Engine, streak: Streak
) -> None:
    letter = keep(engine, streak)
    with transaction(engine) as session:
        dead_letters.append(session, letter)
        found = dead_letters.find(session, letter.tenant_id, letter.id)
    assert found is not None
    assert found.tries == 5


# -- many ------------------------------------------------------------------------------------


def test_all_that_are_dead_are_replayed_so_many_at_a_time(
    engine: Engine, streak: Streak, client: FlaskClient, pipeline: Pipeline
) -> None:
    some = [keep(engine, streak, f"user_{nth % 7}") for nth in range(REPLAYED_MAX + 3)]
    first = client.post(f"{LETTERS}/replay", json={"kind": "tick"})
    assert (first.status_code, first.get_json()) == (202, {"replayed": REPLAYED_MAX, "left": 3})
    assert client.post(f"{LETTERS}/replay", json={}).get_json() == {"replayed": 3, "left": 0}
    assert client.post(f"{LETTERS}/replay", json={}).get_json() == {"replayed": 0, "left": 0}
    pipeline.drain()
    assert count(engine, "ticks", streak.tenant_id) == len(some)
    assert {act for act, _ in acts(engine, streak.tenant_id)} == {"dead_letter.replayed"}
    assert len(acts(engine, streak.tenant_id)) == len(some)


def test_replaying_them_all_is_not_the_name_of_one(client: FlaskClient) -> None:
    refused = client.get(f"{LETTERS}/replay")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["Allow"] == "OPTIONS, POST"


def test_only_the_chosen_ones_are_replayed(
    engine: Engine, streak: Streak, client: FlaskClient
) -> None:
    wanted, other = keep(engine, streak, "ann"), keep(engine, streak, "bob")
    chosen = {"kind": "tick", "participant_id": "ann"}
    assert client.post(f"{LETTERS}/replay", json=chosen).get_json() == {"replayed": 1, "left": 0}
    assert letter_of(client, str(wanted.id))["status"] == "replayed"
    assert letter_of(client, str(other.id))["status"] == "dead"
    problem(client.post(f"{LETTERS}/replay", json={"kind": "x"}), 422, "validation_error", "kind")


def test_the_list_is_paged_and_filtered_the_newest_first(
    engine: Engine, streak: Streak, client: FlaskClient
) -> None:
    made = [keep(engine, streak, who) for who in ("ann", "bob", "ann", "bob", "ann")]
    expected = sorted((str(one.id) for one in made), reverse=True)
    seen: list[str] = []
    cursor = ""
    while True:
        page = client.get(f"{LETTERS}?limit=2{cursor}").get_json()
        seen += [one["id"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&after={page['next_cursor']}"
    assert seen == expected
    assert len(client.get(f"{LETTERS}?participant_id=ann").get_json()["items"]) == 3
    assert client.get(f"{LETTERS}?kind=award").get_json()["items"] == []
    replay(client, made[0].id)
    replayed = client.get(f"{LETTERS}?status=replayed").get_json()["items"]
    assert [one["id"] for one in replayed] == [str(made[0].id)]
    assert replayed[0]["settled_at"] is not None
    for name in ("status", "kind", "after", "limit"):
        problem(client.get(f"{LETTERS}?{name}=0"), 422, "validation_error", name)


def test_nobody_else_sees_or_settles_them(
    app: Flask,
    engine: Engine,
    streak: Streak,
    account: Account,
    make_account: Callable[..., Account],
) -> None:
    letter = keep(engine, streak)
    for key in (account.keys["test"], make_account().keys["live"]):
        stranger = client_of(app, key)
        assert stranger.get(LETTERS).get_json()["items"] == []
        code = "dead_letter_not_found"
        problem(stranger.get(f"{LETTERS}/{letter.id}"), 404, code)
        problem(replay(stranger, letter.id), 404, code)
        problem(stranger.post(f"{LETTERS}/{letter.id}/discard", json={}), 404, code)
        assert stranger.post(f"{LETTERS}/replay", json={}).get_json()["replayed"] == 0
    problem(replay(client_of(app, account.keys["live"]), "no-uuid"), 404, code)
