"""Leaderboards: they follow ticks and points, time, suspensions and erasures; ranks are exact."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from models.db import reading, transaction
from models.leaderboards import entries
from tests.calls import count, make_streak, noon, post_batch, problem, tick
from tests.conftest import BASE
from tests.integration.batches import post
from tests.integration.earning import moved
from tests.integration.ranking import Place
from tests.integration.workers.test_clock_jumps import Clock, machine
from workers.maintenance import leaderboards
from workers.runtime.context import Context

pytestmark = pytest.mark.promise("P17")

__all__ = ["machine"]


# -- following ---------------------------------------------------------------------------------


def test_points_put_people_in_their_order_and_equals_share_a_rank(place: Place) -> None:
    place.make()
    place.points(anna=50, ben=70, cleo=50, dana=10)
    assert place.top() == [(1, "ben", 70), (2, "anna", 50), (2, "cleo", 50), (4, "dana", 10)]
    place.points(dana=45)
    assert place.top() == [(1, "ben", 70), (2, "dana", 55), (3, "anna", 50), (3, "cleo", 50)]
    assert place.rank("cleo") == (3, 50, 4)
    assert place.rank("nobody") == (None, 0, 4)
    place.assert_counts_are_right()


def test_the_top_is_cut_and_says_how_many_there_are(place: Place) -> None:
    place.make()
    place.points(**{f"user_{n}": n + 1 for n in range(30)})
    body = place.client.get(f"{BASE}/leaderboards/board?limit=2").get_json()
    assert list(body) == [
        "leaderboard_code", "name", "metric", "window_days", "as_of", "is_ready", "entries",
        "total_participants",
    ]  # fmt: skip
    assert (len(body["entries"]), body["total_participants"], body["is_ready"]) == (2, 30, True)
    assert list(body["entries"][0]) == [
        "rank", "participant_id", "display_name", "avatar_url", "score",
    ]  # fmt: skip
    rank = place.client.get(f"{BASE}/leaderboards/board/rank/user_27").get_json()
    assert (rank["rank"], rank["percentile"]) == (3, 90.0)
    assert len(place.top()) == 20
    for query in ("limit=0", "limit=101", "limit=x"):
        response = place.client.get(f"{BASE}/leaderboards/board?{query}")
        problem(response, 422, "validation_error", "limit")


def test_a_streak_ranks_by_its_best_run_in_the_window(place: Place) -> None:
    make_streak(place.client, grace_periods=0)
    place.make(metric="streak", streak_code="daily_login", window_days=10)
    days = {"old": range(60), "new": range(4), "gone": range(20, 60), "late": (9, 7)}
    for who, ago in days.items():
        post_batch(place.client, *(tick(who, timestamp=noon(day)) for day in ago))
    place.pipeline.drain()
    place.follow()
    assert place.top() == [(1, "old", 10), (2, "new", 4), (3, "late", 1)]
    post_batch(place.client, tick("late", timestamp=noon(8)))
    place.pipeline.drain()
    place.follow()
    assert place.rank("late") == (3, 3, 3)
    place.assert_counts_are_right()


def test_what_there_was_before_is_taken_in_whatever_its_portions(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaderboards, "PORTION", 3)
    place.points(**{f"user_{n}": 10 + n for n in range(10)})
    place.make()
    body = place.client.get(f"{BASE}/leaderboards/board").get_json()
    assert (body["is_ready"], body["entries"]) == (False, [])
    place.follow()
    assert place.rank("user_9") == (1, 19, 10)
    assert place.client.get(f"{BASE}/leaderboards/board").get_json()["is_ready"] is True
    place.assert_counts_are_right()


def test_time_alone_takes_points_and_people_off(place: Place, machine: Clock) -> None:
    place.make(window_days=3)
    place.points(anna=50, ben=70)
    machine.step(timedelta(days=2))
    place.points(anna=5)
    assert place.top() == [(1, "ben", 70), (2, "anna", 55)]
    machine.step(timedelta(days=1))
    place.follow()
    assert place.top() == [(1, "anna", 5)]
    machine.step(timedelta(days=2))
    place.follow()
    assert place.top() == []
    place.assert_counts_are_right()


def test_time_alone_shortens_a_run(place: Place, machine: Clock) -> None:
    make_streak(place.client, grace_periods=0)
    place.make(metric="streak", streak_code="daily_login", window_days=5)
    post_batch(place.client, *(tick("anna", timestamp=noon(day)) for day in range(8)))
    place.pipeline.drain()
    place.follow()
    found = []
    for _ in range(7):
        found.append(place.rank("anna")[1])
        machine.step(timedelta(days=1))
        place.follow()
    assert found == [5, 4, 3, 2, 1, 0, 0]


def test_spending_takes_nothing_off(place: Place) -> None:
    place.make()
    place.points(anna=50)
    place.points(anna=-50)
    assert place.top() == [(1, "anna", 50)]


def test_who_is_suspended_leaves_and_comes_back(place: Place) -> None:
    place.make()
    place.points(anna=50, ben=70)
    for status, expected in (("SUSPENDED", [(1, "anna", 50)]), ("ACTIVE", [(1, "ben", 70)])):
        response = place.client.post(
            "/v1/participants", json={"external_id": "ben", "status": status}
        )
        assert response.status_code == 200
        place.follow()
        assert place.top()[:1] == expected
    assert count(place.engine, "leaderboard_changes", _side(place)) == 0
    place.assert_counts_are_right()


def _side(place: Place) -> Any:
    class Side:
        id = place.tenant_id

    return Side()


def test_a_note_beside_one_that_is_just_being_followed_is_not_lost(place: Place) -> None:
    """A change that is not committed yet notes somebody who is noted already; a follower comes."""
    place.make()
    place.points(ann=5, bob=3)
    with reading(place.engine) as session:
        ann = session.execute(
            sa.text("SELECT id FROM participants WHERE tenant_id = :id AND external_id = 'ann'"),
            {"id": place.tenant_id},
        ).scalar_one()
    with transaction(place.engine) as session:
        entries.mark_changed(session, place.tenant_id, [ann])
    with transaction(place.engine) as changing:
        changing.execute(
            sa.text(
                "UPDATE participants SET status = 'SUSPENDED', inactive_since = now() "
                "WHERE id = :id"
            ),
            {"id": ann},
        )
        entries.mark_changed(changing, place.tenant_id, [ann])
        place.follow()
        assert [who for _, who, _ in place.top()] == ["ann", "bob"]
    place.follow()
    assert [who for _, who, _ in place.top()] == ["bob"]


def test_who_is_erased_is_off_at_once_and_the_counts_are_right(place: Place) -> None:
    place.make()
    place.make("second", window_days=7)
    place.points(anna=50, ben=70)
    assert place.client.delete(f"{BASE}/participants/ben").status_code == 200
    assert place.top() == [(1, "anna", 50)]
    assert place.rank("anna") == (1, 50, 1)
    place.assert_counts_are_right()
    place.follow()
    assert place.top("second") == [(1, "anna", 50)]


def test_new_rules_build_it_anew(place: Place) -> None:
    make_streak(place.client, grace_periods=0)
    place.make(metric="streak", streak_code="daily_login")
    post_batch(place.client, *(tick("anna", timestamp=noon(day)) for day in (0, 2, 4)))
    place.pipeline.drain()
    place.follow()
    assert place.rank("anna")[1] == 1
    place.client.patch(f"{BASE}/streaks/daily_login", json={"grace_periods": 2})
    place.follow()
    assert place.rank("anna")[1] == 3
    place.assert_counts_are_right()


def test_one_that_was_away_for_longer_than_facts_are_kept_is_built_anew(
    place: Place, machine: Clock
) -> None:
    place.make(window_days=366)
    place.points(anna=50)
    post(place.pipeline.client, [moved(place.tenant_id, 30, "ben")])
    place.pipeline.drain()
    with transaction(place.engine) as session:
        values = {"id": place.tenant_id}
        session.execute(sa.text("DELETE FROM facts WHERE tenant_id = :id"), values)
    place.follow()
    assert place.rank("ben")[0] is None
    machine.step(timedelta(days=91))
    place.follow()
    assert place.rank("ben") == (2, 30, 2)


# -- whoever runs, and dies --------------------------------------------------------------------


def test_any_number_of_followers_come_to_the_same(place: Place) -> None:
    chance = random.Random(3)
    place.make()
    place.make("week", window_days=7)
    totals: dict[str, int] = {}
    for _ in range(6):
        amounts = {f"user_{n}": chance.randrange(1, 300) for n in chance.sample(range(40), 15)}
        for who, amount in amounts.items():
            totals[who] = totals.get(who, 0) + amount
        post(
            place.pipeline.client,
            [moved(place.tenant_id, amount, who) for who, amount in amounts.items()],
        )
        place.pipeline.drain()
        threads = [threading.Thread(target=place.follow) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    place.follow()
    for code in ("board", "week"):
        expected = sorted(totals.values(), reverse=True)
        assert [one[2] for one in place.top(code, "?limit=100")] == expected
        for who, total in totals.items():
            better = sum(one > total for one in totals.values())
            assert place.rank(who, code) == (better + 1, total, len(totals))
    place.assert_counts_are_right()


def test_a_follower_that_dies_before_its_commit_loses_and_doubles_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.make()
    place.points(anna=50)
    post(place.pipeline.client, [moved(place.tenant_id, 30, "ben")])
    place.pipeline.drain()

    def die(name: str) -> None:
        raise ConnectionError(name)

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(leaderboards, "failpoint", die)
        place.follow()
    assert place.top() == [(1, "anna", 50)]
    place.follow()
    assert place.top() == [(1, "anna", 50), (2, "ben", 30)]
    place.assert_counts_are_right()


def test_the_task_follows(place: Place, context: Context) -> None:
    place.make()
    post(place.pipeline.client, [moved(place.tenant_id, 30, "ben")])
    place.pipeline.drain()
    leaderboards.run(replace(context, should_stop=lambda: False))
    assert place.top() == [(1, "ben", 30)]
