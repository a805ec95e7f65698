"""Outages: every participant's periods are protected, by one call and without a row of theirs."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from models import clock
from models.db import Engine, reading
from models.rules.periods import DAY_US
from tests.calls import client_of, make_streak, noon, post_json, post_tick
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

OUTAGES = f"{BASE}/admin/outages"


def at(days_ago: int, hour: int = 0) -> str:
    """An instant of a day before today, in UTC."""
    today = clock.now_us() // DAY_US
    return clock.isoformat(clock.from_us((today - days_ago) * DAY_US + hour * DAY_US // 24))


def outage(client: FlaskClient, **values: Any) -> Any:
    body = {"starts_at": at(2, 8), "ends_at": at(2, 9), "reason": "The service was down"}
    return post_json(client, OUTAGES, body | values)


def entry(client: FlaskClient, who: str = "user_42") -> dict[str, Any]:
    found = client.get(f"{BASE}/participants/{who}/streaks").get_json()["streaks"]
    return dict(found[0])


def history(client: FlaskClient, who: str = "user_42") -> list[tuple[str, str | None]]:
    answer = client.get(f"{BASE}/participants/{who}/streaks/daily_login/history").get_json()
    return [(period["status"], period["by"]) for period in answer["periods"]]


def protected(client: FlaskClient, who: str) -> list[str]:
    answer = client.get(f"{BASE}/participants/{who}/streaks/daily_login/history").get_json()
    return [period["period_key"] for period in answer["periods"] if period["by"] == "outage"]


@pytest.fixture
def broken(client: FlaskClient, pipeline: Pipeline) -> FlaskClient:
    """A streak of one participant that a missed day, two days ago, has broken."""
    make_streak(client)
    for days in (4, 3, 1):
        post_tick(client, timestamp=noon(days))
    pipeline.drain()
    assert entry(client)["current_count"] == 1
    return client


def test_an_outage_gives_everybody_the_count_back_at_once(
    broken: FlaskClient, engine: Engine, account: Account
) -> None:
    with reading(engine) as connection:
        statement = sa.text("SELECT xmin::text FROM streak_states WHERE tenant_id = :t")
        rows = list(connection.execute(statement, {"t": account.live.id}))
        made = outage(broken)
        assert made.status_code == 201
        assert entry(broken)["current_count"] == 3
        assert list(connection.execute(statement, {"t": account.live.id})) == rows
    assert history(broken)[:4] == [
        ("recorded", None), ("recorded", None), ("protected", "outage"), ("recorded", None),
    ]  # fmt: skip
    assert entry(broken)["is_perfect"] is False
    profile = broken.get(f"{BASE}/participants/user_42").get_json()
    assert profile["streaks"]["current"] == 3


def test_a_tick_after_it_goes_on_from_the_count_that_it_saved(
    broken: FlaskClient, pipeline: Pipeline
) -> None:
    outage(broken)
    post_tick(broken)
    pipeline.drain()
    assert entry(broken)["current_count"] == 4


def test_without_the_outage_the_streak_is_broken_again(
    broken: FlaskClient, pipeline: Pipeline
) -> None:
    made = outage(broken).get_json()
    post_tick(broken)
    pipeline.drain()
    assert broken.delete(f"{OUTAGES}/{made['id']}").status_code == 200
    assert entry(broken)["current_count"] == 2
    assert broken.delete(f"{OUTAGES}/{made['id']}").get_json()["code"] == "outage_not_found"


def test_it_protects_the_periods_of_the_participants_own_time_zone(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, boundary="participant")
    for who, zone in (("east", "Pacific/Kiritimati"), ("west", "Pacific/Pago_Pago")):
        body = {"participant_id": who, "display_name": who, "timezone": zone}
        post_json(client, f"{BASE}/participants", body)
        post_tick(client, who, timestamp=noon(4))
        post_tick(client, who, timestamp=noon(1))
    pipeline.drain()
    outage(client, starts_at=at(3, 11), ends_at=at(3, 13))
    # 14 hours ahead it is the day after already; 11 behind, the outage begins with the day.
    assert protected(client, "east") == [at(2)[:10]]
    assert protected(client, "west") == [at(3)[:10]]


def test_only_the_named_streaks_are_protected(client: FlaskClient, pipeline: Pipeline) -> None:
    for code in ("named", "other"):
        make_streak(client, code)
        for days in (3, 1):
            post_tick(client, streak_code=code, timestamp=noon(days))
    pipeline.drain()
    made = outage(client, streak_codes=["named"]).get_json()
    assert made["streak_codes"] == ["named"]
    found = client.get(f"{BASE}/participants/user_42/streaks").get_json()["streaks"]
    assert {one["code"]: one["current_count"] for one in found} == {"named": 2, "other": 1}


def test_a_definition_made_later_has_the_outages_of_every_streak(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    outage(client)
    make_streak(client)
    for days in (3, 1):
        post_tick(client, timestamp=noon(days))
    pipeline.drain()
    assert entry(client)["current_count"] == 2


def test_outages_are_listed_newest_first_with_their_reasons(client: FlaskClient) -> None:
    make_streak(client)
    outage(client, reason="first")
    outage(client, starts_at=at(1), ends_at=at(0), reason="second", streak_codes=["daily_login"])
    found = client.get(OUTAGES).get_json()
    assert [(one["reason"], one["streak_codes"]) for one in found["items"]] == [
        ("second", ["daily_login"]), ("first", None),
    ]  # fmt: skip
    assert found["total"] == 2
    log = client.get(f"{BASE}/admin/audit-log?action=outage.created").get_json()["items"]
    assert log[0]["detail"]["reason"] == "second"


@pytest.mark.parametrize(
    ("values", "field", "code"),
    [
        ({"ends_at": at(2, 8)}, "ends_at", "range"),
        ({"ends_at": at(3)}, "ends_at", "range"),
        ({"starts_at": at(40), "ends_at": at(5)}, "ends_at", "range"),
        ({"starts_at": at(402), "ends_at": at(401)}, "starts_at", "range"),
        ({"starts_at": at(-366), "ends_at": at(-368)}, "ends_at", "range"),
        ({"starts_at": "yesterday"}, "starts_at", None),
        ({"reason": ""}, "reason", None),
        ({"reason": None}, "reason", None),
        ({"streak_codes": []}, "streak_codes", None),
        ({"streak_codes": ["unknown"]}, "streak_codes.0", "unknown_streak"),
        ({"until": at(1)}, "until", "unknown_field"),
    ],
)
def test_what_is_no_outage_is_refused_and_nothing_is_kept(
    client: FlaskClient, values: dict[str, Any], field: str, code: str | None
) -> None:
    make_streak(client)
    refused = outage(client, **values)
    assert refused.status_code == 422
    error = refused.get_json()["errors"][0]
    assert error["field"] == field
    assert code in (None, error["code"])
    assert client.get(OUTAGES).get_json()["total"] == 0


def test_a_tenant_sees_and_removes_its_own_outages_alone(
    client: FlaskClient, app: Any, make_account: Any
) -> None:
    made = outage(client).get_json()
    stranger = client_of(app, make_account().keys["live"])
    assert stranger.get(OUTAGES).get_json()["items"] == []
    assert stranger.delete(f"{OUTAGES}/{made['id']}").status_code == 404
    assert client.get(OUTAGES).get_json()["total"] == 1


def test_a_changed_boundary_moves_the_protected_periods(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    body = {"participant_id": "user_42", "display_name": "x", "timezone": "Pacific/Kiritimati"}
    post_json(client, f"{BASE}/participants", body)
    for days in (4, 3, 1):
        post_tick(client, timestamp=noon(days))
    pipeline.drain()
    outage(client, starts_at=at(2, 11), ends_at=at(2, 12))
    assert entry(client)["current_count"] == 3
    client.patch(f"{BASE}/streaks/daily_login", json={"boundary": "participant"})
    assert entry(client)["current_count"] in (0, 1)  # the outage is on the day after it there


def test_a_participant_who_moves_takes_the_protected_periods_along(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, boundary="participant")
    for days in (4, 3, 1):
        post_tick(client, timestamp=noon(days))
    pipeline.drain()
    outage(client, starts_at=at(2, 11), ends_at=at(2, 12))
    post_tick(client)
    pipeline.drain()  # the state is written with the outage's periods in UTC
    assert protected(client, "user_42") == [at(2)[:10]]
    assert entry(client)["current_count"] == 4
    body = {"timezone": "Pacific/Kiritimati"}
    assert client.patch(f"{BASE}/participants/user_42", json=body).status_code == 200
    assert protected(client, "user_42") == []  # it is on the day after there, which is recorded
    assert entry(client)["current_count"] == 2
