"""The eight kinds of definitions, as the conformance test asks about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from flask.testing import FlaskClient

from tests.calls import make_badge
from tests.conftest import BASE

Values = dict[str, Any]
NOBODY = "01920000-0000-7000-8000-000000000000"


@dataclass(frozen=True)
class Kind:
    """One kind: where it is managed, what a new one needs, what it then has."""

    noun: str
    shown: Values  # the fields beside ids, code, name and instants, in order, with their defaults
    new: Values = field(default_factory=dict)  # what a new one needs beside code and name
    change: Values = field(default_factory=dict)
    kept: tuple[Values, ...] = ()  # each is answered as it was given
    cleared: tuple[str, ...] = ("description",)  # null clears them
    fixed: Values = field(default_factory=dict)  # what cannot be changed, with other values
    bad: dict[str, list[Any]] = field(default_factory=dict)  # values by the field to be named
    prefix: str = "admin/"
    has_code: bool = True
    has_id: bool = True  # paths name the id, and answers have it
    has_tenant: bool = True

    @property
    def path(self) -> str:
        """Where they are managed."""
        return f"{BASE}/{self.prefix}{self.noun}s"

    @property
    def fields(self) -> list[str]:
        """The fields of an answer, in order."""
        ids = ["id"] * self.has_id + ["tenant_id"] * self.has_tenant + ["code"] * self.has_code
        return [*ids, "name", *self.shown, "created_at", "updated_at"]

    @property
    def in_path(self) -> str:
        """What the document calls the identifier in a path."""
        if self.has_id:
            return f"{self.noun}_id"
        return f"{self.noun}_code" if self.prefix else "code"

    def body(self, code: str = "gold", **values: Any) -> Values:
        """What creates one."""
        given: Values = {"name": code.title()} | self.new | values
        return {"code": code} | given if self.has_code else given

    def make(self, client: FlaskClient, code: str = "gold", **values: Any) -> Values:
        """Create one."""
        response = client.post(self.path, json=self.body(code, **values))
        assert response.status_code == 201, response.text
        return dict(response.get_json())

    def url(self, made: Values) -> str:
        """The path of one."""
        return f"{self.path}/{made['id' if self.has_id else 'code']}"

    def audited(self, made: Values) -> str:
        """What audit entries call one."""
        return str(made["code" if self.has_code else "id"])


NOT_AN_ICON = [
    "", "power.png", "javascript:alert(1)", "data:image/png;base64,AAAA", "https://",
    "ftp://cdn.example.com/a.png", "https:///a.png", "https://[::1/", 7, f"https://x/{'p' * 2_039}",
    "https://user:hunter2@cdn.example.com/a.png", "https://cdn.example.com\\@evil.example/",
    "https://cdn.example.com/a b.png", 'https://cdn.example.com/"onerror="x',
    "https://cdn.example.com/a.png\n", "https://cdn.example.com:99999/",
]  # fmt: skip
NOT_A_COLOR = ["red", "#12345", "#7C3AED\n", "#7C3AE٠", ""]
NOT_AN_INSTANT = [
    "tomorrow", 7, "2026-02-30T00:00:00Z", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z",
]  # fmt: skip

WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def _steps(*steps: tuple[Any, Any]) -> list[Values]:
    """Grace by count."""
    return [{"from_count": count, "grace_periods": periods} for count, periods in steps]


def _reminder(**values: Any) -> Values:
    """A reminder as it is answered."""
    return {
        "at": None, "hours_before": None, "hours_after_last_tick": None, "min_count": 1,
        "quiet_hours": None, "at_most_every_hours": None,
    } | values  # fmt: skip


def _each(name: str, *values: Any) -> list[Values]:
    """An object for each value of a field."""
    return [{name: value} for value in values]


EVENING: Values = {"at": "20:00"}
EVERY_TIME: Values = {"badge_code": None, "repeat": "each_run"}

STREAK = Kind(
    "streak",
    {
        "description": None, "period": "daily", "grace_periods": 0, "reset_on_miss": True,
        "is_active": True, "boundary": "utc", "milestones": [], "at_risk_lead_hours": None,
        "grace_refill": None, "freezes": None, "grace_by_count": [], "rest_days": [],
        "calendar_codes": [], "target": None, "earn_back": None, "reminder": None,
        "week_starts_on": "monday", "day_starts_at": "00:00",
    },
    change={"grace_periods": 2, "milestones": [{"count": 7, "badge_code": None, "repeat": "once"}]},
    kept=(
        {"period": "weekly", "grace_periods": 366, "reset_on_miss": False, "is_active": False},
        {"period": "monthly", "boundary": "participant"},
        {"milestones": [{"count": 7, "badge_code": "week_warrior", "repeat": "each_run"}]},
        {"milestones": [EVERY_TIME | {"count": count} for count in range(1, 101)]},
        {"at_risk_lead_hours": 1},
        {"at_risk_lead_hours": 8_784},
        {"grace_refill": "weekly", "grace_periods": 1, "rest_days": ["sunday", "monday"]},
        {"period": "weekly", "grace_refill": "monthly", "calendar_codes": ["bank_holidays"]},
        {"period": "monthly", "grace_refill": "yearly"},
        {"freezes": {"initial": 0, "earn_every": None, "max": 0, "price_points": None}},
        {"freezes": {"initial": 100, "earn_every": 366, "max": 100, "price_points": 1_000_000}},
        {"freezes": {"initial": 1, "earn_every": 1, "max": 1, "price_points": 1}},
        {"target": {"kind": "ticks", "amount": 1}},
        {"target": {"kind": "value", "amount": 1_000_000_000}},
        {"target": {"kind": "days", "amount": 7}, "period": "weekly"},
        {"target": {"kind": "days", "amount": 28}, "period": "monthly"},
        {"target": {"kind": "ticks", "amount": 1}, "earn_back": {"times": 100, "within": 31}},
        {
            "target": {"kind": "days", "amount": 3}, "period": "weekly",
            "earn_back": {"times": 2, "within": 1},
        },
        {"week_starts_on": "sunday", "day_starts_at": "04:00", "period": "weekly"},
        {"week_starts_on": "tuesday", "day_starts_at": "00:01", "period": "weekly"},
        {"week_starts_on": "monday", "day_starts_at": "23:59", "period": "monthly"},
        {"grace_by_count": _steps((0, 366), (1, 0), (1_000_000, 1)), "rest_days": WEEKDAYS[:6]},
        {"grace_by_count": _steps(*((nth, 1) for nth in range(50)))},
        {"reminder": _reminder(at="23:59", quiet_hours={"from": "22:00", "to": "08:00"})},
        {"reminder": _reminder(hours_before=24, min_count=1_000_000, at_most_every_hours=8_784)},
        {"reminder": _reminder(hours_after_last_tick=23.5, at_most_every_hours=0.25)},
        {"reminder": _reminder(hours_before=168), "period": "weekly"},
        {"reminder": _reminder(hours_after_last_tick=1_344), "period": "monthly"},
    ),
    cleared=("description", "at_risk_lead_hours", "grace_refill", "freezes", "reminder"),
    fixed={
        "period": ["daily", "weekly", None], "target": [{"kind": "ticks", "amount": 2}, None],
        "earn_back": [{"times": 3, "within": 2}, None],
        "week_starts_on": ["monday", "sunday", None], "day_starts_at": ["00:00", "04:00", None],
    },
    bad={
        "grace_periods": [-1, 367, 1.0, "1", True, None, 10**400],
        "at_risk_lead_hours": [0, 8_785, "6"],
        "reset_on_miss": [1, "true"],
        "boundary": ["local"],
        "grace_refill": ["daily", "", 7, [], True],
        "freezes": [[], 3, "many"],
        "freezes.initial": [
            {"initial": -1, "max": 5}, {"initial": 101, "max": 100}, {"initial": 1},
            {"initial": 2, "max": 1}, {"initial": 1.0, "max": 1}, {"initial": None},
        ],
        "freezes.max": [{"max": 101}, {"max": -1}, {"max": None}, {"earn_every": 7, "max": 0}],
        "freezes.earn_every": [{"earn_every": value, "max": 1} for value in (0, 367, -1, "7")],
        "freezes.price_points": [{"price_points": value} for value in (0, -1, 1_000_001, 10**400)],
        "grace_by_count": [None, {}, _steps(*((nth, 1) for nth in range(51)))],
        "grace_by_count.0": [[7], [None]],
        "grace_by_count.0.from_count": [
            _steps((1, 2)), [{"grace_periods": 1}], _steps((-1, 0)), _steps((True, 0)),
        ],
        "grace_by_count.0.grace_periods": [
            [{"from_count": 0}], _steps((0, 367)), _steps((0, -1)), _steps((0, None)),
        ],
        "grace_by_count.1.from_count": [
            _steps((0, 1), (0, 2)), _steps((0, 1), (1_000_001, 2)), _steps((0, 1), (1.5, 2)),
        ],
        "grace_by_count.2.from_count": [
            _steps((0, 1), (9, 2), (8, 3)), _steps((0, 0), (9, 0), (9, 1)),
        ],
        "rest_days": [None, "sunday", WEEKDAYS],
        "rest_days.0": [["Sunday"], [6], [""], [None]],
        "rest_days.1": [["sunday", "sunday"], ["sunday", "funday"]],
        "calendar_codes": [None, "bank_holidays", [f"c{nth}" for nth in range(11)]],
        "calendar_codes.0": [["unknown"], ["a b"], [""], [7], ["gone"]],
        "calendar_codes.1": [["bank_holidays", "bank_holidays"]],
        "earn_back": [[], 3, {"times": 3, "within": 2}],
        "reminder": [{}, [], "20:00", {"min_count": 3}, {"at": None}],
        "reminder.at": [
            *_each("at", "24:00", "8:00", "20:60", "20:00:00", "20:00\n", "٢0:00", "", 20)
        ],
        "reminder.hours_before": [
            *_each("hours_before", 0, -1, 24.5, "6", True, 0.1, 10**400),
            EVENING | {"hours_before": 6},
        ],
        "reminder.hours_after_last_tick": [
            *_each("hours_after_last_tick", 0, 48.25, "23.5", []),
            {"hours_before": 6, "hours_after_last_tick": 23},
        ],
        "reminder.min_count": [
            EVENING | wrong for wrong in _each("min_count", 0, 1_000_001, None)
        ],
        "reminder.quiet_hours": [EVENING | wrong for wrong in _each("quiet_hours", [], "22-8", 3)],
        "reminder.quiet_hours.from": [
            EVENING | {"quiet_hours": {"from": value, "to": "08:00"}} for value in ("22", None, 22)
        ],
        "reminder.quiet_hours.to": [
            EVENING | {"quiet_hours": {"from": "22:00"}},
            EVENING | {"quiet_hours": {"from": "22:00", "to": "22:00"}},
        ],
        "reminder.at_most_every_hours": [
            EVENING | {"at_most_every_hours": value} for value in (0, -3, 8_785, "24")
        ],
        "week_starts_on": [None, "Monday", "", 0, "sunday"],  # it is daily
        "day_starts_at": [
            None, "4:00", "24:00", "04:60", "04:00:00", "04:00\n", "", 4, "٠٤:٠٠", " 04:00",
        ],
        "milestones": [None, {}, [{"count": 1}] * 101],
        "milestones.0.count": [[{"count": 0}], [{}]],
        "milestones.0": [["7"]],
        "milestones.0.repeat": [[{"count": 1, "repeat": "always"}]],
        "milestones.1.badge_code": [
            [{"count": 1}, {"count": 2, "badge_code": code}] for code in ("a b", "unknown")
        ],
    },
    prefix="",
    has_id=False,
    has_tenant=False,
)  # fmt: skip
BADGE = Kind(
    "badge",
    {
        "description": None, "icon_url": None, "badge_color": None, "rarity": "common",
        "category": None, "is_active": True, "is_hidden": False, "display_order": 0,
    },
    change={"rarity": "epic", "display_order": -1},
    kept=(
        {"category": "c" * 50, "is_active": False},
        {"icon_url": "HTTP://[2001:db8::1]:8080/ä.png?x=1#y", "badge_color": "#fff"},
        {"icon_url": f"https://x/{'p' * 2_038}", "badge_color": "#7C3AEDff", "rarity": "legendary"},
        {"is_hidden": True, "display_order": -(2**31)},
        {"display_order": 2**31 - 1, "rarity": "uncommon"},
    ),
    cleared=("description", "icon_url", "badge_color", "category"),
    bad={
        "icon_url": NOT_AN_ICON,
        "badge_color": NOT_A_COLOR,
        "rarity": ["mythic", "Rare", None],
        "category": ["", "c" * 51, "a\x00b"],
        "is_hidden": [1, None],
        "display_order": [2**31, -(2**31) - 1, 1.0, True, "1", None, 10**400],
    },
)  # fmt: skip
PROGRAM = Kind(
    "program",
    {"description": None, "is_active": True},
    change={"description": "d"},
    has_code=False,
    has_tenant=False,
)
TIER = Kind(
    "tier",
    {
        "description": None, "level": 3, "color": None, "criteria_config": {"min_points": 5_000},
        "award_type": "automatic", "is_active": True,
    },
    new={"level": 3, "criteria_config": {"min_points": 5_000}},
    change={"criteria_config": {"min_points": 4_000}, "color": "#FFD700", "level": 7},
    kept=({"level": 0, "award_type": "manual"}, {"level": 1_000_000, "is_active": False}),
    cleared=("description", "color"),
    bad={
        "level": [-1, 1_000_001, None, 1.5],
        "color": NOT_A_COLOR,
        "criteria_config.min_points": [{"min_points": -1}, {"min_points": "x"}],
        "award_type": ["sometimes"],
    },
)  # fmt: skip
REWARD = Kind(
    "reward",
    {
        "description": None, "image_url": None, "type": "coupon", "points_cost": 500, "stock": 45,
        "claimed": 0, "available": 45, "max_claims_per_user": 1, "starts_at": None,
        "ends_at": None, "is_active": True,
    },
    new={"points_cost": 500, "stock": 45, "type": "coupon"},
    change={"points_cost": 400, "max_claims_per_user": None, "ends_at": "2031-01-01T00:00:00Z"},
    kept=({"stock": 0, "points_cost": 0}, {"type": "t" * 50, "max_claims_per_user": 7}),
    cleared=("description", "image_url", "starts_at", "ends_at", "max_claims_per_user"),
    bad={
        "points_cost": [-1, None],
        "stock": [-1, "many"],
        "max_claims_per_user": [0],
        "image_url": NOT_AN_ICON,
        "type": ["", "t" * 51],
        "starts_at": NOT_AN_INSTANT,
        "ends_at": NOT_AN_INSTANT,
    },
)  # fmt: skip
CHALLENGE = Kind(
    "challenge",
    {
        "description": None, "objective": {"type": "points"}, "target": 100, "points": None,
        "badge_code": None, "starts_at": None, "ends_at": None, "is_active": True,
    },
    new={"objective": {"type": "points"}, "target": 100},
    change={"target": 50, "points": 5, "starts_at": "2026-01-01T00:00:00Z"},
    kept=({"badge_code": "week_warrior"}, {"target": 1_000_000_000, "points": 1_000_000}),
    cleared=("description", "points", "badge_code", "starts_at", "ends_at"),
    fixed={"objective": [{"type": "points"}, None]},
    bad={
        "target": [0, None, 1_000_000_001],
        "points": [0, 1_000_001],
        "badge_code": ["", "unknown"],
        "starts_at": NOT_AN_INSTANT,
        "ends_at": NOT_AN_INSTANT,
    },
)  # fmt: skip
LEADERBOARD = Kind(
    "leaderboard",
    {
        "description": None, "metric": "points", "streak_code": None, "window_days": 30,
        "is_active": True,
    },
    new={"metric": "points"},
    change={"description": "d"},
    kept=({"window_days": 1}, {"window_days": 366, "is_active": False}),
    fixed={"metric": ["points", "streak"], "window_days": [7, 30], "streak_code": ["x", None]},
)  # fmt: skip
CALENDAR = Kind(
    "calendar",
    {"description": None, "dates": [], "is_active": True},
    change={"dates": ["2026-12-25", "2027-01-01"]},
    kept=(
        {"dates": ["1970-01-01", "2024-02-29", "2199-12-31"]},
        {"dates": [str(date(2026, 1, 1) + timedelta(days=nth)) for nth in range(2_000)]},
    ),
    bad={
        "dates": [None, {}, "2026-12-25", ["2026-12-25"] * 2_001],
        "dates.0": [
            ["2026-02-30"], ["1969-12-31"], ["2200-01-01"], ["2026-W01-1"], ["20261225"], [""],
            ["2026-12-25T00:00:00Z"], [20_000], [None], ["٢٠٢٦-12-25"], ["2026-12-25\n"],
        ],
        "dates.1": [["2026-12-25", "tomorrow"]],
    },
    has_id=False,
    has_tenant=False,
)  # fmt: skip

KINDS = (STREAK, BADGE, PROGRAM, TIER, REWARD, CHALLENGE, LEADERBOARD, CALENDAR)
OF_ALL: dict[str, list[Any]] = {
    "name": ["", "n" * 101, None, 7, "two\nlines", "half \ud83d", "a\x00b"],
    "description": ["x" * 5_001, "a\x00b", ["x"], 1],
    "is_active": [None, 1, "true"],
}
KEPT_BY_ALL: tuple[Values, ...] = (
    {"name": "毎日 👩‍🚀", "description": "two\nlines"},
    {"name": "n" * 100, "description": "x" * 5_000, "is_active": False},
    {"description": ""},
)
BAD_CODES: list[Any] = [
    "", "x" * 51, "a b", "a,b", "a/b", "a;b", "%41", "é", "a\n", "a\x00", None, 7, [], "\udc00",
]  # fmt: skip


def prepare(client: FlaskClient) -> None:
    """What some kinds refer to."""
    make_badge(client, "week_warrior")
    CALENDAR.make(client, "bank_holidays", dates=["2026-12-25"])
    CALENDAR.make(client, "gone", is_active=False)
