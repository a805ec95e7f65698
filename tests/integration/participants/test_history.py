"""The history of a streak: every period, what it was, and the tick that recorded it."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.calls import make_streak, noon, post_batch, post_tick, problem, tick
from tests.conftest import BASE
from tests.pipeline import Pipeline

URL = f"{BASE}/participants/user_42/streaks/daily_login/history"


def test_it_explains_every_period_from_the_first_tick_to_now(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, grace_periods=1)
    response = post_batch(client, *(tick(timestamp=noon(day)) for day in (9, 8, 6, 3, 2)))
    ids = [one["tick_id"] for one in response.get_json()["results"]]
    pipeline.drain()
    body = client.get(URL).get_json()
    assert list(body) == ["participant_id", "streak_code", "period", "timezone", "periods"]
    assert [body[name] for name in list(body)[:4]] == ["user_42", "daily_login", "daily", "UTC"]
    assert body["periods"][0] == {
        "period_key": noon(9)[:10],
        "status": "recorded",
        "count": 1,
        "grace_remaining": 1,
        "tick_id": ids[0],
        "recorded_at": noon(9),
        "freezes_remaining": 0,
        "by": None,
    }
    told = [
        (one["period_key"], one["status"], one["count"], one["grace_remaining"], one["tick_id"])
        for one in body["periods"]
    ]
    assert told == [
        (noon(9)[:10], "recorded", 1, 1, ids[0]),
        (noon(8)[:10], "recorded", 2, 1, ids[1]),
        (noon(7)[:10], "grace", 2, 0, None),
        (noon(6)[:10], "recorded", 3, 0, ids[2]),
        (noon(5)[:10], "missed", 0, 1, None),
        (noon(4)[:10], "missed", 0, 1, None),
        (noon(3)[:10], "recorded", 1, 1, ids[3]),
        (noon(2)[:10], "recorded", 2, 1, ids[4]),
        (noon(1)[:10], "grace", 2, 0, None),
        (noon(0)[:10], "pending", 2, 0, None),
    ]


def test_it_names_the_tick_that_recorded_a_period_and_not_a_repetition(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    first = post_tick(client, timestamp=noon(0)).get_json()["tick_id"]
    post_tick(client, timestamp=noon(0).replace("T12", "T11"))
    pipeline.drain()
    (period,) = client.get(URL).get_json()["periods"]
    assert (period["tick_id"], period["recorded_at"]) == (first, noon(0))


def test_it_is_empty_for_somebody_who_recorded_nothing(client: FlaskClient) -> None:
    make_streak(client)
    body = client.get(URL).get_json()
    assert (body["participant_id"], body["timezone"], body["periods"]) == ("user_42", "UTC", [])


def test_it_tells_of_a_paused_streak_too(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    post_tick(client)
    pipeline.drain()
    client.delete(f"{BASE}/streaks/daily_login")
    assert len(client.get(URL).get_json()["periods"]) == 1


def test_it_does_not_know_an_unknown_streak(client: FlaskClient) -> None:
    problem(client.get(URL), 404, "streak_not_found")


def test_it_uses_the_zone_of_the_latest_tick(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    post_tick(client, timestamp=noon(2)[:10] + "T20:00:00Z", timezone="Australia/Sydney")
    pipeline.drain()
    body = client.get(URL).get_json()
    assert body["timezone"] == "Australia/Sydney"
    assert body["periods"][0]["period_key"] == noon(1)[:10]


def test_it_shows_the_days_that_are_asked_for(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client)
    post_batch(client, *(tick(timestamp=noon(day)) for day in range(6)))
    pipeline.drain()

    def keys(query: str) -> list[str]:
        return [one["period_key"] for one in client.get(f"{URL}?{query}").get_json()["periods"]]

    first, last = noon(4)[:10], noon(2)[:10]
    days = [noon(day)[:10] for day in range(5, -1, -1)]
    assert keys(f"from={first}&to={last}") == days[1:4]
    assert keys(f"from={first}") == days[1:]
    assert keys(f"to={last}") == days[:4]
    assert keys(f"from={last}&to={last}") == days[3:4]
    assert keys("from=2020-01-01&to=2020-01-31") == []
    assert keys("to=0001-01-01") == []
    assert keys("from=9999-01-01&to=9999-12-31") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=x", "from"),
        ("to=", "to"),
        ("to=2026-02-30", "to"),
        ("from=20260523", "from"),
        ("from=2026-W21-6", "from"),
        ("from=2026-05-23T00:00:00Z", "from"),
        ("from=２０２６-05-23", "from"),
        ("to=10000-01-01", "to"),
        ("to=0000-01-01", "to"),
        ("to=%FF", "to"),
        ("from=%00", "from"),
        ("from=2026-05-24&to=2026-05-23", "from"),
        ("from=2026-01-01&to=2028-09-27", "from"),  # a thousand and one days
        ("from=0001-01-01", "from"),
        ("from=9999-12-31", "from"),
    ],
)
def test_it_refuses_a_window_that_is_none_whoever_is_asked_about(
    client: FlaskClient, pipeline: Pipeline, query: str, field: str
) -> None:
    make_streak(client)
    problem(client.get(f"{URL}?{query}"), 422, "validation_error", field)
    post_tick(client)
    pipeline.drain()
    problem(client.get(f"{URL}?{query}"), 422, "validation_error", field)


@pytest.mark.parametrize(("period", "key"), [("weekly", "-W"), ("monthly", "-")])
def test_it_counts_in_the_periods_of_the_definition(
    client: FlaskClient, pipeline: Pipeline, period: str, key: str
) -> None:
    make_streak(client, period=period)
    post_batch(client, tick(timestamp=noon(70)), tick(timestamp=noon(0)))
    pipeline.drain()
    body = client.get(URL).get_json()
    keys = [one["period_key"] for one in body["periods"]]
    assert body["period"] == period
    assert all(key in one for one in keys)
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys) == {"weekly": 11, "monthly": len(keys)}[period]
