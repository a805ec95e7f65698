"""What the dashboard's pages are made of: forms, calendars, why a count is what it is."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from flask import Flask
from pydantic import Field, ValidationError

from api.dashboard import form_fields, layout
from api.dashboard.definition_types import KINDS
from api.dashboard.form_fields import Input
from api.dashboard.streak_calendar import CELL, calendar, why
from api.input.field_messages import errors_of
from api.input.unknown_fields import refusal
from api.input.validation import Body, Code, Name
from models.rules.periods import DAILY, Cadence, PeriodKind, key_of
from models.rules.streaks import Ranges, Rules, add, explain

TODAY = 20_784


def history(recorded: set[int], rules: Rules, kind: PeriodKind = "daily") -> list[dict[str, Any]]:
    """As the API answers it."""
    ranges: Ranges = ()
    for period in recorded:
        ranges = add(ranges, period)
    return [
        {
            "period_key": key_of(Cadence(kind), one.period),
            "status": one.what,
            "count": one.count,
            "grace_remaining": one.grace_remaining,
            "freezes_remaining": one.freezes_remaining,
            "by": one.by,
        }
        for one in explain(ranges, rules, TODAY)
    ]


def test_it_says_when_a_run_began_and_what_was_forgiven() -> None:
    told = why("daily", history({TODAY - 4, TODAY - 3, TODAY - 1, TODAY}, Rules(1, True)))
    assert told == [
        f"The run began on {key_of(DAILY, TODAY - 4)}.",
        "4 days are recorded since then, so the count is 4.",
        "1 day is missed and forgiven by grace.",
    ]


def test_it_says_which_miss_ended_the_run_before() -> None:
    told = why("daily", history({TODAY - 9, TODAY - 1, TODAY}, Rules(1, True)))
    assert told[0] == (
        f"The day {key_of(DAILY, TODAY - 2)} was missed with no grace left:"
        f" a new run began on {key_of(DAILY, TODAY - 1)}."
    )


def test_it_says_that_a_streak_has_broken_or_waits() -> None:
    assert why("daily", history({TODAY - 9}, Rules(0, True)))[-1].startswith(
        "The streak has broken since"
    )
    waits = why("daily", history({TODAY - 1}, Rules(1, True)))[-1]
    assert waits == "This day is not recorded yet; grace left: 1."
    assert why("daily", []) == ["No tick was recorded in these days."]


def test_weeks_from_another_weekday_have_the_cells_of_the_iso_weeks_they_begin_in() -> None:
    current = (TODAY + 3) // 7
    drawn = [
        calendar("weekly", [
            {"period_key": key_of(cadence, current - nth), "status": "recorded", "count": 1}
            for nth in range(60)
        ][::-1])
        for cadence in (Cadence("weekly"), Cadence("weekly", 6))
    ]  # fmt: skip
    iso, sundays = ([(one.x, one.y) for one in each.cells] for each in drawn)
    assert iso == sundays
    assert drawn[0].labels == drawn[1].labels
    assert "2026-11-22: recorded, count 1" in [cell.title for cell in drawn[1].cells]


PHONE = 318  # pixels within a card


@pytest.mark.parametrize("kind", ["daily", "weekly", "monthly"])
def test_every_period_has_a_cell_of_its_own(kind: PeriodKind) -> None:
    current = {"daily": TODAY, "weekly": (TODAY + 3) // 7, "monthly": 56 * 12 + 10}[kind]
    keys = [key_of(Cadence(kind), current - nth) for nth in range(120)][::-1]
    periods = [
        {"period_key": key, "status": "recorded", "count": 1, "grace_remaining": 0} for key in keys
    ]
    drawn = calendar(kind, periods)
    assert len({(one.x, one.y) for one in drawn.cells}) == len(keys)
    assert all(one.x < drawn.width and one.y < drawn.height for one in drawn.cells)
    assert drawn.labels
    if kind != "daily":
        assert drawn.width <= PHONE  # nothing lies off to the right


def test_weeks_begin_with_the_quarter_of_the_first() -> None:
    weeks = ("2026-W39", "2026-W40", "2026-W52", "2026-W53", "2027-W01")
    drawn = calendar("weekly", [{"period_key": key, "status": "missed", "count": 0}
                                for key in weeks])  # fmt: skip
    assert [one.y for one in drawn.cells] == [0, CELL, CELL, CELL, 2 * CELL]
    assert [(one.text, one.y) for one in drawn.labels] == [
        ("2026 W27", 10), ("2026 W40", 10 + CELL), ("2027 W1", 10 + 2 * CELL),
    ]  # fmt: skip


def test_months_have_names_above_and_years_before_them() -> None:
    months = ("2026-11", "2026-12", "2027-01")
    drawn = calendar("monthly", [{"period_key": key, "status": "missed", "count": 0}
                                 for key in months])  # fmt: skip
    assert {one.text for one in drawn.labels} == {"2026", "2027", "Nov", "Dec", "Jan"}
    assert drawn.cells[0].y == drawn.cells[1].y < drawn.cells[2].y


def test_days_of_one_week_stand_in_one_column_monday_first() -> None:
    monday = date(2026, 11, 23)
    keys = [(monday + timedelta(days=nth)).isoformat() for nth in range(7)]
    drawn = calendar("daily", [{"period_key": key, "status": "missed", "count": 0} for key in keys])
    assert len({one.x for one in drawn.cells}) == 1
    assert [one.y for one in drawn.cells] == sorted(one.y for one in drawn.cells)


# -- forms -----------------------------------------------------------------------------------

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
    assert form_fields.body_of(INPUTS, form, is_new=True) == {
        "code": "gold",
        "level": 3,
        "is_hidden": False,
        "ends_at": "2026-12-01T10:00:00Z",
        "event_types": ["a.*", "b"],
    }


def test_a_changes_body_clears_what_is_empty_and_leaves_what_is_fixed() -> None:
    form = {"criteria_config.min_points": "many", "is_hidden": "on", "milestones": ""}
    assert form_fields.body_of(INPUTS, form, is_new=False) == {
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
    form = form_fields.shown(INPUTS, body)
    assert form_fields.body_of(INPUTS, form, is_new=True) == body


def test_every_kind_has_what_its_list_and_form_need() -> None:
    for name, kind in KINDS.items():
        assert name == kind.path[-1]
        assert len({one.name for one in kind.inputs}) == len(kind.inputs)
        for one in kind.inputs:
            assert bool(one.choices) is (one.kind in ("choice", "checks"))


def test_examples_of_codes_fit_their_kind() -> None:
    examples = [one.placeholder for kind in KINDS.values() for one in kind.inputs
                if one.name == "code"]  # fmt: skip
    assert len(set(examples)) == len(examples) == 7


WHOLE = "must be a whole number, without quotes"


class Objective(Body):
    """A field inside a field."""

    count: int = 1


class Values(Body):
    """Fields as the API has them."""

    code: Code = "x"
    name: Name = "x"
    level: Annotated[int, Field(ge=1, le=9)] = 1
    milestones: list[dict[str, int]] | None = None
    objective: Objective | None = None


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("code", "a b", "Must consist of letters, digits and _ . : - only"),
        ("code", "", "Must not be empty"),
        ("code", "x" * 51, "Must have at most 50 characters"),
        ("name", "a\nb", "Must not contain control characters or line breaks"),
        ("level", "many", "Must be a whole number, without quotes"),
        ("level", 0, "Must be at least 1"),
        ("level", 10, "Must be at most 9"),
        ("milestones", {}, "Must be a list"),
        ("objective", [], "Must be a JSON object"),
        (
            "milestones",
            [{}, {"count": "x"}],
            f"entry 2, count: {WHOLE}",
        ),
    ],
)
def test_what_the_api_says_of_a_field_is_a_sentence(field: str, value: Any, told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Values.model_validate({field: value})
    with Flask("unbroken").app_context():
        errors = {
            one.field: one.message for one in refusal(Values, errors_of(refused.value)).errors
        }
    assert form_fields.messages([Input(field, "A label")], errors, {}) == {field: told}
    assert form_fields.summary([Input(field, "A label")], errors, "") == (
        "Nothing was saved. Check: A label."
    )


def test_what_is_of_no_field_of_the_form_is_said_above_it() -> None:
    errors = {"level": "must be odd", "body": "must be short"}
    assert form_fields.messages(INPUTS, errors, {})["level"] == "Must be odd"
    assert form_fields.messages(INPUTS, errors, {})["code"] == ""
    assert form_fields.summary(INPUTS, errors, "Invalid: level, body") == (
        "Nothing was saved. Check: Level; body: must be short."
    )
    assert form_fields.summary(INPUTS, {}, "A badge with this code exists") == (
        "A badge with this code exists"
    )


@pytest.mark.parametrize("text", ["[nope", "[" * 100_000])
def test_what_is_no_json_is_said_to_be_none(text: str) -> None:
    errors = {"milestones": "must be a list"}
    assert form_fields.messages(INPUTS, errors, {"milestones": text})["milestones"] == (
        "This is not valid JSON"
    )
    assert form_fields.body_of(INPUTS, {"milestones": text}, is_new=False)["milestones"] == text


# -- colours ---------------------------------------------------------------------------------


def variables(sheet: str) -> dict[str, str]:
    """The colours that a sheet names; of one named twice the last."""
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", sheet))


def luminance(colour: str) -> float:
    """As WCAG 2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * one for one in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """How much two colours differ, from 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_inputs_have_borders_that_can_be_seen() -> None:
    sheet = (Path(layout.__file__).parent / "static" / "dashboard.css").read_text()
    assert re.search(
        r"^input, select, textarea \{[^}]*border: 1px solid var\(--edge\)", sheet, re.M
    )
    by_day, by_night = sheet.split("prefers-color-scheme: dark", 1)
    for colours in (variables(by_day), variables(by_day) | variables(by_night)):
        for ground in ("card", "ground"):
            assert contrast(colours["edge"], colours[ground]) >= 3, colours["edge"]
        for ink in ("ink", "muted", "accent", "bad", "good"):
            assert contrast(colours[ink], colours["card"]) >= 4.5, ink


def _period(day: int, status: str, count: int, **more: Any) -> dict[str, Any]:
    period = {"period_key": f"2026-06-{day:02d}", "status": status, "count": count}
    return period | {"grace_remaining": 0, "freezes_remaining": 0, "by": None} | more


def test_the_calendar_says_what_saved_or_protected_a_day() -> None:
    periods = [
        _period(1, "recorded", 1),
        _period(2, "grace", 1),
        _period(3, "freeze", 1),
        _period(4, "protected", 1, by="pause"),
        _period(5, "missed", 0),
    ]
    assert [cell.title for cell in calendar("daily", periods).cells] == [
        "2026-06-01: recorded, count 1",
        "2026-06-02: missed, forgiven by grace, count 1",
        "2026-06-03: missed, saved by a freeze, count 1",
        "2026-06-04: protected by a pause, count 1",
        "2026-06-05: missed, count 0",
    ]


def test_the_reasons_for_a_count_name_every_cause() -> None:
    periods = [
        _period(1, "missed", 0),
        _period(2, "recorded", 1),
        _period(3, "freeze", 1),
        _period(4, "protected", 1, by="outage"),
        _period(5, "protected", 1, by="outage"),
        _period(6, "recorded", 2),
        _period(7, "protected", 2, by="rest_day"),
    ]
    assert why("daily", periods) == [
        "The day 2026-06-01 was missed with no grace left: a new run began on 2026-06-02.",
        "2 days are recorded since then, so the count is 2.",
        "1 day is missed and saved by a freeze.",
        "2 days are protected by an outage.",
        "This day is protected by a rest day: nothing is lost without a tick.",
    ]
