"""Forms for forgiveness and calendars: every field is filled in without JSON."""

from __future__ import annotations

from html import unescape

from flask.testing import FlaskClient

from tests.calls import make_streak
from tests.conftest import BASE
from tests.integration.browsing import Person
from tests.integration.mending import day, record_days, streak_of
from tests.pipeline import Pipeline
from workers.maintenance import restores
from workers.runtime.context import Context

STREAK = {
    "code": "daily_login",
    "name": "Daily",
    "period": "daily",
    "boundary": "utc",
    "grace_periods": "0",
}
FIELDS = {
    "grace_refill": "monthly", "grace_by_count.0.from_count": "0",
    "grace_by_count.0.grace_periods": "2", "grace_by_count.1.from_count": "30",
    "grace_by_count.1.grace_periods": "1", "freezes.initial": "1", "freezes.earn_every": "7",
    "freezes.max": "3", "freezes.price_points": "50", "rest_days.sunday": "on",
    "calendar_codes": "bank_holidays",
}  # fmt: skip
EMPTY = dict.fromkeys(FIELDS, "") | {"rest_days.sunday": ""}


def test_a_streak_is_created_changed_and_cleared_by_its_form(
    admin: Person, client: FlaskClient
) -> None:
    admin.post(
        "/d/calendars/new", code="bank_holidays", name="Bank", dates="2026-12-25\n2027-01-01"
    )
    admin.follow(admin.post("/d/streaks/new", **STREAK | FIELDS))
    made = client.get(f"{BASE}/streaks/daily_login").get_json()
    expected = {
        "grace_refill": "monthly",
        "grace_by_count": [
            {"from_count": 0, "grace_periods": 2},
            {"from_count": 30, "grace_periods": 1},
        ],
        "freezes": {"initial": 1, "earn_every": 7, "max": 3, "price_points": 50},
        "rest_days": ["sunday"],
        "calendar_codes": ["bank_holidays"],
    }
    assert made == made | expected
    page = admin.get("/d/streaks/daily_login").text
    for name, value in FIELDS.items():
        shown = f'name="{name}" type="checkbox" checked' if value == "on" else f'value="{value}"'
        assert shown in page, name
    admin.follow(
        admin.post("/d/streaks/daily_login", **STREAK | FIELDS | {"freezes.earn_every": ""})
    )
    changed = client.get(f"{BASE}/streaks/daily_login").get_json()
    assert changed["freezes"] == expected["freezes"] | {"earn_every": None}  # type: ignore[operator]
    admin.follow(admin.post("/d/streaks/daily_login", **STREAK | EMPTY))
    cleared = client.get(f"{BASE}/streaks/daily_login").get_json()
    assert cleared == cleared | {
        "grace_refill": None, "grace_by_count": [], "freezes": None, "rest_days": [],
        "calendar_codes": [],
    }  # fmt: skip


def test_a_target_is_given_with_a_new_streak_and_shown_afterwards(
    admin: Person, client: FlaskClient
) -> None:
    target = {
        "target.kind": "value", "target.amount": "10000", "earn_back.times": "3",
        "earn_back.within": "2",
    }  # fmt: skip
    admin.follow(admin.post("/d/streaks/new", **STREAK | target))
    made = client.get(f"{BASE}/streaks/daily_login").get_json()
    assert made["target"] == {"kind": "value", "amount": 10_000}
    assert made["earn_back"] == {"times": 3, "within": 2}
    page = admin.get("/d/streaks/daily_login").text
    assert "<code>10000</code>" in page
    assert 'name="target.amount"' not in page
    admin.follow(admin.post("/d/streaks/daily_login", **STREAK))
    again = client.get(f"{BASE}/streaks/daily_login").get_json()
    assert again["target"] == made["target"]
    half = admin.post("/d/streaks/new", **STREAK | {"code": "other", "target.amount": "3"})
    assert "Must be given" in half.text


def test_a_reminder_is_given_changed_and_cleared_without_json(
    admin: Person, client: FlaskClient
) -> None:
    fields = {
        "reminder.hours_after_last_tick": "23.5", "reminder.min_count": "3",
        "reminder.quiet_hours.from": "22:00", "reminder.quiet_hours.to": "08:00",
        "reminder.at_most_every_hours": "20",
    }  # fmt: skip
    admin.follow(admin.post("/d/streaks/new", **STREAK | fields))
    url = f"{BASE}/streaks/daily_login"
    expected = {
        "at": None, "hours_before": None, "hours_after_last_tick": 23.5, "min_count": 3,
        "quiet_hours": {"from": "22:00", "to": "08:00"}, "at_most_every_hours": 20,
    }  # fmt: skip
    assert client.get(url).get_json()["reminder"] == expected
    page = admin.get("/d/streaks/daily_login").text
    assert [name for name, value in fields.items() if f'value="{value}"' not in page] == []
    evening = {"reminder.at": "20:00", "reminder.min_count": "1"}
    admin.follow(admin.post("/d/streaks/daily_login", **STREAK | evening))
    changed = client.get(url).get_json()["reminder"]
    assert changed == dict.fromkeys(expected) | {"at": "20:00", "min_count": 1}
    two = unescape(
        admin.post(
            "/d/streaks/daily_login", **STREAK | evening | {"reminder.hours_before": "6"}
        ).text
    )
    assert "Must have exactly one of at, hours_before, hours_after_last_tick" in two
    bad = admin.post("/d/streaks/daily_login", **STREAK | {"reminder.at": "8pm"})
    assert "Must be a time of day such as 20:00" in unescape(bad.text)
    assert client.get(url).get_json()["reminder"] == changed
    admin.follow(admin.post("/d/streaks/daily_login", **STREAK))
    assert client.get(url).get_json()["reminder"] is None


def test_the_start_of_weeks_and_days_is_given_with_a_new_streak_and_shown_afterwards(
    admin: Person, client: FlaskClient
) -> None:
    starts = {"week_starts_on": "sunday", "day_starts_at": "04:00"}
    daily = admin.post("/d/streaks/new", **STREAK | starts)
    assert daily.status_code == 422
    assert "Must be monday: the streak is daily, not weekly" in unescape(daily.text)
    late = admin.post("/d/streaks/new", **STREAK | {"day_starts_at": "4 am"})
    assert "Must be a time of day such as 20:00" in unescape(late.text)
    admin.follow(admin.post("/d/streaks/new", **STREAK | starts | {"period": "weekly"}))
    made = client.get(f"{BASE}/streaks/daily_login").get_json()
    assert made == made | starts
    page = admin.get("/d/streaks/daily_login").text
    assert "<code>sunday</code>" in page
    assert "<code>04:00</code>" in page
    assert 'name="day_starts_at"' not in page
    admin.follow(admin.post("/d/streaks/daily_login", **STREAK | {"period": "weekly"}))
    assert client.get(f"{BASE}/streaks/daily_login").get_json()["week_starts_on"] == "sunday"


def test_each_error_stands_beside_its_field_and_what_was_typed_is_kept(
    admin: Person, client: FlaskClient
) -> None:
    wrong = {
        "grace_by_count.0.from_count": "5", "freezes.initial": "9", "freezes.max": "3",
        "calendar_codes": "nope", "rest_days.monday": "on",
    }  # fmt: skip
    response = admin.post("/d/streaks/new", **STREAK | wrong)
    assert response.status_code == 422
    page = unescape(response.text)
    assert "entry 1, grace_periods: must be given" in page
    wrong["grace_by_count.0.grace_periods"] = "1"
    page = unescape(admin.post("/d/streaks/new", **STREAK | wrong).text)
    assert "entry 1, from_count: must be 0" in page
    assert "Must be at most max, which is 3" in page
    assert 'name="rest_days.monday" type="checkbox" checked' in page
    assert 'name="grace_by_count.0.from_count" value="5"' in page
    assert client.get(f"{BASE}/streaks").get_json()["total"] == 0


def test_a_calendar_is_changed_by_its_form_and_listed_with_the_number_of_its_dates(
    admin: Person, client: FlaskClient
) -> None:
    days = [f"2026-12-{day:02d}" for day in range(1, 10)]
    admin.follow(admin.post("/d/calendars/new", code="bank", name="Bank", dates="\n".join(days)))
    assert client.get(f"{BASE}/admin/calendars/bank").get_json()["dates"] == days
    assert '<span class="num">9</span>' in admin.get("/d/calendars").text
    assert "Streaks that name it keep its dates." in admin.get("/d/calendars/bank").text
    bad = unescape(admin.post("/d/calendars/bank", name="Bank", dates="2026-12-01 soon").text)
    assert "entry 2: must be a date such as 2026-12-25" in bad
    admin.follow(admin.post("/d/calendars/bank", name="Bank", dates=""))
    assert client.get(f"{BASE}/admin/calendars/bank").get_json()["dates"] == []


def test_all_who_lost_a_streak_get_it_back_by_a_form(
    admin: Person, client: FlaskClient, pipeline: Pipeline, context: Context
) -> None:
    make_streak(client)
    record_days(client, pipeline, 4, 3, 1, 0)
    assert "/streaks/daily_login/restores" in admin.get("/d/streaks/daily_login").text
    path, span = "/streaks/daily_login/restores", {"from": day(1), "to": day(1)}
    page = admin.follow(admin.post(path, **span, action="preview"))
    assert "The count has started" in page
    restores.run(context)
    assert "1 would be restored" in admin.get(path).text
    assert streak_of(client)["current_count"] == 2
    refused = admin.post(path, **span, action="restore")
    assert refused.status_code == 422
    assert "Reason must be given unless is_preview is true" in unescape(refused.text)
    page = admin.follow(admin.post(path, **span, action="restore", reason="Our <outage>"))
    assert 'hx-trigger="every 2s"' in page
    restores.run(context)
    page = admin.get(path).text
    assert ("1 restored" in page, "Our &lt;outage&gt;" in page) == (True, True)
    assert streak_of(client)["current_count"] == 4


def test_a_restore_is_cancelled_on_its_page(admin: Person, client: FlaskClient) -> None:
    make_streak(client)
    path = "/streaks/daily_login/restores"
    span = {"from": day(1), "to": day(1)}
    admin.post(path, **span, action="restore", reason="Ours")
    [job] = client.get(f"{BASE}{path}").get_json()["items"]
    page = admin.follow(admin.post(f"{path}/{job['id']}/cancel"))
    assert "The restore was cancelled" in page
    assert client.get(f"{BASE}{path}").get_json()["items"][0]["status"] == "cancelled"
