"""The definition types: their fields, columns and API paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.dashboard.form_fields import Input

_NAME = Input("name", "Name", help="The name that your users see.", is_required=True)
_DESCRIPTION = Input("description", "Description", "long")
_STARTS = Input("starts_at", "Starts", "moment", "In UTC. Empty: open from the start.")
_ENDS = Input("ends_at", "Ends", "moment", "In UTC. Empty: no end.")
_RARITIES = ("common", "uncommon", "rare", "epic", "legendary")


def _code(example: str) -> Input:
    return Input(
        "code", "Code", help="The name that API calls use. It cannot be changed.",
        is_required=True, is_fixed=True, placeholder=example,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DefinitionType:
    """One definition type."""

    noun: str
    title: str
    path: tuple[str, ...]  # below the API's base path
    key: str  # the identifying field: id or code
    about: str
    inputs: Sequence[Input]
    columns: Sequence[tuple[str, str]]  # field, heading
    can_be_deleted: bool = False  # otherwise it can only be paused
    paused: str = "Existing data stays. New writes to it are refused until it is resumed."


_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PERIODS = (
    Input(
        "week_starts_on",
        "Weeks start on",
        "choice",
        "Of weekly streaks.",
        choices=_WEEKDAYS,
        default="monday",
        is_fixed=True,
    ),
    Input(
        "day_starts_at",
        "Days start at",
        help="A local time such as 04:00: what happens before belongs to the day before.",
        default="00:00",
        is_fixed=True,
    ),
)
FORGIVENESS = (
    Input("target.kind", "A period counts by", "choice", "Empty: by one tick. days: distinct local"
          " days of a week or month. value: the sum of the ticks' values.",
          choices=("", "ticks", "days", "value"), is_fixed=True, section="Target"),
    Input("target.amount", "Amount", "number", "How many ticks or days, or what sum, a period"
          " needs. Empty: one tick.", is_fixed=True),
    Input("earn_back.times", "Earn back by", "number", "How many times its target a period needs"
          " to protect the missed ones before it. Empty: none is earned back.", is_fixed=True),
    Input("earn_back.within", "Earn back within", "number", "Up to how many periods after the"
          " missed one.", is_fixed=True),
    Input("grace_refill", "Grace refills", "choice", "When grace is full again, besides after a"
          " break. It must be longer than the period.",
          choices=("", "weekly", "monthly", "yearly"), section="Forgiveness"),
    Input("grace_by_count", "Grace by count", "rows", "In place of Grace: how many missed periods"
          " are forgiven from which count on. The first row begins at 0.", empty=[],
          row=(("from_count", "From count"), ("grace_periods", "Grace"))),
    Input("freezes.initial", "Freezes at the start", "number", "A freeze protects one missed"
          " period once grace is spent. At most as many as may be held."),
    Input("freezes.earn_every", "Freeze earned every", "number", "One freeze at each multiple of"
          " this count. Empty: none is earned."),
    Input("freezes.max", "Freezes held at most", "number", "No further one is earned while this"
          " many are held. Bought and granted ones may go beyond."),
    Input("freezes.price_points", "Price of a freeze", "number", "In points. Empty: not for"
          " sale."),
    Input("rest_days", "Rest days", "checks", "Of daily streaks: weekdays that cost nothing when"
          " they are missed. A tick on one counts.", choices=_WEEKDAYS, empty=[]),
    Input("calendar_codes", "Calendars", "list", "Codes, separated by spaces. Their dates cost"
          " nothing when they are missed.", empty=[]),
)  # fmt: skip
REMINDER = (
    Input("reminder.at", "Remind at", help="A time such as 20:00 on the last day of the period, in"
          " the participant's time zone. Give one of the first three. To send none, empty all"
          " seven.", placeholder="20:00", section="Reminder"),
    Input("reminder.hours_before", "Remind before the end", "number", "In hours before the period"
          " ends, at most its length."),
    Input("reminder.hours_after_last_tick", "Remind after the last tick", "number", "In hours, such"
          " as 23.5; at most twice the length of the period."),
    Input("reminder.min_count", "Lowest count", "number", "None below this count. Empty: 1."),
    Input("reminder.quiet_hours.from", "Quiet from", help="A time such as 22:00. A reminder due in"
          " quiet hours is sent as late as they allow in its period, or left out.",
          placeholder="22:00"),
    Input("reminder.quiet_hours.to", "Quiet to", placeholder="08:00"),
    Input("reminder.at_most_every_hours", "Hours between reminders", "number", "At least this many"
          " from one to the next. Empty: one in each period."),
)  # fmt: skip

STREAKS = DefinitionType(
    "streak",
    "Streaks",
    ("streaks",),
    "code",
    "Counts consecutive days, weeks or months in which a participant recorded a tick.",
    (
        _code("daily_login"),
        _NAME,
        _DESCRIPTION,
        Input("period", "Period", "choice", "The first tick in each period counts.",
              choices=("daily", "weekly", "monthly"), is_required=True, is_fixed=True),
        *PERIODS,
        Input("grace_periods", "Grace", "number",
              "How many missed periods are forgiven before the streak breaks.", default="1"),
        Input("reset_on_miss", "Reset on miss", "switch",
              "On: a missed period resets the count. Off: the streak pauses and keeps its count.",
              default="on"),
        Input("boundary", "Time zone", "choice",
              "Periods follow UTC, or the participant's own time zone.",
              choices=("utc", "participant"), default="utc"),
        Input("milestones", "Milestones", "json",
              'JSON: [{"count": 7, "badge_code": "week_warrior", "points": 50}]. A participant'
              ' reaches each one once, or once per run of the streak with "repeat": "each_run".',
              empty=[]),
        Input("at_risk_lead_hours", "At-risk lead", "number",
              "Send the at-risk fact this many hours before the streak breaks. Empty: when its last"
              " period begins."),
        *FORGIVENESS,
        *REMINDER,
    ),
    (("name", "Name"), ("period", "Period"), ("grace_periods", "Grace"), ("boundary", "Time zone")),
)  # fmt: skip
CALENDARS = DefinitionType(
    "calendar",
    "Calendars",
    ("admin", "calendars"),
    "code",
    "Dates that cost a streak nothing when they are missed, such as bank holidays.",
    (
        _code("bank_holidays"),
        _NAME,
        _DESCRIPTION,
        Input("dates", "Dates", "lines", "One date a line, such as 2026-12-25. Streaks that name"
              " the calendar are counted anew, past periods included.", empty=[]),
    ),
    (("name", "Name"), ("dates", "Dates")),
    paused="Streaks that name it keep its dates. No further one can name it until it is resumed.",
)  # fmt: skip
BADGES = DefinitionType(
    "badge",
    "Badges",
    ("admin", "badges"),
    "id",
    "A participant earns each badge once and keeps it.",
    (
        _code("week_warrior"),
        _NAME,
        _DESCRIPTION,
        Input("icon_url", "Icon", help="An https URL.", placeholder="https://"),
        Input("badge_color", "Colour", placeholder="#7C3AED"),
        Input("rarity", "Rarity", "choice", choices=_RARITIES, default="common"),
        Input("category", "Category"),
        Input("display_order", "Display order", "number", "Lower numbers come first.", default="0"),
        Input("is_hidden", "Hidden until earned", "switch"),
    ),
    (("name", "Name"), ("rarity", "Rarity"), ("category", "Category")),
)
TIERS = DefinitionType(
    "tier",
    "Tiers",
    ("admin", "tiers"),
    "id",
    "A status reached by points or by assignment. The highest level reached applies.",
    (
        _code("gold"),
        _NAME,
        _DESCRIPTION,
        Input("level", "Level", "number", "A higher number is a higher tier.", is_required=True),
        Input("color", "Colour", placeholder="#FFD700"),
        Input("award_type", "Reached by", "choice", choices=("automatic", "manual"),
              default="automatic", help="automatic: by points. manual: by assignment only."),
        Input("criteria_config.min_points", "Points needed", "number",
              "Points earned in total. Spending points does not lower a tier."),
    ),
    (("name", "Name"), ("level", "Level"), ("criteria_config.min_points", "Points needed"),
     ("award_type", "Reached by")),
)  # fmt: skip
REWARDS = DefinitionType(
    "reward",
    "Rewards",
    ("admin", "rewards"),
    "id",
    "Participants redeem points for rewards. A reward is never oversold or charged twice.",
    (
        _code("free_coffee"),
        _NAME,
        _DESCRIPTION,
        Input("type", "Type", help="For example coupon, voucher, physical or digital.",
              default="digital"),
        Input("image_url", "Image", placeholder="https://"),
        Input("points_cost", "Cost", "number", "In points.", default="0"),
        Input("stock", "Stock", "number", "How many can be redeemed in total. Empty: unlimited."),
        Input("max_claims_per_user", "Limit per participant", "number", "Empty: unlimited.",
              default="1"),
        _STARTS,
        _ENDS,
    ),
    (("name", "Name"), ("points_cost", "Cost"), ("claimed", "Redeemed"), ("available", "In stock")),
)  # fmt: skip
CHALLENGES = DefinitionType(
    "challenge",
    "Challenges",
    ("admin", "challenges"),
    "id",
    "A target, and the points or badge for reaching it.",
    (
        _code("logins_100"),
        _NAME,
        _DESCRIPTION,
        Input("objective", "Objective", "json",
              'One of {"type": "ticks", "streak_code": "…"}, {"type": "count", "streak_code": "…"},'
              ' {"type": "badges"}, {"type": "points"}', is_required=True, is_fixed=True,
              default='{"type": "points"}'),
        Input("target", "Target", "number", "The amount that completes the challenge.",
              is_required=True),
        Input("points", "Prize in points", "number"),
        Input("badge_code", "Prize badge"),
        _STARTS,
        _ENDS,
    ),
    (("name", "Name"), ("objective.type", "Objective"), ("target", "Target"), ("points", "Points")),
)  # fmt: skip
LEADERBOARDS = DefinitionType(
    "leaderboard",
    "Leaderboards",
    ("admin", "leaderboards"),
    "id",
    "Ranks participants over a rolling window of days.",
    (
        _code("points_of_the_month"),
        _NAME,
        _DESCRIPTION,
        Input("metric", "Metric", "choice", choices=("points", "streak"), is_required=True,
              is_fixed=True, default="points"),
        Input("streak_code", "Streak", help="Only for the metric streak.", is_fixed=True),
        Input("window_days", "Window", "number", "1 to 366 days.", is_fixed=True, default="30"),
    ),
    (("name", "Name"), ("metric", "Metric"), ("streak_code", "Streak"),
     ("window_days", "Window (days)")),
)  # fmt: skip
WEBHOOKS = DefinitionType(
    "destination",
    "Destinations",
    ("admin", "webhooks"),
    "id",
    "Your services that receive facts by signed webhook. Failed deliveries are retried for days.",
    (
        Input("url", "URL", is_required=True, placeholder="https://example.com/facts"),
        Input("description", "Description"),
        Input("event_types", "Facts", "list", "Types or globs, separated by spaces.",
              is_required=True, default="behavior.*"),
        Input("streak_codes", "Streaks", "list",
              "Codes, separated by spaces. Empty: facts of all streaks."),
        Input("is_ordered", "In order per participant", "switch"),
        Input("rate_per_second", "Rate limit", "number", "Deliveries a second. Empty: unlimited."),
        Input("is_enabled", "Enabled", "switch", default="on"),
    ),
    (("url", "URL"), ("event_types", "Facts"), ("health.status", "Health")),
    can_be_deleted=True,
)  # fmt: skip

KINDS: dict[str, DefinitionType] = {
    kind.path[-1]: kind
    for kind in (STREAKS, CALENDARS, BADGES, TIERS, REWARDS, CHALLENGES, LEADERBOARDS, WEBHOOKS)
}
