"""The worked examples of docs/reminders.md: each table is what the rule says."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from api.resources.definitions.streak_reminders import KINDS, ReminderSet
from models import clock
from models.rules.deadlines import Calendar
from models.rules.periods import DAILY, period_at, zone_info
from models.rules.reminders import instant_us, reminder_of

PAGE = (Path(__file__).parents[3] / "docs" / "reminders.md").read_text()
ZONE = "Europe/Berlin"
INSTANT = r"(\d{4}-\d\d-\d\d \d\d:\d\d)"
ROW = re.compile(rf"^\| (\d{{4}}-\d\d-\d\d) \| {INSTANT} \| {INSTANT} \|$", re.M)


def _us(text: str) -> int:
    return clock.to_us(datetime.fromisoformat(text).replace(tzinfo=zone_info(ZONE)))


def _due(fields: dict[str, Any], day: str, latest: str) -> str:
    """When the reminder of a day is due, by the clocks of the page's zone."""
    period = period_at(DAILY, _us(f"{day} 12:00"), ZONE)
    found = instant_us(reminder_of(fields), Calendar(DAILY, ZONE), period, _us(latest))
    assert found is not None
    return datetime.fromtimestamp(found / 1_000_000, zone_info(ZONE)).strftime("%Y-%m-%d %H:%M")


SECTIONS = [section for section in PAGE.split("\n## ")[1:] if ROW.search(section)]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_each_table_is_what_the_rule_says(section: str) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", section, re.S)
    rows = ROW.findall(section)
    assert rows == [(day, latest, _due(json.loads(block), day, latest)) for day, latest, _ in rows]


def test_each_field_is_in_the_table_and_each_kind_has_an_example() -> None:
    named = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert named == list(ReminderSet.__annotations__)
    shown = {name for section in SECTIONS for name in KINDS if f'"{name}"' in section}
    assert shown == set(KINDS)
