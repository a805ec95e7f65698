"""docs/time-zones.md: its table is computed, and what it says of the recipe's ticks is posted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask.testing import FlaskClient

from models import clock
from models.rules.periods import DAILY, key_of, period_at, zone_names
from settings import Settings
from tests.calls import another_app, client_of, draining, make_streak, post_tick, problem
from tests.conftest import BASE, Account
from tests.pipeline import Pipeline

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "time-zones.md"
AGES = 36_500  # days: the document's instants grow old, what it says of them does not


@dataclass(frozen=True)
class Row:
    """A row of the document's table."""

    zone: str
    now: str
    there: str
    right: str
    sent: str
    counted: str


def rows() -> list[Row]:
    lines = re.findall(r"^\| (\w+/\w+) \|(.*)\|$", DOCUMENT.read_text(), re.MULTILINE)
    return [Row(zone, *(cell.strip() for cell in rest.split("|"))) for zone, rest in lines]


def recipe(now: datetime, zone: str) -> str:
    """`fromZonedTime(now, zone).toISOString()` on a server in UTC: the reading of its clock, taken
    for one of a clock in the zone."""
    sent = now.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    return sent.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def day(instant: str, zone: str | None) -> str:
    """The period key of an instant by the rules."""
    at_us = clock.to_us(datetime.fromisoformat(instant))
    return key_of(DAILY, period_at(DAILY, at_us, zone))


@pytest.fixture
def client(settings: Settings, account: Account, pipeline: Pipeline) -> Iterator[FlaskClient]:
    """A client of an API that takes ticks of any age, beside a drain."""
    with another_app(settings, tick_age_days_max=AGES, wait_seconds=10.0) as app:
        client = client_of(app, account.keys["live"])
        make_streak(client)
        with draining(pipeline):
            yield client


def test_its_table_has_two_zones_in_which_a_day_counts_twice_and_two_days_once() -> None:
    assert len(rows()) == 6
    for zone in ("Australia/Sydney", "America/Los_Angeles"):
        mine = [row for row in rows() if row.zone == zone]
        assert (mine[0].right, mine[2].right) == (mine[1].right, "2026-05-24")
        assert mine[0].counted != mine[1].counted == mine[2].counted


@pytest.mark.parametrize("row", rows())
def test_its_table_is_what_the_rules_say(row: Row) -> None:
    now = datetime.fromisoformat(row.now)
    assert row.there == now.astimezone(ZoneInfo(row.zone)).strftime("%Y-%m-%d %H:%M")
    assert row.right == day(row.now, row.zone) == row.there[:10]
    assert recipe(now, row.zone) == row.sent.replace("Z", ".000Z")
    assert row.counted == day(row.sent, None)


STARTS = re.compile(r"^\| \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d) \|(.*)\|$", re.MULTILINE)
LATE, SUNDAYS = {"day_starts_at": "04:00"}, {"period": "weekly", "week_starts_on": "sunday"}
COLUMNS: list[dict[str, str]] = [{}, LATE, {"period": "weekly"}, SUNDAYS, SUNDAYS | LATE]


def test_days_and_weeks_start_as_the_table_says(client: FlaskClient) -> None:
    for nth, fields in enumerate(COLUMNS):
        make_streak(client, f"column{nth}", **fields)
    found = STARTS.findall(DOCUMENT.read_text())
    assert len(found) == 5
    for at, cells in found:
        local = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo("Europe/Berlin"))
        given: dict[str, Any] = {"timestamp": local.isoformat(), "timezone": "Europe/Berlin"}
        keys = [
            post_tick(client, streak_code=f"column{nth}", **given).get_json()["period_key"]
            for nth in range(len(COLUMNS))
        ]
        assert keys == [cell.strip() for cell in cells.split("|")], at


def test_the_recipes_ticks_are_accepted_and_count_for_the_day_in_the_table(
    client: FlaskClient,
) -> None:
    for row in rows():
        sent = recipe(datetime.fromisoformat(row.now), row.zone)
        answer = post_tick(client, f"recipe {row.zone}", timestamp=sent).get_json()
        assert answer["period_key"] == row.counted
        named = post_tick(client, row.zone, timestamp=row.now, timezone=row.zone).get_json()
        assert named["period_key"] == row.right
    streaks = {"recipe Australia/Sydney": 2, "recipe America/Los_Angeles": 2}
    for participant, count in (streaks | dict.fromkeys([row.zone for row in rows()], 2)).items():
        path = f"{BASE}/participants/{participant.replace('/', '%2F')}/streaks"
        (entry,) = client.get(path).get_json()["streaks"]
        assert entry["longest_count"] == count


def test_the_recipes_tick_of_now_is_accepted_from_every_zone(client: FlaskClient) -> None:
    now = datetime.now(UTC)
    zones = {now.astimezone(ZoneInfo(one)).utcoffset(): one for one in sorted(zone_names())}
    assert len(zones) > 30
    for zone in zones.values():
        sent = recipe(now, zone)
        answer = post_tick(client, f"in {zone}", timestamp=sent)
        assert answer.status_code == 200, (zone, answer.text)
        assert answer.get_json()["period_key"] == sent[:10]


def test_it_says_how_far_ahead_a_tick_may_be(client: FlaskClient) -> None:
    now = datetime.now(UTC)
    ahead = max(
        datetime.fromisoformat(recipe(now, zone)) - now for zone in ("Etc/GMT+12", "Pacific/Niue")
    )
    assert round(ahead / timedelta(hours=1)) == 12
    assert "the\nrecipe reaches 12 h (`Etc/GMT+12`)" in DOCUMENT.read_text()
    late = (now + timedelta(hours=14, minutes=5)).isoformat()
    problem(post_tick(client, timestamp=late), 422, "timestamp_out_of_range", "timestamp")


def test_leaving_the_recipe_as_described_breaks_no_streak(client: FlaskClient) -> None:
    """Mornings in Sydney and evenings in Los Angeles, five days with the recipe, then without."""
    for zone, hour, count in (("Australia/Sydney", 8, 8), ("America/Los_Angeles", 21, 6)):
        first = datetime(2026, 5, 11, hour, tzinfo=ZoneInfo(zone))
        visits = [first + timedelta(days=nth) for nth in range(7)]
        counts = [
            post_tick(client, zone, timestamp=recipe(visit.astimezone(UTC), zone)).get_json()
            for visit in visits[:5]
        ]
        assert [one["new_count"] for one in counts] == [1, 2, 3, 4, 5]
        for instant in (visits[5] - timedelta(hours=24), visits[5], visits[6]):
            stamp = instant.astimezone(UTC).isoformat()
            left = post_tick(client, zone, timestamp=stamp, timezone=zone).get_json()
        assert (left["outcome"], left["new_count"]) == ("extended", count)
