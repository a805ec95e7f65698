"""The kinds of definitions: their fields, their columns, and where the API manages them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.dashboard.form_fields import Input

_NAME = Input("name", "Name", help="Shown to people.", is_required=True)
_DESCRIPTION = Input("description", "Description", "long")
_STARTS = Input("starts_at", "Starts", "moment", "UTC; empty: always has.")
_ENDS = Input("ends_at", "Ends", "moment", "UTC; empty: never.")
_RARITIES = ("common", "uncommon", "rare", "epic", "legendary")


def _code(example: str) -> Input:
    return Input(
        "code", "Code", help="What your calls name it by. It cannot be changed.",
        is_required=True, is_fixed=True, placeholder=example,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DefinitionType:
    """One kind of definition."""

    noun: str
    title: str
    path: tuple[str, ...]  # below the API's base path
    key: str  # the field by which one is found: id or code
    about: str
    inputs: Sequence[Input]
    columns: Sequence[tuple[str, str]]  # field, heading
    can_be_deleted: bool = False  # or only paused


STREAKS = DefinitionType(
    "streak",
    "Streaks",
    ("streaks",),
    "code",
    "What is counted: consecutive days, weeks or months in which somebody did something.",
    (
        _code("daily_login"),
        _NAME,
        _DESCRIPTION,
        Input("period", "Period", "choice", "One tick a period counts.",
              choices=("daily", "weekly", "monthly"), is_required=True, is_fixed=True),
        Input("grace_periods", "Grace", "number",
              "Missed periods that are forgiven before it breaks.", default="1"),
        Input("reset_on_miss", "Resets when missed", "switch",
              "Off: the count is kept, and waits.", default="on"),
        Input("boundary", "Days begin", "choice",
              "By UTC, or by the participant's own calendar.",
              choices=("utc", "participant"), default="utc"),
        Input("milestones", "Milestones", "json",
              'As JSON: [{"count": 7, "badge_code": "week_warrior", "points": 50}]. Each is reached'
              ' once per participant; with "repeat": "each_run", once in each run of the streak.',
              empty=[]),
        Input("at_risk_lead_hours", "Told at risk", "number",
              "Hours before it breaks; empty: when its last period begins."),
    ),
    (("name", "Name"), ("period", "Period"), ("grace_periods", "Grace"), ("boundary", "Days by")),
)  # fmt: skip
BADGES = DefinitionType(
    "badge",
    "Badges",
    ("admin", "badges"),
    "id",
    "Awarded once, kept for ever.",
    (
        _code("week_warrior"),
        _NAME,
        _DESCRIPTION,
        Input("icon_url", "Icon", help="An https URL.", placeholder="https://"),
        Input("badge_color", "Colour", placeholder="#7C3AED"),
        Input("rarity", "Rarity", "choice", choices=_RARITIES, default="common"),
        Input("category", "Category"),
        Input("display_order", "Order", "number", "Lower comes first.", default="0"),
        Input("is_hidden", "Hidden until earned", "switch"),
    ),
    (("name", "Name"), ("rarity", "Rarity"), ("category", "Category")),
)
TIERS = DefinitionType(
    "tier",
    "Tiers",
    ("admin", "tiers"),
    "id",
    "Status that points lead to, or that is assigned. Of those reached the highest level counts.",
    (
        _code("gold"),
        _NAME,
        _DESCRIPTION,
        Input("level", "Level", "number", "Higher is better.", is_required=True),
        Input("color", "Colour", placeholder="#FFD700"),
        Input("award_type", "Reached", "choice", choices=("automatic", "manual"),
              default="automatic", help="By points, or by assignment alone."),
        Input("criteria_config.min_points", "Points needed", "number",
              "Ever earned; spending takes nobody down."),
    ),
    (("name", "Name"), ("level", "Level"), ("criteria_config.min_points", "Points needed"),
     ("award_type", "Reached")),
)  # fmt: skip
REWARDS = DefinitionType(
    "reward",
    "Rewards",
    ("admin", "rewards"),
    "id",
    "What points buy: never oversold, never charged twice.",
    (
        _code("free_coffee"),
        _NAME,
        _DESCRIPTION,
        Input("type", "Type", help="coupon, voucher, physical, digital …", default="digital"),
        Input("image_url", "Image", placeholder="https://"),
        Input("points_cost", "Costs", "number", "Points.", default="0"),
        Input("stock", "Stock", "number", "How many there are in all; empty: no end."),
        Input("max_claims_per_user", "Each may have", "number", "Empty: as many as they like.",
              default="1"),
        _STARTS,
        _ENDS,
    ),
    (("name", "Name"), ("points_cost", "Costs"), ("claimed", "Claimed"), ("available", "Left")),
)  # fmt: skip
CHALLENGES = DefinitionType(
    "challenge",
    "Challenges",
    ("admin", "challenges"),
    "id",
    "A target to be reached, and what reaching it gives.",
    (
        _code("logins_100"),
        _NAME,
        _DESCRIPTION,
        Input("objective", "What counts", "json",
              'One of {"type": "ticks", "streak_code": "…"}, {"type": "count", "streak_code": "…"},'
              ' {"type": "badges"}, {"type": "points"}', is_required=True, is_fixed=True,
              default='{"type": "points"}'),
        Input("target", "Target", "number", "How much of it.", is_required=True),
        Input("points", "Gives points", "number"),
        Input("badge_code", "Gives the badge"),
        _STARTS,
        _ENDS,
    ),
    (("name", "Name"), ("objective.type", "Counts"), ("target", "Target"), ("points", "Points")),
)  # fmt: skip
LEADERBOARDS = DefinitionType(
    "leaderboard",
    "Leaderboards",
    ("admin", "leaderboards"),
    "id",
    "Who did best in the last days: nobody stands on top for what they did years ago.",
    (
        _code("points_of_the_month"),
        _NAME,
        _DESCRIPTION,
        Input("metric", "Ranks by", "choice", choices=("points", "streak"), is_required=True,
              is_fixed=True, default="points"),
        Input("streak_code", "Of the streak", help="Of a streak's leaderboard.", is_fixed=True),
        Input("window_days", "Days", "number", "1 to 366.", is_fixed=True, default="30"),
    ),
    (("name", "Name"), ("metric", "Ranks by"), ("streak_code", "Streak"),
     ("window_days", "Days")),
)  # fmt: skip
WEBHOOKS = DefinitionType(
    "webhook",
    "Webhooks",
    ("admin", "webhooks"),
    "id",
    "Where facts are sent, signed and retried for days.",
    (
        Input("url", "URL", is_required=True, placeholder="https://example.com/facts"),
        Input("description", "Description"),
        Input("event_types", "Facts", "list", "Types or globs, apart by spaces.",
              is_required=True, default="behavior.*"),
        Input("streak_codes", "Only about the streaks", "list", "Codes; empty: any."),
        Input("is_ordered", "In order per participant", "switch"),
        Input("rate_per_second", "At most a second", "number", "Empty: no limit."),
        Input("is_enabled", "Enabled", "switch", default="on"),
    ),
    (("url", "URL"), ("event_types", "Facts"), ("health.status", "Health")),
    can_be_deleted=True,
)  # fmt: skip

KINDS: dict[str, DefinitionType] = {
    one.title.lower(): one
    for one in (STREAKS, BADGES, TIERS, REWARDS, CHALLENGES, LEADERBOARDS, WEBHOOKS)
}
