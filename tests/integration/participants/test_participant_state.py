"""What a participant's profile and state show, section by section, in one round trip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import clock
from models.db import Engine
from models.db.stall_guard import WatchedCursor
from tests.calls import instant, make_streak, noon, post_batch, problem, tick
from tests.conftest import BASE, Account
from tests.integration.people import PEOPLE, STATE, create, earn, make_badge, read, state, url_of
from tests.pipeline import Pipeline

# -- what the profile and the state show -----------------------------------------------------


@pytest.fixture
def history(client: FlaskClient, pipeline: Pipeline, engine: Engine, account: Account) -> None:
    """Two streaks and one that is paused; three badges, of which one is earned."""
    make_streak(client)
    make_streak(client, "weekly", period="weekly", name="Weekly")
    make_streak(client, "old", name="Old")
    make_badge(client, "first_steps", name="First Steps", display_order=2)
    make_badge(client, "power_user", name="Power User", rarity="rare", display_order=1)
    make_badge(client, "secret", name="Secret", is_hidden=True)
    days = [*range(60, 39, -1), *range(6, -1, -1)]
    post_batch(
        client,
        *(tick(timestamp=noon(day)) for day in days),
        tick(streak_code="weekly", timestamp=noon(0)),
        *(tick(streak_code="old", timestamp=noon(day)) for day in range(100)),
    )
    client.delete(f"{BASE}/streaks/old")
    pipeline.drain()
    earn(engine, account, "first_steps")


@pytest.mark.usefixtures("history")
def test_the_profile_shows_what_was_recorded_and_earned(client: FlaskClient) -> None:
    body = read(client)
    assert body["streaks"] == {"current": 7, "longest": 21, "last_activity_at": noon(0)}
    (badge,) = body["badges"]
    earned_at = badge.pop("earned_at")
    assert badge == {
        "code": "first_steps", "name": "First Steps", "icon": None, "rarity": "common",
        "earned": True,
    }  # fmt: skip
    assert abs(instant(earned_at) - clock.now_us()) < 60_000_000
    assert body["first_seen_at"] == noon(99)
    assert instant(body["last_seen_at"]) >= instant(noon(0))
    assert body["total_events"] == 129
    assert (body["display_name"], body["attributes"], body["is_active"]) == (None, None, True)


@pytest.mark.usefixtures("history")
def test_the_state_shows_what_can_still_be_earned(client: FlaskClient) -> None:
    profile, body = read(client), state(client)
    assert list(body) == STATE
    assert [one["code"] for one in body["badges"]] == ["power_user", "first_steps"]
    assert body["badges"][1] == profile["badges"][0]
    assert body["badges"][0] == {
        "code": "power_user", "name": "Power User", "icon": None, "rarity": "rare",
        "earned": False, "earned_at": None,
    }  # fmt: skip
    assert body["streaks"] == profile["streaks"]
    expected = body | {"participant_id": "nobody", "streaks": None}
    expected["badges"] = [one | {"earned": False, "earned_at": None} for one in body["badges"]]
    assert state(client, "nobody") == expected
    problem(client.get(url_of("nobody")), 404, "participant_not_found")


def test_an_earned_badge_stays_when_hidden_or_deactivated(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    create(client)
    ids = [make_badge(client, code) for code in ("hidden", "inactive", "other")]
    earn(engine, account, "hidden", "inactive")
    client.patch(f"{BASE}/admin/badges/{ids[0]}", json={"is_hidden": True})
    for one in ids[1:]:
        client.delete(f"{BASE}/admin/badges/{one}")
    for badges in (read(client)["badges"], state(client, query="?include=badges")["badges"]):
        assert [one["code"] for one in badges] == ["hidden", "inactive"]
    assert state(client, "nobody")["badges"] == []


def test_the_summary_follows_changed_rules_and_the_calendar_of_the_participant(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, boundary="participant")
    for who, more in (("user_42", 0), ("later", 1)):  # one lives today, one could until yesterday
        days = [day + more for day in (9, 7, 6, 3)]
        post_batch(client, *(tick(who, timestamp=noon(day)) for day in days))
    pipeline.drain()
    summary = {"current": 0, "longest": 2, "last_activity_at": noon(3)}
    assert read(client)["streaks"] == summary
    client.patch(f"{BASE}/streaks/daily_login", json={"grace_periods": 5})
    assert read(client)["streaks"] == summary | {"current": 4, "longest": 4}
    assert read(client, "later")["streaks"]["current"] == 0
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", None):
        for who in ("user_42", "later"):
            client.patch(url_of(who), json={"timezone": zone})
            (entry,) = client.get(url_of(who, "/streaks")).get_json()["streaks"]
            assert read(client, who)["streaks"]["current"] == entry["current_count"]


# -- include ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "sections"),
    [
        ("", STATE[1:]),
        ("?include=", STATE[1:]),
        ("?include=%20,,", STATE[1:]),
        ("?include=points,tier,badges", ["points", "tier", "badges"]),
        ("?include=rewards,%20points,rewards", ["points", "rewards"]),
        ("?include=streaks&include=challenges", ["streaks", "challenges"]),
    ],
)
def test_it_returns_the_sections_asked_for_in_their_order(
    client: FlaskClient, query: str, sections: list[str]
) -> None:
    create(client)
    for participant_id in ("user_42", "nobody"):
        body = state(client, participant_id, query)
        assert list(body) == ["participant_id", *sections]
        empty: dict[str, Any] = {
            "participant_id": participant_id, "tier": None, "badges": [], "streaks": None,
            "points": {"balance": 0, "total_earned": 0, "total_spent": 0},
            "challenges": {"active": 0, "completed": 0}, "rewards": {"total_claimed": 0},
        }  # fmt: skip
        assert body == {name: empty[name] for name in body}


@pytest.mark.parametrize("include", ["badge", "points,everything", "Points", "points;tier", "*"])
def test_it_lists_the_sections_there_are_when_asked_for_others(
    client: FlaskClient, include: str
) -> None:
    response = client.get(url_of("user_42", "/state"), query_string={"include": include})
    document = problem(response, 400, "invalid_include", "include")
    assert all(section in document["detail"] for section in STATE[1:])
    assert "everything" not in response.text


# -- round trips -----------------------------------------------------------------------------


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is sent to the database in a block, by any way of sending it."""
    sent: list[str] = []
    send = WatchedCursor.execute

    def execute(self: WatchedCursor, query: Any, values: Any = None) -> None:
        sent.append(str(query))
        send(self, query, values)

    with monkeypatch.context() as patched:
        patched.setattr(WatchedCursor, "execute", execute)
        yield sent


@pytest.mark.usefixtures("history")
def test_a_profile_and_a_state_are_one_round_trip_each(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (url_of("user_42"), url_of("user_42", "/state"), url_of("nobody", "/state")):
        runs = []
        for _ in range(3):  # the first may also read the key and plan the statement
            with statements(monkeypatch) as sent:
                assert client.get(url).status_code == 200
            runs.append(sent)
        assert min(map(len, runs)) == 1, runs


def test_a_change_and_its_answer_are_one_statement(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(client)
    named = {"participant_id": "user_42"}
    for method, url, names in (("POST", PEOPLE, named), ("PATCH", url_of("user_42"), {})):
        body = {**names, "display_name": method}
        with statements(monkeypatch) as sent:
            assert client.open(url, method=method, json=body).status_code < 300
        about = [one for one in sent if "participants" in one]
        assert len(about) == 1, sent
