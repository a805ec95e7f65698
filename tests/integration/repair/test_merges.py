"""POST /participants/{id}/merge: two ids become one participant, once, and nothing is lost."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.cli.local.proc import wait_until
from models.db import Engine, reading, transaction
from models.identity.aliases import _SURVIVORS
from models.people import erasure, merging
from settings import Settings
from tests.calls import (
    client_of,
    count,
    make_badge,
    make_streak,
    noon,
    post_award,
    post_json,
    post_tick,
    problem,
)
from tests.conftest import BASE, Account
from tests.integration.batches import PATIENCE_SECONDS, post, run_drain_until_death
from tests.integration.earning import (
    award_points,
    claim,
    make_challenge,
    make_reward,
    make_tier,
    of_participant,
)
from tests.integration.lives import define, live, tables_of_people
from tests.integration.mending import (
    applied,
    day,
    history_of,
    of,
    pause,
    record_days,
    refused,
    streak_of,
)
from tests.integration.participants.test_participant_state import statements
from tests.integration.ranking import Place
from tests.integration.repair.test_exactly_once import entries_of
from tests.integration.workers.test_contention import is_waiting_for_a_lock
from tests.integration.world import World
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver

WHO = "user_42"
GUEST = "guest_7f3a"


def merge(client: FlaskClient, who: str = WHO, guest: str = GUEST, **values: Any) -> TestResponse:
    """POST a merge of a guest into a participant."""
    return post_json(client, f"{BASE}/participants/{who}/merge", {"from": guest} | values)


@pytest.fixture
def two(client: FlaskClient, pipeline: Pipeline) -> FlaskClient:
    """A client of a tenant with two participants, whose days together have no gap."""
    make_streak(client)
    record_days(client, pipeline, 3, 1, who=WHO)
    record_days(client, pipeline, 4, 2, 0, who=GUEST)
    return client


# -- what it does ----------------------------------------------------------------------------


def test_the_streak_is_that_of_all_days_and_the_old_id_an_alias(
    two: FlaskClient, pipeline: Pipeline
) -> None:
    result = applied(two, pipeline, merge(two, reason="Signed up"))
    assert result == {
        "streak_change_id": result["streak_change_id"],
        "kind": "merge",
        "participant_id": WHO,
        "streak_code": None,
        "reason": "Signed up",
        "from": GUEST,
        "is_repeated": False,
        "streaks": [
            {"streak_code": "daily_login", "count": 5, "previous_count": 1, "longest_count": 5}
        ],
        "new_balance": 0,
    }
    for name in (WHO, GUEST):
        found = two.get(f"{BASE}/participants/{name}/streaks").get_json()
        assert found["participant_id"] == WHO
        assert [one["current_count"] for one in found["streaks"]] == [5]
        assert set(history_of(two, name).values()) == {"recorded"}
        state = two.get(f"{BASE}/participants/{name}/state").get_json()
        assert state["participant_id"] == WHO
        assert two.get(f"{BASE}/participants/{name}").get_json()["participant_id"] == WHO
    listed = two.get(f"{BASE}/admin/participants").get_json()
    assert [one["participant_id"] for one in listed["items"]] == [WHO]
    found = two.get(f"{BASE}/admin/participants?search=guest").get_json()
    assert [one["participant_id"] for one in found["items"]] == [WHO]


def test_later_writes_of_the_alias_count_for_the_survivor(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    make_badge(two)
    merge(two)
    record_days(two, pipeline, 5, who=GUEST)
    assert streak_of(two)["current_count"] == 6
    accepted = post_tick(two, GUEST, timestamp=noon(6)).get_json()
    post_award(two, GUEST)
    award_points(two, 30, GUEST)
    award_points(two, 12, WHO)
    pause(two, 9, 8, who=GUEST)
    pipeline.drain()
    shown = two.get(f"{BASE}/ticks/{accepted['tick_id']}").get_json()
    assert shown["result"]["participant_id"] == WHO
    assert of_participant(two, "points", WHO)["balance"] == 42
    assert of_participant(two, "points", GUEST)["balance"] == 42
    for name in (WHO, GUEST):
        [badge] = two.get(f"{BASE}/participants/{name}/badges?earned_only=true").get_json()[
            "badges"
        ]
        assert badge["code"] == "power_user"
        assert two.get(f"{BASE}/participants/{name}/pauses").get_json()["total"] == 1
    assert count(engine, "participants", account.live) == 2, "the alias and no third one"
    retracted = two.delete(f"{of(GUEST)}/periods/{day(6)}")
    assert applied(two, pipeline, retracted)["is_period_removed"] is True
    assert streak_of(two)["current_count"] == 6


def test_protections_pauses_and_freezes_of_both_count(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, freezes={"initial": 0, "max": 5})
    record_days(client, pipeline, 9, 8, who=WHO)
    record_days(client, pipeline, 3, 0, who=GUEST)
    pause(client, 7, 6, who=WHO)
    pause(client, 5, 5, who=GUEST)
    post_json(client, f"{of(WHO)}/repair", {"periods": [day(4)]})
    post_json(client, f"{of(GUEST)}/repair", {"periods": [day(2)]})
    post_json(client, f"{of(WHO)}/freezes/grant", {"amount": 2})
    post_json(client, f"{of(GUEST)}/freezes/grant", {"amount": 3})
    post_json(client, f"{of(GUEST)}/repair", {"periods": [day(1)], "as": "recorded"})
    pipeline.drain()
    applied(client, pipeline, merge(client))
    found = history_of(client)
    wanted = ["recorded"] * 2 + ["pause"] * 3 + ["repair", "recorded", "repair"] + ["recorded"] * 2
    assert [found[day(ago)] for ago in range(9, -1, -1)] == wanted
    entry = streak_of(client)
    assert (entry["current_count"], entry["freezes_remaining"]) == (5, 5)
    assert client.get(f"{of(GUEST)}/freezes").get_json()["freezes_remaining"] == 5


def test_pauses_from_before_a_first_tick_wait_for_the_survivors(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, freezes={"initial": 0, "max": 5})
    for who in (WHO, GUEST):
        assert post_json(client, f"{BASE}/participants", {"participant_id": who}).status_code == 201
    pause(client, 2, 1, who=GUEST)
    post_json(client, f"{of(GUEST)}/freezes/grant", {"amount": 2})
    applied(client, pipeline, merge(client))
    record_days(client, pipeline, 3, 0)
    entry = streak_of(client)
    assert (entry["current_count"], entry["freezes_remaining"]) == (2, 2)


def test_the_targets_progress_of_a_period_adds_up(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client, target={"kind": "value", "amount": 10})
    post_tick(client, WHO, value=4, timestamp=noon(1))
    post_tick(client, GUEST, value=6, timestamp=noon(1))
    post_tick(client, GUEST, value=3)
    pipeline.drain()
    assert client.get(f"{BASE}/participants/{WHO}/streaks").get_json()["streaks"] == []
    result = applied(client, pipeline, merge(client))
    assert [one["count"] for one in result["streaks"]] == [1]
    post_tick(client, GUEST, value=7)
    pipeline.drain()
    assert streak_of(client)["current_count"] == 2
    [today, before] = [
        one["progress"]
        for one in client.get(f"{of()}/history").get_json()["periods"]
    ][:2]  # fmt: skip
    assert [today, before] == [{"value": 10, "target": 10}] * 2


def test_ledgers_and_the_profile_are_the_survivors(
    client: FlaskClient, pipeline: Pipeline, place: Place
) -> None:
    make_badge(client)
    make_tier(client, "silver", 1, 50)
    make_tier(client, "gold", 2, 150)
    make_challenge(client, {"type": "points"}, 150)
    reward_id = make_reward(client, points_cost=20)["id"]
    place.make()
    names = {"display_name": "Jane", "timezone": "Asia/Tokyo", "attributes": {"a": 1, "b": 1}}
    post_json(client, f"{BASE}/participants", {"participant_id": GUEST} | names)
    post_json(client, f"{BASE}/participants", {"participant_id": WHO, "attributes": {"b": 2}})
    award_points(client, 90, GUEST)
    post_award(client, GUEST)
    pipeline.drain()
    earned_at = badge_of(client, GUEST)
    award_points(client, 80, WHO)
    post_award(client, WHO)
    pipeline.drain()
    claim(client, reward_id, GUEST)
    pipeline.drain()
    place.follow()
    assert badge_of(client, WHO) > earned_at
    result = applied(client, pipeline, merge(client))
    place.follow()
    assert result["new_balance"] == 150
    assert badge_of(client, WHO) == earned_at
    profile = client.get(f"{BASE}/participants/{WHO}").get_json()
    assert (profile["display_name"], profile["timezone"]) == ("Jane", "Asia/Tokyo")
    assert profile["attributes"] == {"a": 1, "b": 2}
    points = of_participant(client, "points", WHO)
    assert (points["total_earned"], points["balance"]) == (170, 150)
    movements = client.get(f"{BASE}/participants/{WHO}/points/transactions").get_json()
    assert movements["total"] == 3
    claims = client.get(f"{BASE}/participants/{WHO}/rewards").get_json()
    assert claims["total"] == 1
    tier = client.get(f"{BASE}/participants/{WHO}/tier").get_json()
    assert tier["current_tier"]["code"] == "gold"
    assert len(tier["tier_history"]) >= 2, "those of both"
    [challenge] = of_participant(client, "challenges", WHO)["challenges"]
    assert (challenge["progress"], challenge["status"]) == (150, "completed")
    assert place.top() == [(1, WHO, 170)]


def badge_of(client: FlaskClient, who: str) -> str:
    """When a participant earned its badge."""
    [badge] = client.get(f"{BASE}/participants/{who}/badges?earned_only=true").get_json()["badges"]
    return str(badge["earned_at"])


# -- every table -----------------------------------------------------------------------------


def test_it_decides_about_every_table_that_knows_participants(engine: Engine) -> None:
    named = {
        *merging.LEDGERS, *merging.DECIDED, *merging.JOINED, *merging.LEFT, "participants",
    }  # fmt: skip
    assert set(tables_of_people(engine)) == named


def test_no_row_is_left_with_the_alias(
    client: FlaskClient, pipeline: Pipeline, place: Place, world: World, receiver: Receiver,
    engine: Engine,
) -> None:  # fmt: skip
    receiver.reply = lambda request: Answer(200)
    made = define(client, place, world, receiver.url)
    for who in (WHO, GUEST):
        live(client, place, world, who, made)
    before = per_table(engine, world.tenant.id, WHO), per_table(engine, world.tenant.id, GUEST)
    applied(client, pipeline, merge(client))
    place.follow()
    world.deliver()
    left = per_table(engine, world.tenant.id, GUEST)
    assert {table for table, rows in left.items() if rows} <= {"deliveries"}
    after = per_table(engine, world.tenant.id, WHO)
    for table in merging.LEDGERS:
        assert after[table] >= before[0][table] + before[1][table] > 0, table


def per_table(engine: Engine, tenant_id: int, who: str) -> dict[str, int]:
    """How many rows of each table have a participant's number."""
    found = {}
    with reading(engine) as session:
        for table in tables_of_people(engine):
            columns = session.execute(
                sa.text(
                    "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass)"
                    " AND attname = 'participant_id' AND atttypid = 'bigint'::regtype"
                ),
                {"table": table},
            ).scalars()
            if "participant_id" in set(columns):
                found[table] = session.execute(
                    sa.text(
                        f"SELECT count(*) FROM {table} t JOIN participants p"
                        " ON p.tenant_id = t.tenant_id AND p.id = t.participant_id"
                        " WHERE t.tenant_id = :id AND p.external_id = :who"
                    ),
                    {"id": tenant_id, "who": who},
                ).scalar_one()
    return found


# -- refused ---------------------------------------------------------------------------------


def test_into_itself_is_refused_at_once(two: FlaskClient) -> None:
    problem(merge(two, guest=WHO), 422, "validation_error", "from")


def test_a_circle_is_refused(two: FlaskClient, pipeline: Pipeline) -> None:
    applied(two, pipeline, merge(two))
    assert refused(two, pipeline, merge(two, GUEST, WHO)) == "merge_in_circle"
    assert streak_of(two)["current_count"] == 5


def test_an_unknown_participant_is_refused_and_not_created(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    assert refused(two, pipeline, merge(two, guest="nobody")) == "participant_not_found"
    assert refused(two, pipeline, merge(two, "nobody", WHO)) == "participant_not_found"
    assert count(engine, "participants", account.live) == 2


def test_an_erased_participant_is_refused(two: FlaskClient, pipeline: Pipeline) -> None:
    first, second = merge(two), merge(two, GUEST, WHO)
    assert two.delete(f"{BASE}/participants/{GUEST}").status_code == 200
    pipeline.drain()
    found = [two.get(one.get_json()["status_url"]).get_json()["code"] for one in (first, second)]
    assert found == ["participant_not_found", "participant_erased"]
    record_days(two, pipeline, 1, who=GUEST)
    assert streak_of(two)["current_count"] == 1


def test_one_that_is_suspended_is_refused(two: FlaskClient, pipeline: Pipeline) -> None:
    body = {"external_id": GUEST, "status": "SUSPENDED"}
    assert post_json(two, "/v1/participants", body).status_code == 200
    assert refused(two, pipeline, merge(two)) == "participant_inactive"


def test_an_alias_of_another_is_refused(two: FlaskClient, pipeline: Pipeline) -> None:
    record_days(two, pipeline, 0, who="third")
    applied(two, pipeline, merge(two))
    assert refused(two, pipeline, merge(two, "third", GUEST)) == "already_merged"


def test_an_alias_leads_to_the_survivor_however_long_the_chain(
    two: FlaskClient, pipeline: Pipeline
) -> None:
    record_days(two, pipeline, 5, who="third")
    applied(two, pipeline, merge(two, GUEST, "third"))
    applied(two, pipeline, merge(two))
    record_days(two, pipeline, 6, who="third")
    assert streak_of(two)["current_count"] == 7
    record_days(two, pipeline, 7, who="fourth")
    result = applied(two, pipeline, merge(two, "third", "fourth"))
    assert result["participant_id"] == WHO
    assert streak_of(two, "fourth")["current_count"] == 8


def test_it_needs_an_admin_key_and_known_fields(app: Flask, two: FlaskClient) -> None:
    problem(merge(two, into="x"), 422, "unknown_field", "into")
    problem(merge(two, guest=""), 422, "validation_error", "from")


def test_of_another_tenant_nothing_is_seen(
    app: Flask, account: Account, two: FlaskClient, pipeline: Pipeline
) -> None:
    other = client_of(app, account.keys["test"])
    make_streak(other)
    record_days(other, pipeline, 0, who=WHO)
    assert refused(other, pipeline, merge(other)) == "participant_not_found"
    applied(two, pipeline, merge(two))
    record_days(other, pipeline, 1, who=GUEST)
    assert [streak_of(other, who)["current_count"] for who in (WHO, GUEST)] == [1, 1]


# -- once ------------------------------------------------------------------------------------


def test_a_second_merge_changes_nothing(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    applied(two, pipeline, merge(two))
    before = count(engine, "facts", account.live)
    result = applied(two, pipeline, merge(two))
    assert (result["is_repeated"], result["streaks"]) == (True, [])
    assert count(engine, "facts", account.live) == before
    assert count(engine, "streak_changes", account.live) == 2


def test_a_merge_that_is_delivered_again_is_applied_once(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    award_points(two, 40, GUEST)
    pipeline.drain()
    merge(two)
    entries = entries_of(pipeline.client)
    for _ in range(3):
        post(pipeline.client, entries, account.live.id)
        pipeline.drain()
    assert of_participant(two, "points", WHO)["balance"] == 40
    assert count(engine, "streak_changes", account.live) == 1
    with reading(engine) as session:
        [audited] = session.execute(
            sa.text(
                "SELECT action, detail FROM audit_log"
                " WHERE tenant_id = :t AND action LIKE 'streak_change%'"
            ),
            {"t": account.live.id},
        )
    assert audited.action == "streak_change.merge"
    assert GUEST not in str(audited.detail)


@pytest.mark.parametrize(
    "failpoint", ["drain.after_read", "drain.mid_sql", "drain.after_commit_before_ack"]
)
def test_a_kill_neither_loses_nor_doubles_a_merge(
    failpoint: str, two: FlaskClient, pipeline: Pipeline, settings: Settings
) -> None:
    award_points(two, 40, GUEST)
    award_points(two, 2, WHO)
    pipeline.drain()
    accepted = merge(two).get_json()
    run_drain_until_death(settings, failpoint)
    record_days(two, pipeline, 5, who=GUEST)
    assert two.get(accepted["status_url"]).get_json()["status"] == "applied"
    assert of_participant(two, "points", WHO)["balance"] == 42
    assert streak_of(two)["current_count"] == 6


def test_an_idempotency_key_makes_one_merge(two: FlaskClient, pipeline: Pipeline) -> None:
    key = {"Idempotency-Key": "merge-1"}
    url = f"{BASE}/participants/{WHO}/merge"
    first, second = (post_json(two, url, {"from": GUEST}, key).get_json() for _ in range(2))
    assert first == second
    problem(post_json(two, url, {"from": "x"}, key), 409, "idempotency_conflict")
    pipeline.drain()
    assert two.get(first["status_url"]).get_json()["result"]["is_repeated"] is False


def test_a_batch_answers_each_item(two: FlaskClient, pipeline: Pipeline) -> None:
    record_days(two, pipeline, 5, who="third")
    items = [
        {"participant_id": WHO, "from": GUEST},
        {"participant_id": WHO, "from": WHO},
        {"participant_id": WHO, "from": "third", "reason": "Twice"},
        {"participant_id": WHO},
    ]
    answer = post_json(two, f"{BASE}/merges/batch", {"merges": items}).get_json()
    assert (answer["accepted"], answer["rejected"]) == (2, 2)
    assert [one["error"]["errors"][0]["field"] for one in answer["results"] if "error" in one] == [
        "from", "from",
    ]  # fmt: skip
    pipeline.drain()
    assert streak_of(two)["current_count"] == 6


# -- facts -----------------------------------------------------------------------------------


def test_one_fact_tells_of_the_new_count_and_older_facts_are_the_survivors(
    two: FlaskClient, pipeline: Pipeline
) -> None:
    applied(two, pipeline, merge(two, reason="Signed up"))
    for name in (WHO, GUEST):
        found = two.get(f"{BASE}/facts?participant_id={name}").get_json()["items"]
        assert len(found) >= 6, "those of both"
        [told] = [one for one in found if one["type"] == "behavior.streak_repaired"]
        assert told["participant_id"] == WHO
        changed = {field: told["payload"][field] for field in ("count", "previous_count", "cause")}
        assert changed == {"count": 5, "previous_count": 1, "cause": "merge"}


def test_what_was_published_of_either_is_not_published_again(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    with transaction(engine) as session:
        session.execute(
            sa.text(
                "UPDATE streak_states s SET told_at_risk = 20000, told_reminder = 20001,"
                " told_reminder_due_at = '2026-01-01T00:00:00Z'"
                " FROM participants p WHERE p.id = s.participant_id AND p.tenant_id = s.tenant_id"
                " AND s.tenant_id = :t AND p.external_id = :who"
            ),
            {"t": account.live.id, "who": GUEST},
        )
    applied(two, pipeline, merge(two))
    statement = """SELECT told_at_risk, told_reminder, told_reminder_due_at IS NOT NULL
        FROM streak_states WHERE tenant_id = :t"""
    with reading(engine) as session:
        [told] = session.execute(sa.text(statement), {"t": account.live.id}).all()
    assert tuple(told) == (20_000, 20_001, True)


# -- meanwhile -------------------------------------------------------------------------------


def test_ticks_for_both_meanwhile_wait_and_count(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    """A drain that holds both waits for nobody; a merge that waits for it sees its ticks."""
    merge(two)
    worker = threading.Thread(target=pipeline.drain)
    with transaction(engine) as session:
        session.execute(
            sa.text("SELECT FROM participants WHERE tenant_id = :t AND external_id = :who"
                    " FOR UPDATE"),
            {"t": account.live.id, "who": WHO},
        )  # fmt: skip
        worker.start()
        assert wait_until(lambda: is_waiting_for_a_lock(engine), PATIENCE_SECONDS)
    worker.join()
    assert streak_of(two)["current_count"] == 5


def test_an_erasure_of_either_id_erases_all_of_them(
    two: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account
) -> None:
    applied(two, pipeline, merge(two))
    late = post_tick(two, GUEST).get_json()
    assert two.delete(f"{BASE}/participants/{GUEST}").status_code == 200
    pipeline.drain()
    assert two.get(late["status_url"]).get_json()["code"] == "participant_erased"
    for table in ("participants", "ticks", "facts", "streak_states"):
        assert count(engine, table, account.live) == 0, table
    with reading(engine) as session:
        secret = account.live.tick_secret
        found = session.execute(
            sa.text("SELECT digest FROM erasures WHERE tenant_id = :t"), {"t": account.live.id}
        ).scalars()
        digests = set(map(bytes, found))
    assert digests == {erasure.digest(secret, name) for name in (WHO, GUEST)}


def test_the_personal_data_of_either_id_name_all(two: FlaskClient, pipeline: Pipeline) -> None:
    applied(two, pipeline, merge(two))
    for name in (WHO, GUEST):
        found = two.get(f"{BASE}/participants/{name}/export").get_json()
        assert (found["participant_id"], found["profile"]["aliases"]) == (WHO, [GUEST])


def test_tenants_without_aliases_cost_the_drain_no_statement(
    two: FlaskClient, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias is a column of the row that each batch locks anyway."""
    pipeline.drain()  # the first may also plan
    with statements(monkeypatch) as plain:
        record_days(two, pipeline, 5, who=WHO)
    assert [text for text in plain if "merged_into" in text], "the lock"
    assert not [text for text in plain if "JOIN participants s" in text or text == _SURVIVORS]
    applied(two, pipeline, merge(two))
    with statements(monkeypatch) as of_alias:
        record_days(two, pipeline, 6, who=GUEST)
    assert _SURVIVORS in of_alias
