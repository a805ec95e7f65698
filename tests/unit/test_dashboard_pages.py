"""What the dashboard's pages are made of: forms, calendars, why a count is what it is."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from api.dashboard import fields
from api.dashboard.calendar import calendar, why
from api.dashboard.fields import Input
from api.dashboard.kinds import KINDS
from models.rules.periods import Kind, key_of
from models.rules.streaks import Ranges, Rules, add, explain

TODAY = 20_784


def history(recorded: set[int], rules: Rules, kind: Kind = "daily") -> list[dict[str, Any]]:
    """As the API answers it."""
    ranges: Ranges = ()
    for period in recorded:
        ranges = add(ranges, period)
    return [
        {
            "period_key": key_of(kind, one.period),
            "status": one.what,
            "count": one.count,
            "grace_remaining": one.grace_remaining,
        }
        for one in explain(ranges, rules, TODAY)
    ]


def test_it_says_when_a_run_began_and_what_was_forgiven() -> None:
    told = why("daily", history({TODAY - 4, TODAY - 3, TODAY - 1, TODAY}, Rules(1, True)))
    assert told == [
        f"The run began on {key_of('daily', TODAY - 4)}.",
        "4 days are recorded since then, so the count is 4.",
        "1 day is missed, and forgiven by grace.",
    ]


def test_it_says_which_miss_ended_the_run_before() -> None:
    told = why("daily", history({TODAY - 9, TODAY - 1, TODAY}, Rules(1, True)))
    assert told[0] == (
        f"The day {key_of('daily', TODAY - 2)} was missed with no grace left:"
        f" a new run began on {key_of('daily', TODAY - 1)}."
    )


def test_it_says_that_a_streak_has_broken_or_waits() -> None:
    assert why("daily", history({TODAY - 9}, Rules(0, True)))[-1].startswith("It has broken since")
    waits = why("daily", history({TODAY - 1}, Rules(1, True)))[-1]
    assert waits == "This day is not recorded yet; 1 grace left."
    assert why("daily", []) == ["Nothing is recorded in these days."]


@pytest.mark.parametrize("kind", ["daily", "weekly", "monthly"])
def test_every_period_has_a_cell_of_its_own(kind: Kind) -> None:
    current = {"daily": TODAY, "weekly": (TODAY + 3) // 7, "monthly": 56 * 12 + 10}[kind]
    keys = [key_of(kind, current - nth) for nth in range(120)][::-1]
    periods = [
        {"period_key": key, "status": "recorded", "count": 1, "grace_remaining": 0} for key in keys
    ]
    drawn = calendar(kind, periods)
    assert len({(one.x, one.y) for one in drawn.cells}) == len(keys)
    assert all(one.x < drawn.width and one.y < drawn.height for one in drawn.cells)
    assert drawn.labels


def test_days_of_one_week_stand_in_one_column_monday_first() -> None:
    monday = date(2026, 11, 23)
    keys = [(monday + timedelta(days=nth)).isoformat() for nth in range(7)]
    drawn = calendar("daily", [{"period_key": key, "status": "missed", "count": 0} for key in keys])
    assert len({one.x for one in drawn.cells}) == 1
    assert [one.y for one in drawn.cells] == sorted(one.y for one in drawn.cells)


INPUTS = (
    Input("code", "Code", is_required=True, is_fixed=True),
    Input("level", "Level", "number"),
    Input("criteria_config.min_points", "Points", "number"),
    Input("is_hidden", "Hidden", "switch"),
    Input("ends_at", "Ends", "moment"),
    Input("event_types", "Facts", "list"),
    Input("milestones", "Milestones", "json", empty=[]),
)


def test_a_new_ones_body_leaves_out_what_is_empty() -> None:
    form = {"code": "gold", "level": "3", "ends_at": "2026-12-01T10:00", "event_types": "a.*, b"}
    assert fields.body_of(INPUTS, form, is_new=True) == {
        "code": "gold",
        "level": 3,
        "is_hidden": False,
        "ends_at": "2026-12-01T10:00:00Z",
        "event_types": ["a.*", "b"],
    }


def test_a_changes_body_clears_what_is_empty_and_leaves_what_is_fixed() -> None:
    form = {"criteria_config.min_points": "many", "is_hidden": "on", "milestones": ""}
    assert fields.body_of(INPUTS, form, is_new=False) == {
        "level": None,
        "criteria_config": {"min_points": "many"},  # the API says what is wrong with it
        "is_hidden": True,
        "ends_at": None,
        "event_types": None,
        "milestones": [],
    }


def test_a_form_shows_what_its_body_would_say() -> None:
    body = {
        "code": "gold",
        "level": 3,
        "criteria_config": {"min_points": 5},
        "is_hidden": True,
        "ends_at": "2026-12-01T10:00:00Z",
        "event_types": ["a.*", "b"],
        "milestones": [{"count": 7}],
    }
    form = fields.shown(INPUTS, body)
    assert fields.body_of(INPUTS, form, is_new=True) == body


def test_every_kind_has_what_its_list_and_form_need() -> None:
    for name, kind in KINDS.items():
        assert name == kind.title.lower()
        assert len({one.name for one in kind.inputs}) == len(kind.inputs)
        for one in kind.inputs:
            assert bool(one.choices) is (one.kind == "choice")
