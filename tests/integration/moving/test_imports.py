"""POST /admin/import/…: brought along once, however often it is sent, and silently."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from api.cli.local.proc import wait_until
from models import clock
from models.db import Engine, transaction
from models.rules.periods import HOUR_US
from tests.calls import (
    client_of,
    count,
    make_badge,
    make_key,
    make_streak,
    noon,
    post_award,
    post_json,
    post_tick,
    problem,
)
from tests.conftest import BASE, Account
from tests.integration.batches import PATIENCE_SECONDS
from tests.integration.earning import (
    assert_the_books_balance,
    award_points,
    claim,
    ledger,
    make_challenge,
    make_reward,
    make_tier,
    of_participant,
)
from tests.integration.ranking import Place
from tests.integration.workers.test_contention import is_waiting_for_a_lock
from tests.pipeline import Pipeline

WHO = "user_42"


def bring(client: FlaskClient, kind: str, *rows: dict[str, Any]) -> dict[str, Any]:
    """POST /admin/import/{kind}; every row is taken."""
    found = sent(client, kind, *rows)
    assert found["rejected"] == 0, found
    return found


def sent(client: FlaskClient, kind: str, *rows: dict[str, Any]) -> dict[str, Any]:
    response = post_json(client, f"{BASE}/admin/import/{kind}", {kind: list(rows)})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    assert [one["index"] for one in found["results"]] == list(range(len(rows)))
    assert found["imported"] + found["unchanged"] + found["rejected"] == len(rows)
    return found


def balance(who: str = WHO, earned: int = 1250, spent: int = 250, **more: Any) -> dict[str, Any]:
    return {"participant_id": who, "total_earned": earned, "total_spent": spent} | more


# -- balances --------------------------------------------------------------------------------


def test_a_balance_is_opened_once_in_the_ledger_and_nobody_is_told(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    assert bring(client, "balances", balance(), balance("b", 5, 5))["imported"] == 2
    assert bring(client, "balances", balance(), balance("b", 5, 5))["unchanged"] == 2
    assert bring(client, "balances", balance(), balance())["unchanged"] == 2
    points = of_participant(client, "points", WHO)
    assert (points["balance"], points["total_earned"], points["total_spent"]) == (1000, 1250, 250)
    moved = of_participant(client, "points/transactions", WHO)["items"]
    assert {(one["kind"], one["amount"]) for one in moved} == {
        ("opening", 1250), ("opening_spent", -250),
    }  # fmt: skip
    assert_the_books_balance(engine, account.live.id)
    assert count(engine, "facts", account.live) == 0
    award_points(client, 10, WHO)
    pipeline.drain()
    assert of_participant(client, "points", WHO)["balance"] == 1010


def test_what_was_earned_here_before_stays_on_top(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    award_points(client, 30, WHO)
    pipeline.drain()
    bring(client, "balances", balance())
    assert of_participant(client, "points", WHO)["balance"] == 1030
    assert_the_books_balance(engine, account.live.id)


def test_other_totals_for_an_opened_balance_are_refused_and_change_nothing(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    bring(client, "balances", balance())
    found = sent(client, "balances", balance(earned=1251), balance("b"))
    assert found["results"][0]["error"]["code"] == "balance_conflict"
    assert "1250 earned and 250 spent" in found["results"][0]["error"]["detail"]
    assert found["results"][1]["outcome"] == "imported"
    assert of_participant(client, "points", WHO)["balance"] == 1000


def test_a_balance_comes_with_its_tier_or_with_that_which_its_points_lead_to(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_tier(client, "silver", 1, 1000)
    make_tier(client, "gold", 2, 100_000)
    when = noon(100)
    bring(
        client, "balances", balance("a"), balance("b", tier_code="gold", tier_achieved_at=when),
        balance("c", 10, 0),
    )  # fmt: skip
    tiers = {who: client.get(f"{BASE}/participants/{who}").get_json()["tier"] for who in "abc"}
    assert (tiers["a"]["code"], tiers["b"]["code"], tiers["c"]) == ("silver", "gold", None)
    assert tiers["b"]["achieved_at"] == when
    [change] = of_participant(client, "tier", "b")["tier_history"]
    assert change["achieved_at"] == when


def test_challenges_and_leaderboards_do_not_count_an_opening_balance(
    client: FlaskClient, place: Place
) -> None:
    make_challenge(client, {"type": "points"}, 100, points=7)
    place.make()
    bring(client, "balances", balance())
    place.points(**{WHO: 5})
    assert place.top() == [(1, WHO, 5)]
    assert of_participant(client, "points", WHO)["balance"] == 1005


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (balance(spent=1251), "validation_error"),
        (balance(earned=-1, spent=0), "validation_error"),
        (balance(earned=10**13, spent=0), "validation_error"),
        (balance(tier_code="nope"), "tier_not_found"),
        (balance(tier_achieved_at="2999-01-01T00:00:00Z"), "validation_error"),
        ({"participant_id": WHO}, "validation_error"),
        ("no object", "validation_error"),
    ],
)
def test_a_bad_row_is_refused_with_nothing_stored_and_spoils_no_other(
    client: FlaskClient, engine: Engine, account: Account, row: Any, code: str
) -> None:
    found = sent(client, "balances", row, balance("b"))
    assert found["results"][0]["error"]["code"] == code
    assert found["results"][1]["outcome"] == "imported"
    assert [one.who for one in ledger(engine, account.live.id)] == ["b", "b"]
    assert count(engine, "participants", account.live) == 1


def test_an_import_and_a_live_write_of_one_participant_wait_for_one_another(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    award_points(client, 30, WHO)
    pipeline.drain()
    award_points(client, 4, WHO)
    lock = sa.text("SELECT FROM participants WHERE tenant_id = :id FOR NO KEY UPDATE")
    both = [
        threading.Thread(target=pipeline.drain),
        threading.Thread(target=lambda: bring(client, "balances", balance())),
    ]
    with transaction(engine) as session:
        session.execute(lock, {"id": account.live.id})
        for one in both:
            one.start()
        assert wait_until(lambda: is_waiting_for_a_lock(engine), PATIENCE_SECONDS)
    for one in both:
        one.join(60)
    assert of_participant(client, "points", WHO)["balance"] == 1034
    assert_the_books_balance(engine, account.live.id)


def test_what_was_accepted_before_an_erasure_stays_out_of_an_imported_participant(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    late = award_points(client, 500, WHO).get_json()["transaction_id"]
    client.delete(f"{BASE}/participants/{WHO}")
    bring(client, "balances", balance())
    pipeline.drain()
    assert client.get(f"{BASE}/points/transactions/{late}").get_json()["status"] == "rejected"
    assert of_participant(client, "points", WHO)["balance"] == 1000
    assert client.delete(f"{BASE}/participants/{WHO}").status_code == 200
    assert of_participant(client, "points", WHO)["balance"] == 0
    assert bring(client, "balances", balance())["imported"] == 1


# -- claims, challenges, participants --------------------------------------------------------


def test_a_claim_is_history_that_counts_for_the_limit_and_costs_nothing_again(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    reward = make_reward(client, points_cost=20, stock=5, max_claims_per_user=2)
    row = {"participant_id": WHO, "reward_code": "coupon", "claimed_at": noon(9),
           "points_deducted": 20, "metadata": {"size": "L"}}  # fmt: skip
    twin = row | {"claim_id": "order-2"}
    bring(client, "balances", balance())
    assert bring(client, "claims", row, twin, row)["unchanged"] == 1
    assert bring(client, "claims", twin, row)["unchanged"] == 2
    history = of_participant(client, "rewards", WHO)
    assert [one["claimed_at"] for one in history["items"]] == [noon(9)] * 2
    assert client.get(f"{BASE}/participants/{WHO}").get_json()["rewards_claimed"] == 2
    assert of_participant(client, "points", WHO)["balance"] == 1000
    assert client.get(f"{BASE}/rewards").get_json()["rewards"][0]["available"] == 5
    claimed = claim(client, reward["id"], WHO).get_json()["claim_id"]
    pipeline.drain()
    outcome = client.get(f"{BASE}/claims/{claimed}").get_json()
    assert (outcome["status"], outcome["code"]) == ("rejected", "reward_limit_reached")
    found = sent(client, "claims", row | {"reward_code": "nope"})
    assert found["results"][0]["error"]["code"] == "reward_not_found"


def test_progress_is_raised_and_a_completion_gives_no_prize_then_or_later(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_challenge(client, {"type": "points"}, 100, points=7)
    make_challenge(client, {"type": "points"}, 100, "other", points=7)
    done = {"participant_id": WHO, "challenge_code": "goal", "progress": 100,
            "completed_at": noon(9)}  # fmt: skip
    begun = {"participant_id": WHO, "challenge_code": "other", "progress": 60}
    assert bring(client, "challenges", done, begun)["imported"] == 2
    assert bring(client, "challenges", done, begun | {"progress": 50})["unchanged"] == 2
    shown = {one["code"]: one for one in of_participant(client, "challenges", WHO)["challenges"]}
    assert (shown["goal"]["completed_at"], shown["other"]["progress"]) == (noon(9), 60)
    assert count(engine, "point_transactions", account.live) == 0
    award_points(client, 40, WHO)
    pipeline.drain()
    assert of_participant(client, "points", WHO)["balance"] == 47


def test_a_participant_is_brought_along_with_programs_by_name_and_its_status_holds(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    for name in ("Loyalty", "Twice", "Twice"):
        post_json(client, f"{BASE}/admin/programs", {"name": name})
    row = {"participant_id": WHO, "display_name": "Jane", "timezone": "Australia/Sydney",
           "tags": ["vip"], "attributes": {"plan": "x"}, "status": "SUSPENDED",
           "created_at": noon(500),
           "programs": [{"name": "Loyalty", "enrolled_at": noon(9)}]}  # fmt: skip
    for _ in range(2):
        bring(client, "participants", row)
    shown = client.get(f"{BASE}/participants/{WHO}").get_json()
    assert (shown["display_name"], shown["created_at"]) == ("Jane", noon(500))
    assert not shown["is_active"]
    problem(post_tick(client, WHO), 409, "participant_inactive")
    bring(client, "participants", {"participant_id": WHO, "status": "ACTIVE"})
    assert post_tick(client, WHO).status_code == 202
    for name, said in (("nope", "not found"), ("Twice", "several")):
        found = sent(client, "participants", row | {"programs": [{"name": name}]})
        assert found["results"][0]["error"]["code"] == "program_not_found"
        assert said in found["results"][0]["error"]["detail"]


def test_an_award_may_say_when_it_was_earned_but_not_tomorrow(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_badge(client)
    post_award(client, WHO, earned_at=noon(300))
    problem(post_award(client, WHO, earned_at="2999-01-01T00:00:00Z"), 422, "validation_error",
            "earned_at")  # fmt: skip
    pipeline.drain()
    [badge] = client.get(f"{BASE}/participants/{WHO}").get_json()["badges"]
    assert badge["earned_at"] == noon(300)


def test_without_effects_no_milestone_and_no_challenge_counts(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_badge(client)
    make_streak(client, milestones=[{"count": 1, "badge_code": "power_user", "points": 10}])
    make_challenge(client, {"type": "ticks", "streak_code": "daily_login"}, 1, points=7)
    make_challenge(client, {"type": "badges"}, 1, "badges", points=7)
    tick = {"participant_id": WHO, "streak_code": "daily_login", "timestamp": noon(1)}
    batch = f"{BASE}/streaks/record/batch"
    problem(post_json(client, f"{batch}?effects=false", {"ticks": [tick]}), 422,
            "validation_error", "effects")  # fmt: skip
    alone = "facts=false&effects=false"
    assert post_json(client, f"{batch}?{alone}", {"ticks": [tick]}).status_code == 202
    award = {"participant_id": WHO, "badge_code": "power_user"}
    post_json(client, f"{BASE}/badges/award/batch?{alone}", {"awards": [award]})
    pipeline.drain()
    shown = client.get(f"{BASE}/participants/{WHO}").get_json()
    assert (shown["streaks"]["longest"], len(shown["badges"])) == (1, 1)
    assert shown["points"]["total_earned"] == 0


def test_only_an_admin_key_may_and_each_request_leaves_a_line_without_a_name(
    app: Flask, client: FlaskClient, engine: Engine, account: Account
) -> None:
    plain = client_of(app, make_key(engine, account.live))
    body = {"balances": [balance()]}
    problem(post_json(plain, f"{BASE}/admin/import/balances", body), 403, "forbidden")
    bring(client, "balances", balance())
    [line] = client.get(f"{BASE}/admin/audit-log?action=balances.imported").get_json()["items"]
    assert line["detail"] == {"rows": 1}


def ahead(hours: int) -> str:
    """An instant some hours from now."""
    return clock.isoformat(clock.from_us(clock.now_us() + hours * HOUR_US))


def test_who_was_seen_by_a_tick_ahead_of_the_server_is_taken(client: FlaskClient) -> None:
    row = {"participant_id": WHO, "first_seen_at": ahead(1), "last_seen_at": ahead(13)}
    bring(client, "participants", row)
    profile = client.get(f"{BASE}/participants/{WHO}").get_json()
    assert profile["last_seen_at"][:16] == ahead(13)[:16]


def test_nothing_is_seen_further_ahead_than_a_tick_may_be(client: FlaskClient) -> None:
    found = sent(client, "participants", {"participant_id": WHO, "last_seen_at": ahead(15)})
    error = found["results"][0]["error"]["errors"][0]
    assert error["field"] == "last_seen_at"
    assert error["message"] == "must be from 1970 on, and at most 14 hours ahead"
