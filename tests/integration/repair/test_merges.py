"""POST /participants/{id}/merge: two ids become one participant, once, and nothing is lost."""

from __future__ import annotations

import sqlalchemy as sa
from flask.testing import FlaskClient

from models.db import Engine, reading
from models.people import merging
from tests.calls import (
    count,
    make_badge,
    make_streak,
    noon,
    post_award,
    post_json,
    post_tick,
)
from tests.conftest import BASE, Account
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
    GUEST,
    WHO,
    applied,
    day,
    history_of,
    merge,
    of,
    pause,
    record_days,
    streak_of,
)
from tests.integration.ranking import Place
from tests.integration.world import World
from tests.pipeline import Pipeline
from tests.receiver import Answer, Receiver

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
