"""Weeks that start on another weekday, and days that start after midnight, over HTTP."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import clock
from models.db import Engine, snapshot
from models.people import export, export_repairs
from tests.calls import draining, make_streak, post_json, post_tick, problem
from tests.conftest import BASE, Account
from tests.integration.batches import make_streak as store_streak
from tests.integration.mending import applied, history_of, of, refused, streak_of
from tests.integration.participants.test_streaks_view import assert_same
from tests.integration.telling import AT_RISK, BROKEN, STRICT, Notified, live_in
from tests.pipeline import Pipeline

WAIT = {"Prefer": "wait=10"}
LATE: dict[str, Any] = {"day_starts_at": "04:00"}
SUNDAYS: dict[str, Any] = {"period": "weekly", "week_starts_on": "sunday"}


def on(day: date, time: str) -> str:
    """An instant in UTC, as it is posted."""
    return f"{day.isoformat()}T{time}:00Z"


def ago(days: int) -> date:
    """A day before today, in UTC."""
    return datetime.now(UTC).date() - timedelta(days=days)


def sunday(weeks_ago: int) -> date:
    """The Sunday on which a week began, before the current week."""
    today = ago(0)
    return today - timedelta(days=(today.weekday() + 1) % 7 + 7 * weeks_ago)


def started_at_2359() -> date:
    """The day that is current where days start at 23:59 UTC."""
    return ago(1) if f"{clock.now():%H:%M}" < "23:59" else ago(0)


def send(client: FlaskClient, *ticks: str, **values: Any) -> list[dict[str, Any]]:
    """Record ticks at some instants, one after the other, and return their answers."""
    answers = [post_tick(client, headers=WAIT, timestamp=at, **values) for at in ticks]
    assert [answer.status_code for answer in answers] == [200] * len(ticks)
    return [dict(answer.get_json()) for answer in answers]


def keys(answers: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(answer["period_key"], answer["outcome"]) for answer in answers]


# -- ticks -----------------------------------------------------------------------------------


def test_what_happens_before_the_start_of_a_day_belongs_to_the_day_before(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **LATE)
    first, second = ago(3), ago(2)
    with draining(pipeline):
        answers = send(
            client, on(first, "04:00"), on(second, "03:59"), on(second, "04:00"), on(first, "03:00")
        )
    assert keys(answers) == [
        (str(first), "started"), (str(first), "repeated"), (str(second), "extended"),
        (str(ago(4)), "backfilled"),
    ]  # fmt: skip
    assert list(history_of(client))[:3] == [str(ago(4)), str(first), str(second)]


def test_the_clocks_of_the_participant_say_when_a_day_starts(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **LATE)
    day = ago(3)
    with draining(pipeline):
        answers = send(  # 04:00 in Kolkata is 22:30 UTC
            client, on(day, "22:29"), on(day, "22:30"), timezone="Asia/Kolkata"
        )
    assert keys(answers) == [
        (str(day), "started"), (str(day + timedelta(days=1)), "extended"),
    ]  # fmt: skip


def test_a_week_is_named_by_the_date_of_its_first_day(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **SUNDAYS)
    first, second = sunday(3), sunday(2)
    with draining(pipeline):
        answers = send(
            client, on(first, "00:00"), on(second - timedelta(days=1), "23:59"),
            on(second, "00:00"),
        )  # fmt: skip
    assert keys(answers) == [
        (str(first), "started"), (str(first), "repeated"), (str(second), "extended"),
    ]  # fmt: skip
    kept = client.get(f"{BASE}/ticks/{answers[0]['tick_id']}").get_json()
    assert kept["result"] == answers[0]
    entry = streak_of(client)
    assert (entry["status"], entry["current_count"]) == ("broken", 0)


def test_a_week_starts_at_the_start_of_its_first_day(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **SUNDAYS, **LATE)
    first, second = sunday(2), sunday(1)
    with draining(pipeline):
        answers = send(client, on(second, "03:59"), on(second, "04:00"))
    assert keys(answers) == [(str(first), "started"), (str(second), "extended")]
    assert streak_of(client)["expires_at"] == on(sunday(-1), "04:00")


def test_a_month_starts_at_the_start_of_its_first_day(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, period="monthly", **LATE)
    first = ago(0).replace(day=1)
    first = (first - timedelta(days=1)).replace(day=1)
    before = first - timedelta(days=1)
    with draining(pipeline):
        answers = send(client, on(first, "03:59"), on(first, "04:00"))
    assert keys(answers) == [(f"{before:%Y-%m}", "started"), (f"{first:%Y-%m}", "extended")]


def test_the_days_of_a_target_start_when_those_of_the_streak_do(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **SUNDAYS, **LATE, target={"kind": "days", "amount": 2})
    day = sunday(1)
    with draining(pipeline):
        same, other = send(client, on(day, "04:00"), on(day + timedelta(days=1), "03:59"))
        assert same["progress"] == other["progress"] == {"value": 1, "target": 2}
        [reached] = send(client, on(day + timedelta(days=1), "04:00"))
        assert reached["progress"] == {"value": 2, "target": 2}
        assert reached["outcome"] == "started"
        removed = client.delete(f"{BASE}/ticks/{reached['tick_id']}?reason=mistake")
        assert removed.status_code == 202
        [again] = send(client, on(day + timedelta(days=1), "03:00"))
        assert again["progress"] == {"value": 1, "target": 2}


# -- what is read ----------------------------------------------------------------------------


def test_a_streak_is_at_risk_until_its_next_day_starts(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    """A day that starts at 23:59: yesterday's tick is at risk until the last minute of today."""
    make_streak(client, day_starts_at="23:59")
    started = started_at_2359()
    with draining(pipeline):
        send(client, on(started - timedelta(days=1), "23:59"))
    entry = streak_of(client)
    assert entry["expires_at"] == on(started + timedelta(days=1), "23:59")
    assert entry["status"] == "at_risk"
    [item] = client.get(f"{BASE}/streaks/daily_login/at-risk").get_json()["items"]
    assert (item["participant_id"], item["expires_at"]) == ("user_42", entry["expires_at"])
    profile = client.get(f"{BASE}/participants/user_42/state").get_json()
    assert profile["streaks"]["current"] == 1


def test_sql_reads_what_the_api_reads(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    people = set()
    for nth, fields in enumerate(
        (LATE, {"day_starts_at": "23:30"}, SUNDAYS, SUNDAYS | LATE, {"period": "monthly"} | LATE)
    ):
        make_streak(client, f"s{nth}", boundary="participant", grace_periods=nth % 2, **fields)
    for zone in ("UTC", "Asia/Kolkata", "America/Los_Angeles", "Pacific/Kiritimati"):
        people.add(zone)
        for hours in (1, 5, 20, 30, 55, 9 * 24):
            at = clock.isoformat(clock.now() - timedelta(hours=hours))
            for nth in range(5):
                post_tick(client, zone, streak_code=f"s{nth}", timestamp=at, timezone=zone)
    pipeline.drain()
    assert assert_same(client, engine, account, people) >= 1


def test_a_history_may_begin_on_any_day_of_a_week(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client, **SUNDAYS)
    with draining(pipeline):
        send(client, on(sunday(3), "12:00"), on(sunday(2), "12:00"))
    saturday = sunday(1) - timedelta(days=1)
    found = client.get(f"{of()}/history?from={saturday}&to={saturday}").get_json()["periods"]
    assert [period["period_key"] for period in found] == [str(sunday(2))]


def test_an_export_names_the_periods_of_the_streak(
    client: FlaskClient, engine: Engine, account: Account, pipeline: Pipeline
) -> None:
    make_streak(client, **SUNDAYS, **LATE)
    with draining(pipeline):
        send(client, on(sunday(1), "03:00"), timezone="UTC")
    with snapshot(engine) as connection:
        [tick] = export.ticks(connection, account.live.id)
        [state] = export.states(connection, account.live.id)
    assert (tick["period_key"], tick["counted_timezone"]) == (str(sunday(2)), "UTC")
    assert state["recorded"] == [[str(sunday(2)), str(sunday(2))]]
    body = {"periods": [str(sunday(3))], "reason": "mistake"}
    applied(client, pipeline, post_json(client, f"{of()}/repair", body))
    with snapshot(engine) as connection:
        [repair] = export_repairs.repairs(connection, account.live.id)
    assert (repair["from"], repair["to"]) == (str(sunday(3)), str(sunday(2) - timedelta(days=1)))
    person = client.get(f"{BASE}/participants/user_42/export").get_json()
    assert person["ticks"][0]["period_key"] == str(sunday(2))
    assert person["streaks"][0]["recorded"] == state["recorded"]


# -- what is done to a streak ----------------------------------------------------------------


def test_a_pause_protects_a_week_of_which_it_covers_more_than_half(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    """Sunday to Wednesday are four days of the week from Sunday, and three of the ISO week."""
    make_streak(client, **SUNDAYS)
    make_streak(client, "iso", period="weekly")
    first = sunday(2)
    with draining(pipeline):
        for code in ("daily_login", "iso"):
            send(client, on(first - timedelta(days=3), "12:00"), streak_code=code)
    body = {"from": str(first), "to": str(first + timedelta(days=3))}
    applied(client, pipeline, post_json(client, f"{BASE}/participants/user_42/pauses", body))
    assert history_of(client)[str(first)] == "pause"
    assert "pause" not in history_of(client, code="iso").values()


def test_a_pause_covers_the_days_of_the_streak(client: FlaskClient, pipeline: Pipeline) -> None:
    make_streak(client, **LATE)
    with draining(pipeline):
        send(client, on(ago(4), "12:00"), on(ago(1), "03:00"))  # the second belongs to two days ago
    body = {"from": str(ago(3)), "to": str(ago(3))}
    applied(client, pipeline, post_json(client, f"{BASE}/participants/user_42/pauses", body))
    assert list(history_of(client).values())[:3] == ["recorded", "pause", "recorded"]


def test_a_rest_day_lasts_until_the_next_day_starts(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **LATE, rest_days=["sunday"])
    rest = sunday(1)
    with draining(pipeline):
        [saturday] = send(client, on(rest, "03:59"))
        [monday] = send(client, on(rest + timedelta(days=1), "04:00"))
    assert (saturday["period_key"], monday["new_count"]) == (str(rest - timedelta(days=1)), 2)
    assert history_of(client)[str(rest)] == "rest_day"


def test_an_outage_before_the_start_of_a_day_protects_the_day_before(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **LATE)
    with draining(pipeline):
        send(client, on(ago(4), "12:00"), on(ago(2), "12:00"))
    span = {"starts_at": on(ago(2), "03:00"), "ends_at": on(ago(2), "03:30"), "reason": "down"}
    assert post_json(client, f"{BASE}/admin/outages", span).status_code == 201
    assert history_of(client)[str(ago(3))] == "outage"
    assert streak_of(client)["longest_count"] == 2


def test_a_week_is_repaired_and_retracted_by_its_date(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, **SUNDAYS)
    first, missed, last = (sunday(weeks) for weeks in (3, 2, 1))
    with draining(pipeline):
        send(client, on(first, "12:00"), on(last, "12:00"))
    repair = post_json(client, f"{of()}/repair", {"periods": [str(missed)], "reason": "mistake"})
    result = applied(client, pipeline, repair)
    assert (result["periods"], result["streaks"][0]["longest_count"]) == ([str(missed)], 2)
    gone = client.delete(f"{of()}/periods/{last}?reason=mistake")
    assert applied(client, pipeline, gone)["period_key"] == str(last)
    again = client.delete(f"{of()}/periods/{last}?reason=mistake")
    assert refused(client, pipeline, again) == "period_not_recorded"
    item = {"participant_id": "user_42", "streak_code": "daily_login", "period_key": str(first)}
    batch = post_json(client, f"{BASE}/retractions/batch", {"retractions": [item]})
    assert "error" not in batch.get_json()["results"][0]
    pipeline.drain()
    assert str(first) not in history_of(client)


@pytest.mark.parametrize("key", ["2026-W21", "2026-05-23", "2026-05", "x"])
def test_a_key_of_another_calendar_is_refused_with_an_example(
    client: FlaskClient, pipeline: Pipeline, key: str
) -> None:
    make_streak(client, **SUNDAYS)
    with draining(pipeline):
        send(client, on(sunday(1), "12:00"))
    body = {"periods": [key], "reason": "mistake"}
    answers = {
        "periods": post_json(client, f"{of()}/repair", body),
        "period_key": client.delete(f"{of()}/periods/{key}?reason=mistake"),
    }
    for field, answer in answers.items():
        document = problem(answer, 422, "validation_error", field)
        assert "such as 2026-05-17" in document["errors"][0]["message"]


def test_a_freeze_is_granted_in_the_day_that_is_current(
    client: FlaskClient, pipeline: Pipeline
) -> None:
    make_streak(client, day_starts_at="23:59", freezes={"max": 1})
    started = started_at_2359()
    with draining(pipeline):
        send(client, on(started - timedelta(days=1), "23:59"))
    body = {"amount": 2, "reason": "goodwill"}
    applied(client, pipeline, post_json(client, f"{of()}/freezes/grant", body))
    found = client.get(f"{of()}/freezes").get_json()
    assert [(entry["what"], entry["period_key"]) for entry in found["entries"]] == [
        ("granted", str(started))
    ]
    assert found["freezes_remaining"] == streak_of(client)["freezes_remaining"] == 2


# -- facts -----------------------------------------------------------------------------------


def test_the_facts_of_a_day_are_sent_when_it_starts_where_the_participant_lives(
    told: Notified,
) -> None:
    values = STRICT | {"boundary": "participant", "forgiveness": LATE}
    streak = store_streak(told.engine, told.tenant_id, values)
    live_in(told, "Asia/Kolkata")  # 22:30 UTC is 04:00
    told.tick(streak, "2027-03-10T22:29")  # of the 10th, though it is the 11th there
    assert told.sweep("2027-03-10T22:29") == []
    assert told.sweep("2027-03-10T22:30") == [(AT_RISK, "daily")]
    assert told.sweep("2027-03-11T22:29") == [(AT_RISK, "daily")]
    assert told.sweep("2027-03-11T22:30") == [(AT_RISK, "daily"), (BROKEN, "daily")]
    at_risk, _ = told.facts()
    assert at_risk["payload"]["expires_at"] == "2027-03-11T22:30:00Z"


def test_a_reminder_before_the_next_day_starts_is_for_the_day_that_is_not_over(
    told: Notified,
) -> None:
    values = STRICT | {"forgiveness": LATE, "reminder": {"at": "02:00"}}
    streak = store_streak(told.engine, told.tenant_id, values)
    told.tick(streak, "2027-03-10T12:00")
    told.sweep("2027-03-12T01:59")
    assert told.reminders() == []
    told.sweep("2027-03-12T02:00")
    [reminder] = [body["payload"] for body in told.reminders()]
    assert (reminder["period_key"], reminder["period_ends_at"]) == (
        "2027-03-11", "2027-03-12T04:00:00Z",
    )  # fmt: skip


def test_a_change_of_clocks_moves_the_start_of_no_day(told: Notified) -> None:
    """In New York 02:30 does not exist on 2027-03-14: the day starts at 03:00."""
    values = STRICT | {"boundary": "participant", "forgiveness": {"day_starts_at": "02:30"}}
    streak = store_streak(told.engine, told.tenant_id, values)
    live_in(told, "America/New_York")
    told.tick(streak, "2027-03-13T07:30")  # 02:30 of the 13th
    assert told.sweep("2027-03-14T06:59") == []
    assert told.sweep("2027-03-14T07:00") == [(AT_RISK, "daily")]
    told.tick(streak, "2027-03-14T07:00")
    rows = told.rows("SELECT recorded::text AS recorded FROM streak_states WHERE tenant_id = :t")
    [start, end] = rows[0].recorded[2:-2].split(",")
    assert int(end) - int(start) == 2
