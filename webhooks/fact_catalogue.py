"""The catalogue of facts: when each type is sent and what it holds, as a JSON Schema. Pure.

docs/facts.md and docs/facts/*.schema.json are made from it; a test holds it against what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.rules.periods import KINDS
from webhooks import facts

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

# -- kinds of values ---------------------------------------------------------------------------

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
AT_LEAST_ONE: Schema = {"type": "integer", "minimum": 1}
OBJECT: Schema = {"type": "object"}
NOTHING: Schema = {"type": "null"}
INSTANT: Schema = {"type": "string", "format": "date-time", "pattern": "Z$"}
UUID: Schema = {"type": "string", "format": "uuid"}
CODE: Schema = {"type": "string", "minLength": 1, "maxLength": 50}
PERIOD: Schema = {"type": "string", "enum": list(KINDS)}
PERIOD_KEY: Schema = {
    "type": "string",
    "pattern": r"^\d{4}-(\d{2}-\d{2}|W\d{2}|\d{2})$",
}


def or_null(schema: Schema) -> Schema:
    """The schema of a value that may be null."""
    more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [schema["type"], "null"]} | more


@dataclass(frozen=True, slots=True)
class FactField:
    """One field of an object."""

    name: str
    schema: Schema
    meaning: str
    is_always: bool = True  # or only when there is something to say


@dataclass(frozen=True, slots=True)
class FactType:
    """One type of fact."""

    kind: str
    when: str
    payload: tuple[FactField, ...]

    @property
    def is_personal(self) -> bool:
        """Whether it is about a participant; otherwise it is about a destination."""
        return not self.kind.startswith("webhook.")


def envelope(entry: FactType) -> tuple[FactField, ...]:
    """The fields around a payload."""
    who, number = (TEXT, AT_LEAST_ONE) if entry.is_personal else (NOTHING, NOTHING)
    return (
        FactField(
            "id",
            {"type": "string", "pattern": "^evt_[0-9a-f]{32}$"},
            "The fact's id, and the `webhook-id` of every attempt to deliver it.",
        ),
        FactField("type", {"const": entry.kind}, "What happened."),
        FactField("occurred_at", INSTANT, "When the change was made, UTC."),
        FactField("tenant", TEXT, "Whose it is."),
        FactField(
            "mode", {"type": "string", "enum": ["live", "test"]}, "Which side of the tenant."
        ),
        FactField("participant_id", who, "Whom it is about; null for facts about a destination."),
        FactField(
            "sequence",
            number,
            "Counts up by one per participant, without gaps; null without a participant.",
        ),
        FactField("payload", _object(entry.payload), "What the type says, below."),
    )


def schema(entry: FactType) -> Schema:
    """The JSON Schema (2020-12) of a type's body. Open: fields may be added, none is removed."""
    about = {"$schema": DIALECT, "title": entry.kind, "description": entry.when}
    return about | _object(envelope(entry))


def _object(fields: tuple[FactField, ...]) -> Schema:
    return {
        "type": "object",
        "properties": {
            field.name: field.schema | {"description": field.meaning} for field in fields
        },
        "required": [field.name for field in fields if field.is_always],
    }


# -- fields of several types -------------------------------------------------------------------

_STREAK = FactField("streak_code", CODE, "Which streak.")
_PERIOD = FactField("period", PERIOD, "What the streak counts.")
_PERIOD_KEY = FactField(
    "period_key", PERIOD_KEY, "The period recorded: `2026-05-23`, `2026-W21` or `2026-05`."
)
_COUNT = FactField("count", AT_LEAST_ONE, "The count now.")
_PREVIOUS = FactField("previous_count", COUNT, "The count before; 0 when there was none.")
_LONGEST = FactField(
    "longest_count",
    AT_LEAST_ONE,
    "The highest count of the recorded periods as they are now. A late tick may lower it where"
    " grace is in play (ADR 2).",
)
_LEFT = FactField("grace_remaining", COUNT, "How many missed periods are still forgiven.")
_RECORDED_AT = FactField("recorded_at", INSTANT, "The tick's own instant, which may be long ago.")
_TICK = FactField("tick_id", UUID, "The tick: `GET /ticks/{id}`.")
_LAST = FactField("last_recorded_at", INSTANT, "The latest recorded instant.")
_METADATA = FactField(
    "metadata", OBJECT, "What was sent with it, as it was sent; absent without.", is_always=False
)

_MOVEMENT = (
    FactField("amount", AT_LEAST_ONE, "How many."),
    FactField("balance", COUNT, "The points left afterwards."),
    FactField(
        "source",
        or_null(CODE),
        "The code of the streak, challenge or reward behind it; null when a caller asked for it.",
    ),
    FactField("reason", or_null(TEXT), "Why, as the caller said."),
    FactField("transaction_id", UUID, "The row of the ledger: `GET /points/transactions/{id}`."),
)

# -- the types ---------------------------------------------------------------------------------


def _about_a_destination(kind: str, when: str, reason: Schema, why: str) -> FactType:
    return FactType(
        kind,
        when,
        (
            FactField("webhook_id", UUID, "Which destination."),
            FactField("description", or_null(TEXT), "Its description."),
            FactField("reason", reason, why),
            FactField("failing_since", or_null(INSTANT), "Since when nothing has got through."),
        ),
    )


ENTRIES = (
    FactType(
        facts.STREAK_RECORDED,
        "A tick changed a streak. A repeated tick of the same period changes nothing and has none.",
        (
            _STREAK,
            _COUNT,
            _PREVIOUS,
            _LONGEST,
            FactField("is_new_record", FLAG, "Whether `count` beats the longest before this tick."),
            FactField(
                "outcome",
                {
                    "type": "string",
                    "enum": ["started", "extended", "reset", "held", "backfilled"],
                },
                "`started`: the first ever; `extended`: in time; `reset`: too late, the count is 1;"
                " `held`: too late, the count stays; `backfilled`: a period before the last one.",
            ),
            _PERIOD,
            _PERIOD_KEY,
            _LEFT,
            _RECORDED_AT,
            _TICK,
            _METADATA,
        ),
    ),
    FactType(
        facts.STREAK_MILESTONE,
        "A tick reached a milestone of the streak: one fact for each, also for those that the count"
        " jumped over, after the tick's `behavior.streak_recorded` and the `badge.awarded` of its"
        " own badge. Sent once per participant, streak and milestone, or once in each run when its"
        " `repeat` is `each_run`.",
        (
            _STREAK,
            FactField("milestone", AT_LEAST_ONE, "The count that was reached."),
            FactField(
                "count",
                AT_LEAST_ONE,
                "The count now. It is below `milestone` when a late tick completed an earlier run.",
            ),
            _PREVIOUS,
            FactField("badge_code", or_null(CODE), "The milestone's badge; null when it has none."),
            FactField(
                "is_badge_new",
                or_null(FLAG),
                "Whether it was awarded now, for the first time; null without a badge, and when the"
                " badge is deactivated: then it is not awarded.",
            ),
            FactField("points", or_null(AT_LEAST_ONE), "The points that it gives; null without."),
            _PERIOD,
            _PERIOD_KEY,
            _RECORDED_AT,
            _TICK,
        ),
    ),
    FactType(
        facts.STREAK_AT_RISK,
        "The streak's last period that can save it has begun, by the participant's own calendar,"
        " and nothing is recorded in it yet; or it is `at_risk_lead_hours` before that period ends."
        " Once for each time that it is at risk.",
        (
            _STREAK,
            FactField("count", AT_LEAST_ONE, "The count that would be lost."),
            _LONGEST,
            _PERIOD,
            _LEFT,
            _LAST,
            FactField("expires_at", INSTANT, "When it breaks unless something is recorded before."),
        ),
    ),
    FactType(
        facts.STREAK_BROKEN,
        "Nothing was recorded in the last period that could have saved a streak. Once for each"
        " time that it breaks.",
        (
            _STREAK,
            FactField("count", COUNT, "The count now: 0, or the kept one of a paused streak."),
            FactField("previous_count", AT_LEAST_ONE, "The count that it had."),
            _LONGEST,
            FactField(
                "status",
                {"type": "string", "enum": ["broken", "paused"]},
                "`paused` for a streak with `reset_on_miss` false: the next tick goes on from"
                " `count`.",
            ),
            _PERIOD,
            _LAST,
            FactField("broken_at", INSTANT, "When it broke: the fact may come a little later."),
        ),
    ),
    FactType(
        facts.BADGE_AWARDED,
        "A participant got a badge for the first time. Awarding it again changes nothing and has"
        " none.",
        (
            FactField("badge_code", TEXT, "Which badge."),
            FactField("badge_name", TEXT, "Its name at the time."),
            FactField("icon", or_null(TEXT), "The URL of its icon."),
            FactField(
                "rarity",
                {
                    "type": "string",
                    "enum": ["common", "uncommon", "rare", "epic", "legendary"],
                },
                "How rare it is meant to be.",
            ),
            FactField("category", or_null(TEXT), "Its category."),
            FactField("earned_at", INSTANT, "When it was earned."),
            FactField("award_id", UUID, "The award: `GET /awards/{id}`."),
            _METADATA,
        ),
    ),
    FactType(
        facts.POINTS_AWARDED,
        "A participant got points: awarded, or given by a milestone or a challenge.",
        (
            *_MOVEMENT,
            FactField(
                "kind",
                {"type": "string", "enum": ["award", "milestone", "challenge"]},
                "Who gave them: a caller, a milestone of a streak, a challenge.",
            ),
            FactField("total_earned", AT_LEAST_ONE, "All the points ever got, these included."),
            _METADATA,
        ),
    ),
    FactType(
        facts.POINTS_DEDUCTED,
        "A participant gave points: deducted, or spent on a reward.",
        (
            *_MOVEMENT,
            FactField(
                "kind",
                {"type": "string", "enum": ["deduct", "claim"]},
                "What they went to: a caller's deduction, or a reward.",
            ),
            FactField("total_spent", AT_LEAST_ONE, "All the points ever spent, these included."),
            _METADATA,
        ),
    ),
    FactType(
        facts.TIER_CHANGED,
        "A participant came into another tier: by points, after their `points.awarded`, or by an"
        " assignment.",
        (
            FactField("tier_code", CODE, "The tier now."),
            FactField("tier_name", TEXT, "Its name at the time."),
            FactField("level", COUNT, "Its level: compare levels, not codes."),
            FactField("previous_tier_code", or_null(CODE), "The tier before; null: none."),
            FactField("previous_level", or_null(COUNT), "Its level; null without."),
            FactField(
                "source",
                {"type": "string", "enum": ["points", "assigned"]},
                "Whether points led to it, or somebody assigned it.",
            ),
            FactField("reason", or_null(TEXT), "Why, as whoever assigned it said."),
            FactField("total_earned", COUNT, "All the points ever got."),
            FactField("achieved_at", INSTANT, "When the points, or the assignment, were accepted."),
            _METADATA,
        ),
    ),
    FactType(
        facts.REWARD_CLAIMED,
        "A participant claimed a reward; what it cost has a `points.deducted` of its own, before.",
        (
            FactField("reward_id", UUID, "Which reward."),
            FactField("reward_code", CODE, "Its code."),
            FactField("reward_name", TEXT, "Its name at the time."),
            FactField("reward_type", TEXT, "Its type: what to hand out."),
            FactField("points_deducted", COUNT, "What it cost."),
            FactField("balance", COUNT, "The points left."),
            FactField("claim_id", UUID, "The claim: `GET /claims/{id}`."),
            FactField("claimed_at", INSTANT, "When the claim was accepted."),
            _METADATA,
        ),
    ),
    FactType(
        facts.CHALLENGE_COMPLETED,
        "A participant reached the target of a challenge, which happens once; after the facts of"
        " what it gives.",
        (
            FactField("challenge_code", CODE, "Which challenge."),
            FactField("challenge_name", TEXT, "Its name at the time."),
            FactField("objective", OBJECT, "What counted."),
            FactField("target", AT_LEAST_ONE, "How much of it was needed."),
            FactField("points", or_null(AT_LEAST_ONE), "The points that it gives; null without."),
            FactField("badge_code", or_null(CODE), "The badge that it gives; null without."),
            FactField(
                "is_badge_new",
                or_null(FLAG),
                "Whether the badge was awarded now, for the first time; null when there was none"
                " to award.",
            ),
            FactField("completed_at", INSTANT, "When it was completed."),
        ),
    ),
    _about_a_destination(
        facts.DESTINATION_FAILING,
        "A destination failed so often in a row that it is parked: probed now and then, nothing"
        " lost. Told to the tenant's other destinations, never to itself.",
        NOTHING,
        "Null.",
    ),
    _about_a_destination(
        facts.DESTINATION_DISABLED,
        "We disabled a destination. What is pending for it waits until it is enabled again.",
        {"type": "string", "enum": ["gone", "asked", "failing"]},
        "`gone`: it answered 410; `asked`: it answered `webhook-delivery: disable`; `failing`:"
        " for five days.",
    ),
    _about_a_destination(
        facts.DESTINATION_RECOVERED,
        "A destination that was failing answers again; what was pending for it flows.",
        NOTHING,
        "Null.",
    ),
)
