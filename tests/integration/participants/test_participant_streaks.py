"""A participant's streaks, live: what is alive, at risk, broken or held, and whose they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine, transaction
from tests.calls import make_streak, noon, post_batch, post_tick, problem, tick
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

ENTRY = [
    "code",
    "name",
    "current_count",
    "longest_count",
    "last_recorded_at",
    "is_at_risk",
    "period",
    "status",
    "expires_at",
    "grace_remaining",
    "freezes_remaining",
    "is_perfect",
    "is_protected",
    "protected_by",
]


def read(client: FlaskClient, participant_id: str = "user_42") -> list[dict[str, Any]]:
    response = client.get(f"{BASE}/participants/{quote(participant_id, safe='')}/streaks")
    assert response.status_code == 200, response.text
    body = response.get_json()
    assert list(body) == ["participant_id", "streaks"]
    assert body["participant_id"] == participant_id
    assert all(list(one) == ENTRY for one in body["streaks"])
    return list(body["streaks"])


def midnight(days_ahead: int) -> str:
    day = datetime.now(UTC).date() + timedelta(days=days_ahead)
    return f"{day.isoformat()}T00:00:00Z"


def test_it_answers_the_empty_shape_for_somebody_who_did_nothing_yet(client: FlaskClient) -> None:
    make_streak(client)
    assert read(client, "nobody") == []


@pytest.mark.parametrize(
    ("days", "rules", "expected"),
    [
        ([1, 0], {}, (2, 2, "active", False, midnight(2), 0)),
        ([2, 1], {}, (2, 2, "at_risk", True, midnight(1), 0)),
        ([4, 3, 2], {}, (0, 3, "broken", False, None, 0)),
        ([4, 3, 2], {"reset_on_miss": False}, (3, 3, "paused", False, None, 0)),
        ([1, 0], {"grace_periods": 1}, (2, 2, "active", False, midnight(3), 1)),
        ([2, 1], {"grace_periods": 1}, (2, 2, "active", False, midnight(2), 1)),
        ([3, 2], {"grace_periods": 1}, (2, 2, "at_risk", True, midnight(1), 1)),
        ([4, 3], {"grace_periods": 1}, (0, 2, "broken", False, None, 1)),
        ([9, 8, 7, 0], {}, (1, 3, "active", False, midnight(2), 0)),
    ],
)
def test_it_reads_a_streak_as_it_stands_now(
    client: FlaskClient,
    pipeline: Pipeline,
    days: list[int],
    rules: dict[str, Any],
    expected: tuple[Any, ...],
) -> None:
    make_streak(client, **rules)
    post_batch(client, *(tick(timestamp=noon(day)) for day in days))
    pipeline.drain()
    (entry,) = read(client)
    shown = ("current_count", "longest_count", "status", "is_at_risk")
    assert tuple(entry[name] for name in (*shown, "expires_at", "grace_remaining")) == expected
    assert entry["last_recorded_at"] == noon(min(days))
    assert (entry["code"], entry["name"], entry["period"]) == (
        "daily_login",
        "Daily Login",
        "daily",
    )


@pytest.mark.parametrize("period", ["weekly", "monthly"])
def test_it_says_when_a_longer_period_ends(
    client: FlaskClient, pipeline: Pipeline, period: str
) -> None:
    make_streak(client, period=period)
    now = datetime.now(UTC)
    post_tick(client, timestamp=now.isoformat())
    pipeline.drain()
    (entry,) = read(client)
    today = now.date()
    if period == "weekly":
        ends = today + timedelta(days=14 - today.weekday())
    else:
        months = today.year * 12 + today.month + 1
        ends = today.replace(year=months // 12, month=months % 12 + 1, day=1)
    assert (entry["status"], entry["expires_at"]) == ("active", f"{ends}T00:00:00Z")


def test_it_breaks_at_the_midnight_of_the_participant(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client, boundary="participant")
    post_tick(client, timestamp=noon(5))
    pipeline.drain()
    with transaction(engine) as session:
        session.execute(
            sa.text("UPDATE participants SET timezone = :zone WHERE tenant_id = :tenant_id"),
            {"zone": "Asia/Kolkata", "tenant_id": account.live.id},
        )
    post_tick(client, timestamp=datetime.now(UTC).isoformat())
    pipeline.drain()
    (entry,) = read(client)
    assert entry["expires_at"].endswith("T18:30:00Z")


def test_it_lists_active_definitions_in_the_order_of_their_codes(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    for code in ("weekly", "daily", "gone"):
        make_streak(client, code)
    post_batch(client, *(tick(streak_code=code) for code in ("weekly", "gone", "daily")))
    pipeline.drain()
    client.delete(f"{BASE}/streaks/gone")
    assert [one["code"] for one in read(client)] == ["daily", "weekly"]


def test_it_shows_the_latest_instant_whatever_the_order_of_arrival(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    fraction = noon(1).replace("Z", ".123456Z")
    for text in (noon(3), fraction, noon(2)):
        post_tick(client, timestamp=text)
        pipeline.drain()
    (entry,) = read(client)
    assert (entry["last_recorded_at"], entry["current_count"]) == (fraction, 3)


# -- ids -------------------------------------------------------------------------------------

IDS = [
    "user_42", "User_42", "user_42 ", " user_42", "user 42", "user+42", "user%2042", "user%252042",
    "/", "//", "///", "a/b", "/a/b", "a/b/", "a//b", "a%2Fb", "a%252Fb", "a\\b",
    ".", "..", "...", "../user_42", "user_42/..", "./user_42", "user_42/.", "a/../b", "a/./b",
    ";", "a;b=c", "?", "a?b=c", "#", "a#b", "%", "%%", "%00", "%2", "&", "=", "@", ":", "~", "*",
    "a,b", "{a}", "{0}", "[1,2)", "a\"b", "a'b", "<b>", "$1", "`x`", "NULL", "null", "\\N", "\\",
    "streaks", "/streaks", "streaks/", "x/streaks", "x/streaks/daily_login/history", "history",
    "é", "e\u0301", "\u00a0", "\u3000", "\u200b", "\ufeff", "ß", "ss", "\u017f", "\u0130",
    "i\u0307", "K", "\u212a", "A", "\uff21", "\u0410", "U", "\U0001d518", "\ufdfa", "\u202euser",
    "\ufffd", "\U0001f469\u200d\U0001f680", "\U0001f469\U0001f680", "\U0001f469", "\U0010ffff",
    "x" * 255, "😀" * 255, "x" * 254, "0", "00", "-1", "1e3", "true", "undefined",
]  # fmt: skip


def test_it_never_takes_one_id_for_another(client: FlaskClient, pipeline: Pipeline) -> None:
    assert len(set(IDS)) == len(IDS)
    make_streak(client)
    streak = tick(timestamp=noon(0))
    for nth, one in enumerate(IDS):  # by the instant it is known whose streak it is
        stamp = streak["timestamp"].replace("Z", f".{nth:06}Z")
        assert post_tick(client, one, timestamp=stamp).status_code == 202, one
    pipeline.drain()
    for nth, one in enumerate(IDS):
        (entry,) = read(client, one)
        assert entry["current_count"] == 1
        expected = streak["timestamp"].replace("Z", f".{nth:06}Z") if nth else noon(0)
        assert entry["last_recorded_at"] == expected, one


def test_it_reads_the_history_of_an_id_with_slashes(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client)
    odd = ("a/b", "a", "/", "x/streaks", "x/streaks/daily_login/history", "👩‍🚀")
    post_batch(client, *(tick(one, timestamp=noon(day)) for day, one in enumerate(odd)))
    pipeline.drain()
    for day, one in enumerate(odd):
        url = f"{BASE}/participants/{quote(one, safe='')}/streaks/daily_login/history"
        body = client.get(url).get_json()
        assert body["participant_id"] == one
        assert body["periods"][0]["period_key"] == noon(day)[:10]


@pytest.mark.parametrize("length", [256, 5_000])
def test_it_refuses_an_id_in_the_path_that_no_body_could_have_had(
    client: FlaskClient, length: int
) -> None:
    make_streak(client)
    for rest in ("streaks", "streaks/daily_login/history"):
        response = client.get(f"{BASE}/participants/{'x' * length}/{rest}")
        problem(response, 422, "validation_error", "participant_id")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00", b"a\x00", b"a\nb", b"\x7f", b"\xc2\x85", b"\xe2\x80\xa8", b"\xff", b"a\xffb",
        b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe9",
    ],
)  # fmt: skip
def test_it_refuses_a_path_that_is_no_printable_utf8(
    app: Flask, account: Account, raw: bytes
) -> None:
    path = f"{BASE}/participants/".encode() + raw + b"/streaks"
    response = app.test_client().get(
        "/",
        environ_overrides={"PATH_INFO": path.decode("latin-1")},
        headers={"X-API-Key": account.keys["live"]},
    )
    problem(response, 400, "invalid_path")
