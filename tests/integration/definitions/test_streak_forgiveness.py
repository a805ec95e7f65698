"""What a streak's definition may say about forgiveness, beside the conformance test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from models.db import Engine, reading
from models.streaks import states
from models.streaks.states import Streak
from tests.calls import client_of, make_streak, problem
from tests.conftest import BASE, Account

URL = f"{BASE}/streaks/daily_login"
CALENDARS = f"{BASE}/admin/calendars"
PLAIN: dict[str, Any] = {
    "grace_refill": None, "freezes": None, "grace_by_count": [], "rest_days": [],
    "calendar_codes": [],
}  # fmt: skip


def stored(engine: Engine, account: Account, code: str = "daily_login") -> Streak:
    """The definition as the workers read it."""
    with reading(engine) as connection:
        return states.definitions.by_code(connection, account.live.id, code)


def columns(engine: Engine, account: Account) -> tuple[Any, ...]:
    """The columns of a definition that forgiveness has."""
    with reading(engine) as connection:
        rows = connection.execute(
            sa.text("SELECT forgiveness, holidays, outages FROM streaks WHERE tenant_id = :id"),
            {"id": account.live.id},
        )
        return tuple(rows.one())


def reviews(engine: Engine, account: Account) -> int:
    """How many reviews of deadlines were asked of the streak, so far."""
    with reading(engine) as connection:
        rows = connection.execute(
            sa.text("SELECT coalesce(sum(version), 0) FROM streak_reviews WHERE tenant_id = :id"),
            {"id": account.live.id},
        )
        return int(rows.scalar_one())


def make_calendar(client: FlaskClient, *dates: str, code: str = "bank_holidays") -> None:
    """A calendar of some dates."""
    body = {"code": code, "name": code, "dates": dates}
    assert client.post(CALENDARS, json=body).status_code == 201


def test_a_streak_without_the_fields_is_stored_as_before(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_streak(client, **PLAIN)
    assert columns(engine, account) == (None, None, None)
    assert stored(engine, account).rules.forgiveness is None


def test_each_field_becomes_a_rule_of_the_walk(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_calendar(client, "1970-01-03", "1970-01-02", "1970-01-09")
    make_streak(
        client,
        grace_refill="monthly",
        freezes={"initial": 1, "earn_every": 7, "max": 3, "price_points": 50},
        grace_by_count=[
            {"from_count": 0, "grace_periods": 2},
            {"from_count": 30, "grace_periods": 1},
        ],
        rest_days=["sunday", "monday"],
        calendar_codes=["bank_holidays"],
    )
    found = stored(engine, account)
    rules = found.rules.forgiveness
    assert rules is not None
    assert rules.refill == "monthly"
    assert (rules.freezes.initial, rules.freezes.earn_every, rules.freezes.max) == (1, 7, 3)
    assert rules.grace_by_count == ((0, 2), (30, 1))
    assert rules.rest_days == {6, 0}
    assert rules.holidays == found.holidays == ((1, 3), (8, 9))


def test_a_change_of_one_field_keeps_the_others_and_raises_the_revision(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_streak(client, grace_refill="monthly", rest_days=["sunday"])
    before, asked = stored(engine, account), reviews(engine, account)
    changed = client.patch(URL, json={"freezes": {"initial": 1, "max": 2}}).get_json()
    freezes = {"initial": 1, "earn_every": None, "max": 2, "price_points": None}
    expected = {"grace_refill": "monthly", "rest_days": ["sunday"], "freezes": freezes}
    assert changed == changed | expected
    after = stored(engine, account)
    assert after.forgiveness == expected
    assert after.revision == before.revision + 1
    assert reviews(engine, account) == asked + 1
    client.patch(URL, json={"name": "Other"})
    assert (stored(engine, account).revision, reviews(engine, account)) == (
        after.revision, asked + 1,
    )  # fmt: skip
    client.patch(URL, json=PLAIN)
    assert columns(engine, account) == (None, None, None)


def test_two_changes_at_the_same_moment_lose_no_field(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_streak(client)
    fields: list[dict[str, Any]] = [
        {"grace_refill": "weekly"}, {"rest_days": ["sunday"]}, {"freezes": {"max": 3}},
        {"grace_by_count": [{"from_count": 0, "grace_periods": 1}]},
    ]  # fmt: skip
    clients = [client.application.test_client() for _ in fields]
    headers = dict(client.environ_base)
    for one in clients:
        one.environ_base = headers
    answers: list[int] = []

    def send(sender: FlaskClient, change: dict[str, Any]) -> None:
        answers.append(sender.patch(URL, json=change).status_code)

    threads = [
        threading.Thread(target=send, args=(sender, change))
        for sender, change in zip(clients, fields, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    assert set(stored(engine, account).forgiveness or {}) == {
        name for change in fields for name in change
    }


@pytest.mark.parametrize(
    ("period", "field", "value"),
    [
        ("weekly", "grace_refill", "weekly"),
        ("monthly", "grace_refill", "weekly"),
        ("monthly", "grace_refill", "monthly"),
        ("weekly", "rest_days", ["sunday"]),
        ("monthly", "rest_days", ["monday"]),
    ],
)
def test_it_refuses_what_makes_no_sense_for_the_period(
    client: FlaskClient, engine: Engine, account: Account, period: str, field: str, value: Any
) -> None:
    body = {"code": "other", "name": "Other", "period": period}
    problem(
        client.post(f"{BASE}/streaks", json=body | {field: value}), 422, "validation_error", field
    )
    make_streak(client, period=period)
    before = stored(engine, account)
    problem(client.patch(URL, json={field: value}), 422, "validation_error", field)
    assert stored(engine, account) == before


@pytest.mark.parametrize(
    ("field", "earn_back"),
    [
        *(("earn_back.times", {"times": value, "within": 1}) for value in (1, 101, 2.5, "3", None)),
        *(("earn_back.within", {"times": 3, "within": value}) for value in (0, 32, True, "2")),
        ("earn_back.within", {"times": 3}),
        ("earn_back.times", {"times": 3, "within": 1}),
    ],
)
def test_earning_back_is_within_its_bounds_and_the_days_of_a_period(
    client: FlaskClient, field: str, earn_back: Any
) -> None:
    target = {"kind": "days", "amount": 3}  # three times: nine days of a week
    body = {"code": "other", "name": "Other", "period": "weekly", "target": target}
    refused = client.post(f"{BASE}/streaks", json=body | {"earn_back": earn_back})
    problem(refused, 422, "validation_error", field)
    assert client.get(f"{BASE}/streaks").get_json()["total"] == 0
    twice = {"earn_back": {"times": 2, "within": 1}}
    assert client.post(f"{BASE}/streaks", json=body | twice).get_json() | twice == (
        client.get(f"{BASE}/streaks/other").get_json()
    )


# -- calendars -------------------------------------------------------------------------------


def test_a_change_of_a_calendar_is_in_force_for_the_streaks_that_name_it(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_calendar(client, "1970-01-02")
    make_calendar(client, "1970-01-05", code="ours")
    make_streak(client, calendar_codes=["bank_holidays", "ours"])
    make_streak(client, code="plain")
    before, asked = stored(engine, account), reviews(engine, account)
    assert before.holidays == ((1, 2), (4, 5))
    url = f"{CALENDARS}/bank_holidays"
    assert client.patch(url, json={"dates": ["1970-01-04"]}).status_code == 200
    after = stored(engine, account)
    assert (after.holidays, after.revision) == (((3, 5),), before.revision + 1)
    assert after.rules.forgiveness is not None
    assert after.rules.forgiveness.holidays == after.holidays
    assert reviews(engine, account) == asked + 1
    client.patch(url, json={"dates": ["1970-01-04"], "name": "Other"})
    client.delete(url)
    assert stored(engine, account) == after  # the same days: nothing is counted anew
    assert stored(engine, account, "plain").revision == 1


def test_a_deactivated_calendar_cannot_be_named_anew_but_is_kept(
    client: FlaskClient, engine: Engine, account: Account
) -> None:
    make_calendar(client, "1970-01-02")
    make_streak(client, calendar_codes=["bank_holidays"])
    make_streak(client, code="other")
    client.delete(f"{CALENDARS}/bank_holidays")
    again = client.patch(URL, json={"calendar_codes": ["bank_holidays"], "name": "Mine"})
    assert again.status_code == 200
    assert stored(engine, account).holidays == ((1, 2),)
    response = client.patch(f"{BASE}/streaks/other", json={"calendar_codes": ["bank_holidays"]})
    document = problem(response, 422, "validation_error", "calendar_codes.0")
    assert document["errors"][0]["code"] == "unknown_calendar"


def test_another_tenants_calendar_is_unknown(
    app: Flask, client: FlaskClient, make_account: Callable[..., Account]
) -> None:
    make_calendar(client_of(app, make_account().keys["live"]), "1970-01-02")
    body = {"code": "daily_login", "name": "D", "calendar_codes": ["bank_holidays"]}
    response = client.post(f"{BASE}/streaks", json=body)
    problem(response, 422, "validation_error", "calendar_codes.0")


@pytest.mark.parametrize(
    ("kind", "dates", "periods"),
    [
        ("weekly", ["1970-01-05", "1970-01-06", "1970-01-07"], ()),  # three days of the week
        ("weekly", ["1970-01-05", "1970-01-06", "1970-01-07", "1970-01-08"], ((1, 2),)),
        ("monthly", [f"1970-02-{day:02d}" for day in range(1, 15)], ()),  # 14 of 28
        ("monthly", [f"1970-02-{day:02d}" for day in range(1, 16)], ((1, 2),)),
    ],
)
def test_a_week_or_month_is_a_holiday_when_more_than_half_of_its_days_are(
    client: FlaskClient, engine: Engine, account: Account, kind: str, dates: list[str], periods: Any
) -> None:
    make_calendar(client, *dates)
    make_streak(client, period=kind, calendar_codes=["bank_holidays"])
    rules = stored(engine, account).rules.forgiveness
    assert (() if rules is None else rules.holidays) == periods
